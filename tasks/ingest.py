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
    mapped,
    open_file,
    require_column,
    with_id_types,
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
    logger = get_run_logger()
    source = run.config.source
    files = event_files(source)
    with connect(run.events, run.config) as connection:
        connection.execute(sql("macros"))
        connection.execute(sql("event_files"))
        known = dict(connection.execute("select path, digest from event_files").fetchall())
        new = [file for file in files if known.get(str(file.path)) != file.digest]
        connection.execute("begin")
        n_new = sum(_load(connection, source, file, ids) for file, ids in with_id_types(connection, source, new))
        n_items = _load_items(connection, source.items)
        n_events, n_files = first_row(connection, "select coalesce(sum(n_rows), 0), count(*) from event_files")
        if not n_events:
            raise InputError(f"source.events: {source.events} holds no rows; there is nothing to learn from")
        digests = connection.execute("select digest from event_files order by path").fetchall()
        connection.execute("commit")
    logger.info(
        "%s events, %s of them from %s new or changed files; metadata for %s items",
        f"{n_events:,}",
        f"{n_new:,}",
        len(new),
        f"{n_items:,}",
    )
    handle = Events(int(n_events), n_new, n_files, hashlib.sha256(repr(digests).encode()).hexdigest())
    run.record("ingest", handle)
    return handle


def _load(connection: "DuckDBPyConnection", source: Source, file: SourceFile, id_types: dict[str, str]) -> int:
    """Reads one file into events and returns its number of rows."""
    import duckdb
    from duckdb import ColumnExpression

    columns = mapped(connection, source, file.path)
    kind = str(columns.types[columns.columns.index("timestamp")])
    convert = (
        "utc_from_number"
        if kind.startswith(NUMBERS)
        else "utc_from_time"
        if kind.startswith(MOMENTS)
        else "utc_from_text"
    )
    connection.execute(f"create or replace temp macro to_utc(given) as {convert}(given)")
    typed = [
        ColumnExpression(name).cast(id_types[name]).alias(name) if name in id_types else ColumnExpression(name)
        for name in columns.columns
    ]
    columns.select(*typed).create_view("source_rows", replace=True)
    try:
        connection.execute(sql("incoming"))
        _refuse_unreadable(connection, source, file.path)
    except duckdb.Error as error:
        raise InputError(f"{file.path} cannot be read: {str(error).splitlines()[0]}") from None
    n_rows = _replace_events(connection, file)
    get_run_logger().info("read %s: %s rows", file.path, f"{n_rows:,}")
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
    columns = open_file(connection, path).columns
    for key in ("item_id", "title"):
        require_column(columns, path, getattr(items, key), f"source.items.{key}")
    others = [ColumnExpression(name) for name in columns if name not in (items.item_id, items.title)]
    open_file(connection, path, text_columns=[items.item_id]).select(
        ColumnExpression(items.item_id).cast("varchar").alias("item_id"),
        ColumnExpression(items.title).cast("varchar").alias("title"),
        *others,
    ).create_view("source_items", replace=True)
    connection.execute(
        f"create or replace table items as select * replace (try_cast(item_id as {id_type}) as item_id) "
        f"from source_items where try_cast(item_id as {id_type}) is not null"
    )
    n_rows, n_items = first_row(connection, "select count(*), count(distinct item_id) from items")
    if n_rows > n_items:
        example = first_row(connection, "select item_id from items group by 1 having count(*) > 1 limit 1")[0]
        raise InputError(
            f"{path}: {n_rows:,} rows for {n_items:,} items, such as {example!r} more than once; "
            "metadata must have one row an item"
        )
    return n_items
