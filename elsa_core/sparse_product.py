"""The one sparse product that training and its start need, alike on CPU and GPU."""

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import embedding_bag


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
