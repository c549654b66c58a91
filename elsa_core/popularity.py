"""The baseline every model has to beat, and the fallback for users without a history."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from elsa_core.topk import BLOCK_SCORES


@dataclass(frozen=True, eq=False)
class Popularity:
    """Scores an item by the number of users who have it: n_users_of (n_items,), out of n_users."""

    n_users_of: np.ndarray
    n_users: int

    @classmethod
    def fit(cls, X: sparse.csr_array) -> "Popularity":
        """Counts the stored entries in each column of X (users, items)."""
        return cls(np.bincount(X.indices, minlength=X.shape[1]), X.shape[0])

    @property
    def share(self) -> np.ndarray:
        """(n_items,) share of the users who have the item; one that nobody has counts as half a user's."""
        return np.asarray(np.maximum(self.n_users_of, 0.5) / self.n_users)

    def recommend(
        self,
        X_rows: sparse.csr_array,
        k: int,
        *,
        also_exclude: sparse.csr_array | None = None,
        allowed: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k most popular items that the row does not store, as `LinearModel.recommend` returns them."""
        order = np.argsort(-self.n_users_of, kind="stable")
        order = order if allowed is None else order[allowed[order]]
        place = np.full(X_rows.shape[1], len(order))
        place[order] = np.arange(len(order))
        indices = np.full((X_rows.shape[0], k), -1, dtype=np.int64)
        scores = np.full((X_rows.shape[0], k), np.nan, dtype=np.float32)
        n_at_once = max(1, BLOCK_SCORES // max(1, X_rows.shape[1]))
        for first in range(0, X_rows.shape[0], n_at_once):
            rows = slice(first, first + n_at_once)
            exclude = [pairs[rows].tocoo() for pairs in (X_rows, also_exclude) if pairs is not None]
            row, nth, at = _first_free(exclude, place, k, len(order))
            indices[first + row, nth], scores[first + row, nth] = order[at], self.n_users_of[order[at]]
        return indices, scores


def _first_free(
    exclude: list[sparse.coo_array], place: np.ndarray, k: int, n_places: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first k places of each row that no pair of `exclude` (rows, n_items) takes: rows, 0 to k - 1, places.

    Item i stands at place[i], which is n_places where it stands at none.
    """
    n_rows = exclude[0].shape[0]
    n_excluded = np.sum([np.bincount(pairs.coords[0], minlength=n_rows) for pairs in exclude], axis=0)
    width = min(n_places, k + n_excluded.max(initial=0))
    is_free = np.ones((n_rows, width), dtype=bool)
    for pairs in exclude:
        row, at = pairs.coords[0], place[pairs.coords[1]]
        is_free[row[at < width], at[at < width]] = False
    nth = is_free.cumsum(axis=1, dtype=np.int32)
    row, at = np.nonzero(is_free & (nth <= k))
    return row, nth[row, at] - 1, at
