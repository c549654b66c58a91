"""S[C_j, j] of residual.py: a small ridge regression for each item j."""

import numpy as np
import torch
from scipy.linalg.lapack import sposv

from elsa_core.cooccurrence import Cooccurrence
from elsa_core.progress import Progress

BUFFER = 2**25  # elements of dense rows of P: 128 MB
GRAM_BLOCK = 2**28  # elements of the matrices P[C_j, C_j] held at a time: 1 GB
PAIR_BLOCK = 2**22  # elements of them that are read at a time: 16 MB, a few times


class ResidualError(ValueError):
    """The residual cannot be fitted with these settings. The message says what to change."""


def penalty(P_diagonal: np.ndarray, ridge: float, dropout: float) -> torch.Tensor:
    """Λ's diagonal (items,) float32: ridge + dropout / (1 − dropout) · P_ii."""
    diagonal = ridge + dropout / (1 - dropout) * P_diagonal
    return torch.from_numpy(diagonal.astype(np.float32))


def solve_columns(
    P: Cooccurrence, C: torch.Tensor, R: torch.Tensor, penalties: list[torch.Tensor], on_progress: Progress
) -> list[torch.Tensor]:
    """S[C_j, j] = (P[C_j, C_j] + Λ[C_j, C_j])⁻¹ R[C_j, j] for every j: (items, m), one for each Λ of `penalties`."""
    n_items, m = C.shape
    solutions = [torch.zeros_like(R) for _ in penalties]
    n_columns = max(1, GRAM_BLOCK // m**2)
    for first in range(0, n_items, n_columns):
        block = slice(first, first + n_columns)
        grams = _grams(P, C[block])
        diagonals = grams.diagonal(dim1=1, dim2=2)
        without = diagonals.clone()
        is_candidate = C[block] < n_items
        for penalty_of, S in zip(penalties, solutions, strict=True):
            own = penalty_of[C[block].clamp(max=n_items - 1)]
            diagonals.copy_(without + torch.where(is_candidate, own, 1))
            S[block] = _solve_each(grams, R[block])
        on_progress("solve", min(1.0, block.stop / n_items))
    return solutions


def _grams(P: Cooccurrence, C: torch.Tensor) -> torch.Tensor:
    """P[C_j, C_j] for every row C_j of C: (rows, m, m), with zeros where candidates run out.

    P is made in blocks of rows i, scattered into a dense buffer that is cleared after use, and read at all the pairs
    (i, C_j) with i in C_j.
    """
    m, width, device = C.shape[1], P.n_items + 1, C.device
    grams = torch.zeros(C.numel(), m, device=device)
    wanted, order = C.flatten().sort(stable=True)
    n_wanted = int((wanted < P.n_items).sum())
    if not n_wanted:
        return grams.view(len(C), m, m)
    items = torch.unique_consecutive(wanted[:n_wanted])
    n_rows, n_pairs = max(1, BUFFER // width), max(1, PAIR_BLOCK // m)
    buffer = torch.zeros(min(n_rows, len(items)) * width, device=device)
    for block, rows in P.rows(part.numpy() for part in items.cpu().split(n_rows)):
        own = torch.from_numpy(block).to(device)
        starts = np.repeat(np.arange(rows.shape[0]) * width, np.diff(rows.indptr))
        stored = torch.from_numpy(starts + rows.indices).to(device)
        buffer[stored] = torch.from_numpy(rows.data).to(device)
        first, last = torch.searchsorted(wanted, own[[0, -1]] + torch.tensor([0, 1], device=device)).tolist()
        for start in range(first, last, n_pairs):
            pairs = slice(start, min(start + n_pairs, last))
            row_of = torch.searchsorted(own, wanted[pairs]) * width
            grams[order[pairs]] = buffer[C[order[pairs] // m] + row_of[:, None]]
        buffer[stored] = 0
    return grams.view(len(C), m, m)


def _solve_each(grams: torch.Tensor, R: torch.Tensor) -> torch.Tensor:
    """Solutions (n, m) of symmetric positive definite systems (n, m, m) by Cholesky.

    Batched on a GPU; on a CPU one by one, since torch's batch takes twice the time of LAPACK alone there.
    """
    too_small = ResidualError("a ridge is too small to solve for the residual in float32; try ten times as much")
    if grams.device.type != "cpu":
        factors, errors = torch.linalg.cholesky_ex(grams)
        if errors.any():
            raise too_small
        return torch.cholesky_solve(R[..., None], factors)[..., 0]
    solved = np.empty(R.shape, dtype=np.float32)
    for place, (gram, right) in enumerate(zip(grams.numpy(), R.numpy(), strict=True)):
        _, solved[place], error = sposv(gram.T, right, lower=1)
        if error:
            raise too_small
    return torch.from_numpy(solved)
