"""P = Xᵀ diag(w) X of residual.py: how much the items share users. Sparse, in blocks of rows.

Kept where it is small enough; a larger one is made as it is used.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from scipy import sparse

from elsa_core.progress import Progress

P_KEPT = 2**27  # stored elements up to which P is kept: 1 GB, twice that while it is made
ROW_BLOCK = 2**22  # elements of a block of rows of P, padded: 16 MB, a few times
PARTS = 16  # in which all of P is made


class Cooccurrence:
    """P for X (users, items) float32 and the users' weights w (users,).

    diagonal  P_ii, (items,)
    partners  (items,): at least as many as items share a user with each
    """

    def __init__(self, X: sparse.csr_array, w: np.ndarray, on_progress: Progress):
        self.n_items: int = X.shape[1]
        self._X = X
        self._weighted_T = (X.T @ sparse.diags_array(w)).tocsr()  # Xᵀ diag(w)
        self.diagonal = np.asarray(self._weighted_T.multiply(X.T).sum(axis=1))
        n_in_row = X.astype(bool).T.astype(np.int64) @ np.diff(X.indptr)
        self.partners = np.minimum(self.n_items, n_in_row)
        self._kept = self._make_all(on_progress) if self.partners.sum() <= P_KEPT else None

    def item_blocks(self) -> Iterator[np.ndarray]:
        """Items by how many items they share a user with, at most: a block of P's rows, padded, fits ROW_BLOCK."""
        order = np.argsort(self.partners, kind="stable")
        order = order[self.partners[order] > 0]
        while len(order):
            padded = np.arange(1, len(order) + 1) * self.partners[order]
            n = max(1, int(np.searchsorted(padded, ROW_BLOCK, side="right")))
            yield order[:n]
            order = order[n:]

    def rows(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, sparse.csr_array]]:
        """Blocks of items and their rows of P; where it is not kept, the next are made while these are used."""
        if self._kept is not None:
            yield from ((items, self._kept[items]) for items in blocks)
            return
        with ThreadPoolExecutor(1) as thread:
            ahead: tuple[np.ndarray, Future[sparse.csr_array]] | None = None
            for items in blocks:
                last, ahead = ahead, (items, thread.submit(self._make, items))
                if last:
                    yield last[0], last[1].result()
            if ahead:
                yield ahead[0], ahead[1].result()

    def _make_all(self, on_progress: Progress) -> sparse.csr_array:
        made: list[sparse.csr_array] = []
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for block in threads.map(self._make, np.array_split(np.arange(self.n_items), PARTS)):
                made.append(block)
                on_progress("shared users", len(made) / PARTS)
        return sparse.vstack(made, format="csr")

    def _make(self, items: np.ndarray) -> sparse.csr_array:
        rows = self._weighted_T[items] @ self._X
        rows.sort_indices()
        return rows
