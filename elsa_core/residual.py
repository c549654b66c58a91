"""The sparse part of B = c (A Aᵀ − I) + S, fitted to what the low-rank part leaves over.

X is users × items, of the users with two items or more and with values of mean square 1 (B does not depend on their
scale, but the ridge does); A (items × r) has rows of length 1, H = X A. User u has the weight w_u ∝ 1/√(items of u),
mean 1.

    c         = Σ_u w_u (‖h_u‖² − ‖x_u‖²) / Σ_u w_u ‖x̂_u‖²           least squares of x on x̂ = x (A Aᵀ − I)
    P = Xᵀ diag(w) X,  Z = Xᵀ diag(w) H,  R[:, j] = (1 + c) P[:, j] − c Z a_j
    Λ         = diag(ridge + dropout / (1 − dropout) · P_ii)         as if a share `dropout` of the input were lost
    C_j       = the m items i ≠ j with the largest |R_ij| / √(P_ii + Λ_ii) among those that share a user with j
    S[C_j, j] = (P[C_j, C_j] + Λ[C_j, C_j])⁻¹ R[C_j, j]              zero elsewhere

so S[:, j] is the ridge regression on the items C_j of what the low-rank part leaves over of column j. Where several
pairs of ridge and dropout are tried, all of them have the C_j of the middle one. With r = 0,
m = n_items − 1 and equal weights it is EASE (Steck, WWW 2019), with dropout EDLAE (Steck, NeurIPS 2020). P is
sparse; no dense array is items × items.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from scipy import sparse
from scipy.linalg.lapack import sposv

from elsa_core.device import resolve_device
from elsa_core.evaluate import validation_ndcg
from elsa_core.model import Model
from elsa_core.sparse_product import root_mean_square, trainable_rows, user_blocks, weighted_row_sums
from elsa_core.topk import select

# Stored elements of P up to which it is kept: 1 GB, twice that while it is made; a larger one is made as it is used.
P_KEPT = 2**27
ROW_BLOCK = 2**22  # elements of a block of rows of P, padded: 16 MB, a few times
BUFFER = 2**25  # elements of dense rows of P: 128 MB
ROUNDING = 1e-5  # of ‖x‖²: a ‖x̂‖² below it is what float32 leaves of a difference that is 0
GRAM_BLOCK = 2**28  # elements of the matrices P[C_j, C_j] held at a time: 1 GB


@dataclass(frozen=True)
class ResidualConfig:
    """How to fit S.

    neighbors  m, the most items that explain one item, 1 to n_items − 1
    ridge      values to try, above 0, in weighted users
    dropout    values to try, 0 to below 1
    k          cut-off of the nDCG by which the validation users choose
    """

    neighbors: int = 100
    ridge: tuple[float, ...] = (10.0, 30.0, 100.0)
    dropout: tuple[float, ...] = (0.25, 0.5, 0.75)
    k: int = 100


class ResidualError(ValueError):
    """S cannot be fitted with these settings. The message says what to change."""


def no_progress(stage: str, share: float) -> None:
    pass


def fit_residual(
    X: sparse.csr_array,
    model: Model,
    config: ResidualConfig,
    validation: tuple[sparse.csr_array, sparse.csr_array] | None = None,
    *,
    on_progress: Callable[[str, float], None] = no_progress,
) -> Model:
    """The model with the S that was fitted to X (users, items) and ranks the validation users best; or without any.

    validation   (fold_in, targets), both (validation users, items); without it the first ridge and dropout are taken
    on_progress  called with the name of the step and the share of it that is done

    Raises ResidualError where there are no neighbors to choose or the ridge is too small to solve for S.
    """
    n_items = X.shape[1]
    is_share = all(0 <= dropout < 1 for dropout in config.dropout)
    if not 1 <= config.neighbors < n_items or min(config.ridge) <= 0 or not is_share:
        raise ResidualError(
            f"neighbors is {config.neighbors}, ridge {config.ridge}, dropout {config.dropout}: neighbors must lie "
            f"between 1 and {n_items - 1}, each ridge above 0, each dropout from 0 to below 1"
        )
    choices = list(product(config.ridge, config.dropout)) if validation else [(config.ridge[0], config.dropout[0])]
    problem = _Problem(X, model, on_progress)
    candidates, R = problem.candidates(config.neighbors, *choices[len(choices) // 2], on_progress)
    solutions = problem.solve(candidates, R, choices, on_progress)
    if validation is None:
        ridge, dropout = choices[0]
        fitted = problem.with_residual(model, candidates, solutions[0])
        return replace(fitted, choices=[{"ridge": ridge, "dropout": dropout}])
    best = model
    tried = [{"ridge": None, "dropout": None, "ndcg": validation_ndcg(model, validation, config.k)}]
    for (ridge, dropout), values in zip(choices, solutions, strict=True):
        fitted = problem.with_residual(model, candidates, values)
        ndcg = validation_ndcg(fitted, validation, config.k)
        if ndcg > max(entry["ndcg"] for entry in tried):
            best = fitted
        tried.append({"ridge": ridge, "dropout": dropout, "ndcg": ndcg})
        on_progress("validation", (len(tried) - 1) / len(choices))
    return replace(best, choices=tried)


class _Problem:
    """The quantities of the module's formulas for one X and A."""

    def __init__(self, X: sparse.csr_array, model: Model, on_progress: Callable[[str, float], None]):
        X = trainable_rows(X)
        if X.shape[0] == 0:
            raise ResidualError("no user has two interactions or more: there is nothing to fit the sparse part to")
        parts = (X.data / root_mean_square(X)).astype(np.float32), X.indices.astype(np.int32), X.indptr
        self.X = sparse.csr_array(parts, X.shape)
        self.n_items = X.shape[1]
        device = resolve_device(model.device)
        self.device = torch.device("cpu") if device.type == "mps" else device  # which has neither float64 nor sparse
        self.A = torch.from_numpy(model.item_embeddings).to(self.device)
        weights = np.diff(self.X.indptr) ** -0.5
        self.weights = (weights / weights.mean()).astype(np.float32)
        self.weighted_T = (self.X.T @ sparse.diags_array(self.weights)).tocsr()  # Xᵀ diag(w)
        self.P_diagonal = np.asarray(self.weighted_T.multiply(self.X.T).sum(axis=1))
        self.c, self.Z = self._low_rank_share()
        n_in_row = self.X.astype(bool).T.astype(np.int64) @ np.diff(self.X.indptr)
        self.partners = np.minimum(self.n_items, n_in_row)  # at least as many as items share a user with each
        self.P = self._all_of_P(on_progress) if self.partners.sum() <= P_KEPT else None

    def _low_rank_share(self) -> tuple[float, torch.Tensor]:
        """c, which is 0 where the low-rank part says nothing (r = 0, or A Aᵀ = I on X), and Z (items, r)."""
        gram, Z = self.A.T @ self.A, torch.zeros_like(self.A)
        if self.A.shape[1] == 0:
            return 0.0, Z
        agreement = length = length_of_x = 0.0
        for block, rows, h in user_blocks(self.X, self.A):
            w = torch.from_numpy(self.weights[block]).to(h)
            squared_x = torch.from_numpy(np.asarray(rows.multiply(rows).sum(axis=1))).to(h)
            squared_h = (h * h).sum(dim=1)
            agreement += (w * (squared_h - squared_x)).sum(dtype=torch.float64).item()
            squared_length = (h @ gram * h).sum(dim=1) - 2 * squared_h + squared_x
            length += (w * squared_length).sum(dtype=torch.float64).item()
            length_of_x += (w * squared_x).sum(dtype=torch.float64).item()
            Z += weighted_row_sums(rows.T.tocsr(), w[:, None] * h)
        return (agreement / length if length > ROUNDING * length_of_x else 0.0), Z

    def penalty(self, ridge: float, dropout: float) -> torch.Tensor:
        """Λ's diagonal (items,)."""
        penalty = ridge + dropout / (1 - dropout) * self.P_diagonal
        return torch.from_numpy(penalty.astype(np.float32)).to(self.device)

    def candidates(
        self, m: int, ridge: float, dropout: float, on_progress: Callable[[str, float], None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """C (items, m), n_items where candidates run out, and R[C_j, j] (items, m), 0 there."""
        C = torch.full((self.n_items, m), self.n_items, device=self.device)
        R = torch.zeros(self.n_items, m, device=self.device)
        scale = (torch.from_numpy(self.P_diagonal).to(R) + self.penalty(ridge, dropout)).rsqrt()
        n_done = 0
        for items, P in self._rows_of_P(self._blocks_of_items()):
            left_over = self._left_over(P, items)
            first, at = (torch.from_numpy(part.astype(np.int64)).to(self.device) for part in (P.indptr, P.indices))
            row = torch.repeat_interleave(torch.arange(len(items), device=self.device), first.diff())
            own = torch.from_numpy(items).to(self.device)
            strength = torch.where(at == own[row], -torch.inf, left_over.abs() * scale[at])
            padded = torch.full((len(items), int(first.diff().max())), -torch.inf, device=self.device)
            padded[row, torch.arange(len(at), device=self.device) - first[row]] = strength
            best, place = select(padded, m)
            place = (place + first[:-1, None]).clamp_(max=max(0, len(at) - 1))
            is_candidate = ~torch.isneginf(best)
            C[own, : best.shape[1]] = torch.where(is_candidate, at[place], self.n_items)
            R[own, : best.shape[1]] = torch.where(is_candidate, left_over[place], 0)
            n_done += len(items)
            on_progress("candidates", n_done / self.n_items)
        return C, R

    def _blocks_of_items(self) -> Iterator[np.ndarray]:
        """Items by how many items they share a user with, at most: a block of P's rows, padded, fits ROW_BLOCK."""
        order = np.argsort(self.partners, kind="stable")
        order = order[self.partners[order] > 0]
        while len(order):
            padded = np.arange(1, len(order) + 1) * self.partners[order]
            n = max(1, int(np.searchsorted(padded, ROW_BLOCK, side="right")))
            yield order[:n]
            order = order[n:]

    def _all_of_P(self, on_progress: Callable[[str, float], None]) -> sparse.csr_array:
        made = []
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for block in threads.map(self._make, np.array_split(np.arange(self.n_items), 16)):
                made.append(block)
                on_progress("shared users", len(made) / 16)
        return sparse.vstack(made, format="csr")

    def _rows_of_P(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, sparse.csr_array]]:
        """Blocks of items and their rows of P; where it is not kept, the next are made while these are used."""
        if self.P is not None:
            yield from ((items, self.P[items]) for items in blocks)
            return
        with ThreadPoolExecutor(1) as thread:
            ahead = None
            for items in blocks:
                last, ahead = ahead, (items, thread.submit(self._make, items))
                if last:
                    yield last[0], last[1].result()
            if ahead:
                yield ahead[0], ahead[1].result()

    def _make(self, items: np.ndarray) -> sparse.csr_array:
        rows = self.weighted_T[items] @ self.X
        rows.sort_indices()
        return rows

    def _left_over(self, P: sparse.csr_array, items: np.ndarray) -> torch.Tensor:
        """R at the stored places of a block of rows of P, which is symmetric."""
        values = torch.from_numpy(P.data).to(self.device)
        if self.c == 0:
            return values
        places = (torch.from_numpy(part.astype(np.int64)).to(self.device) for part in (P.indptr, P.indices))
        with warnings.catch_warnings():  # "sparse CSR support is in beta"
            warnings.simplefilter("ignore", UserWarning)
            stored = torch.sparse_csr_tensor(*places, values, P.shape, check_invariants=False)
            rows = self.A[torch.from_numpy(items).to(self.device)]
            return torch.sparse.sampled_addmm(stored, rows, self.Z.T, beta=1 + self.c, alpha=-self.c).values()

    def solve(
        self,
        C: torch.Tensor,
        R: torch.Tensor,
        choices: list[tuple[float, float]],
        on_progress: Callable[[str, float], None],
    ) -> list[torch.Tensor]:
        """S[C_j, j] for every j: (items, m), one for each (ridge, dropout)."""
        m = C.shape[1]
        penalties = [self.penalty(*choice) for choice in choices]
        solutions = [torch.zeros_like(R) for _ in choices]
        n_columns = max(1, GRAM_BLOCK // m**2)
        for first in range(0, self.n_items, n_columns):
            block = slice(first, first + n_columns)
            grams = self._grams(C[block])
            diagonals = grams.diagonal(dim1=1, dim2=2)
            without = diagonals.clone()
            is_candidate = C[block] < self.n_items
            for penalty, S in zip(penalties, solutions, strict=True):
                own = penalty[C[block].clamp(max=self.n_items - 1)]
                diagonals.copy_(without + torch.where(is_candidate, own, 1))
                S[block] = _solve_each(grams, R[block])
            on_progress("solve", min(1.0, block.stop / self.n_items))
        return solutions

    def _grams(self, C: torch.Tensor) -> torch.Tensor:
        """P[C_j, C_j] for every row C_j of C: (rows, m, m), with zeros where candidates run out.

        P is made in blocks of rows i, scattered into a dense buffer that is cleared after use, and read at all the
        pairs (i, C_j) with i in C_j.
        """
        m, width = C.shape[1], self.n_items + 1
        grams = torch.zeros(C.numel(), m, device=self.device)
        wanted, order = C.flatten().sort(stable=True)
        n_wanted = int((wanted < self.n_items).sum())
        if not n_wanted:
            return grams.view(len(C), m, m)
        items = torch.unique_consecutive(wanted[:n_wanted])
        n_rows, n_pairs = max(1, BUFFER // width), max(1, ROW_BLOCK // m)
        buffer = torch.zeros(min(n_rows, len(items)) * width, device=self.device)
        for block, P in self._rows_of_P(part.numpy() for part in items.cpu().split(n_rows)):
            own = torch.from_numpy(block).to(self.device)
            starts = np.repeat(np.arange(P.shape[0]) * width, np.diff(P.indptr))
            stored = torch.from_numpy(starts + P.indices).to(self.device)
            buffer[stored] = torch.from_numpy(P.data).to(self.device)
            first, last = torch.searchsorted(wanted, own[[0, -1]] + torch.tensor([0, 1], device=self.device)).tolist()
            for start in range(first, last, n_pairs):
                pairs = slice(start, min(start + n_pairs, last))
                row_of = torch.searchsorted(own, wanted[pairs]) * width
                grams[order[pairs]] = buffer[C[order[pairs] // m] + row_of[:, None]]
            buffer[stored] = 0
        return grams.view(len(C), m, m)

    def with_residual(self, model: Model, C: torch.Tensor, S: torch.Tensor) -> Model:
        """The model with c and S as a sparse matrix."""
        rows, values = C.flatten().cpu().numpy().astype(np.int32), S.flatten().cpu().numpy()
        columns = np.repeat(np.arange(self.n_items, dtype=np.int32), C.shape[1])
        keep = (rows < self.n_items) & (values != 0)
        shape = (self.n_items, self.n_items)
        residual = sparse.csr_array((values[keep], (rows[keep], columns[keep])), shape)
        return replace(model, scale=self.c, residual=residual)


def _solve_each(grams: torch.Tensor, R: torch.Tensor) -> torch.Tensor:
    """Solutions (n, m) of symmetric positive definite systems (n, m, m) by Cholesky.

    Batched on a GPU; on a CPU one by one, since torch's batch takes twice the time of LAPACK alone there.
    """
    too_small = ResidualError("a ridge is too small to solve for the sparse part in float32; try ten times as much")
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
