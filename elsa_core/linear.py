"""What every linear item–item model shares: lists and neighbours from scores x B."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from scipy import sparse

from elsa_core.device import resolve_device
from elsa_core.topk import BLOCK_SCORES, ITEM_BLOCK, Addend, top_k

PAIRS = 2**14  # scored at a time


class Recommender(Protocol):
    """Whatever ranks items for users: a model, a baseline, a model under a cap."""

    def recommend(self, X_rows: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Lists for rows of X_rows (rows, n_items): indices (rows, k) int64, scores (rows, k) float32."""


class LinearModel(ABC):
    """Scores (x B)_j for user x and item j, with B = c (A Aᵀ − I) + S, (n_items, n_items), its diagonal zero.

    item_embeddings  A, (n_items, factors) float32; no columns for a model without vectors, such as EASE
    scale            c; 0 where there are no vectors
    best_epoch       the epoch that was kept; 0 where there are none
    choices          what was tried, with the validation users' nDCG where they chose
    device           where scores are computed
    """

    item_embeddings: np.ndarray
    scale: float
    best_epoch: int
    choices: list[dict[str, Any]]
    device: str

    @property
    def factors(self) -> int:
        """The length of the vectors of users and items; 0 where there are none."""
        return int(self.item_embeddings.shape[1])

    @property
    def chosen(self) -> dict[str, Any]:
        """The entry of `choices` that this model is; {} where nothing was tried."""
        return max(self.choices, key=lambda entry: entry.get("ndcg", 0), default={})

    @property
    @abstractmethod
    def is_known(self) -> np.ndarray:
        """(n_items,) bool: the items that training saw. Others are never recommended and nobody's neighbours."""

    @property
    @abstractmethod
    def n_residuals(self) -> int:
        """How many elements of S are stored, for EASE n_items²."""

    @abstractmethod
    def residual_rows(self, rows: slice) -> sparse.csr_array:
        """Rows of S, (rows, n_items) float32."""

    def embed(self, X_rows: sparse.csr_array) -> np.ndarray:
        """User vectors h = x A: (rows, factors) float32. c h Aᵀ is the low-rank part of the scores."""
        return np.asarray(X_rows.astype(np.float32) @ self.item_embeddings)

    @abstractmethod
    def contributions(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> sparse.csr_array:
        """Why row u is recommended item_idx[u] (rows,): x_ui B_ij for each of its items i, which add up to the score.

        A CSR matrix (rows, n_items) with the stored places of X_rows; zeros for the item −1, which is none.
        """

    @abstractmethod
    def without_residual(self) -> Self | None:
        """The low-rank part alone, as the paper has it; None where there is no other part, or no low rank."""

    @abstractmethod
    def reindex(self, positions: np.ndarray, n_items: int) -> Self:
        """The same model over another item set: item i moves to positions[i], or is dropped where that is -1.

        Items of the new set that this model does not know get zeros.
        """

    @abstractmethod
    def save(self, path: Path | str) -> None:
        """Writes model.safetensors and model.json into the folder `path`, made if absent."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path, device: str = "cpu") -> Self:
        """What `save` wrote, to score on `device`."""

    @abstractmethod
    def _added(self, X_rows: sparse.csr_array, of_seen: bool) -> tuple[Addend, ...]:
        """What top_k adds to the low-rank products c h Aᵀ; right for a user's own items only if `of_seen`."""

    @abstractmethod
    def _added_of_pairs(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> np.ndarray:
        """The same, (rows,), for item_idx[p] and row p, the user's own items included."""

    def _low_rank(self, X_rows: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of users (rows, r) and items (n_items, r) whose products are c h Aᵀ."""
        return np.float32(self.scale) * self.embed(X_rows), self.item_embeddings

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
                add=self._added(X_rows[rows], of_seen=not exclude_seen),
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
            scores[first : first + PAIRS] = low_rank + self._added_of_pairs(X_rows[u], j)
        return scores

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
