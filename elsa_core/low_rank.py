"""What the low-rank part c (A Aᵀ − I) says of X, and what it leaves over: c, Z and R of residual.py."""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import sparse

from elsa_core.sparse_product import user_blocks, weighted_row_sums

ROUNDING = 1e-5  # of ‖x‖²: a ‖x̂‖² below it is what float32 leaves of a difference that is 0


@dataclass(frozen=True, eq=False)
class LowRank:
    """A (items, r), Z = Xᵀ diag(w) X A (items, r), and c, 0 where A says nothing of X (r = 0, or A Aᵀ = I on X)."""

    A: torch.Tensor
    Z: torch.Tensor
    c: float

    @classmethod
    def fit(cls, X: sparse.csr_array, w: np.ndarray, A: torch.Tensor) -> Self:
        """The least-squares c of X (users, items) on x̂ = x (A Aᵀ − I), with users' weights w (users,)."""
        gram, Z = A.T @ A, torch.zeros_like(A)
        if A.shape[1] == 0:
            return cls(A, Z, 0.0)
        agreement = length = length_of_x = 0.0
        for block, rows, h in user_blocks(X, A):
            weights = torch.from_numpy(w[block]).to(h)
            squared_x = torch.from_numpy(np.asarray(rows.multiply(rows).sum(axis=1))).to(h)
            squared_h = (h * h).sum(dim=1)
            agreement += (weights * (squared_h - squared_x)).sum(dtype=torch.float64).item()
            squared_length = (h @ gram * h).sum(dim=1) - 2 * squared_h + squared_x
            length += (weights * squared_length).sum(dtype=torch.float64).item()
            length_of_x += (weights * squared_x).sum(dtype=torch.float64).item()
            Z += weighted_row_sums(rows.T.tocsr(), weights[:, None] * h)
        return cls(A, Z, agreement / length if length > ROUNDING * length_of_x else 0.0)

    def left_over(self, P_rows: sparse.csr_array, items: np.ndarray) -> torch.Tensor:
        """R_ij = (1 + c) P_ij − c z_i · a_j for the items j of `items`, at the places i that their rows of P store.

        P is symmetric. Returns (stored elements,), in their order.
        """
        values = torch.from_numpy(P_rows.data).to(self.A.device)
        if self.c == 0:
            return values
        places = (torch.from_numpy(part.astype(np.int64)) for part in (P_rows.indptr, P_rows.indices))
        first, at = (part.to(values.device) for part in places)
        with warnings.catch_warnings():  # "sparse CSR support is in beta"
            warnings.simplefilter("ignore", UserWarning)
            stored = torch.sparse_csr_tensor(first, at, values, P_rows.shape, check_invariants=False)
            rows = self.A[torch.from_numpy(items).to(values.device)]
            R_T: torch.Tensor = torch.sparse.sampled_addmm(stored, rows, self.Z.T, beta=1 + self.c, alpha=-self.c)
        return R_T.values()
