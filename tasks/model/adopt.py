"""The published run's models, taken over as they are, over the items of now."""

from prefect import get_run_logger, task

from tasks.errors import InputError
from tasks.model.champion import STAGES, has_lost_items, load_champion
from tasks.run.handles import Matrix, Trained
from tasks.run.retries import RETRIES
from tasks.run.warehouse import Run, current_run_id, digest_of_file, read_manifest

DECIDE_MODELS = ("holdout", "interactions", "policy_configs")


@task(**RETRIES)
def adopt(run: Run, matrix: Matrix) -> Trained:
    """Saves both models in the run's folder. Items that they do not know are recommended by popularity only.

    Raises InputError where none is published, or what decides the models has changed in the configuration.
    """
    current = current_run_id(run.warehouse)
    if current is None:
        raise InputError(f"{run.config.warehouse} has no published model yet; make one with: elsa nightly")
    manifest, config = read_manifest(run.warehouse / "runs" / current), run.config.model_dump(mode="json")
    changed = [section for section in DECIDE_MODELS if manifest["config"][section] != config[section]]
    if changed:
        raise InputError(
            f"{changed[0]} has changed since run {current}, whose model cannot be refreshed so; run: elsa nightly"
        )
    get_run_logger().info("the models of run %s are taken over", current)
    shortened = {"inputs": ""} if has_lost_items(run, current) else {}  # the next night trains them anew
    for name, stage in STAGES.items():
        model = load_champion(run, current, name)
        if not model.is_known.any():
            raise InputError(
                f"the model of run {current} knows none of the {matrix.n_items:,} items that source.events has now; "
                "train one that does: elsa nightly"
            )
        model.save(run.folder / name)
        digest = digest_of_file(run.folder / name / "model.safetensors")
        theirs = manifest["stages"][stage]
        own = {"started_from": current, "n_items": matrix.n_items, "digest": digest}
        adopted = Trained(**theirs | own | shortened)
        run.record(stage, adopted)
    return adopted
