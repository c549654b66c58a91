"""ELSA's loss without its dense output.

X is users × items, A (items × r) has rows of length 1, B = A Aᵀ − I, x̂ = x B. The loss is the squared distance of the
normalised x̂ and x, 2 − 2·cos(x̂, x), averaged over users. With h = x A (users × r) and G = Aᵀ A (r × r):

    x · x̂ = ‖h‖² − ‖x‖²        ‖x̂‖² = h G hᵀ − 2‖h‖² + ‖x‖²

so nothing of size users × items is ever made.
"""

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import embedding_bag

SMALLEST_SHARE = 1e-6  # of ‖x‖²: keeps the square root away from 0 where ‖x̂‖² cancels


def cosine_loss(h: torch.Tensor, gram: torch.Tensor, squared_length: torch.Tensor) -> torch.Tensor:
    """Mean over users of ‖x̂/‖x̂‖ − x/‖x‖‖² from h = x A (users, r), G = Aᵀ A (r, r) and ‖x‖² (users,)."""
    hh = (h * h).sum(dim=1)
    dot = hh - squared_length
    reconstruction = ((h @ gram) * h).sum(dim=1) - 2 * hh + squared_length
    reconstruction = torch.maximum(reconstruction, SMALLEST_SHARE * squared_length)
    return 2 - 2 * (dot * torch.rsqrt(reconstruction * squared_length)).mean()


class UserProduct(torch.autograd.Function):
    """h = X A for a sparse X; its gradient is dA = Xᵀ dh. Both are weighted sums of gathered rows."""

    @staticmethod
    def forward(ctx, weights: torch.Tensor, rows: sparse.csr_array) -> torch.Tensor:
        ctx.rows = rows
        return _weighted_row_sums(rows, weights)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _weighted_row_sums(ctx.rows.T.tocsr(), grad), None


def _weighted_row_sums(rows: sparse.csr_array, table: torch.Tensor) -> torch.Tensor:
    """rows (m, n) sparse times table (n, r) dense, on the table's device."""
    return embedding_bag(
        torch.from_numpy(rows.indices.astype(np.int64, copy=False)).to(table.device),
        table,
        torch.from_numpy(rows.indptr.astype(np.int64, copy=False)).to(table.device),
        mode="sum",
        per_sample_weights=torch.from_numpy(rows.data).to(table.device, table.dtype),
        include_last_offset=True,
    )
