"""What a refresh takes over from the published tables of the same model: all about users who did nothing new."""

import json
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.lists import Lists, scored_items
from tasks.stages import RULES, Trained
from tasks.warehouse import Run, first_row, sql

if TYPE_CHECKING:
    import numpy as np
    from duckdb import DuckDBPyConnection

PACKAGES = ("duckdb", "elsa-nightly", "great-expectations", "numpy", "polars", "prefect", "scipy", "torch")


def attach_earlier(
    connection: "DuckDBPyConnection", run: Run, trained: Trained, source: Lists, n_listed: int, at: datetime
) -> "np.ndarray | None":
    """Makes the published tables readable as `earlier`, and the users whose rows in them stay as `reused`.

    A list stays only where it has all of its `n_listed` items, spares included: a new item lengthens shorter ones.
    Returns which other users there are, as rows of the matrices; None where nothing can be reused: another model,
    other rules, other software, or other items that may be recommended.
    """
    if trained.model_run_id == run.run_id or run.config.policy_configs.policy.policy_type == "ease":
        return None
    connection.execute(f"attach '{(run.warehouse / 'current.duckdb').resolve()}' as earlier (read_only)")
    facts = "select model_run_id, config, versions from earlier.run_info"
    model_run_id, config, software = first_row(connection, facts)
    has_changed = _rules(json.loads(config)) != _rules(run.config.model_dump(mode="json"))
    has_changed |= json.loads(software) != versions()
    if model_run_id != trained.model_run_id or has_changed:
        return None
    connection.register("known_items", next(scored_items(source)))
    rules = {"rules": str(run.folder / RULES), "has_filters": bool(run.config.recommendations.filters), "at": at}
    if first_row(connection, sql("changed_candidates"), rules)[0]:
        return None
    files = {name: str(run.folder / f"{name}.parquet") for name in ("interactions", "items")}
    connection.execute(sql("reused_users"), files | {"n_listed": n_listed})
    others = "select user_idx from read_parquet($users) anti join reused using (user_id) order by user_idx"
    users = connection.execute(others, {"users": str(run.folder / "users.parquet")}).fetchnumpy()["user_idx"]
    get_run_logger().info(f"{len(users):,} of {len(source.user_ids):,} users have something new")
    return users.astype("int64")


def versions() -> dict[str, str]:
    """Of the software that computes what is published."""
    return {package: version(package) for package in PACKAGES}


def _rules(config: dict) -> tuple[dict, dict | None]:
    """What lists depend on, besides the model and the histories."""
    return config["recommendations"], config["source"]["items"]
