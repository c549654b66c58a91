"""The benchmarks' data: real sets found beside the repository, and a generated one. Nothing of it is stored here."""

import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
N_HELD_OUT = 2500  # users for validation, and as many for the test


@dataclass(frozen=True)
class Split:
    """Training users, and held-out users' shown and hidden interactions: CSR (users, items) each, of ones."""

    name: str
    train: sparse.csr_array
    validation: tuple[sparse.csr_array, sparse.csr_array]
    test: tuple[sparse.csr_array, sparse.csr_array]


def mtg_decklists() -> Split:
    """Unique (user, card) pairs of the mainboard; users and items with at least five, at once."""
    return hold_out("mtg-decklists", as_matrix(mtg_pairs(datetime.max)))


def mtg_pairs(until: datetime) -> pl.DataFrame:
    """The pairs (user_id, item_id) of the decks before a date."""
    events = pl.scan_parquet(shared("mtg-decklists/events.parquet"))
    events = events.filter(~pl.col("sideboard"), pl.col("timestamp") < until)
    pairs = events.select("user_id", "item_id").unique().collect()
    n_before = 0
    while n_before != (n_before := pairs.height):
        for column in ("user_id", "item_id"):
            pairs = pairs.filter(pl.len().over(column) >= 5)
    return pairs


def gowalla() -> Split:
    """LightGCN's split: `test` is the published one, all users; the rest is a split of the training part alone.

    The final model trains on all that test users are shown, `test[0]`.
    """
    pairs = pl.read_parquet(shared("gowalla-lightgcn/interactions.parquet"))
    items = pairs["item_id"].unique().sort()
    train, test = (as_matrix(pairs.filter(split=split), items) for split in ("train", "test"))
    rng = np.random.default_rng(0)
    shown, hidden = hide(train, rng)
    some = np.sort(rng.permutation(shown.shape[0])[: 2 * N_HELD_OUT])
    return Split("gowalla-lightgcn", shown, (shown[some], hidden[some]), (train, test))


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        sys.exit(f"{path} is not there: this benchmark needs the shared data")
    return path


def like_movielens_20m(n_users: int = 136_677, n_items: int = 20_108, n_interactions: int = 10_000_000) -> Split:
    """Generated, with the shape of MovieLens-20M: Zipf items, log-normal users, 40 tastes that group items."""
    rng = np.random.default_rng(0)
    popularity = 1 / (np.arange(n_items) + 50) ** 0.9
    taste_of_item, n_tastes = rng.integers(0, 40, n_items), 40
    activity = rng.lognormal(0, 1, n_users)
    counts = np.clip(activity / activity.sum() * n_interactions * 1.25, 5, n_items / 4).astype(int)
    rows = np.repeat(np.arange(n_users), counts)
    tastes = rng.integers(0, n_tastes, (n_users, 3))
    wanted = tastes[rows, rng.integers(0, 3, len(rows))]
    columns = np.empty(len(rows), dtype=np.int64)
    for taste in range(n_tastes):
        own = np.flatnonzero(taste_of_item == taste)
        of_taste = wanted == taste
        columns[of_taste] = rng.choice(own, of_taste.sum(), p=popularity[own] / popularity[own].sum())
    at_large = rng.random(len(rows)) < 0.3
    columns[at_large] = rng.choice(n_items, at_large.sum(), p=popularity / popularity.sum())
    keys = np.unique(rows * n_items + columns)
    pairs = pl.DataFrame({"user_id": keys // n_items, "item_id": keys % n_items})
    return hold_out("generated, shape of MovieLens-20M", as_matrix(pairs))


def as_matrix(pairs: pl.DataFrame, items: pl.Series | None = None) -> sparse.csr_array:
    """Ones, a row a user and a column an item, both in ascending order; all of `items`, if given."""
    items = pairs["item_id"].unique().sort() if items is None else items
    rows = np.unique(pairs["user_id"], return_inverse=True)[1]
    columns = np.searchsorted(items, pairs["item_id"])
    return sparse.csr_array((np.ones(pairs.height, np.float32), (rows, columns)), (rows.max() + 1, len(items)))


def hold_out(name: str, X: sparse.csr_array, seed: int = 0) -> Split:
    """Random users for validation and test, a random fifth of each one's items hidden."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(X.shape[0])
    parts = order[:N_HELD_OUT], order[N_HELD_OUT : 2 * N_HELD_OUT]
    return Split(name, X[np.sort(order[2 * N_HELD_OUT :])], *(hide(X[np.sort(rows)], rng) for rows in parts))


def hide(X: sparse.csr_array, rng: np.random.Generator) -> tuple[sparse.csr_array, sparse.csr_array]:
    """(shown, hidden): of each user with two items or more, a fifth of them, at least one, is hidden."""
    X = X[np.diff(X.indptr) >= 2]
    counts = np.diff(X.indptr)
    row = np.repeat(np.arange(X.shape[0]), counts)
    order = np.lexsort((rng.random(X.nnz), row))
    place = np.empty(X.nnz, dtype=np.int64)
    place[order] = np.arange(X.nnz) - np.repeat(X.indptr[:-1], counts)
    is_hidden = place < np.maximum(1, np.round(counts / 5))[row]
    return tuple(
        sparse.csr_array((X.data[keep], (row[keep], X.indices[keep])), X.shape) for keep in (~is_hidden, is_hidden)
    )
