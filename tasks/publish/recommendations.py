"""What the published model says, block by block, as Arrow batches in the order of users or items."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.run.catalogue import Catalogue, load_catalogue
from tasks.run.handles import Trained
from tasks.run.run import Run
from tasks.settings.config import Recommendations

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from scipy.sparse import csr_array

    from elsa_core import LinearModel, Popularity

ROWS = 8192  # most users or items computed at a time
PLACES = 2**20  # most places of lists held at a time


def no_progress(table: str, share: float) -> None:
    pass


@dataclass(frozen=True)
class Lists:
    """What the lists are made from: model, baseline, histories (users, items), and the outside ids of both.

    users        the rows of the users to compute; None for all
    on_progress  called with the name of the table and the share of it that is done, by whichever thread takes batches
    """

    model: "LinearModel"
    popularity: "Popularity"
    X: "csr_array"
    seen: "csr_array"
    user_ids: "pa.Array"
    items: Catalogue
    rules: Recommendations
    users: "np.ndarray | None" = None
    on_progress: Callable[[str, float], None] = no_progress


def load_lists(run: Run, trained: Trained, on_progress: Callable[[str, float], None] = no_progress) -> Lists:
    """The model of a run, and what it is asked about, with the items that are available now."""

    import elsa_core

    X = run.files.weights.read()
    return Lists(
        run.files.model_folder(trained.path).read(run.config.policy_configs.policy.device),
        elsa_core.Popularity.fit(X),
        X,
        run.files.seen.read(),
        run.files.users.read()["user_id"].to_arrow(),
        load_catalogue(run),
        run.config.recommendations,
        on_progress=on_progress,
    )


def user_lists(lists: Lists, k: int) -> "Iterator[pa.RecordBatch]":
    """Personal items first; popular ones fill up where a user has no history that counts, or candidates run out."""
    cap = lists.rules.max_per_category
    for of in _users(lists, k if cap is None else 8 * k, "user_topk"):
        items, scores, is_personal = _ranking(lists, of, k) if cap is None else _capped(lists, of, k)
        yield _ranked(lists, lists.user_ids, of, items, scores, ("user_id", "item_id"), is_personal)


def _users(lists: Lists, width: int, table: str) -> "Iterator[np.ndarray]":
    """Blocks of the rows of the users to compute, each block of `width` places a user."""
    import numpy as np

    users = np.arange(lists.X.shape[0]) if lists.users is None else lists.users
    for rows in _blocks(lists, len(users), width, table):
        yield users[rows]


def _capped(lists: Lists, of: "np.ndarray", k: int) -> "tuple[np.ndarray, ...]":
    from elsa_core import capped

    def rank(some: "np.ndarray", length: int) -> "tuple[np.ndarray, ...]":
        return _ranking(lists, of[some], length)

    return capped(rank, len(of), k, lists.items.category, lists.rules.max_per_category)


def _ranking(lists: Lists, rows: "np.ndarray", k: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Items, scores and whether an item is personal, (rows, k) each."""
    import numpy as np

    seen = lists.seen[rows]
    items, scores = lists.model.recommend(lists.X[rows], k, also_exclude=seen, allowed=lists.items.is_allowed)
    n_personal = (items >= 0).sum(axis=1)
    short = np.flatnonzero(n_personal < k)
    if len(short):
        items[short], scores[short] = _fill_up(lists, seen[short], items[short], scores[short])
    return items, scores, np.arange(k) < n_personal[:, None]


def _fill_up(
    lists: Lists, seen: "csr_array", personal: "np.ndarray", scores: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray]":
    """The lists (rows, k) with popular items behind the personal ones, none twice and none seen."""
    import numpy as np
    from scipy import sparse

    k = personal.shape[1]
    n_personal = (personal >= 0).sum(axis=1)
    listed = sparse.csr_array(
        (np.ones(n_personal.sum(), dtype=bool), personal[personal >= 0], np.append(0, np.cumsum(n_personal))),
        seen.shape,
    )
    popular, counts = lists.popularity.recommend(seen, k, also_exclude=listed, allowed=lists.items.is_allowed)
    place = np.arange(k) - n_personal[:, None]
    take = np.maximum(place, 0)
    return tuple(
        np.where(place < 0, own, np.take_along_axis(other, take, axis=1))
        for own, other in ((personal, popular), (scores, counts))
    )


def neighbors(lists: Lists, k: int) -> "Iterator[pa.RecordBatch]":
    """Each item's nearest among those that may be recommended, share its category and its users if so asked for."""
    import numpy as np

    for rows in _blocks(lists, len(lists.items.ids), k, "item_neighbors"):
        of = np.arange(rows.start, rows.stop)
        among = _together(lists, of) if lists.rules.neighbors_min_users else None
        items, scores = np.full((len(of), k), -1), np.full((len(of), k), np.nan, dtype=np.float32)
        for some, allowed in _kinds(lists, of):
            items[some], scores[some] = lists.model.similar(
                of[some], k, allowed=allowed, among=None if among is None else among[some]
            )
        yield _ranked(lists, lists.items.ids, of, items, scores, ("item_id", "neighbor_item_id"))


