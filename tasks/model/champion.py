"""The published run's models, seen over the items of this run."""

from typing import TYPE_CHECKING

from tasks.run.artifacts import ModelFolder
from tasks.run.handles import Champion, Matrix
from tasks.run.integrity import require_files
from tasks.run.manifest import Manifest, read_manifest
from tasks.run.run import Run

if TYPE_CHECKING:
    import numpy as np

    from elsa_core import LinearModel


def find_champion(run: Run, matrix: Matrix) -> Champion:
    """The run that was published when this one was opened, and what its models are good for here."""
    if run.replaces is None:
        return Champion(None, "none is published yet")
    files = run.warehouse.files(run.replaces)
    if not (files.evaluation_model.exists and files.model.exists):
        return Champion(None, f"the published run {run.replaces} has no models any more")
    manifest = read_manifest(files.folder)
    if why := _why_it_has_seen(run, manifest, matrix):
        return Champion(None, why)
    return Champion(run.replaces, _why_not_comparable(run, manifest))


def _why_it_has_seen(run: Run, manifest: Manifest, matrix: Matrix) -> str:
    """Why its evaluation model may have learned from what this run hides; empty where it has not."""
    keys = ("salt", "test_share", "validation_share", *(() if matrix.window_start else ("target_share",)))
    if any(manifest.config["holdout"].get(key) != getattr(run.config.holdout, key) for key in keys):
        return f"the published run {manifest.run_id} held out other users"
    theirs = manifest.stages["train"].get("window_start")
    if (theirs is None) != (matrix.window_start is None):
        was, now = ("users" if start is None else "time" for start in (theirs, matrix.window_start))
        return f"the published run {manifest.run_id} was judged by {was}, and this one is by {now}"
    if theirs is not None and matrix.window_start is not None and theirs > matrix.window_start:
        return f"the published run {manifest.run_id} has learned from events of the days that this one hides"
    return ""


def _why_not_comparable(run: Run, manifest: Manifest) -> str:
    """Metrics at any k are computed again, so k does not matter."""
    theirs = manifest.config["interactions"] | {"event_values": manifest.event_weights}
    ours = run.config.interactions.model_dump(mode="json") | {"event_values": run.config.event_weights}
    changed = [name for name in ours if theirs.get(name) != ours[name]]
    if not changed:
        return ""
    return f"other events counted for the published run {manifest.run_id}: interactions.{changed[0]} has changed"


def load_champion(run: Run, run_id: str, name: str) -> "LinearModel":
    """Its model of that name over this run's items: gone items are dropped, and new ones have rows of zeros."""
    positions, n_items = _positions(run, run_id)
    return _load(run, run_id, run.warehouse.files(run_id).model_folder(name)).reindex(positions, n_items)


def has_lost_items(run: Run, run_id: str) -> bool:
    """Whether some of its items are gone, so that `load_champion` gives less than it published."""
    return bool((_positions(run, run_id)[0] < 0).any())


def _positions(run: Run, run_id: str) -> "tuple[np.ndarray, int]":
    """Where each of its items is in this run, -1 if it is gone, and how many there are now."""
    import polars as pl

    require_files(run.warehouse, run_id, (run.files.items.name,))
    now = run.files.items.read().select("item_id", "item_idx")
    theirs = run.warehouse.files(run_id).items.read().select("item_id")
    positions = theirs.join(now, on="item_id", how="left", maintain_order="left")["item_idx"]
    return positions.cast(pl.Int64).fill_null(-1).to_numpy(), len(now)


def _load(run: Run, run_id: str, model: ModelFolder) -> "LinearModel":
    """Raises InputError if the model's files are not those that the run wrote."""
    require_files(run.warehouse, run_id, [f"{model.name}/{path.name}" for path in (model.weights, model.training)])
    return model.read(run.config.policy_configs.policy.device)
