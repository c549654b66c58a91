"""Lists of users and neighbours of items, block by block, as Arrow batches in the order of users or items."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.publish.published_model import PublishedModel

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from scipy.sparse import csr_array

CAPPED_WIDTH = 8  # a cap per category ranks several times as many items as it lists


def user_lists(model: PublishedModel) -> "Iterator[pa.RecordBatch]":
    """Personal items first; popular ones fill up where a user has no history that counts, or candidates run out."""
    k, cap = model.n_listed, model.rules.max_per_category
    for of in model.blocks_of_users(k if cap is None else CAPPED_WIDTH * k, "user_topk"):
        items, scores, is_personal = _ranking(model, of, k) if cap is None else _capped(model, of, k, cap)
        yield _ranked(model, model.user_ids, of, items, scores, ("user_id", "item_id"), is_personal)


def _capped(model: PublishedModel, of: "np.ndarray", k: int, cap: int) -> "tuple[np.ndarray, ...]":
    from elsa_core import capped

    def rank(some: "np.ndarray", length: int) -> "tuple[np.ndarray, ...]":
        return _ranking(model, of[some], length)

    return capped(rank, len(of), k, model.items.category, cap)


def _ranking(model: PublishedModel, rows: "np.ndarray", k: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Items, scores and whether an item is personal, (rows, k) each."""
    import numpy as np

    seen = model.seen[rows]
    items, scores = model.model.recommend(model.X[rows], k, also_exclude=seen, allowed=model.items.is_allowed)
    n_personal = (items >= 0).sum(axis=1)
    short = np.flatnonzero(n_personal < k)
    if len(short):
        items[short], scores[short] = _fill_up(model, seen[short], items[short], scores[short])
    return items, scores, np.arange(k) < n_personal[:, None]


def _fill_up(
    model: PublishedModel, seen: "csr_array", personal: "np.ndarray", scores: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray]":
    """Items and scores (rows, k) with popular items behind the personal ones, none twice and none seen."""
    import numpy as np
    from scipy import sparse

    k = personal.shape[1]
    n_personal = (personal >= 0).sum(axis=1)
    listed = sparse.csr_array(
        (np.ones(n_personal.sum(), dtype=bool), personal[personal >= 0], np.append(0, np.cumsum(n_personal))),
        seen.shape,
    )
    popular, counts = model.popularity.recommend(seen, k, also_exclude=listed, allowed=model.items.is_allowed)
    place = np.arange(k) - n_personal[:, None]
    take = np.maximum(place, 0)
    items = np.where(place < 0, personal, np.take_along_axis(popular, take, axis=1))
    return items, np.where(place < 0, scores, np.take_along_axis(counts, take, axis=1))


def neighbors(model: PublishedModel) -> "Iterator[pa.RecordBatch]":
    """The nearest items of each item among those that may be recommended and that the rules let it have."""
    import numpy as np

    k = model.rules.neighbors
    for of in model.blocks_of_items(k, "item_neighbors"):
        among = _with_shared_users(model, of) if model.rules.neighbors_min_users else None
        items, scores = np.full((len(of), k), -1), np.full((len(of), k), np.nan, dtype=np.float32)
        for some, allowed in _by_candidates(model, of):
            items[some], scores[some] = model.model.similar(
                of[some], k, allowed=allowed, among=None if among is None else among[some]
            )
        yield _ranked(model, model.items.ids, of, items, scores, ("item_id", "neighbor_item_id"))


def _by_candidates(model: PublishedModel, of: "np.ndarray") -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Places in `of` of items with the same candidates, and (n_items,) bool which these are."""
    import numpy as np

    category, is_allowed = model.items.category, model.items.is_allowed
    if not model.rules.same_category:
        yield np.arange(len(of)), is_allowed
        return
    for code in np.unique(category[of]):
        if code >= 0:
            yield np.flatnonzero(category[of] == code), is_allowed & (category == code)


def _with_shared_users(model: PublishedModel, of: "np.ndarray") -> "csr_array":
    """Stores the pairs of these items and others with enough users in common: (items, n_items)."""
    from scipy import sparse

    has = model.X.astype(bool).astype("int32")
    n_users = sparse.csr_array(has[:, of].T @ has)
    n_users.data[n_users.data < model.rules.neighbors_min_users] = 0
    n_users.eliminate_zeros()
    return n_users


def _ranked(
    model: PublishedModel,
    owner_ids: "pa.Array",
    of: "np.ndarray",
    items: "np.ndarray",
    scores: "np.ndarray",
    names: tuple[str, str],
    is_personal: "np.ndarray | None" = None,
) -> "pa.RecordBatch":
    """One row per owner and rank from items and scores (rows, k); places without an item are left out."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    row, place = np.nonzero(items >= 0)
    columns = {
        names[0]: owner_ids.take(pa.array(of[row])),
        "rank": pa.array(place + 1),
        names[1]: model.items.ids.take(pa.array(items[row, place])),
        "score": pa.array(scores[row, place]),
    }
    if is_personal is not None:
        columns["source"] = compute.if_else(pa.array(is_personal[row, place]), "personal", "popular")
    return pa.RecordBatch.from_pydict(columns)
