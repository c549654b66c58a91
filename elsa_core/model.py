"""The trained model: what it scores, recommends and finds similar."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy import sparse

from elsa_core.device import resolve_device
from elsa_core.topk import top_k


@dataclass(frozen=True, eq=False)
class Model:
    """B = A Aᵀ − I over items; a user x scores Σ_i x_i ⟨a_i, a_j⟩ for every item j not in x.

    item_embeddings  A, (n_items, factors) float32; rows of length 1, or of zeros for an item that training never saw:
                     such an item is never recommended and nobody's neighbour
    history          one entry an epoch, the start being epoch 0: epoch, loss, metric, seconds
    best_epoch       the epoch whose weights these are
    device           where scores are computed, as in the training configuration
    """

    item_embeddings: np.ndarray
    history: list[dict]
    best_epoch: int
    device: str = "cpu"

    @property
    def is_known(self) -> np.ndarray:
        """(n_items,) bool: the items that training saw."""
        return self.item_embeddings.any(axis=1)

    def embed(self, X_rows: sparse.csr_array) -> np.ndarray:
        """User vectors h = x A: (rows, factors) float32. `embed(X) @ item_embeddings.T` scores unseen items."""
        return np.asarray(X_rows.astype(np.float32) @ self.item_embeddings)

    def recommend(
        self,
        X_rows: sparse.csr_array,
        k: int,
        *,
        exclude_seen: bool = True,
        also_exclude: sparse.csr_array | None = None,
        allowed: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items for each row of X_rows (rows, n_items), best first, ties by the lower index.

        A row without an interaction with a known item gets nothing: it has no score. `also_exclude` (rows, n_items)
        removes the pairs it stores, whatever their values; `allowed` (n_items,) bool keeps the items it marks.
        Returns indices (rows, k) int64 and scores (rows, k) float32; -1 and nan where candidates run out.
        """
        n_items = len(self.item_embeddings)
        if X_rows.shape[1] != n_items:
            raise ValueError(f"X_rows has {X_rows.shape[1]} columns, but the model knows {n_items} items")
        vectors = self.embed(X_rows)
        items, scores = top_k(
            *self._on_device(vectors),
            k,
            adjust=None if exclude_seen else -X_rows.astype(np.float32),  # the −x of x̂ = (x A) Aᵀ − x
            exclude=(*((X_rows,) if exclude_seen else ()), *(() if also_exclude is None else (also_exclude,))),
            candidates=self.is_known if allowed is None else self.is_known & allowed,
        )
        without_history = X_rows.astype(bool) @ self.is_known.astype(np.int64) == 0
        items[without_history], scores[without_history] = -1, np.nan
        return items, scores

    def similar(self, item_idx: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k items nearest by cosine ⟨a_i, a_j⟩ to each of item_idx (rows,), without the item itself.

        Returns as `recommend`; an item that training never saw has no neighbours.
        """
        n_items = len(self.item_embeddings)
        itself = sparse.csr_array(
            (np.ones(len(item_idx), dtype=bool), (np.arange(len(item_idx)), item_idx)), (len(item_idx), n_items)
        )
        vectors = self._on_device(self.item_embeddings[item_idx])
        items, scores = top_k(*vectors, k, exclude=(itself,), candidates=self.is_known)
        unknown = ~self.is_known[item_idx]
        items[unknown], scores[unknown] = -1, np.nan
        return items, scores

    def _on_device(self, vectors: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        device = resolve_device(self.device)
        return torch.from_numpy(vectors).to(device), torch.from_numpy(self.item_embeddings).to(device)

    def reindex(self, positions: np.ndarray, n_items: int) -> "Model":
        """The same model over another item set: item i moves to positions[i], or is dropped where that is -1.

        Items of the new set that this model does not know get rows of zeros.
        """
        kept = positions >= 0
        moved = np.zeros((n_items, self.item_embeddings.shape[1]), dtype=np.float32)
        moved[positions[kept]] = self.item_embeddings[kept]
        return Model(moved, self.history, self.best_epoch, self.device)

    def save(self, path: Path) -> None:
        """Writes item_embeddings as safetensors and the rest as JSON into the folder `path`, made if absent."""
        path.mkdir(parents=True, exist_ok=True)
        save_file({"item_embeddings": np.ascontiguousarray(self.item_embeddings)}, path / "model.safetensors")
        rest = {"history": self.history, "best_epoch": self.best_epoch}
        (path / "model.json").write_text(json.dumps(rest, indent=1))


def load(path: Path, device: str = "cpu") -> Model:
    """The model that `save` wrote into the folder `path`, to score on `device`."""
    rest = json.loads((path / "model.json").read_text())
    weights = load_file(path / "model.safetensors")
    return Model(weights["item_embeddings"], rest["history"], rest["best_epoch"], device)
