"""The evaluation model, which never sees what is held out, and the refit on everything."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.errors import InputError
from tasks.model.champion import load_champion
from tasks.run.artifacts import Sparse
from tasks.run.database import connect, first_row
from tasks.run.handles import Champion, Matrix, Trained
from tasks.run.manifest import read_manifest
from tasks.run.progress import progress_bar, working
from tasks.run.run import Run
from tasks.run.stage import stage
from tasks.settings.config import Config

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from elsa_core import Ease, Elsa, Epoch, LinearModel, ResidualConfig, TrainConfig, Validation

NOT_OF_TRAINING = {"policy_type", "event_values", "warm_start", "residual_neighbors", "residual_ridge",
                   "residual_dropout", "ease_ridge", "ease_max_items"}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """All that decides a model but the data and its start. EASE has no `low_rank`; ELSA may do without `residual`."""

    name: str
    low_rank: "TrainConfig | None" = None
    epochs: int | None = None
    residual: "ResidualConfig | None" = None
    ease_ridge: tuple[float, ...] = ()


def check_device(config: Config) -> None:
    """Raises InputError if the configuration names a device that this machine does not have."""
    device = config.policy_configs.policy.device
    if device in ("auto", "cpu"):
        return
    from elsa_core import DeviceError, resolve_device

    try:
        resolve_device(device)
    except DeviceError as error:
        raise InputError(f"policy_configs: {error}") from None


@stage("train", reads=("policy_configs", "evaluation.cutoffs", "seed"))
def train(run: Run, matrix: Matrix, champion: Champion) -> Trained:
    """Trains on what is not held out; the validation users stop training and choose the penalties."""
    _check_size(run.config, matrix)
    policy = run.config.policy_configs.policy
    if policy.policy_type == "ease":
        recipe = Recipe("evaluation_model", ease_ridge=tuple(policy.ease_ridge))
    else:
        residual = _residual_config(run.config, matrix, policy.residual_ridge, policy.residual_dropout)
        recipe = Recipe("evaluation_model", _train_config(run.config, policy.strategy), residual=residual)
    parts = (run.files.train, run.files.fold_in("validation"), run.files.targets("validation"))
    return _train(run, matrix, champion, "train", recipe, parts)


@stage("refit", reads=("policy_configs", "evaluation.cutoffs", "seed"))
def refit(run: Run, matrix: Matrix, chosen: Trained, champion: Champion) -> Trained:
    """Trains on everyone with the penalties that were chosen, and for the epochs that it took, but at least one."""
    if run.config.policy_configs.policy.policy_type == "ease":
        recipe = Recipe("model", ease_ridge=() if chosen.ridge is None else (chosen.ridge,))
    else:
        recipe = Recipe("model", _train_config(run.config, "default"), max(1, chosen.best_epoch))
        if chosen.ridge is not None:
            residual = _residual_config(run.config, matrix, [chosen.ridge], [chosen.dropout])
            recipe = replace(recipe, residual=residual)
    return _train(run, matrix, champion, "refit", recipe, (run.files.weights,))


def _train_config(config: Config, strategy: str) -> "TrainConfig":
    from elsa_core import TrainConfig

    policy = config.policy_configs.policy.model_dump(exclude=NOT_OF_TRAINING) | {"strategy": strategy}
    return TrainConfig(**policy, k=max(config.evaluation.cutoffs), seed=config.seed)


def _residual_config(config: Config, matrix: Matrix, ridge: list, dropout: list) -> "ResidualConfig | None":
    from elsa_core import ResidualConfig

    neighbors = min(config.policy_configs.policy.residual_neighbors, matrix.n_items - 1)
    k = max(config.evaluation.cutoffs)
    return ResidualConfig(neighbors, tuple(ridge), tuple(dropout), k) if neighbors else None


def _check_size(config: Config, matrix: Matrix) -> None:
    from elsa_core import ease_gigabytes

    policy = config.policy_configs.policy
    if policy.policy_type == "elsa" and policy.factors > matrix.n_items:
        raise InputError(
            f"policy_configs: factors is {policy.factors}, but only {matrix.n_items} items are left to recommend; "
            f"set factors to {matrix.n_items} or less, or lower interactions.min_item_interactions"
        )
    if policy.policy_type == "ease" and matrix.n_items > policy.ease_max_items:
        raise InputError(
            f"policy_configs: EASE for {matrix.n_items:,} items takes about {ease_gigabytes(matrix.n_items):.1f} GB, "
            f"and ease_max_items is {policy.ease_max_items:,}; set policy_type to elsa, or raise ease_max_items"
        )


def _train(
    run: Run, matrix: Matrix, champion: Champion, of_stage: str, recipe: Recipe, parts: tuple[Sparse, ...]
) -> Trained:
    """Trains by the recipe, starting from the champion's model of that name if there is one.

    Where the champion trained on the same inputs, its model is taken over as it is: the same events and configuration
    again change nothing.
    """
    policy = run.config.policy_configs.policy
    facts = [matrix.digest, asdict(recipe), policy.policy_type, version("elsa-nightly")]
    inputs = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    run_id = champion.run_id if policy.warm_start else None
    published = read_manifest(run.warehouse.files(run_id).folder).stages[of_stage] if run_id else {}
    if run_id is not None and published.get("inputs") == inputs:
        get_run_logger().info(f"nothing has changed since run {run_id}: its {recipe.name} is taken over")
        return _save(run, matrix, load_champion(run, run_id, recipe.name), recipe, run_id, inputs)
    X, *rest = (part.read() for part in parts)
    validation = (rest[0], rest[1]) if rest else None
    if recipe.low_rank is None:
        return _save(run, matrix, _fit_ease(run.config, X, validation, recipe.ease_ridge), recipe, None, inputs)
    start = run_id if published.get("factors") == policy.factors else None
    if start and _learnt_from_forgotten(run, published["model_run_id"]):
        start = None
    get_run_logger().info(f"starting from {f'the {recipe.name} of run {start}' if start else 'the spectrum'}")
    earlier = load_champion(run, start, recipe.name) if start else None
    checkpoint = run.warehouse.tmp / f"{of_stage}.checkpoint"
    checkpoint.parent.mkdir(exist_ok=True)
    return _save(run, matrix, _fit_elsa(recipe, X, validation, earlier, checkpoint), recipe, start, inputs)


def _learnt_from_forgotten(run: Run, model_run_id: str) -> bool:
    """Whether somebody was forgotten after the run of a model began: no other model goes on from such a one."""
    with connect(run.warehouse.events, run.config, read_only=True) as connection:
        forgotten_at = first_row(connection, "select epoch(max(forgotten_at)) from forgotten_people")[0]
    if forgotten_at is None:
        return False
    began = read_manifest(run.warehouse.run_folder(model_run_id)).started_at
    return datetime.fromisoformat(began).timestamp() <= forgotten_at


def _fit_elsa(
    recipe: Recipe, X: "csr_array", validation: "Validation | None", earlier: "LinearModel | None", checkpoint: Path
) -> "Elsa":
    from elsa_core import ResidualError, TrainingError, fit, fit_residual

    assert recipe.low_rank is not None
    n_epochs = recipe.low_rank.n_epochs if recipe.epochs is None else recipe.epochs
    try:
        with working(f"training the {recipe.name}") as show:
            model = fit(
                X,
                recipe.low_rank,
                validation,
                epochs=recipe.epochs,
                earlier=earlier,
                checkpoint=checkpoint,
                on_epoch=_log_epochs(recipe.name, n_epochs, show),
            )
        get_run_logger().info("kept epoch %s", model.best_epoch)
        if recipe.residual is None:
            return model
        with working("residual") as show:
            model = fit_residual(X, model, recipe.residual, validation, on_progress=_of("residual", show))
    except (TrainingError, ResidualError) as error:
        raise InputError(f"policy_configs: {error}") from None
    if validation is not None:
        _log_choice(model)
    return model


def _fit_ease(config: Config, X: "csr_array", validation: "Validation | None", ridge: tuple[float, ...]) -> "Ease":
    from elsa_core import EaseError, fit_ease

    k, device = max(config.evaluation.cutoffs), config.policy_configs.policy.device
    try:
        with working("EASE") as show:
            return fit_ease(X, ridge, validation, k=k, device=device, on_progress=_of("EASE", show))
    except EaseError as error:
        raise InputError(f"policy_configs: {error}") from None


def _of(what: str, show: Callable[..., None]) -> Callable[[str, float], None]:
    """A callback that names what its steps belong to."""
    return lambda step, share: show(f"{what}, {step}", share)


def _log_epochs(name: str, n_epochs: int, show: Callable[..., None]) -> "Callable[[Epoch], None]":
    """A callback that logs each epoch, and shows the share of them, also on Prefect's page."""
    logger, show_on_page = get_run_logger(), progress_bar(name.replace("_", "-"))

    def log(epoch: "Epoch") -> None:
        parts = [f"epoch {epoch.epoch}"]
        if epoch.loss is not None:
            parts.append(f"loss {epoch.loss:.4f}")
        if epoch.ndcg is not None:
            parts.append(f"validation nDCG {epoch.ndcg:.4f}")
        if epoch.users_per_second is not None:
            parts.append(f"{epoch.users_per_second:,.0f} users/s")
        logger.info(", ".join(parts))
        show(f"training the {name}", epoch.epoch / n_epochs)
        show_on_page(epoch.epoch / n_epochs)

    return log


def _log_choice(model: "Elsa") -> None:
    alone, *others = (entry["ndcg"] for entry in model.choices)
    verdict = "left out" if model.residual is None else f"{model.residual.nnz:,} entries"
    get_run_logger().info(f"residual: {verdict}; validation nDCG {alone:.4f} without, {max(others):.4f} with it")


def _save(
    run: Run, matrix: Matrix, model: "LinearModel", recipe: Recipe, started_from: str | None, inputs: str
) -> Trained:
    folder = run.files.model_folder(recipe.name)
    folder.write(model)
    return Trained(
        path=recipe.name,
        model_run_id=run.run_id,
        started_from=started_from,
        best_epoch=model.best_epoch,
        n_items=len(model.is_known),
        factors=model.factors,
        scale=model.scale,
        ridge=model.chosen.get("ridge"),
        dropout=model.chosen.get("dropout"),
        inputs=inputs,
        digest=folder.digest(),
        window_start=matrix.window_start,
    )
