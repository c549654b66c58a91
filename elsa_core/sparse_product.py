"""The sparse products that fitting and ranking need, alike on CPU and GPU."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import embedding_bag

USER_BLOCK = 16_384  # user vectors held at a time


def trainable_rows(X: sparse.csr_array) -> sparse.csr_array:
    """The rows with at least two interactions, of a copy without stored zeros or repeated pairs."""
    X = sparse.csr_array(X, copy=True)
    X.sum_duplicates()
    X.eliminate_zeros()
    return X[np.diff(X.indptr) >= 2]


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


def add_product(block: torch.Tensor, left: sparse.csr_array, right: sparse.csr_array) -> None:
    """block (m, n) += left (m, k) right (k, n), both sparse, with no sparse product in between where there is MKL."""
    if block.device.type == "cpu" and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        torch.addmm(block, csr_tensor(left), csr_tensor(right), out=block)
    else:
        add_stored(block, left @ right)


def add_stored(block: torch.Tensor, matrix: sparse.csr_array) -> None:
    """block += matrix, sparse, of the same shape; what is stored twice is added twice."""
    stored = matrix.tocoo()
    at = tuple(torch.from_numpy(axis.astype(np.int64)) for axis in stored.coords)
    block.index_put_(at, torch.from_numpy(stored.data).to(block), accumulate=True)


def csr_tensor(matrix: sparse.csr_array) -> torch.Tensor:
    """The matrix as torch's, on the CPU and sharing its memory where the types allow."""
    kind = np.result_type(matrix.indptr, matrix.indices)
    indptr, indices = (part.astype(kind, copy=False) for part in (matrix.indptr, matrix.indices))
    with warnings.catch_warnings():  # "sparse CSR support is in beta"
        warnings.simplefilter("ignore", UserWarning)
        first, at, values = (torch.from_numpy(part) for part in (indptr, indices, matrix.data))
        return torch.sparse_csr_tensor(first, at, values, matrix.shape, check_invariants=False)


def root_mean_square(matrix: sparse.csr_array) -> float:
    """Of the stored values."""
    return float(np.sqrt(np.mean(np.square(matrix.data, dtype=np.float64))))
