"""The trained ELSA: what it scores and why, what is saved of it."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import sparse

from elsa_core.linear import LinearModel
from elsa_core.topk import ITEM_BLOCK, Addend

CSR_PARTS = ("data", "indices", "indptr")
PLAIN_PARTS = ("history", "best_epoch", "scale", "choices")


@dataclass(frozen=True, eq=False)
class Elsa(LinearModel):
    """B = c (A Aᵀ − I) + S over items; a user x scores Σ_i x_i B_ij for every item j not in x. The paper's has c = 1.

    item_embeddings  A, (n_items, factors) float32; rows of length 1, or of zeros for an item that training never saw
    history          one entry an epoch, the start being epoch 0: epoch, loss, metric, seconds
    best_epoch       the epoch whose weights these are
    device           where scores are computed, as in the training configuration
    scale            c
    residual         S, (n_items, n_items) with a zero diagonal, or None for the paper's ELSA (see fit_residual)
    choices          what fit_residual tried on the validation users: ridge, dropout (None without a residual), nDCG
    """

    item_embeddings: np.ndarray
    history: list[dict[str, Any]]
    best_epoch: int
    device: str = "cpu"
    scale: float = 1.0
    residual: sparse.csr_array | None = None
    choices: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_known(self) -> np.ndarray:
        known = np.asarray(self.item_embeddings.any(axis=1))
        if self.residual is not None and self.item_embeddings.shape[1] == 0:
            known[self.residual.indices] = True
        return known

    @property
    def n_residuals(self) -> int:
        return 0 if self.residual is None else int(self.residual.nnz)

    def residual_rows(self, rows: slice) -> sparse.csr_array:
        if self.residual is not None:
            return self.residual[rows]
        n_items = len(self.item_embeddings)
        return sparse.csr_array((len(range(n_items)[rows]), n_items), dtype=np.float32)

    def without_residual(self) -> Self | None:
        return None if self.residual is None else replace(self, residual=None, scale=1.0)

    def contributions(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> sparse.csr_array:
        X_rows = sparse.csr_array(X_rows, dtype=np.float32)
        own, of = X_rows.indices, np.repeat(item_idx, np.diff(X_rows.indptr))
        weight = self.scale * np.einsum("ij,ij->i", self.item_embeddings[own], self.item_embeddings[of])
        if self.residual is not None:
            weight += self.residual[own, of]
        weight = np.where((of >= 0) & (own != of), weight, 0)
        return sparse.csr_array((X_rows.data * weight, own, X_rows.indptr), X_rows.shape)

    def _added(self, X_rows: sparse.csr_array, of_seen: bool) -> tuple[Addend, ...]:
        of_themselves = (np.float32(-self.scale) * X_rows,) if of_seen else ()
        if self.residual is None:
            return of_themselves
        in_one_block = self.residual.shape[1] <= ITEM_BLOCK
        return ((X_rows, self.residual) if in_one_block else X_rows @ self.residual, *of_themselves)

    def _added_of_pairs(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> np.ndarray:
        of_itself = np.asarray(-np.float32(self.scale) * X_rows[np.arange(len(item_idx)), item_idx])
        if self.residual is None:
            return of_itself
        of_residual = X_rows.multiply(self._residual_columns[item_idx]).sum(axis=1)
        return np.asarray(of_itself + of_residual)

    @cached_property
    def _residual_columns(self) -> sparse.csr_array:
        """Sᵀ by rows."""
        assert self.residual is not None
        return self.residual.T.tocsr()

    def reindex(self, positions: np.ndarray, n_items: int) -> Self:
        kept = positions >= 0
        moved = np.zeros((n_items, self.item_embeddings.shape[1]), dtype=np.float32)
        moved[positions[kept]] = self.item_embeddings[kept]
        residual = self.residual
        if residual is not None:
            S = residual[kept][:, kept].tocoo()
            places = tuple(positions[kept][axis] for axis in S.coords)
            residual = sparse.csr_array((S.data, places), (n_items, n_items))
        return replace(self, item_embeddings=moved, residual=residual)

    def save(self, path: Path | str) -> None:
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        weights = {"item_embeddings": np.ascontiguousarray(self.item_embeddings)}
        if self.residual is not None:
            weights |= {f"residual.{part}": getattr(self.residual, part) for part in CSR_PARTS}
        save_file(weights, path / "model.safetensors")
        plain = {"model": "elsa", **{name: getattr(self, name) for name in PLAIN_PARTS}}
        (path / "model.json").write_text(json.dumps(plain, indent=1))

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Self:
        stored = json.loads((path / "model.json").read_text())
        weights = load_file(path / "model.safetensors")
        embeddings, residual = weights["item_embeddings"], None
        if "residual.data" in weights:
            parts = tuple(weights[f"residual.{part}"] for part in CSR_PARTS)
            residual = sparse.csr_array(parts, (len(embeddings), len(embeddings)))
        plain = {name: stored[name] for name in PLAIN_PARTS if name in stored}  # an older version had fewer
        return cls(embeddings, device=device, residual=residual, **plain)
