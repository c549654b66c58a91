"""The files in a run's folder: one property an artifact, with its own way to be read and written."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.run.durable import identity

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_array

    from elsa_core import LinearModel


@dataclass(frozen=True)
class Artifact:
    """A file, or a folder with a model. As text it is its path, which SQL takes as a parameter."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Relative to the run's folder."""
        return self.path.name

    def digest(self) -> str:
        """sha256 of the file."""
        return str(identity(self.path)["sha256"])


class Frame(Artifact):
    """A Parquet file."""

    def read(self) -> "pl.DataFrame":
        import polars as pl

        return pl.read_parquet(self.path, hive_partitioning=False)

    def write(self, frame: "pl.DataFrame") -> None:
        frame.write_parquet(self.path)


class Sparse(Artifact):
    """A CSR matrix."""

    def read(self) -> "csr_array":
        from scipy import sparse

        return sparse.load_npz(self.path)

    def write(self, X: "csr_array") -> None:
        from scipy import sparse

        sparse.save_npz(self.path, X, compressed=False)


class Arrays(Artifact):
    """Arrays by their names."""

    def read(self) -> "dict[str, np.ndarray]":
        import numpy as np

        with np.load(self.path) as values:
            return dict(values)

    def write(self, arrays: "dict[str, Any]") -> None:
        import numpy as np

        np.savez(self.path, **arrays)


class ModelFolder(Artifact):
    """A folder with a model's weights and the record of its training."""

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def training(self) -> Path:
        """Epochs, and what was chosen on the validation users, as JSON."""
        return self.path / "model.json"

    @property
    def exists(self) -> bool:
        return self.training.exists()

    def read(self, device: str) -> "LinearModel":
        import elsa_core

        return elsa_core.load(self.path, device)

    def write(self, model: "LinearModel") -> None:
        model.save(self.path)

    def digest(self) -> str:
        """sha256 of the weights."""
        return str(identity(self.weights)["sha256"])


@dataclass(frozen=True)
class RunFiles:
    """warehouse/runs/<run_id>/."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def reserve(self) -> Path:
        """Room for the record of a run that a full disk ends."""
        return self.folder / "reserve"

    @property
    def validation(self) -> Frame:
        """A row an expectation."""
        return Frame(self.folder / "validation.parquet")

    @property
    def drift(self) -> Frame:
        """A row a metric of the new events."""
        return Frame(self.folder / "drift.parquet")

    @property
    def rules(self) -> Frame:
        """A row an item that has metadata: what these and the filters say of it."""
        return Frame(self.folder / "rules.parquet")

    @property
    def interactions(self) -> Frame:
        """A row a pair of user_id and item_id, sorted; weight 0 where it was seen and does not count."""
        return Frame(self.folder / "interactions.parquet")

    @property
    def holdout(self) -> Frame:
        """The same rows, with what evaluation models may know of each pair, and whether they are asked for it."""
        return Frame(self.folder / "holdout.parquet")

    @property
    def users(self) -> Frame:
        """user_id by user_idx, the row of the matrices, with the split it is in."""
        return Frame(self.folder / "users.parquet")

    @property
    def items(self) -> Frame:
        """item_id by item_idx, the column of the matrices, with its number of users."""
        return Frame(self.folder / "items.parquet")

    @property
    def weights(self) -> Sparse:
        """(n_users, n_items) weights of what counts."""
        return Sparse(self.folder / "interactions.npz")

    @property
    def seen(self) -> Sparse:
        """(n_users, n_items) stores a 1 for everything the user ever saw, counting or not."""
        return Sparse(self.folder / "seen.npz")

    @property
    def train(self) -> Sparse:
        """(n_train_users, n_items) what the evaluation model learns from."""
        return Sparse(self.folder / "train.npz")

    def fold_in(self, split: str) -> Sparse:
        """(held-out users of the split, n_items) what a model is shown of them."""
        return Sparse(self.folder / f"{split}_fold_in.npz")

    def targets(self, split: str) -> Sparse:
        """The same shape: what is hidden from it."""
        return Sparse(self.folder / f"{split}_targets.npz")

    @property
    def metrics(self) -> Frame:
        """A row a model and metric: its mean with an interval."""
        return Frame(self.folder / "metrics.parquet")

    @property
    def per_user(self) -> Arrays:
        """(test users,) under 'model/metric' and 'model/metric/segment', nan for users outside."""
        return Arrays(self.folder / "per_user.npz")

    @property
    def gate_checks(self) -> Frame:
        """A row a check of the gate."""
        return Frame(self.folder / "gate_checks.parquet")

    @property
    def evaluation_model(self) -> ModelFolder:
        """Of what is not held out."""
        return ModelFolder(self.folder / "evaluation_model")

    @property
    def model(self) -> ModelFolder:
        """Of everyone; what is published."""
        return ModelFolder(self.folder / "model")

    def model_folder(self, name: str) -> ModelFolder:
        """'evaluation_model' or 'model'."""
        return {"evaluation_model": self.evaluation_model, "model": self.model}[name]
