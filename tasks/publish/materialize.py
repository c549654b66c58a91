"""The published model into output tables: one DuckDB file, checked, that nobody reads yet."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from tasks.publish.candidates import require_candidates
from tasks.publish.contract import check_contract
from tasks.publish.definitions import comment, definition
from tasks.publish.incremental import reuse_earlier, versions
from tasks.publish.inputs import open_inputs
from tasks.publish.macros import write_macros
from tasks.publish.output import Output, Reuse
from tasks.publish.published_model import load_published_model
from tasks.publish.tables import README, RENEWED, TABLES, Table
from tasks.run.database import connect, first_row
from tasks.run.durable import remove, sync
from tasks.run.handles import Events, Interactions, Matrix, Rules, Tables, Trained
from tasks.run.progress import working
from tasks.run.quoting import identifier, literal
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OF_SOURCE = "As the source gave it"


@stage("materialize")
def materialize(
    run: Run, events: Events, interactions: Interactions, matrix: Matrix, rules: Rules, trained: Trained
) -> Tables:
    """Writes every table into a file beside the published ones and checks the contract. Removes it if that fails."""
    path, folder = run.warehouse.unfinished_tables(run.run_id), run.warehouse.large_tables(run.run_id)
    with _removed_if_unfinished(path, folder):
        with working("model and histories") as show, connect(":memory:", run.config) as connection:
            model = load_published_model(run, trained, show)
            require_candidates(run, model.items.is_allowed, model.seen)
            open_inputs(connection, run)
            show("what stays of the published tables")
            reuse = reuse_earlier(connection, run, trained, model, path)
            if reuse is None:
                connection.execute(f"attach {literal(str(path))} as output (storage_version 'v1.5.0')")
            else:
                model = replace(model, users=reuse.users)
            parameters = _parameters(run, events, matrix, trained, reuse)
            max_table_size = run.config.recommendations.max_table_size
            write_tables(Output(connection, model, reuse, parameters, max_table_size, folder, show))
            connection.execute("detach output")
        check_contract(run, path, None if reuse is None else reuse.changed)
        n_bytes = path.stat().st_size + _make_durable(folder)
    return Tables(path.name, matrix.n_users, matrix.n_items, n_bytes)


@contextmanager
def _removed_if_unfinished(path: Path, folder: Path) -> Iterator[None]:
    """Removes what an earlier attempt has left there, and what this one leaves if it fails."""
    path.parent.mkdir(exist_ok=True)
    for left in (path, folder):
        remove(left)  # a link there would be followed
    try:
        yield
    except BaseException:
        for unfinished in path.parent.glob(f"{path.name}*"):  # on a full disk DuckDB leaves its log, too
            remove(unfinished)
        remove(folder)
        raise


def _parameters(run: Run, events: Events, matrix: Matrix, trained: Trained, reuse: Reuse | None) -> dict[str, Any]:
    """What the selects of sql/tables/ know by name, besides rows."""
    rules = run.config.recommendations
    return {
        "run_id": run.run_id,
        "created_at": run.at,
        "n_events": events.n_events,
        "n_users": matrix.n_users,
        "n_items": matrix.n_items,
        "policy_type": run.config.policy_configs.policy.policy_type,
        "scale": trained.scale,
        "model_run_id": trained.model_run_id,
        "model_digest": trained.digest,
        "n_refreshes": 0 if reuse is None else reuse.n_refreshes,
        "k": rules.k,
        "neighbors": rules.neighbors,
        "has_filters": bool(rules.filters),
        "config": run.config.model_dump_json(),
        "versions": json.dumps(versions()),
    }


def write_tables(output: Output) -> None:
    """Writes all tables, views and macros with their comments."""
    for table in TABLES:
        write_table(output, table)
    _warn_of_items_without_neighbors(output)
    output.connection.begin()  # a hundred small statements: each alone would take a write to disk
    write_macros(output.connection, output.model.rules)
    _write_comments(output.connection)
    write_table(output, README)
    comment(output.connection, definition("tables/readme"))
    output.connection.commit()


def write_table(output: Output, table: Table) -> None:
    """Computes the rows block by block, writes them, counts them."""
    output.show(table.name)
    is_in_file = output.reuse is not None and table.name in output.reuse.in_file
    if output.reuse is None or table.name not in output.reuse.whole:
        table.read_inputs(output)
        query = definition(f"tables/{table.name}").query
        if is_in_file:
            output.append(table.name, query)
        else:
            output.create(table.name, _with_rows_that_stay(output, table, query), table.n_bytes(output.model))
    elif not is_in_file:
        output.create(table.name, f"from earlier.{table.name}", table.n_bytes(output.model))
    n_rows = first_row(output.connection, f"select count(*) from output.{table.name}")[0]
    get_run_logger().info("%s: %s rows", table.name, f"{n_rows:,}")


def _with_rows_that_stay(output: Output, table: Table, query: str) -> str:
    """In a refresh, the query with the published rows of the users of whom it computes none."""
    if output.reuse is None or table.renewed is None:
        return query
    stays = f"from earlier.{table.name} anti join (from changed where {RENEWED[table.name]}) using (user_id)"
    return f"select * from (({query}\n) union all by name ({stays})) order by 1, 2"


def _write_comments(connection: "DuckDBPyConnection") -> None:
    """Of the tables, and of the columns of `items` that only the source knows."""
    views = connection.execute("select view_name from duckdb_views() where database_name = 'output'").fetchall()
    for of in (definition(f"tables/{table.name}") for table in TABLES):
        comment(connection, of, "view" if (of.name,) in views else "table")
    known = definition("tables/items").columns
    for column, *_ in connection.execute("describe output.items").fetchall():
        if column not in known:
            connection.execute(f"comment on column output.items.{identifier(column)} is '{OF_SOURCE}'")


def _warn_of_items_without_neighbors(output: Output) -> None:
    """Counts them in the log; warns if that is all items."""
    n_alone, n_items = first_row(output.connection, "select n_items_without_neighbors, n_items from output.run_info")
    rules = output.model.rules
    if n_alone == n_items:
        get_run_logger().warning(
            f"no item has a neighbour: item_neighbors is empty; recommendations.neighbors_min_users is "
            f"{rules.neighbors_min_users}, same_category {rules.same_category}"
        )
    else:
        get_run_logger().info(f"{n_alone:,} of {n_items:,} items have no neighbours")


def _make_durable(folder: Path) -> int:
    """Asks the system to put the run's Parquet files on disk, and returns their size in bytes."""
    files = sorted(folder.glob("*.parquet"))
    for path in files:
        sync(path)
        path.chmod(0o444)
    if files:
        sync(folder)
    return sum(path.stat().st_size for path in files)
