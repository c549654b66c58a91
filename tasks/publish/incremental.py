"""What a refresh takes over from the published tables of the same model: all about users who did nothing new."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.publish.recommendations import Lists, scored_items
from tasks.run.database import attach, first_row, sql
from tasks.run.durable import remove
from tasks.run.handles import Trained
from tasks.run.integrity import require_tables
from tasks.run.quoting import literal
from tasks.run.run import Run

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

PACKAGES = ("duckdb", "elsa-nightly", "great-expectations", "numpy", "polars", "prefect", "scipy", "torch")
OF_USERS = {  # whose rows are made anew
    "user_topk": "has_new_list",
    "user_spares": "has_new_list",
    "user_embeddings": "has_new_list",
    "user_items": "has_new_history",
}
OF_ITEMS = ("item_neighbors", "item_embeddings", "item_residuals")


@dataclass(frozen=True)
class Reuse:
    """What stays of the published tables.

    users        whose lists and vectors are made anew, as rows of the matrices
    changed      user_id of everyone who has new rows in any table, or none any more
    tables       those that the new file has already, without the rows that are made anew
    n_refreshes  how often, with this time, rows were put behind those of a file that was written as a whole
    """

    users: "np.ndarray"
    changed: "pa.Table"
    tables: frozenset[str]
    n_refreshes: int


def reuse_earlier(
    connection: "DuckDBPyConnection",
    run: Run,
    trained: Trained,
    source: Lists,
    n_listed: int,
    path: Path,
) -> Reuse | None:
    """Copies the published file to `path` and attaches it as `output`, with nothing but what stays.

    The published file is readable as `earlier` then, and `changed` says whose rows are made anew. A list stays only
    where it has all of its `n_listed` items, spares included: a new item lengthens shorter ones.
    Returns None, with no file made, where nothing can be reused: another model, other rules, other software, or
    other items that may be recommended.
    """
    if (
        run.replaces is None
        or trained.model_run_id == run.run_id
        or run.config.policy_configs.policy.policy_type == "ease"
    ):
        return None
    require_tables(run.warehouse, run.replaces)
    published = run.warehouse.tables(run.replaces)
    attach(connection, published, "earlier")
    (row,) = connection.execute("from earlier.run_info").fetchall()
    info = dict(zip([name for name, *_ in connection.description], row, strict=True))
    has_changed = _rules(json.loads(info["config"])) != _rules(run.config.model_dump(mode="json"))
    has_changed |= json.loads(info["versions"]) != versions() or "n_refreshes" not in info
    if info["model_run_id"] != trained.model_run_id or has_changed:
        return None
    connection.register("known_items", next(scored_items(source)))
    rules = {"rules": str(run.files.rules), "has_filters": bool(run.config.recommendations.filters), "at": run.at}
    if first_row(connection, sql("changed_candidates"), rules)[0]:
        return None
    files = {"interactions": str(run.files.interactions), "users": str(run.files.users)}
    connection.execute(sql("changed_users"), files | {"n_listed": n_listed})
    rows = """
        select user_idx from read_parquet($users, hive_partitioning = false)
        semi join (from changed where has_new_list) using (user_id)
        order by user_idx
    """
    users = connection.execute(rows, {"users": files["users"]}).fetchnumpy()["user_idx"]
    get_run_logger().info(f"{len(users):,} of {len(source.user_ids):,} users have something new")
    remove(path)  # a link there would be followed
    shutil.copyfile(published, path)
    connection.execute(f"attach {literal(str(path))} as output")
    connection.begin()
    tables = _keep(connection, run)
    connection.commit()
    changed = connection.sql("select user_id from changed").to_arrow_table()
    return Reuse(users.astype("int64"), changed, tables, info["n_refreshes"] + 1)


def _keep(connection: "DuckDBPyConnection", run: Run) -> frozenset[str]:
    """Drops from `output` all but the tables of users and items, and from these the rows that do not stay."""
    counts_pairs = bool(run.config.recommendations.neighbors_min_users)
    stay = {*OF_USERS, *OF_ITEMS} - ({"item_neighbors"} if counts_pairs else set())
    found = connection.execute(sql("contents")).fetchall()
    tables = {name for kind, name in found if kind == "table"} & stay
    for kind, name in found:
        if name not in tables:
            connection.execute(f"drop {kind} output.{name}")
    for table in [table for table in OF_USERS if table in tables]:
        anew = f"select user_id from changed where {OF_USERS[table]}"
        connection.execute(f"delete from output.{table} where user_id in ({anew})")
    return frozenset(tables)


def versions() -> dict[str, str]:
    """Of the software that computes what is published."""
    return {package: version(package) for package in PACKAGES}


def _rules(config: dict) -> tuple[dict, dict | None]:
    """What lists depend on, besides the model and the histories."""
    return config["recommendations"], config["source"]["items"]
