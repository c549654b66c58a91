"""The published run's models, seen over tonight's items."""

from typing import TYPE_CHECKING

from tasks.run.integrity import require_files
from tasks.run.warehouse import Run, current_run_id, read_manifest
from tasks.settings.training import event_weights

if TYPE_CHECKING:
    import numpy as np

    from elsa_core import Ease, Model

STAGES = {"evaluation_model": "train", "model": "refit"}


def find_champion(run: Run) -> tuple[str | None, str]:
    """The published run, if its evaluation model never saw tonight's test users; else None and why not."""
    run_id = current_run_id(run.warehouse)
    if run_id is None:
        return None, "none is published yet"
    folder = run.warehouse / "runs" / run_id
    if not all((folder / name / "model.json").exists() for name in STAGES):
        return None, f"the published run {run_id} has no models any more"
    if read_manifest(folder)["config"]["holdout"] != run.config.holdout.model_dump():
        return None, f"the published run {run_id} held out other users"
    return run_id, ""


def comparable_champion(run: Run) -> tuple[str | None, str]:
    """The same, if it also learned from what counts tonight; metrics at any k are made anew, so k does not matter."""
    run_id, reason = find_champion(run)
    if run_id is not None:
        config = read_manifest(run.warehouse / "runs" / run_id)["config"]
        theirs = config["interactions"] | {"event_values": _event_weights(config)}
        ours = run.config.interactions.model_dump() | {"event_values": run.config.event_weights}
        if changed := [name for name in ours if theirs.get(name) != ours[name]]:
            return None, f"other events counted for the published run {run_id}: interactions.{changed[0]} has changed"
    return run_id, reason


def _event_weights(config: dict) -> dict[str, float]:
    """`Config.event_weights` of a manifest's configuration, which may be an earlier version's."""
    policy = next(filter(None, config["policy_configs"].values()), {})
    return event_weights(config["interactions"].get("event_values") or policy.get("event_values"))


def load_champion(run: Run, run_id: str, name: str) -> "Model | Ease":
    """Its model of that name over tonight's items: gone items are dropped, and new ones have rows of zeros."""
    positions, n_items = _positions(run, run_id)
    return _load(run, run_id, name).reindex(positions, n_items)


def has_lost_items(run: Run, run_id: str) -> bool:
    """Whether some of its items are gone tonight, so that `load_champion` gives less than it published."""
    return bool((_positions(run, run_id)[0] < 0).any())


def _positions(run: Run, run_id: str) -> "tuple[np.ndarray, int]":
    """Where each of its items is tonight, -1 if it is gone, and how many there are tonight."""
    import polars as pl

    require_files(run.warehouse, run_id, ("items.parquet",))
    tonight = pl.read_parquet(run.folder / "items.parquet").select("item_id", "item_idx")
    theirs = pl.read_parquet(run.warehouse / "runs" / run_id / "items.parquet").select("item_id")
    positions = theirs.join(tonight, on="item_id", how="left", maintain_order="left")["item_idx"]
    return positions.cast(pl.Int64).fill_null(-1).to_numpy(), len(tonight)


def _load(run: Run, run_id: str, name: str) -> "Model | Ease":
    """Raises InputError if the model's files are not those that the run wrote."""
    import elsa_core

    require_files(run.warehouse, run_id, (f"{name}/model.safetensors", f"{name}/model.json"))
    folder = run.warehouse / "runs" / run_id / name
    return elsa_core.load(folder, run.config.policy_configs.policy.device)
