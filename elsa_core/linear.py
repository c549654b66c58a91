"""What every linear item–item model shares: lists and neighbours from scores x B."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse

from elsa_core.device import resolve_device
from elsa_core.topk import BLOCK_SCORES, ITEM_BLOCK, Product, top_k

PAIRS = 2**14  # scored at a time


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
        has_history = X_rows.astype(bool) @ self.is_known.astype(np.int64) > 0
        device = resolve_device(self.device)
        users, items = (torch.from_numpy(vectors).to(device) for vectors in self._low_rank(X_rows))
        excluded = (*((X_rows,) if exclude_seen else ()), *(() if also_exclude is None else (also_exclude,)))
        candidates = self.is_known if allowed is None else self.is_known & allowed
        indices = np.full((X_rows.shape[0], k), -1, dtype=np.int64)
        scores = np.full((X_rows.shape[0], k), np.nan, dtype=np.float32)
        n_at_once = max(1, BLOCK_SCORES // max(1, min(n_items, ITEM_BLOCK)))
        for rows in _blocks(np.flatnonzero(has_history), n_at_once):
            indices[rows], scores[rows] = top_k(
                users[rows],
                items,
                k,
                add=self._rest(X_rows[rows], of_seen=not exclude_seen),
                exclude=tuple(pairs[rows] for pairs in excluded),
                candidates=candidates,
            )
        return indices, scores

    def score(self, X_rows: sparse.csr_array, row: np.ndarray, item_idx: np.ndarray) -> np.ndarray:
        """(x B)_j of x = X_rows[row[p]] and j = item_idx[p] for each pair p, seen or not: (pairs,) float32."""
        X_rows = sparse.csr_array(X_rows, dtype=np.float32)
        users, items = self._low_rank(X_rows)
        scores = np.empty(len(row), dtype=np.float32)
        for first in range(0, len(row), PAIRS):
            u, j = row[first : first + PAIRS], item_idx[first : first + PAIRS]
            low_rank = np.einsum("pr,pr->p", users[u], items[j])
            scores[first : first + PAIRS] = low_rank + self._rest_of_pairs(X_rows[u], j)
        return scores

    @abstractmethod
    def _rest_of_pairs(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> np.ndarray:
        """The rest of the scores, (rows,): of item_idx[p] for row p, the user's own items included."""

    def similar(
        self,
        item_idx: np.ndarray,
        k: int,
        *,
        allowed: np.ndarray | None = None,
        among: sparse.csr_array | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k items with the highest scores for a user who has nothing but item i, for each i of item_idx (rows,).

        `allowed` (n_items,) bool keeps the items it marks, `among` (rows, n_items) the pairs it stores.
        Returns as `recommend`; an item that training never saw has no neighbours.
        """
        shape = len(item_idx), len(self.is_known)
        only_it = sparse.csr_array((np.ones(len(item_idx), dtype=np.float32), (np.arange(shape[0]), item_idx)), shape)
        if among is None:
            return self.recommend(only_it, k, allowed=allowed)
        candidates = self.is_known if allowed is None else self.is_known & allowed
        row, item = among.tocoo().coords
        keep = candidates[item] & self.is_known[item_idx[row]] & (item != item_idx[row])
        row, item = row[keep], item[keep]
        return _best(row, item, self.score(only_it, row, item), (shape[0], k))


def _blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _best(
    row: np.ndarray, item: np.ndarray, score: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The best items of each row among given pairs, as `recommend` returns them."""
    order = np.lexsort((item, -score, row))
    row, item, score = row[order], item[order], score[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    first = place < shape[1]
    indices, scores = np.full(shape, -1, dtype=np.int64), np.full(shape, np.nan, dtype=np.float32)
    indices[row[first], place[first]], scores[row[first], place[first]] = item[first], score[first]
    return indices, scores
