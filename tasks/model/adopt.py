"""The published run's models, taken over as they are, over the items of now."""

from prefect import get_run_logger

from tasks.errors import InputError
from tasks.model.champion import has_lost_items, load_champion
from tasks.run.handles import Matrix, Trained
from tasks.run.manifest import read_manifest
from tasks.run.run import Run
from tasks.run.stage import stage

DECIDE_MODELS = ("holdout", "interactions", "policy_configs")


@stage("train")
def adopt_evaluation_model(run: Run, matrix: Matrix) -> Trained:
    """Saves the published evaluation model, which the next run is compared with. Raises InputError like `_adopt`."""
    return _adopt(run, matrix, "evaluation_model", "train")


@stage("refit")
def adopt_model(run: Run, matrix: Matrix) -> Trained:
    """Saves the published model. Items that it does not know are recommended by popularity only."""
    return _adopt(run, matrix, "model", "refit")


def _adopt(run: Run, matrix: Matrix, name: str, of_stage: str) -> Trained:
    """Raises InputError where none is published, or what decides the models has changed in the configuration."""
    current = run.replaces
    if current is None:
        raise InputError(f"{run.config.warehouse} has no published model yet; make one with: elsa nightly")
    manifest, config = read_manifest(run.warehouse.files(current).folder), run.config.model_dump(mode="json")
    of_time = {name: config["holdout"][name] for name in ("by", "days")}  # the model carries its own window along
    theirs = manifest.config | {"holdout": manifest.config["holdout"] | of_time}
    changed = [section for section in DECIDE_MODELS if theirs[section] != config[section]]
    if changed:
        raise InputError(
            f"{changed[0]} has changed since run {current}, whose model cannot be refreshed so; run: elsa nightly"
        )
    model = load_champion(run, current, name)
    if not model.is_known.any():
        raise InputError(
            f"the model of run {current} knows none of the {matrix.n_items:,} items that source.events has now; "
            "train one that does: elsa nightly"
        )
    run.files.model_folder(name).write(model)
    get_run_logger().info(f"the {name.replace('_', ' ')} of run {current} is taken over")
    own = {"started_from": current, "n_items": matrix.n_items, "digest": run.files.model_folder(name).digest()}
    shortened = {"inputs": ""} if has_lost_items(run, current) else {}  # the next night trains it again
    return Trained(**manifest.stages[of_stage] | own | shortened)
