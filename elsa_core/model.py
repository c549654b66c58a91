"""The trained ELSA model: what it scores and why, what is saved of it."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import sparse

from elsa_core.linear import LinearModel
from elsa_core.topk import ITEM_BLOCK, Product

CSR_PARTS = ("data", "indices", "indptr")
PLAIN_PARTS = ("history", "best_epoch", "scale", "choices")


@dataclass(frozen=True, eq=False)
class Model(LinearModel):
    """B = c (A Aᵀ − I) + S over items; a user x scores Σ_i x_i B_ij for every item j not in x. The paper's has c = 1.

    item_embeddings  A, (n_items, factors) float32; rows of length 1, or of zeros for an item that training never saw
    history          one entry an epoch, the start being epoch 0: epoch, loss, metric, seconds
    best_epoch       the epoch whose weights these are
    device           where scores are computed, as in the training configuration
    scale            c
    residual         S, (n_items, n_items) with a zero diagonal, or None for the paper's model (see fit_residual)
    choices          what fit_residual tried on the validation users: ridge, dropout, nDCG; both None for S = 0
    """

    item_embeddings: np.ndarray
    history: list[dict]
    best_epoch: int
    device: str = "cpu"
    scale: float = 1.0
    residual: sparse.csr_array | None = None
    choices: list[dict] = field(default_factory=list)

    @property
    def is_known(self) -> np.ndarray:
        """(n_items,) bool: the items that training saw."""
        known = self.item_embeddings.any(axis=1)
        if self.residual is not None and self.item_embeddings.shape[1] == 0:
            known[self.residual.indices] = True
        return known

    def embed(self, X_rows: sparse.csr_array) -> np.ndarray:
        """User vectors h = x A: (rows, factors) float32. Times `item_embeddings` they give the scores, but for S."""
        return np.asarray(X_rows.astype(np.float32) @ self.item_embeddings)

    def contributions(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> sparse.csr_array:
        """Why row u is recommended item_idx[u] (rows,): x_ui B_ij for each of its items i, which add up to the score.

        A CSR matrix (rows, n_items) with the stored places of X_rows; zeros for the item −1, which is none.
        """
        X_rows = sparse.csr_array(X_rows, dtype=np.float32)
        own, of = X_rows.indices, np.repeat(item_idx, np.diff(X_rows.indptr))
        weight = self.scale * np.einsum("ij,ij->i", self.item_embeddings[own], self.item_embeddings[of])
        if self.residual is not None:
            weight += self.residual[own, of]
        weight = np.where((of >= 0) & (own != of), weight, 0)
        return sparse.csr_array((X_rows.data * weight, own, X_rows.indptr), X_rows.shape)

    def _low_rank(self, X_rows: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        return np.float32(self.scale) * self.embed(X_rows), self.item_embeddings

    def _rest(self, X_rows: sparse.csr_array, of_seen: bool) -> tuple[sparse.csr_array | Product, ...]:
        parts = ()
        if self.residual is not None:
            in_one_block = self.residual.shape[1] <= ITEM_BLOCK
            parts = ((X_rows, self.residual) if in_one_block else X_rows @ self.residual,)
        return (*parts, np.float32(-self.scale) * X_rows) if of_seen else parts

    def _rest_of_pairs(self, X_rows: sparse.csr_array, item_idx: np.ndarray) -> np.ndarray:
        of_itself = -np.float32(self.scale) * X_rows[np.arange(len(item_idx)), item_idx]
        if self.residual is None:
            return of_itself
        return of_itself + X_rows.multiply(self._residual_columns[item_idx]).sum(axis=1)

    @cached_property
    def _residual_columns(self) -> sparse.csr_array:
        """Sᵀ by rows."""
        return self.residual.T.tocsr()

    def reindex(self, positions: np.ndarray, n_items: int) -> "Model":
        """The same model over another item set: item i moves to positions[i], or is dropped where that is -1.

        Items of the new set that this model does not know get rows of zeros.
        """
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
        """Writes A and S as safetensors and the rest as JSON into the folder `path`, made if absent."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        weights = {"item_embeddings": np.ascontiguousarray(self.item_embeddings)}
        if self.residual is not None:
            weights |= {f"residual.{part}": getattr(self.residual, part) for part in CSR_PARTS}
        save_file(weights, path / "model.safetensors")
        rest = {"model": "elsa", **{name: getattr(self, name) for name in PLAIN_PARTS}}
        (path / "model.json").write_text(json.dumps(rest, indent=1))

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> "Model":
        """What `save` wrote, to score on `device`."""
        rest = json.loads((path / "model.json").read_text())
        weights = load_file(path / "model.safetensors")
        embeddings, residual = weights["item_embeddings"], None
        if "residual.data" in weights:
            parts = tuple(weights[f"residual.{part}"] for part in CSR_PARTS)
            residual = sparse.csr_array(parts, (len(embeddings), len(embeddings)))
        plain = {name: rest[name] for name in PLAIN_PARTS if name in rest}  # an older version had fewer
        return cls(embeddings, device=device, residual=residual, **plain)
