"""What every linear item–item model shares: lists and neighbours from scores x B."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy import sparse

from elsa_core.device import resolve_device
from elsa_core.topk import BLOCK_SCORES, ITEM_BLOCK, Product, top_k


class LinearModel(ABC):
    """Scores (x B)_j for user x and item j, with B (n_items, n_items) = low rank + the rest, its diagonal zero."""

    device: str
    choices: list[dict]  # what was tried, with the validation users' nDCG where they chose

    @property
    def chosen(self) -> dict:
        """The entry of `choices` that this model is; {} where nothing was tried."""
        return max(self.choices, key=lambda entry: entry.get("ndcg", 0), default={})

    @property
    @abstractmethod
    def is_known(self) -> np.ndarray:
        """(n_items,) bool: the items that training saw. Others are never recommended and nobody's neighbours."""

    @abstractmethod
    def _low_rank(self, X_rows: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of users (rows, r) and items (n_items, r) whose products are the low-rank part of the scores."""

    @abstractmethod
    def _rest(self, X_rows: sparse.csr_array, of_seen: bool) -> tuple[sparse.csr_array | torch.Tensor | Product, ...]:
        """The rest of the scores, as top_k adds it; right for a user's own items only if `of_seen`."""

    def recommend(
        self,
        X_rows: sparse.csr_array,
        k: int,
        *,
        exclude_seen: bool = True,
        also_exclude: sparse.csr_array | None = None,
        allowed: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items for each row of X_rows (rows, n_items), best first, ties by the lower index.

        A row without an interaction with a known item gets nothing: it has no score. `also_exclude` (rows, n_items)
        removes the pairs it stores, whatever their values; `allowed` (n_items,) bool keeps the items it marks.
        Returns indices (rows, k) int64 and scores (rows, k) float32; -1 and nan where candidates run out.
        """
        n_items = len(self.is_known)
        if X_rows.ndim != 2 or X_rows.shape[1] != n_items:
            raise ValueError(f"X_rows has shape {X_rows.shape}, not (rows, {n_items}); one row of X is X[i : i + 1]")
        X_rows = sparse.csr_array(X_rows, dtype=np.float32)
        device = resolve_device(self.device)
        users, items = (torch.from_numpy(vectors).to(device) for vectors in self._low_rank(X_rows))
        excluded = (*((X_rows,) if exclude_seen else ()), *(() if also_exclude is None else (also_exclude,)))
        candidates = self.is_known if allowed is None else self.is_known & allowed
        indices = np.full((X_rows.shape[0], k), -1, dtype=np.int64)
        scores = np.full((X_rows.shape[0], k), np.nan, dtype=np.float32)
        n_at_once = max(1, BLOCK_SCORES // max(1, min(n_items, ITEM_BLOCK)))
        for first in range(0, X_rows.shape[0], n_at_once):
            rows = slice(first, first + n_at_once)
            indices[rows], scores[rows] = top_k(
                users[rows],
                items,
                k,
                add=self._rest(X_rows[rows], of_seen=not exclude_seen),
                exclude=tuple(pairs[rows] for pairs in excluded),
                candidates=candidates,
            )
        without_history = X_rows.astype(bool) @ self.is_known.astype(np.int64) == 0
        indices[without_history], scores[without_history] = -1, np.nan
        return indices, scores

    def similar(self, item_idx: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k items with the highest scores for a user who has nothing but item i, for each i of item_idx (rows,).

        Returns as `recommend`; an item that training never saw has no neighbours.
        """
        shape = len(item_idx), len(self.is_known)
        only_it = sparse.csr_array((np.ones(len(item_idx), dtype=np.float32), (np.arange(shape[0]), item_idx)), shape)
        return self.recommend(only_it, k)
