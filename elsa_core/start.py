"""Starts that are already good: the spectrum of the interactions, or an earlier model."""

import numpy as np
import torch
from scipy import sparse

from elsa_core.sparse_product import weighted_row_sums

OVERSAMPLING = 16
PASSES = 2


def spectral_start(X: sparse.csr_array, factors: int, seed: int, device: torch.device) -> torch.Tensor:
    """The top right singular vectors of D_u^(-1/2) X D_i^(-1/2), as rows of length 1: (items, factors) float32.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011). Items without interactions get rows of zeros.
    """
    n_items = X.shape[1]
    item_scale = _inverse_root(X.sum(axis=0))
    S = (sparse.diags_array(_inverse_root(X.sum(axis=1))) @ X @ sparse.diags_array(item_scale)).tocsr()
    S_T = S.T.tocsr()
    width = min(factors + OVERSAMPLING, n_items)
    basis = torch.randn(n_items, width, generator=torch.Generator().manual_seed(seed)).to(device)
    for _ in range(PASSES):
        basis = torch.linalg.qr(weighted_row_sums(S_T, weighted_row_sums(S, basis)))[0]
    projected = weighted_row_sums(S, basis)
    _, vectors = torch.linalg.eigh((projected.T @ projected).cpu())  # ascending eigenvalues; not to be had on mps
    start = basis @ vectors.flip(1)[:, :factors].to(device)
    start[torch.from_numpy(item_scale == 0).to(device)] = 0
    return unit_rows(start)


def warm_start(X: sparse.csr_array, earlier: torch.Tensor, seed: int) -> torch.Tensor:
    """The rows of an earlier model (items, factors); for items that are new to it, a_j ∝ Σ_u x_uj x_u A.

    An item whose users have nothing but new items gets a random direction. Items without interactions get zeros.
    """
    start = unit_rows(earlier)
    is_new = torch.nonzero(~start.any(dim=1)).ravel()
    users = weighted_row_sums(X, start)
    start[is_new] = unit_rows(weighted_row_sums(X[:, is_new.cpu().numpy()].T.tocsr(), users))
    has_users = torch.from_numpy(np.bincount(X.indices, minlength=X.shape[1]) > 0).to(start.device)
    lost = has_users & ~start.any(dim=1)
    directions = torch.randn(int(lost.sum()), start.shape[1], generator=torch.Generator().manual_seed(seed))
    start[lost] = unit_rows(directions.to(start.device))
    start[~has_users] = 0
    return start


def unit_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows scaled to length 1; rows of zeros stay zeros."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_(min=torch.finfo(rows.dtype).tiny)


def _inverse_root(sums: np.ndarray) -> np.ndarray:
    sums = np.asarray(sums, dtype=np.float64)
    return np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
