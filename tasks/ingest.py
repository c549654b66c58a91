"""Source files into warehouse/events.duckdb: what is new or changed, all or nothing."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.config import ItemSource, Source
from tasks.errors import InputError
from tasks.source_files import (
    INTEGERS,
    SourceFile,
    event_files,
    find_files,
    id_types,
    id_types_of_events,
    mapped,
    open_file,
    readable,
    require_column,
)
from tasks.stages import Events
from tasks.warehouse import Run, connect, first_row, sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
MOMENTS = ("TIMESTAMP", "DATE")


@task
def ingest(run: Run) -> Events:
    """Adds the events of new files, replaces those of changed ones, and takes over the item metadata."""
    source = run.config.source
    files = event_files(source)
    with connect(run.events, run.config) as connection:
        for name in ("macros", "event_files"):
            connection.execute(sql(name))
        connection.execute("begin")
        _forget_unvalidated(connection)
        new = _new_files(connection, files)
        n_new = _load_all(connection, source, new)
        n_events, n_files, digests = first_row(connection, sql("event_totals"))
        if not n_events:
            raise InputError(f"source.events: {source.events} holds no rows; there is nothing to learn from")
        n_items = _load_items(connection, source.items)
        connection.execute("commit")
    get_run_logger().info(
        f"{n_events:,} events, {n_new:,} of them from {len(new)} new or changed files; metadata for {n_items:,} items"
    )
    if n_files > len(files):
        get_run_logger().info(f"the events include those of {n_files - len(files)} files of earlier nights")
    handle = Events(n_events, n_new, n_files, hashlib.sha256(digests.encode()).hexdigest())
    run.record("ingest", handle)
    return handle


def _forget_unvalidated(connection: "DuckDBPyConnection") -> None:
    """Takes out the files of nights that validation stopped; they are read anew if they are still named."""
    if _has_events(connection):
        connection.execute("delete from events where file_id in (select file_id from event_files where not is_valid)")
        if first_row(connection, "select count(*) from events")[0] == 0:
            connection.execute("drop table events")  # what was wrong with them may be the types of their ids
    connection.execute("delete from event_files where not is_valid")


def _has_events(connection: "DuckDBPyConnection") -> bool:
    return first_row(connection, "select count(*) from duckdb_tables() where table_name = 'events'")[0] > 0


def _new_files(connection: "DuckDBPyConnection", files: list[SourceFile]) -> list[SourceFile]:
    known = dict(connection.execute("select path, digest from event_files").fetchall())
    return [file for file in files if known.get(str(file.path)) != file.digest]


def _load_all(connection: "DuckDBPyConnection", source: Source, files: list[SourceFile]) -> int:
    """Reads the files into events, whose ids get the type that fits all, and returns the number of rows."""
    kept = id_types_of_events(connection)
    types = id_types(connection, source, files, kept)
    for name, kind in kept.items():
        if kind != types[name]:
            connection.execute(f"alter table events alter {name} type {types[name]}")
    return sum(_load(connection, source, file, types) for file in files)


def _load(connection: "DuckDBPyConnection", source: Source, file: SourceFile, types: dict[str, str]) -> int:
    """Reads one file into events and returns its number of rows."""
    from duckdb import ColumnExpression

    columns = mapped(connection, source, file.path)
    kind = str(columns.types[columns.columns.index("timestamp")])
    convert = "number" if kind.startswith(NUMBERS) else "moment" if kind.startswith(MOMENTS) else "text"
    connection.execute(f"create or replace temp macro to_utc(given) as utc_from_{convert}(given)")
    typed = [
        ColumnExpression(name).cast(types[name]).alias(name) if name in types else ColumnExpression(name)
        for name in columns.columns
    ]
    with readable(file.path):
        columns.select(*typed).create_view("source_rows", replace=True)
        connection.execute(sql("incoming"))
    _refuse_unreadable(connection, source, file.path)
    n_rows = _replace_events(connection, file)
    get_run_logger().info(f"read {file.path.name}: {n_rows:,} rows")
    return n_rows


def _replace_events(connection: "DuckDBPyConnection", file: SourceFile) -> int:
    """Puts the incoming rows in the place of whatever the file held when it was last ingested."""
    path = {"path": str(file.path)}
    connection.execute(sql("events"))
    connection.execute(
        "delete from events where file_id = (select file_id from event_files where path = $path)", path
    )
    connection.execute("delete from event_files where path = $path", path)
    n_rows = first_row(connection, "select count(*) from incoming")[0]
    connection.execute(
        "insert into event_files (path, digest, n_rows) values ($path, $digest, $n_rows)",
        {**path, "digest": file.digest, "n_rows": n_rows},
    )
    connection.execute(sql("insert_events"), path)
    return n_rows


def _refuse_unreadable(connection: "DuckDBPyConnection", source: Source, path: Path) -> None:
    for name, expected in [("timestamp", "a time"), ("value", "a finite number")]:
        count, example = first_row(
            connection, f"select count(unreadable_{name}), any_value(unreadable_{name}) from incoming"
        )
        if count:
            raise InputError(
                f"{path}: {count:,} rows have no readable {name} in column "
                f"{getattr(source.columns, name)!r}, such as {example!r}, which is not {expected}; "
                "correct them or map another column"
            )


def _load_items(connection: "DuckDBPyConnection", items: ItemSource | None) -> int:
    """Replaces the item metadata by the file's, and returns its number of items."""
    from duckdb import ColumnExpression

    id_type = first_row(
        connection, "select data_type from duckdb_columns() where table_name = 'events' and column_name = 'item_id'"
    )[0]
    if items is None:
        connection.execute(f"create or replace table items (item_id {id_type}, title varchar)")
        return 0
    path, *more = find_files(items.path, "source.items.path")
    if more:
        raise InputError(f"source.items.path: {items.path} names {len(more) + 1} files; metadata must be one file")
    relation = open_file(connection, path, [items.item_id])
    for key in ("item_id", "title"):
        require_column(relation.columns, path, getattr(items, key), f"source.items.{key}")
    others = [ColumnExpression(name) for name in relation.columns if name not in (items.item_id, items.title)]
    with readable(path):
        relation.select(
            ColumnExpression(items.item_id).cast("varchar").alias("item_id"),
            ColumnExpression(items.title).cast("varchar").alias("title"),
            *others,
        ).create_view("source_items", replace=True)
        connection.execute(sql("items").replace("$id_type", id_type))
    n_rows, n_items = first_row(connection, "select count(*), count(distinct item_id) from items")
    if n_rows > n_items:
        example = first_row(connection, "select item_id from items group by 1 having count(*) > 1 limit 1")[0]
        raise InputError(
            f"{path}: {n_rows:,} rows for {n_items:,} items, such as {example!r} more than once; "
            "metadata must have one row an item"
        )
    return n_items
