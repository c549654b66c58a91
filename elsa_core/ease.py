"""EASE, the full-rank linear model in closed form, for catalogues small enough for an items × items matrix.

Steck: Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy import sparse

from elsa_core.device import resolve_device
from elsa_core.linear import LinearModel
from elsa_core.metrics import Validation, validation_ndcg
from elsa_core.progress import Progress, no_progress
from elsa_core.sparse_product import root_mean_square, trainable_rows, weighted_row_sums


@dataclass(frozen=True, eq=False)
class Ease(LinearModel):
    """A user x scores (x B)_j; B is all residual, and there are no vectors of users or items.

    weights  B, (n_items, n_items) float32 with a zero diagonal
    choices  what fit_ease tried on the validation users: ridge, nDCG
    device   where scores are computed
    """

    weights: np.ndarray
    choices: list[dict[str, Any]]
    device: str = "cpu"

    scale = 0.0
    best_epoch = 0

    @cached_property
    def item_embeddings(self) -> np.ndarray:  # type: ignore[override]  # as fixed as a frozen field
        return np.zeros((len(self.weights), 0), dtype=np.float32)

    @cached_property
    def is_known(self) -> np.ndarray:
        """(n_items,) bool: the items that share a user with another."""
        return np.asarray(self.weights.any(axis=0))

    @property
    def n_residuals(self) -> int:
        return self.weights.size

    def residual_rows(self, rows: slice) -> sparse.csr_array:
        return sparse.csr_array(self.weights[rows])

    def without_residual(self) -> None:
        return None

    def contributions(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> sparse.csr_array:
        X_rows = sparse.csr_array(X_rows, dtype=np.float32)
        of = np.repeat(item_idx, np.diff(X_rows.indptr))
        weight = np.where(of >= 0, self.weights[X_rows.indices, of], 0)
        return sparse.csr_array((X_rows.data * weight, X_rows.indices, X_rows.indptr), X_rows.shape)

    @cached_property
    def _B(self) -> torch.Tensor:
        return torch.from_numpy(self.weights).to(resolve_device(self.device))

    def _added(self, X_rows: sparse.csr_array, of_seen: bool) -> tuple[torch.Tensor]:
        return (weighted_row_sums(X_rows, self._B),)

    def _added_of_pairs(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> np.ndarray:
        return np.asarray(self.contributions(X_rows, item_idx).sum(axis=1))

    def reindex(self, positions: np.ndarray, n_items: int) -> Self:
        kept = positions >= 0
        moved = np.zeros((n_items, n_items), dtype=np.float32)
        moved[np.ix_(positions[kept], positions[kept])] = self.weights[np.ix_(kept, kept)]
        return replace(self, weights=moved)

    def save(self, path: Path | str) -> None:
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        save_file({"weights": np.ascontiguousarray(self.weights)}, path / "model.safetensors")
        (path / "model.json").write_text(json.dumps({"model": "ease", "choices": self.choices}, indent=1))

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Self:
        choices = json.loads((path / "model.json").read_text())["choices"]
        return cls(load_file(path / "model.safetensors")["weights"], choices, device)


class EaseError(ValueError):
    """EASE cannot be fitted with these settings. The message says what to change."""


def ease_gigabytes(n_items: int) -> float:
    """What fit_ease takes at its peak: six matrices of float32."""
    return 6 * 4 * n_items**2 / 1e9


def fit_ease(
    X: sparse.csr_array,
    ridge: tuple[float, ...],
    validation: Validation | None = None,
    *,
    k: int = 100,
    device: str = "auto",
    on_progress: Progress = no_progress,
) -> Ease:
    """EASE of X (users, items) with the ridge whose nDCG@k is best on the validation users (fold_in, targets).

    Without validation the first ridge is taken. X is scaled to values of mean square 1, so that a ridge means the
    same whatever the weights. on_progress is told the name of the step and the share that is done.

    Raises EaseError where nobody has two items, or a ridge is too small to invert with.
    """
    X = trainable_rows(X).astype(np.float32)
    if X.shape[0] == 0 or not ridge or min(ridge) <= 0:
        raise EaseError(f"EASE needs users with two interactions and ridges above 0, got {X.shape[0]} and {ridge}")
    X.data /= root_mean_square(X)
    gram = torch.from_numpy((X.T @ X).toarray()).to(resolve_device(device))
    if validation is None:
        model = Ease(_solve(gram, ridge[0]).cpu().numpy(), [{"ridge": ridge[0]}], device)
        on_progress("ease", 1.0)
        return model
    choices: list[dict[str, Any]] = []
    for value in ridge:
        model = Ease(_solve(gram, value).cpu().numpy(), [], device)
        ndcg = validation_ndcg(model, validation, k)
        if not choices or ndcg > max(entry["ndcg"] for entry in choices):
            best = model
        choices.append({"ridge": value, "ndcg": ndcg})
        on_progress("ease", len(choices) / len(ridge))
    return replace(best, choices=choices)


def _solve(gram: torch.Tensor, ridge: float) -> torch.Tensor:
    """B = I − P / diag(P), P = (gram + ridge I)⁻¹."""
    regular = gram.clone()
    regular.diagonal().add_(ridge)
    factor, error = torch.linalg.cholesky_ex(regular)
    if error.item():
        raise EaseError(f"ridge {ridge} is too small to invert with in float32; try ten times as much")
    inverse = torch.cholesky_inverse(factor)
    B = inverse.div_(-inverse.diagonal().clone())
    B.fill_diagonal_(0)
    return B
