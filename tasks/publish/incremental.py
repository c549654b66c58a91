"""What a refresh takes over from the published tables of the same model: the rows of users who did nothing new."""

import json
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.publish.output import Reuse
from tasks.publish.published_model import PublishedModel
from tasks.publish.tables import RENEWED, TABLES
from tasks.publish.weights import scored_items
from tasks.run.database import attach, first_row, select, sql
from tasks.run.durable import remove
from tasks.run.handles import Trained
from tasks.run.integrity import require_tables
from tasks.run.quoting import literal
from tasks.run.run import Run

if TYPE_CHECKING:
    import numpy as np
    from duckdb import DuckDBPyConnection

PACKAGES = ("duckdb", "elsa-nightly", "great-expectations", "numpy", "polars", "prefect", "scipy", "torch")


def reuse_earlier(
    connection: "DuckDBPyConnection", run: Run, trained: Trained, model: PublishedModel, path: Path
) -> Reuse | None:
    """Copies the published file to `path` and attaches it as `output`, with nothing but what stays.

    The published file is readable as `earlier` then, and `changed` says whose rows are computed. A list stays only
    where it is whole with its backup items: a new item lengthens shorter ones.
    Returns None, with no file written, where nothing can be reused: another model, other rules, other software, or
    other items that may be recommended.
    """
    is_ease = run.config.policy_configs.policy.policy_type == "ease"
    if run.replaces is None or trained.model_run_id == run.run_id or is_ease:
        return None
    require_tables(run.warehouse, run.replaces)
    published = run.warehouse.tables(run.replaces)
    attach(connection, published, "earlier")
    (info,) = select(connection, "from earlier.run_info")
    if info["model_run_id"] != trained.model_run_id or not _is_alike(info, run):
        return None
    connection.register("known_items", next(scored_items(model)))
    candidates = {"has_filters": bool(model.rules.filters), "at": run.at}
    if first_row(connection, sql("changed_candidates"), candidates)[0]:
        return None
    users = _changed_users(connection, model)
    remove(path)  # a link there would be followed
    shutil.copyfile(published, path)
    connection.execute(f"attach {literal(str(path))} as output")
    whole = _whole(model)
    in_file = _keep(connection, whole)
    changed = connection.sql("select user_id from changed").to_arrow_table()
    return Reuse(users, changed, in_file, whole, info["n_refreshes"] + 1)


def _is_alike(info: dict, run: Run) -> bool:
    """Whether the published tables, by their run_info, come from the same rules and the same software."""
    rules, own = json.loads(info["config"]), run.config.model_dump(mode="json")
    has_same_rules = rules["recommendations"] == own["recommendations"]
    has_same_items = rules["source"]["items"] == own["source"]["items"]
    return has_same_rules and has_same_items and json.loads(info["versions"]) == versions() and "n_refreshes" in info


def _changed_users(connection: "DuckDBPyConnection", model: PublishedModel) -> "np.ndarray":
    """Makes the table `changed`, and returns the rows of the users whose lists are computed: (users,) int64."""
    connection.execute(sql("changed_users"), {"n_listed": model.n_listed})
    rows = """
        select user_idx from matrix_users
        semi join (from changed where has_new_list) using (user_id)
        order by user_idx
    """
    users = connection.execute(rows).fetchnumpy()["user_idx"].astype("int64")
    get_run_logger().info(f"{len(users):,} of {len(model.user_ids):,} users have something new")
    return users


def _whole(model: PublishedModel) -> frozenset[str]:
    """Tables that the same model gives again; neighbours must have users in common if the rules say so."""
    depends_on_users = {"item_neighbors"} if model.rules.neighbors_min_users else set()
    return frozenset(table.name for table in TABLES if table.is_of_items) - depends_on_users


def _keep(connection: "DuckDBPyConnection", whole: frozenset[str]) -> frozenset[str]:
    """Drops from `output` all but tables of users, without the rows that change, and the `whole` tables."""
    connection.begin()
    found = connection.execute(sql("contents")).fetchall()
    tables = {name for kind, name in found if kind == "table"} & {*RENEWED, *whole}
    for kind, name in found:
        if name not in tables:
            connection.execute(f"drop {kind} output.{name}")
    for table in [table for table in RENEWED if table in tables]:
        changed = f"select user_id from changed where {RENEWED[table]}"
        connection.execute(f"delete from output.{table} where user_id in ({changed})")
    connection.commit()
    return frozenset(tables)


@cache
def versions() -> dict[str, str]:
    """Of the software that computes what is published."""
    return {package: version(package) for package in PACKAGES}
