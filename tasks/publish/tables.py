"""The published model into output tables: one DuckDB file, checked, that nobody reads yet."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.errors import InputError
from tasks.publish import recommendations as lists
from tasks.publish.candidates import require_candidates
from tasks.publish.incremental import OF_USERS, Reuse, reuse_earlier, versions
from tasks.run.database import attach, connect, first_row, sql
from tasks.run.durable import remove
from tasks.run.handles import Events, Interactions, Matrix, Rules, Tables, Trained
from tasks.run.index import RunSummary, all_runs
from tasks.run.progress import working
from tasks.run.quoting import identifier, literal
from tasks.run.results import usable_parquet
from tasks.run.run import Run
from tasks.run.stage import stage
from tasks.settings.config import bytes_of

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

PUBLISHED = ("as_user_id", "as_item_id", "available_items", "user_topk_now", "recommend", "similar", "popular",
             "score", "score_pairs", "explain", "recommend_for")  # fmt: skip


class ContractBroken(AssertionError):
    """A finished table does not keep the contract in sql/checks/: a defect of this program, never published."""


@stage("materialize")
def materialize(
    run: Run, events: Events, interactions: Interactions, matrix: Matrix, rules: Rules, trained: Trained
) -> Tables:
    """Writes every table into a file beside the published ones and checks the contract. Removes it if that fails."""
    path, folder = run.warehouse.unfinished_tables(run.run_id), run.warehouse.large_tables(run.run_id)
    path.parent.mkdir(exist_ok=True)
    for left in (path, folder):
        remove(left)  # a link there would be followed
    try:
        with working("model and histories") as show, connect(":memory:", run.config) as connection:
            source = lists.load_lists(run, trained, show)
            require_candidates(run, source.items.is_allowed, source.seen)
            attach(connection, run.warehouse.events, "warehouse")
            show("what stays of the published tables")
            reuse = reuse_earlier(connection, run, trained, source, _n_listed(run), path)
            if reuse is None:
                connection.execute(f"attach {literal(str(path))} as output (storage_version 'v1.5.0')")
            else:
                source = replace(source, users=reuse.users)
            output = Output(connection, run, reuse, show)
            _write_model_tables(output, source, interactions)
            _write_record_tables(output, source, events, interactions, matrix, rules, trained)
            connection.begin()  # a hundred small statements: each alone would take a write to disk
            _write_macros(connection, run)
            _write_comments(connection)
            connection.commit()
            connection.execute("detach output")
        _check_contract(run, path, None if reuse is None else reuse.changed)
        n_bytes = path.stat().st_size + _make_durable(folder)
    except BaseException:
        for unfinished in path.parent.glob(f"{path.name}*"):  # on a full disk DuckDB leaves its log, too
            remove(unfinished)
        remove(folder)
        raise
    return Tables(path.name, matrix.n_users, matrix.n_items, n_bytes)


def _n_listed(run: Run) -> int:
    """Places of a list: k, and the spares behind them where listed items can become unavailable."""
    return run.config.recommendations.k + _n_spare(run)


def _n_spare(run: Run) -> int:
    """Items kept behind each list, where listed ones can become unavailable."""
    items = run.config.source.items
    return run.config.recommendations.spare if items and items.available_until else 0


@dataclass(frozen=True)
class Output:
    """The file in the making, attached as `output`, and what it has already."""

    connection: "DuckDBPyConnection"
    run: Run
    reuse: Reuse | None
    show: Callable[..., None]

    def register(self, view: str, batches: "Iterator[pa.RecordBatch]") -> None:
        """Makes the batches readable, once, under a name."""
        import pyarrow as pa

        first = next(batches)

        def all_batches() -> "Iterator[pa.RecordBatch]":
            yield first
            yield from batches

        self.connection.register(view, pa.RecordBatchReader.from_batches(first.schema, all_batches()))

    def write(self, table: str, size: float, **parameters: object) -> None:
        """Runs sql/tables/<table>.sql, or puts its rows behind those that stayed in the table; `size` is in bytes.

        Beyond max_table_size the rows of a new table go to a Parquet file, and a view leads there.
        """
        self.show(table)
        create = f"create table output.{table} as\n"
        query = sql(f"tables/{table}").partition(create)[2].rstrip("; \n")
        is_new = self.reuse is None or table not in self.reuse.tables
        if self.reuse is not None and is_new and table in OF_USERS:
            stays = f"from earlier.{table} anti join (from changed where {OF_USERS[table]}) using (user_id)"
            query = f"select * from (({query}) union all by name ({stays})) order by 1, 2"
        if not is_new:
            self.connection.execute(f"insert into output.{table} by name {query}", parameters)
        elif size > bytes_of(self.run.config.recommendations.max_table_size):
            self._write_parquet(table, query, parameters)
        else:
            self.connection.execute(create + query, parameters)
        n_rows = first_row(self.connection, f"select count(*) from output.{table}")[0]
        get_run_logger().info("%s: %s rows", table, f"{n_rows:,}")

    def _write_parquet(self, table: str, query: str, parameters: dict) -> None:
        path = self.run.warehouse.large_tables(self.run.run_id) / f"{table}.parquet"
        path.parent.mkdir(exist_ok=True)
        self.connection.execute(f"copy ({query}) to '{path}' (format parquet)", parameters)
        rows = f"read_parquet('{path}', hive_partitioning = false)"
        columns = _typed(self.connection, rows)
        self.connection.execute(f"create view output.{table} as select {columns} from {rows}")


def _write_model_tables(output: Output, source: lists.Lists, interactions: Interactions) -> None:
    """Streams what the model computes, block by block, into its tables, and the histories that it computed from."""
    n_users = source.X.shape[0]
    row_bytes = lists.row_bytes(source)
    _write_lists(output, source, n_users * _n_listed(output.run) * row_bytes["user_topk"])
    output.register("user_vectors", lists.user_vectors(source))
    output.write("user_embeddings", n_users * row_bytes["user_embeddings"])
    pairs = f"from read_parquet({literal(str(output.run.files.interactions))}, hive_partitioning = false)"
    anew = "" if output.reuse is None else "where user_id in (select user_id from changed where has_new_history)"
    output.connection.execute(f"create temp view histories as {pairs} {anew}")
    items = str(output.run.files.items)
    output.write("user_items", source.seen.nnz * row_bytes["user_items"], items=items)
    _write_item_tables(output, source, row_bytes)


def _write_lists(output: Output, source: lists.Lists, n_bytes: float) -> None:
    """Lists and their spares are computed once, and kept on disk only where there are spares to be read again."""
    k, has_spares = output.run.config.recommendations.k, _n_spare(output.run) > 0
    output.register("computed", lists.user_lists(source, _n_listed(output.run)))
    output.connection.execute(f"create temp {'table' if has_spares else 'view'} lists as from computed")
    output.write("user_topk", n_bytes, k=k)
    if not has_spares:
        output.connection.execute("create or replace temp view lists as from output.user_topk limit 0")
    output.write("user_spares", n_bytes if has_spares else 0, k=k)
    output.connection.unregister("computed")


def _write_item_tables(output: Output, source: lists.Lists, row_bytes: dict[str, float]) -> None:
    """Neighbours, vectors and residuals; in a refresh they stay, but neighbours that depend on who has what."""
    rules, n_items = output.run.config.recommendations, source.X.shape[1]
    for table, view, batches, n_rows in [
        ("item_neighbors", "neighbors", lists.neighbors(source, rules.neighbors), n_items * rules.neighbors),
        ("item_embeddings", "item_vectors", lists.item_vectors(source), n_items),
        ("item_residuals", "residuals", lists.residuals(source), lists.n_residuals(source)),
    ]:
        if output.reuse is not None and table in output.reuse.tables:
            continue
        if output.reuse is not None and not (table == "item_neighbors" and rules.neighbors_min_users):
            output.connection.execute(f"create temp view {view} as from earlier.{table}")
        else:
            output.register(view, batches)
        output.write(table, n_rows * row_bytes[table])


def _typed(connection: "DuckDBPyConnection", rows: str) -> str:
    """The columns of the rows of a Parquet file, which knows lists of any length only."""
    columns = [column for (column, *_) in connection.execute(f"describe from {rows}").fetchall()]
    if "embedding" not in columns:
        return "*"
    factors = first_row(connection, f"select max(len(embedding)) from {rows}")[0]
    return f"* replace (cast(embedding as float[{factors}]) as embedding)"


def _write_record_tables(
    output: Output,
    source: lists.Lists,
    events: Events,
    interactions: Interactions,
    matrix: Matrix,
    rules: Rules,
    trained: Trained,
) -> None:
    """Writes the items, and the record of how the run went."""
    import json

    import pyarrow as pa

    kinds = {"run_id": pa.string(), "stage": pa.string(), "finished_at": pa.string(), "seconds": pa.float64()}
    stages = pa.schema(kinds | {"rows": pa.int64(), "peak_bytes": pa.int64()})
    run, files = output.run, output.run.files
    runs, _ = all_runs(run.warehouse)
    results = [str(file) for file in (files.drift, files.validation) if file.path.exists()]
    output.register("scored_items", lists.scored_items(source))
    output.connection.register("stages", pa.Table.from_pylist(_stages_of(runs), stages))
    has_filters = bool(run.config.recommendations.filters)
    for table, parameters in {
        "popular_items": {"items": str(files.items)},
        "items": {"interactions": str(files.interactions)},
        "catalogue": {"rules": str(files.rules), "has_filters": has_filters},
        "run_info": {
            "run_id": run.run_id,
            "created_at": run.at,
            "n_events": events.n_events,
            "n_users": matrix.n_users,
            "n_items": matrix.n_items,
            "policy_type": run.config.policy_configs.policy.policy_type,
            "scale": trained.scale,
            "model_run_id": trained.model_run_id,
            "model_digest": trained.digest,
            "n_refreshes": 0 if output.reuse is None else output.reuse.n_refreshes,
            "k": run.config.recommendations.k,
            "neighbors": run.config.recommendations.neighbors,
            "config": run.config.model_dump_json(),
            "versions": json.dumps(versions()),
        },
        "run_metrics": {"metrics": _files_of(run, runs, "evaluate", files.metrics.name)},
        "gate_checks": {"gate_checks": _files_of(run, runs, "gate", files.gate_checks.name)},
        "validation_results": {"run_id": run.run_id, "results": results},
        "drift": {},
        "run_stages": {},
    }.items():
        output.show(table)
        output.connection.execute(sql(f"tables/{table}"), parameters)
    n_alone = first_row(output.connection, "select n_items_without_neighbors from output.run_info")[0]
    if n_alone == matrix.n_items:
        get_run_logger().warning(
            f"no item has a neighbour: item_neighbors is empty; recommendations.neighbors_min_users is "
            f"{source.rules.neighbors_min_users}, same_category {source.rules.same_category}"
        )
    else:
        get_run_logger().info(f"{n_alone:,} of {matrix.n_items:,} items have no neighbours")


def _files_of(run: Run, runs: list[RunSummary], of_stage: str, name: str) -> list[str]:
    """The file of that name of each run that has finished the stage. Raises InputError if there is none."""
    folders = (run.warehouse.run_folder(one.run_id) for one in runs if of_stage in one.stages)
    if not (found := usable_parquet(folder / name for folder in folders)):
        raise InputError(f"no run in {run.warehouse.path} has a {name} that can be used; make one with: elsa nightly")
    return [str(path) for path in found]


def _stages_of(runs: list[RunSummary]) -> list[dict]:
    """What each finished stage took, a row a stage, of every one of the runs that has taken events in."""
    return [
        {"run_id": one.run_id, "stage": name} | taken
        for one in runs
        if "ingest" in one.stages
        for name, taken in one.measured.items()
    ]


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
            connection.execute(f"comment on column items.{identifier(column)} is 'As the source gave it'")
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


def _check_contract(run: Run, path: Path, changed: "pa.Table | None" = None) -> None:
    """Runs every query of sql/checks/; a row that comes back is a broken promise.

    Those of sql/checks/users/ look at each user alone: in a refresh, at the `changed` ones (user_id). The rows of
    others are those of a file that has passed.
    """
    broken, checks, of_users = {}, _checks("checks"), _checks("checks/users")
    n_checks = len(checks) + len(of_users)
    with connect(path, run.config, read_only=True) as connection, working("contract checks") as show:
        for n_done, check in enumerate([*checks, *of_users]):
            show("contract checks", n_done / n_checks)
            if check == of_users[0] and changed is not None:
                _narrow(connection, changed)
            if rows := connection.execute(sql(check)).fetchall():
                broken[check] = rows
    if broken:
        details = "; ".join(
            f"{check.split('/')[-1]}: {len(rows)} rows, such as {rows[:3]}" for check, rows in broken.items()
        )
        raise ContractBroken(
            f"the new tables break {len(broken)} of {n_checks} checks and were not published: {details}"
        )
    get_run_logger().info("all %s contract checks hold", n_checks)


def _checks(folder: str) -> list[str]:
    files = resources.files("sql").joinpath(folder).iterdir()
    return sorted(f"{folder}/{file.name.removesuffix('.sql')}" for file in files if file.name.endswith(".sql"))


def _narrow(connection: "DuckDBPyConnection", changed: "pa.Table") -> None:
    """Lets the names of users' tables stand for the rows of these users, in the order in which they lie."""
    database = first_row(connection, "select current_database()")[0]
    connection.register("changed", changed)
    in_file = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    for table in OF_USERS:
        rows = f'from "{database}".main.{table} semi join changed using (user_id)'
        order = "rowid" if table in in_file else "1, 2"
        connection.execute(f"create temp table {table} as {rows} order by {order}")