def _kinds(lists: Lists, of: "np.ndarray") -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Which of the items share candidates, and (n_items,) bool which these are."""
    import numpy as np

    category, is_allowed = lists.items.category, lists.items.is_allowed
    if not lists.rules.same_category:
        yield np.arange(len(of)), is_allowed
        return
    for code in np.unique(category[of]):
        if code >= 0:
            yield np.flatnonzero(category[of] == code), is_allowed & (category == code)


def _together(lists: Lists, of: "np.ndarray") -> "csr_array":
    """Stores the pairs of these items and others that enough users have: (items, n_items)."""
    from scipy import sparse

    has = lists.X.astype(bool).astype("int32")
    n_users = sparse.csr_array(has[:, of].T @ has)
    n_users.data[n_users.data < lists.rules.neighbors_min_users] = 0
    n_users.eliminate_zeros()
    return n_users


def _ranked(
    lists: Lists,
    owner_ids: "pa.Array",
    of: "np.ndarray",
    items: "np.ndarray",
    scores: "np.ndarray",
    names: tuple[str, str],
    is_personal: "np.ndarray | None" = None,
) -> "pa.RecordBatch":
    """One row per owner and rank from lists (rows, k); places without an item are left out."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    row, place = np.nonzero(items >= 0)
    columns = {
        names[0]: owner_ids.take(pa.array(of[row])),
        "rank": pa.array(place + 1),
        names[1]: lists.items.ids.take(pa.array(items[row, place])),
        "score": pa.array(scores[row, place]),
    }
    if is_personal is not None:
        columns["source"] = compute.if_else(pa.array(is_personal[row, place]), "personal", "popular")
    return pa.RecordBatch.from_pydict(columns)


def user_vectors(lists: Lists) -> "Iterator[pa.RecordBatch]":
    import numpy as np

    for of in _users(lists, lists.model.factors, "user_embeddings"):
        has_history = np.diff(lists.X.indptr)[of] > 0
        vectors = lists.model.embed(lists.X[of]) if lists.model.factors else None
        yield _vectors(lists.user_ids, of, "user_id", vectors, has_history)


def item_vectors(lists: Lists) -> "Iterator[pa.RecordBatch]":
    import numpy as np

    for rows in _blocks(lists, len(lists.items.ids), lists.model.factors, "item_embeddings"):
        of = np.arange(rows.start, rows.stop)
        vectors = lists.model.item_embeddings[of] if lists.model.factors else None
        yield _vectors(lists.items.ids, of, "item_id", vectors, lists.model.is_known[of])


def _vectors(
    ids: "pa.Array", of: "np.ndarray", name: str, vectors: "np.ndarray | None", keep: "np.ndarray"
) -> "pa.RecordBatch":
    """Ids beside fixed-size lists of float from vectors (rows, r), where `keep` (rows,) says so; no rows without."""
    import numpy as np
    import pyarrow as pa

    if vectors is None:
        vectors, keep = np.zeros((len(keep), 1), dtype=np.float32), np.zeros(len(keep), dtype=bool)
    values = pa.array(np.ascontiguousarray(vectors[keep]).ravel())
    return pa.RecordBatch.from_pydict(
        {
            name: ids.take(pa.array(of[keep])),
            "embedding": pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
        }
    )


def row_bytes(lists: Lists) -> dict[str, float]:
    """What a row of each table that may be large takes, uncompressed."""
    user, item = (ids.nbytes / max(1, len(ids)) for ids in (lists.user_ids, lists.items.ids))
    vector = 4 * lists.model.factors
    return {
        "user_topk": user + item + 16,
        "user_items": user + item + 4,
        "item_neighbors": 2 * item + 8,
        "item_residuals": 2 * item + 4,
        "user_embeddings": user + vector if vector else 0,
        "item_embeddings": item + vector if vector else 0,
    }


def residuals(lists: Lists) -> "Iterator[pa.RecordBatch]":
    """The stored S_ij: item i in a history adds its weight to item j's score. EASE is all S."""
    import numpy as np
    import pyarrow as pa
    from scipy import sparse

    ids = lists.items.ids
    for rows in _blocks(lists, len(ids), 1, "item_residuals"):
        block = sparse.coo_array((0, 0), dtype=np.float32)
        if _publishes_residual(lists):
            block = sparse.coo_array(lists.model.residual_rows(rows))
        own, other = (ids.take(pa.array(places)) for places in (block.row + rows.start, block.col))
        yield pa.RecordBatch.from_pydict({"item_id": own, "neighbor_item_id": other, "weight": pa.array(block.data)})


def n_residuals(lists: Lists) -> int:
    """How many rows `residuals` has."""
    return lists.model.n_residuals if _publishes_residual(lists) else 0


def _publishes_residual(lists: Lists) -> bool:
    """EASE's n_items² weights only of a catalogue that is small enough."""
    return lists.model.factors > 0 or len(lists.items.ids) <= lists.rules.ease_weights_up_to


def scored_items(lists: Lists) -> "Iterator[pa.RecordBatch]":
    """Which items the published tables can score."""
    import pyarrow as pa

    is_scored = lists.model.is_known & _publishes_residual(lists)
    yield pa.RecordBatch.from_pydict({"item_id": lists.items.ids, "is_scored": pa.array(is_scored)})


def _blocks(lists: Lists, n: int, width: int, table: str) -> Iterator[slice]:
    """Ranges of up to ROWS of the n owners of a table's rows, fewer where each has many places."""
    size = max(1, min(ROWS, PLACES // max(1, width)))
    if n == 0:
        yield slice(0, 0)
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))
        lists.on_progress(table, min(first + size, n) / n)
