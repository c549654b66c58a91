"""The published model into output tables: one DuckDB file, checked, that nobody reads yet."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks import lists
from tasks.retries import RETRIES
from tasks.reuse import attach_earlier, versions
from tasks.stages import Events, Interactions, Matrix, Rules, Tables, Trained
from tasks.warehouse import Run, attach_events, connect, files_of_all_runs, first_row, sql

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

PUBLISHED = ("as_user_id", "as_item_id", "available_items", "user_topk_now", "recommend", "similar", "popular",
             "score", "score_pairs", "explain", "recommend_for")  # fmt: skip


class ContractBroken(AssertionError):
    """A finished table does not keep the contract in sql/checks/: a defect of this program, never published."""


@task(**RETRIES)
def materialize(
    run: Run, events: Events, interactions: Interactions, matrix: Matrix, rules: Rules, trained: Trained
) -> Tables:
    """Writes every table into a file beside the published ones and checks the contract. Removes it if that fails."""
    at = datetime.now(UTC)
    source = lists.load_lists(run, trained, at)
    path = run.warehouse / "published" / f"{run.run_id}.duckdb.unfinished"
    folder = run.warehouse / "published" / run.run_id
    path.parent.mkdir(exist_ok=True)
    try:
        with connect(":memory:", run.config) as connection:
            connection.execute(f"attach '{path}' as output (storage_version 'v1.5.0')")
            attach_events(connection, run)
            users = attach_earlier(connection, run, trained, source, run.config.recommendations.k + _n_spare(run), at)
            _write_model_tables(connection, run, source if users is None else replace(source, users=users))
            _write_record_tables(connection, run, events, interactions, matrix, rules, trained, source, at)
            _write_macros(connection, run)
            _write_comments(connection)
            connection.execute("detach output")
        _check_contract(run, path)
        n_bytes = path.stat().st_size + _make_durable(folder)
    except BaseException:
        for unfinished in path.parent.glob(f"{path.name}*"):  # on a full disk DuckDB leaves its log, too
            unfinished.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    handle = Tables(path.name, matrix.n_users, matrix.n_items, n_bytes)
    run.record("materialize", handle)
    return handle


def _write_model_tables(connection: "DuckDBPyConnection", run: Run, source: lists.Lists) -> None:
    """Streams what the model computes, block by block, into its tables; what is reused comes from `earlier`."""
    rules = run.config.recommendations
    n_users, n_items = source.X.shape
    n_spare = _n_spare(run)
    n_listed = rules.k + n_spare
    row_bytes = lists.row_bytes(source)
    _write_lists(connection, run, source, n_listed, n_users * n_listed * row_bytes["user_topk"], bool(n_spare))
    vectors = lists.user_vectors(source)
    _register(connection, "user_vectors" if source.users is None else "computed_vectors", vectors)
    if source.users is not None:
        connection.execute(sql("reused_vectors"))
    _write(connection, run, "user_embeddings", {}, n_users * row_bytes["user_embeddings"])
    for table, view, batches, n_rows in [
        ("item_neighbors", "neighbors", lists.neighbors(source, rules.neighbors), n_items * rules.neighbors),
        ("item_embeddings", "item_vectors", lists.item_vectors(source), n_items),
        ("item_residuals", "residuals", lists.residuals(source), lists.n_residuals(source)),
    ]:
        if source.users is not None and not (table == "item_neighbors" and rules.neighbors_min_users):
            connection.execute(f"create temp view {view} as from earlier.{table}")
        else:
            _register(connection, view, batches)
        _write(connection, run, table, {}, n_rows * row_bytes[table])


def _n_spare(run: Run) -> int:
    """Items kept behind each list, where listed ones can become unavailable."""
    items = run.config.source.items
    return run.config.recommendations.spare if items and items.available_until else 0


def _write_lists(
    connection: "DuckDBPyConnection", run: Run, source: lists.Lists, n_listed: int, n_bytes: float, has_spares: bool
) -> None:
    """What is computed once is read for two tables, by way of one on disk where there is more than one reading."""
    _register(connection, "computed", lists.user_lists(source, n_listed))
    is_read_once = source.users is None and not has_spares
    connection.execute(f"create temp {'view' if is_read_once else 'table'} computed_lists as from computed")
    reused = "create temp view lists as from computed_lists" if source.users is None else sql("reused_lists")
    connection.execute(reused)
    k = {"k": run.config.recommendations.k}
    _write(connection, run, "user_topk", k, n_bytes)
    if is_read_once:
        connection.execute("create or replace temp view lists as from output.user_topk")
    _write(connection, run, "user_spares", k, n_bytes if has_spares else 0)
    connection.unregister("computed")


def _register(connection: "DuckDBPyConnection", view: str, batches: "Iterator[pa.RecordBatch]") -> None:
    """Makes the batches readable, once, under a name."""
    import pyarrow as pa

    first = next(batches)

    def all_batches() -> "Iterator[pa.RecordBatch]":
        yield first
        yield from batches

    connection.register(view, pa.RecordBatchReader.from_batches(first.schema, all_batches()))


def _write(connection: "DuckDBPyConnection", run: Run, table: str, parameters: dict, n_bytes: float) -> None:
    """Runs sql/tables/<table>.sql; beyond max_table_size its rows go to a Parquet file, and a view leads there."""
    statement = sql(f"tables/{table}")
    if n_bytes > _bytes(run.config.recommendations.max_table_size):
        query = statement.partition(f"create table output.{table} as\n")[2].rstrip("; \n")
        path = run.warehouse / "published" / run.run_id / f"{table}.parquet"
        path.parent.mkdir(exist_ok=True)
        connection.execute(f"copy ({query}) to '{path}' (format parquet)", parameters)
        columns = _typed(connection, path)
        connection.execute(f"create view output.{table} as select {columns} from read_parquet('{path}')")
    else:
        connection.execute(statement, parameters)
    n_rows = first_row(connection, f"select count(*) from output.{table}")[0]
    get_run_logger().info("%s: %s rows", table, f"{n_rows:,}")


def _bytes(size: str) -> float:
    number, unit, binary = re.fullmatch(r"([\d.]+)\s?([KMGT])(i?)B", size).groups()
    return float(number) * (1024 if binary else 1000) ** ("KMGT".index(unit) + 1)


def _typed(connection: "DuckDBPyConnection", path: Path) -> str:
    """The columns of a Parquet file, which knows lists of any length only."""
    columns = [column for (column, *_) in connection.execute(f"describe from read_parquet('{path}')").fetchall()]
    if "embedding" not in columns:
        return "*"
    factors = first_row(connection, f"select max(len(embedding)) from read_parquet('{path}')")[0]
    return f"* replace (cast(embedding as float[{factors}]) as embedding)"


def _write_record_tables(
    connection: "DuckDBPyConnection",
    run: Run,
    events: Events,
    interactions: Interactions,
    matrix: Matrix,
    rules: Rules,
    trained: Trained,
    source: lists.Lists,
    at: datetime,
) -> None:
    """Writes the histories, the items, and the record of how the run went."""
    import json

    folder = run.folder
    results = [str(path) for path in sorted(folder.glob("*.parquet")) if path.stem in ("validation", "drift")]
    items, pairs = str(folder / "items.parquet"), str(folder / interactions.path)
    n_pairs = first_row(connection, "select count(*) from read_parquet($pairs)", {"pairs": pairs})[0]
    n_bytes = n_pairs * lists.row_bytes(source)["user_items"]
    _write(connection, run, "user_items", {"items": items, "interactions": pairs}, n_bytes)
    _register(connection, "scored_items", lists.scored_items(source))
    has_filters = bool(run.config.recommendations.filters)
    for table, parameters in {
        "popular_items": {"items": items},
        "items": {"interactions": pairs},
        "catalogue": {"rules": str(folder / rules.path), "has_filters": has_filters},
        "run_info": {
            "run_id": run.run_id,
            "created_at": at,
            "n_events": events.n_events,
            "n_users": matrix.n_users,
            "n_items": matrix.n_items,
            "policy_type": run.config.policy_configs.policy.policy_type,
            "scale": trained.scale,
            "model_run_id": trained.model_run_id,
            "model_digest": trained.digest,
            "k": run.config.recommendations.k,
            "neighbors": run.config.recommendations.neighbors,
            "config": run.config.model_dump_json(),
            "versions": json.dumps(versions()),
        },
        "run_metrics": {"metrics": files_of_all_runs(run.warehouse, "evaluate", "metrics.parquet")},
        "gate_checks": {"gate_checks": files_of_all_runs(run.warehouse, "gate", "gate_checks.parquet")},
        "validation_results": {"run_id": run.run_id, "results": results},
        "drift": {},
        "run_stages": {"manifests": files_of_all_runs(run.warehouse, "ingest", "manifest.json")},
    }.items():
        connection.execute(sql(f"tables/{table}"), parameters)
    n_alone = first_row(connection, "select n_items_without_neighbors from output.run_info")[0]
    get_run_logger().info(f"{n_alone:,} of {matrix.n_items:,} items have no neighbours")


def _write_macros(connection: "DuckDBPyConnection", run: Run) -> None:
    """Views and macros for readers who have nothing but DuckDB, with the types that the tables have.

    What a reader gives a macro is put into its text; its own names begin with __, so that none is the reader's.
    """
    connection.execute("use output")
    types = connection.execute(
        "select table_name || '.' || column_name, data_type from duckdb_columns() where database_name = 'output'"
    )
    kinds = dict(types.fetchall())
    values = {
        "user_id_type": kinds["user_items.user_id"],
        "item_id_type": kinds["user_items.item_id"],
        "factors": re.sub(r"\D", "", kinds["item_embeddings.embedding"]),
        "k": run.config.recommendations.k,
        "neighbors": run.config.recommendations.neighbors,
    }
    for name in PUBLISHED:
        connection.execute(re.sub(r"\$(\w+)", lambda found: str(values[found[1]]), sql(f"published/{name}")))
    connection.execute("use memory")


def _write_comments(connection: "DuckDBPyConnection") -> None:
    """What all is, said inside the file."""
    connection.execute("use output")
    comments = sql("comments")
    views = connection.execute("select view_name from duckdb_views() where database_name = 'output' and not internal")
    for (name,) in views.fetchall():
        comments = comments.replace(f"comment on table {name} is", f"comment on view {name} is")
    connection.execute(comments)
    for column, *_ in connection.execute("describe items").fetchall():
        if column not in ("item_id", "title"):
            quoted = column.replace('"', '""')
            connection.execute(f"comment on column items.\"{quoted}\" is 'As the source gave it'")
    connection.execute(sql("tables/readme"))
    connection.execute("use memory")


def _make_durable(folder: Path) -> int:
    """Asks the system to put the run's Parquet files on disk, and returns their size in bytes."""
    files = sorted(folder.glob("*.parquet"))
    for path in [*files, *([folder] if files else [])]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    for path in files:
        path.chmod(0o444)
    return sum(path.stat().st_size for path in files)


def _check_contract(run: Run, path: Path) -> None:
    """Runs every query of sql/checks/; a row that comes back is a broken promise."""
    checks = sorted(
        file.name.removesuffix(".sql")
        for file in resources.files("sql").joinpath("checks").iterdir()
        if file.name.endswith(".sql")
    )
    with connect(path, run.config, read_only=True) as connection:
        broken = {check: rows for check in checks if (rows := connection.execute(sql(f"checks/{check}")).fetchall())}
    if broken:
        details = "; ".join(f"{check}: {len(rows)} rows, such as {rows[:3]}" for check, rows in broken.items())
        raise ContractBroken(
            f"the new tables break {len(broken)} of {len(checks)} checks and were not published: {details}"
        )
    get_run_logger().info("all %s contract checks hold", len(checks))
