"""The evaluation model, which never sees held-out users, and the refit on everyone."""

from dataclasses import replace
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.config import Config
from tasks.errors import InputError
from tasks.stages import Matrix, Trained
from tasks.warehouse import Run, digest_of_file

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
    from scipy import sparse

    _check_factors(run.config, matrix)
    X, fold_in, targets = (
        sparse.load_npz(run.folder / f"{name}.npz") for name in ("train", "validation_fold_in", "validation_targets")
    )
    model = _fit(_train_config(run.config), X, validation=(fold_in, targets))
    get_run_logger().info("kept epoch %s", model.best_epoch)
    return _save(run, "train", model, "evaluation_model")


@task
def refit(run: Run, evaluation_model: Trained) -> Trained:
    """Trains on everyone, for the epochs that the evaluation model took."""
    from scipy import sparse

    config = replace(_train_config(run.config), strategy="default")
    model = _fit(config, sparse.load_npz(run.folder / "interactions.npz"), epochs=evaluation_model.best_epoch)
    return _save(run, "refit", model, "model")


def _train_config(config: Config) -> "TrainConfig":
    from elsa_core import TrainConfig

    policy = config.policy_configs.elsa.model_dump(exclude={"policy_type"})
    return TrainConfig(**policy, k=max(config.evaluation.cutoffs), seed=config.seed)


def _check_factors(config: Config, matrix: Matrix) -> None:
    factors = config.policy_configs.elsa.factors
    if factors > matrix.n_items:
        raise InputError(
            f"policy_configs: factors is {factors}, but only {matrix.n_items} items are left to recommend; "
            f"set factors to {matrix.n_items} or less, or lower interactions.min_item_interactions"
        )


def _fit(
    config: "TrainConfig",
    X: "csr_array",
    validation: "tuple[csr_array, csr_array] | None" = None,
    epochs: int | None = None,
) -> "Model":
    from elsa_core import TrainingError, fit

    try:
        return fit(X, config, validation, epochs=epochs, on_epoch=_log_epoch)
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


def _save(run: Run, stage: str, model: "Model", name: str) -> Trained:
    model.save(run.folder / name)
    seconds = sum(epoch["seconds"] for epoch in model.history)
    handle = Trained(
        name,
        model.best_epoch,
        *model.item_embeddings.shape,
        seconds,
        digest_of_file(run.folder / name / "model.safetensors"),
    )
    run.record(stage, handle)
    return handle
