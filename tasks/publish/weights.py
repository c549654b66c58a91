"""Vectors of users and items, and weights of pairs of items, block by block, as Arrow batches."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.publish.published_model import PublishedModel

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def user_vectors(model: PublishedModel) -> "Iterator[pa.RecordBatch]":
    """The vectors of the users with a history that counts."""
    import numpy as np

    for of in model.blocks_of_users(model.model.factors, "user_embeddings"):
        has_history = np.diff(model.X.indptr)[of] > 0
        vectors = model.model.embed(model.X[of]) if model.model.factors else None
        yield _vectors(model.user_ids, of, "user_id", vectors, has_history)


def item_vectors(model: PublishedModel) -> "Iterator[pa.RecordBatch]":
    """The vectors of the items that training saw."""
    for of in model.blocks_of_items(model.model.factors, "item_embeddings"):
        vectors = model.model.item_embeddings[of] if model.model.factors else None
        yield _vectors(model.items.ids, of, "item_id", vectors, model.model.is_known[of])


def _vectors(
    ids: "pa.Array", of: "np.ndarray", name: str, vectors: "np.ndarray | None", keep: "np.ndarray"
) -> "pa.RecordBatch":
    """Ids beside fixed-size lists of float from vectors (rows, r), where `keep` (rows,) says so; no rows without."""
    import numpy as np
    import pyarrow as pa

    if vectors is None:
        vectors, keep = np.zeros((len(keep), 1), dtype=np.float32), np.zeros(len(keep), dtype=bool)
    values = pa.array(np.ascontiguousarray(vectors[keep]).ravel())
    columns = {
        name: ids.take(pa.array(of[keep])),
        "embedding": pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
    }
    return pa.RecordBatch.from_pydict(columns)


def residuals(model: PublishedModel) -> "Iterator[pa.RecordBatch]":
    """The stored S_ij: item i in a history adds its weight to the score of item j. For EASE, all weights."""
    import numpy as np
    import pyarrow as pa
    from scipy import sparse

    ids = model.items.ids
    for rows in model.blocks(len(ids), 1, "item_residuals"):
        stored = model.model.residual_rows(rows) if model.has_weights else (0, 0)
        block = sparse.coo_array(stored, dtype=np.float32)
        own, other = (ids.take(pa.array(places)) for places in (block.row + rows.start, block.col))
        yield pa.RecordBatch.from_pydict({"item_id": own, "neighbor_item_id": other, "weight": pa.array(block.data)})


def n_residuals(model: PublishedModel) -> int:
    """How many rows `residuals` has."""
    return model.model.n_residuals if model.has_weights else 0


def scored_items(model: PublishedModel) -> "Iterator[pa.RecordBatch]":
    """Which items the published tables can score."""
    import pyarrow as pa

    is_scored = model.model.is_known & model.has_weights
    yield pa.RecordBatch.from_pydict({"item_id": model.items.ids, "is_scored": pa.array(is_scored)})
