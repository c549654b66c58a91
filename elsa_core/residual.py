"""The residual S of B = c (A Aᵀ − I) + S, fitted to what the low-rank part leaves over.

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

The files beside this one follow the formulas: low_rank.py has c, Z and R; cooccurrence.py P; candidates.py the C_j;
ridge.py Λ and S.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy import sparse

from elsa_core.candidates import select_candidates
from elsa_core.cooccurrence import Cooccurrence
from elsa_core.device import resolve_device
from elsa_core.elsa import Elsa
from elsa_core.low_rank import LowRank
from elsa_core.metrics import Validation, validation_ndcg
from elsa_core.progress import Progress, no_progress
from elsa_core.ridge import ResidualError, penalty, solve_columns
from elsa_core.sparse_product import root_mean_square, trainable_rows

Choice = tuple[float, float]  # ridge and dropout


@dataclass(frozen=True)
class ResidualConfig:
    """How to fit the residual.

    neighbors  m, the most items that explain one item, 1 to n_items − 1
    ridge      values to try, above 0, in weighted users
    dropout    values to try, 0 to below 1
    k          cut-off of the nDCG by which the validation users choose
    """

    neighbors: int = 100
    ridge: tuple[float, ...] = (10.0, 30.0, 100.0)
    dropout: tuple[float, ...] = (0.25, 0.5, 0.75)
    k: int = 100


def fit_residual(
    X: sparse.csr_array,
    model: Elsa,
    config: ResidualConfig,
    validation: Validation | None = None,
    *,
    on_progress: Progress = no_progress,
) -> Elsa:
    """The model with the residual, fitted to X (users, items), that ranks the validation users best; or as it is.

    validation   (fold_in, targets), both (validation users, items); without it the first ridge and dropout are taken
    on_progress  called with the name of the step and the share of it that is done

    Raises ResidualError where there are no neighbors to choose or the ridge is too small to solve for the residual.
    """
    _check(config, X.shape[1])
    choices = list(product(config.ridge, config.dropout))
    if validation is not None:
        fitted = _fit(X, model, config.neighbors, choices, on_progress)
        return _best(model, fitted, choices, validation, config.k, on_progress)
    ridge, dropout = choices[0]
    (only,) = _fit(X, model, config.neighbors, choices[:1], on_progress)
    return replace(only, choices=[{"ridge": ridge, "dropout": dropout}])


def _check(config: ResidualConfig, n_items: int) -> None:
    is_share = all(0 <= dropout < 1 for dropout in config.dropout)
    if not 1 <= config.neighbors < n_items or min(config.ridge) <= 0 or not is_share:
        raise ResidualError(
            f"neighbors is {config.neighbors}, ridge {config.ridge}, dropout {config.dropout}: neighbors must lie "
            f"between 1 and {n_items - 1}, each ridge above 0, each dropout from 0 to below 1"
        )


def _fit(X: sparse.csr_array, model: Elsa, m: int, choices: list[Choice], on_progress: Progress) -> Iterable[Elsa]:
    """The model with the residual of each choice, one after the other, so that one is held at a time."""
    X = _scaled(trainable_rows(X))
    w = user_weights(X)
    A = torch.from_numpy(model.item_embeddings).to(_device_of(model))
    low_rank = LowRank.fit(X, w, A)
    P = Cooccurrence(X, w, on_progress)
    penalties = [penalty(P.diagonal, *choice).to(A.device) for choice in choices]
    C, R = select_candidates(P, low_rank, penalties[len(choices) // 2], m, on_progress)
    solutions = solve_columns(P, C, R, penalties, on_progress)
    return (replace(model, scale=low_rank.c, residual=_as_matrix(C, S)) for S in solutions)


def _best(
    model: Elsa, fitted: Iterable[Elsa], choices: list[Choice], validation: Validation, k: int, on_progress: Progress
) -> Elsa:
    """The one with the highest nDCG@k on the validation users, the model without a residual included."""
    best = model
    tried: list[dict[str, Any]] = [{"ridge": None, "dropout": None, "ndcg": validation_ndcg(model, validation, k)}]
    for (ridge, dropout), one in zip(choices, fitted, strict=True):
        ndcg = validation_ndcg(one, validation, k)
        if ndcg > max(entry["ndcg"] for entry in tried):
            best = one
        tried.append({"ridge": ridge, "dropout": dropout, "ndcg": ndcg})
        on_progress("validation", (len(tried) - 1) / len(choices))
    return replace(best, choices=tried)


def _scaled(X: sparse.csr_array) -> sparse.csr_array:
    """X with values of mean square 1, in float32."""
    if X.shape[0] == 0:
        raise ResidualError("no user has two interactions or more: there is nothing to fit the residual to")
    parts = (X.data / root_mean_square(X)).astype(np.float32), X.indices.astype(np.int32), X.indptr
    return sparse.csr_array(parts, X.shape)


def user_weights(X: sparse.csr_array) -> np.ndarray:
    """w (users,) float32, by the inverse root of a user's number of items, mean 1."""
    weights = np.diff(X.indptr) ** -0.5
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def _device_of(model: Elsa) -> torch.device:
    device = resolve_device(model.device)
    return torch.device("cpu") if device.type == "mps" else device  # which has neither float64 nor sparse


def _as_matrix(C: torch.Tensor, S: torch.Tensor) -> sparse.csr_array:
    """S[C_j, j] (items, m) as a sparse matrix (items, items); C_j is n_items where candidates run out."""
    n_items, m = C.shape
    rows, values = C.flatten().cpu().numpy().astype(np.int32), S.flatten().cpu().numpy()
    columns = np.repeat(np.arange(n_items, dtype=np.int32), m)
    keep = (rows < n_items) & (values != 0)
    return sparse.csr_array((values[keep], (rows[keep], columns[keep])), (n_items, n_items))
