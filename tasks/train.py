"""The evaluation model, which never sees held-out users, and the refit on everyone."""

import hashlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.champion import comparable_champion, load_champion
from tasks.config import Config
from tasks.errors import InputError
from tasks.stages import Matrix, Trained
from tasks.warehouse import Run, digest_of_file, read_manifest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from elsa_core import Epoch, Model, TrainConfig


def check_device(config: Config) -> None:
    """Raises InputError if the configuration names a device that this machine does not have."""
    device = config.policy_configs.elsa.device
    if device in ("auto", "cpu"):
        return
    from elsa_core import DeviceError, resolve_device

    try:
        resolve_device(device)
    except DeviceError as error:
        raise InputError(f"policy_configs: {error}") from None


@task
def train(run: Run, matrix: Matrix) -> Trained:
    """Trains on the users that are not held out; early stopping watches the validation users."""
    _check_factors(run.config, matrix)
    names = ("train", "validation_fold_in", "validation_targets")
    handle = _train(run, matrix, "train", "evaluation_model", names, _train_config(run.config), None)
    get_run_logger().info("kept epoch %s", handle.best_epoch)
    return handle


@task
def refit(run: Run, matrix: Matrix, evaluation_model: Trained) -> Trained:
    """Trains on everyone, for the epochs that the evaluation model took, but at least one."""
    config = replace(_train_config(run.config), strategy="default")
    return _train(run, matrix, "refit", "model", ("interactions",), config, max(1, evaluation_model.best_epoch))


def _train(
    run: Run,
    matrix: Matrix,
    stage: str,
    name: str,
    inputs: tuple[str, ...],
    config: "TrainConfig",
    epochs: int | None,
) -> Trained:
    """Trains the model `name` on the matrices `inputs`, starting from the published one of that name if there is one.

    Where the published run trained on the same inputs, its model is taken over as it is: the same night again changes
    nothing.
    """
    from scipy import sparse

    digest = hashlib.sha256(
        json.dumps([matrix.digest, asdict(config), epochs, version("elsa-nightly")]).encode()
    ).hexdigest()
    champion = comparable_champion(run)[0] if run.config.policy_configs.elsa.warm_start else None
    published = read_manifest(run.warehouse / "runs" / champion)["stages"][stage] if champion else {}
    if published.get("inputs") == digest:
        get_run_logger().info(f"nothing has changed since run {champion}: its {name} is taken over")
        return _save(run, stage, load_champion(run, champion, name), name, champion, digest)
    start = champion if published.get("factors") == config.factors else None
    get_run_logger().info(f"starting from {f'the {name} of run {start}' if start else 'the spectrum'}")
    earlier = load_champion(run, start, name) if start else None
    X, *validation = (sparse.load_npz(run.folder / f"{part}.npz") for part in inputs)
    checkpoint = run.warehouse / "tmp" / f"{stage}.checkpoint"
    checkpoint.parent.mkdir(exist_ok=True)
    model = _fit(X, config, tuple(validation) or None, epochs, earlier, checkpoint)
    return _save(run, stage, model, name, start, digest)


def _train_config(config: Config) -> "TrainConfig":
    from elsa_core import TrainConfig

    policy = config.policy_configs.elsa.model_dump(exclude={"policy_type", "warm_start"})
    return TrainConfig(**policy, k=max(config.evaluation.cutoffs), seed=config.seed)


def _check_factors(config: Config, matrix: Matrix) -> None:
    factors = config.policy_configs.elsa.factors
    if factors > matrix.n_items:
        raise InputError(
            f"policy_configs: factors is {factors}, but only {matrix.n_items} items are left to recommend; "
            f"set factors to {matrix.n_items} or less, or lower interactions.min_item_interactions"
        )


def _fit(
    X: "csr_array",
    config: "TrainConfig",
    validation: "tuple[csr_array, csr_array] | None",
    epochs: int | None,
    earlier: "Model | None",
    checkpoint: Path,
) -> "Model":
    from elsa_core import TrainingError, fit

    try:
        return fit(X, config, validation, epochs=epochs, earlier=earlier, checkpoint=checkpoint, on_epoch=_log_epoch)
    except TrainingError as error:
        raise InputError(f"policy_configs: {error}") from None


def _log_epoch(epoch: "Epoch") -> None:
    parts = [f"epoch {epoch.epoch}"]
    if epoch.loss is not None:
        parts.append(f"loss {epoch.loss:.4f}")
    if epoch.ndcg is not None:
        parts.append(f"validation nDCG {epoch.ndcg:.4f}")
    if epoch.users_per_second is not None:
        parts.append(f"{epoch.users_per_second:,.0f} users/s")
    get_run_logger().info(", ".join(parts))


def _save(run: Run, stage: str, model: "Model", name: str, started_from: str | None, inputs: str) -> Trained:
    model.save(run.folder / name)
    seconds = sum(epoch["seconds"] for epoch in model.history)
    digest = digest_of_file(run.folder / name / "model.safetensors")
    handle = Trained(name, started_from, model.best_epoch, *model.item_embeddings.shape, seconds, inputs, digest)
    run.record(stage, handle)
    return handle
