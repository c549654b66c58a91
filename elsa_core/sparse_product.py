"""The sparse products that fitting needs, alike on CPU and GPU."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import embedding_bag

USER_BLOCK = 16_384  # user vectors held at a time


def user_blocks(X: sparse.csr_array, table: torch.Tensor) -> Iterator[tuple[slice, sparse.csr_array, torch.Tensor]]:
    """Blocks of rows of X (users, items): which, themselves, and their products with the table (items, r)."""
    for first in range(0, X.shape[0], USER_BLOCK):
        block = slice(first, first + USER_BLOCK)
        yield block, X[block], weighted_row_sums(X[block], table)


def weighted_row_sums(weights: sparse.csr_array, table: torch.Tensor) -> torch.Tensor:
    """weights (m, n) sparse times table (n, r) dense, on the table's device and in its precision."""
    return embedding_bag(
        torch.from_numpy(weights.indices.astype(np.int64, copy=False)).to(table.device),
        table.contiguous(),
        torch.from_numpy(weights.indptr.astype(np.int64, copy=False)).to(table.device),
        mode="sum",
        per_sample_weights=torch.from_numpy(weights.data).to(table.device, table.dtype),
        include_last_offset=True,
    )
