"""The published run's models, seen over tonight's items."""

from typing import TYPE_CHECKING

from tasks.warehouse import Run, current_run_id, read_manifest

if TYPE_CHECKING:
    from elsa_core import Model


def comparable_champion(run: Run) -> tuple[str | None, str]:
    """The published run, if its evaluation model never saw tonight's test users; else None and why not."""
    run_id = current_run_id(run.warehouse)
    if run_id is None:
        return None, "none is published yet"
    folder = run.warehouse / "runs" / run_id
    if not all((folder / name / "model.json").exists() for name in ("evaluation_model", "model")):
        return None, f"the published run {run_id} has no models any more"
    if read_manifest(folder)["config"]["holdout"] != run.config.holdout.model_dump():
        return None, f"the published run {run_id} held out other users"
    return run_id, ""


def load_champion(run: Run, run_id: str, name: str) -> "Model":
    """Its model of that name over tonight's items: gone items are dropped, and new ones have rows of zeros."""
    import polars as pl

    import elsa_core

    folder = run.warehouse / "runs" / run_id
    tonight = pl.read_parquet(run.folder / "items.parquet").select("item_id", "item_idx")
    theirs = pl.read_parquet(folder / "items.parquet").select("item_id")
    positions = theirs.join(tonight, on="item_id", how="left", maintain_order="left")["item_idx"]
    champion = elsa_core.load(folder / name, run.config.policy_configs.policy.device)
    return champion.reindex(positions.cast(pl.Int64).fill_null(-1).to_numpy(), len(tonight))
