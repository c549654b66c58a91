"""Starts that are already good: the spectrum of the interactions, or an earlier model."""

import numpy as np
import torch
from scipy import sparse

from elsa_core.sparse_product import user_blocks, weighted_row_sums

OVERSAMPLING = 16
PASSES = 2
RIDGE = 1e-3  # of the mean squared length of the user vectors along a factor


def spectral_start(X: sparse.csr_array, factors: int, seed: int, device: torch.device) -> torch.Tensor:
    """The top right singular vectors of D_u^(-1/2) X D_i^(-1/2), as rows of length 1: (items, factors) float32.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011). Items without interactions get rows of zeros.
    """
    n_items = X.shape[1]
    item_scale = _inverse_root(X.sum(axis=0))
    normalised = (sparse.diags_array(_inverse_root(X.sum(axis=1))) @ X @ sparse.diags_array(item_scale)).tocsr()
    width = min(factors + OVERSAMPLING, n_items)
    basis = torch.randn(n_items, width, generator=torch.Generator().manual_seed(seed)).to(device)
    for _ in range(PASSES):
        step = torch.zeros_like(basis)
        for _, rows, users in user_blocks(normalised, basis):
            step += weighted_row_sums(rows.T.tocsr(), users)
        basis = torch.linalg.qr(step)[0]
    gram = torch.zeros(width, width, device=device)
    for _, _, users in user_blocks(normalised, basis):
        gram += users.T @ users
    _, vectors = torch.linalg.eigh(gram.cpu())  # ascending eigenvalues; not to be had on mps
    start = basis @ vectors.flip(1)[:, :factors].to(device)
    start[torch.from_numpy(item_scale == 0).to(device)] = 0
    return unit_rows(start)


def warm_start(X: sparse.csr_array, earlier: torch.Tensor, seed: int) -> torch.Tensor:
    """The rows of an earlier model (items, factors); rows of zeros, of items new to it, are folded in.

    A new item gets the direction of the a_j that minimises Σ_u (x_uj − h_u · a_j)² + ridge ‖a_j‖² over the users'
    vectors h_u = x_u A. (The plain sum Σ_u x_uj h_u points to what everybody has, and new items flood all lists.) One
    whose users know no earlier item gets a random direction. Items without interactions get zeros.
    """
    start = unit_rows(earlier)
    n_users_of = torch.from_numpy(np.bincount(X.indices, minlength=X.shape[1])).to(start.device)
    is_new = ~start.any(dim=1)
    if is_new.any():
        start[is_new] = _fold_in(X, start, is_new.cpu().numpy())
    lost = (n_users_of > 0) & ~start.any(dim=1)
    directions = torch.randn(int(lost.sum()), start.shape[1], generator=torch.Generator().manual_seed(seed))
    start[lost] = unit_rows(directions.to(start.device))
    start[n_users_of == 0] = 0
    return start


def _fold_in(X: sparse.csr_array, known: torch.Tensor, is_new: np.ndarray) -> torch.Tensor:
    """Directions (new items, factors) of the ridge regression of new items' columns on users' vectors."""
    factors = known.shape[1]
    gram = torch.zeros(factors, factors, device=known.device)
    moments = torch.zeros(int(is_new.sum()), factors, device=known.device)
    for _, rows, users in user_blocks(X, known):
        gram += users.T @ users
        moments += weighted_row_sums(rows[:, is_new].T.tocsr(), users)
    ridge = max(RIDGE * gram.diagonal().mean().item(), torch.finfo(gram.dtype).tiny)
    return unit_rows(torch.linalg.solve(gram + ridge * torch.eye(factors, device=gram.device), moments.T).T)


def unit_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows scaled to length 1; rows of zeros stay zeros."""
    lengths: torch.Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp_(min=torch.finfo(rows.dtype).tiny)


def _inverse_root(sums: np.ndarray) -> np.ndarray:
    sums = np.asarray(sums, dtype=np.float64)
    roots = np.zeros_like(sums)
    np.divide(1, np.sqrt(sums), out=roots, where=sums > 0)
    return roots
