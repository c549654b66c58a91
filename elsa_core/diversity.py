"""At most so many items of a category in a list."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from elsa_core.linear import LinearModel

PLACES = 2**20  # of lists, held at a time
Ranked = tuple[np.ndarray, ...]  # items (rows, length), best first, -1 where they run out, and what belongs to them


@dataclass(frozen=True, eq=False)
class Capped:
    """A model whose lists hold at most `cap` items of a category (n_items,); -1 is none, and free."""

    model: LinearModel
    category: np.ndarray
    cap: int

    def recommend(self, X_rows: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `LinearModel.recommend`."""
        items, scores = capped(
            lambda rows, length: self.model.recommend(X_rows[rows], length),
            X_rows.shape[0],
            k,
            self.category,
            self.cap,
        )
        return items, np.where(items < 0, np.nan, scores)


def capped(rank: Callable[[np.ndarray, int], Ranked], n_rows: int, k: int, category: np.ndarray, cap: int) -> Ranked:
    """The first k of each list that stay when a category (n_items,) may occur `cap` times; -1 is none, and free.

    rank(rows, length) gives the lists of some rows up to a length; it is asked for longer ones of the rows that fall
    short. Returns as it does, (n_rows, k) each.
    """
    n_items, rows, length = len(category), np.arange(n_rows), 2 * k
    most = min(k, np.minimum(np.bincount(category + 1)[1:], cap).sum() + (category < 0).sum())
    whole: list[np.ndarray] = []
    while len(rows) or not whole:
        length, short = min(length, n_items), []
        for some in np.array_split(rows, max(1, -(-len(rows) * length // PLACES))):
            parts = rank(some, length)
            whole = whole or [np.zeros((n_rows, k), dtype=part.dtype) for part in parts]
            n_kept = _take(parts, within_cap(parts[0], category, cap), whole, some)
            short.append(some[(n_kept < most) & (parts[0][:, -1] >= 0)])
        rows, length = np.concatenate(short) if length < n_items else rows[:0], 4 * length
    return tuple(whole)


def _take(parts: Ranked, keep: np.ndarray, whole: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Puts the first k that stay of each list into `whole`, and returns how many these are: (rows,)."""
    k = whole[0].shape[1]
    first = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    n_kept: np.ndarray = np.minimum(keep.sum(axis=1), k)
    for part, into in zip(parts, whole, strict=True):
        into[rows, : first.shape[1]] = np.take_along_axis(part, first, axis=1)
    whole[0][rows] = np.where(np.arange(k) < n_kept[:, None], whole[0][rows], -1)
    return n_kept


def within_cap(items: np.ndarray, category: np.ndarray, cap: int) -> np.ndarray:
    """(rows, length) bool: the items with fewer than `cap` of their category before them."""
    of = np.where(items >= 0, category[items], -1)
    row = np.broadcast_to(np.arange(len(items))[:, None], items.shape)
    key = (row * (category.max(initial=0) + 2) + of + 1).ravel()
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    n_before = np.empty(key.size, dtype=np.int64)
    n_before[order] = np.arange(key.size) - np.repeat(starts, np.diff(starts, append=key.size))
    return (items >= 0) & ((of < 0) | (n_before.reshape(items.shape) < cap))
