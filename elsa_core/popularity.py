"""The baseline every model has to beat, and the fallback for users without a history."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from elsa_core.topk import top_k


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
        return np.maximum(self.n_users_of, 0.5) / self.n_users

    def recommend(
        self,
        X_rows: sparse.csr_array,
        k: int,
        *,
        also_exclude: sparse.csr_array | None = None,
        allowed: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k most popular items that the row does not store, as `Model.recommend` returns them."""
        exclude = (X_rows,) if also_exclude is None else (X_rows, also_exclude)
        everyone = torch.ones((X_rows.shape[0], 1))
        counts = torch.from_numpy(self.n_users_of.astype(np.float32))[:, None]
        return top_k(everyone, counts, k, exclude=exclude, candidates=allowed)
