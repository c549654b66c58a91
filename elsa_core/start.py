"""A start that is already good: the spectrum of the normalised interactions."""

import numpy as np
from scipy import sparse

OVERSAMPLING = 16
PASSES = 3


def spectral_start(X: sparse.csr_array, factors: int, seed: int) -> np.ndarray:
    """The top right singular vectors of D_u^(-1/2) X D_i^(-1/2), as rows of length 1: (items, factors) float32.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011). Items without interactions get rows of zeros.
    """
    n_items = X.shape[1]
    user_scale = _inverse_root(X.sum(axis=1))
    item_scale = _inverse_root(X.sum(axis=0))
    S = (sparse.diags_array(user_scale) @ X @ sparse.diags_array(item_scale)).astype(np.float32).tocsr()
    S_T = S.T.tocsr()
    width = min(factors + OVERSAMPLING, n_items)
    basis = np.random.default_rng(seed).standard_normal((n_items, width), dtype=np.float32)
    for _ in range(PASSES):
        basis = np.linalg.qr(S_T @ (S @ basis))[0]
    projected = S @ basis
    _, vectors = np.linalg.eigh(projected.T @ projected)  # ascending eigenvalues
    start = basis @ vectors[:, ::-1][:, :factors]
    start[item_scale == 0] = 0
    return unit_rows(start)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1 in float32; rows of zeros stay zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0).astype(np.float32)


def _inverse_root(sums: np.ndarray) -> np.ndarray:
    sums = np.asarray(sums, dtype=np.float64)
    return np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
