"""Source files into warehouse/events.duckdb: what is new or changed, all or nothing, and nothing lost."""

import hashlib
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.config import Source
from tasks.errors import InputError, ValidationFailed
from tasks.ledger import enter, make_ledger, readmit, refuse
from tasks.observe import working
from tasks.retries import RETRIES
from tasks.source_files import (
    SourceFile,
    close_events,
    event_files,
    find_files,
    id_types,
    id_types_of_events,
    mapped,
    open_events,
    open_table,
    readable,
    require_column,
    tidied,
)
from tasks.stages import Events
from tasks.warehouse import Run, connect, first_row, sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@task(**RETRIES)
def ingest(run: Run, retry_refused: bool = True) -> Events:
    """Adds the events of new files, replaces those of changed ones, and takes over the item metadata.

    Files that were refused and are still named are tried again, or left out. Raises ValidationFailed where too many
    of tonight's rows cannot be used; they are refused, and stay to be looked at.
    """
    source = run.config.source
    files = event_files(source, run.config.quarantine)
    with connect(run.events, run.config) as connection:
        make_ledger(connection)
        connection.execute("begin")
        n_again = readmit(connection, files, run.run_id) if retry_refused else 0
        new = _new_files(connection, files)
        _load_all(connection, run, new)
        if not first_row(connection, "select count(*) from active_files where n_read > 0")[0]:
            raise InputError(f"source.events: {source.events} holds no rows; there is nothing to learn from")
        if new or n_again:
            with progress(connection, "merging"):
                connection.execute(sql("events"))
        n_items = _load_items(connection, source)
        handle = _count(connection, len(new) + n_again)
        n_new, n_new_rejected = first_row(connection, sql("rejected_of_run"), {"run_id": run.run_id})
        tonight = dict(connection.execute(sql("rejected_reasons"), {"run_id": run.run_id}).fetchall())
        is_refused = n_new_rejected > run.config.quarantine.max_share * n_new
        if is_refused:
            refuse(connection, unchecked_only=True)
        connection.execute("commit")
    log = get_run_logger()
    log.info(f"{handle.n_events:,} events, after {n_new:,} rows of {len(new)} new or changed files; "
             f"metadata for {n_items:,} items")  # fmt: skip
    if handle.n_files > len(files):
        log.info(f"the events include those of {handle.n_files - len(files)} files of earlier nights")
    if handle.n_repeated:
        log.info(f"{handle.n_repeated:,} repeated deliveries of an event count once")
    if n_new_rejected:
        log.warning(f"{n_new_rejected:,} rows were set aside ({_in_words(tonight)}); see: elsa rejected")
    run.record("ingest", handle)
    if is_refused:
        raise ValidationFailed(
            f"{n_new_rejected:,} of {n_new:,} rows read tonight cannot be used ({_in_words(tonight)}), more than "
            f"quarantine.max_share={run.config.quarantine.max_share} allows; nothing was trained or published. "
            "Look at them with: elsa rejected"
        )
    return handle


def progress(connection: "DuckDBPyConnection", step: str) -> AbstractContextManager:
    """Shows meanwhile how far the statement is that runs, where DuckDB can tell: not while it aggregates."""
    connection.execute("set enable_progress_bar = true; set enable_progress_bar_print = false")
    return working(step, lambda: connection.query_progress() / 100)


def _new_files(connection: "DuckDBPyConnection", files: list[SourceFile]) -> list[SourceFile]:
    known = "select path, digest from active_files union all select path, digest from event_files where not is_valid"
    known = set(connection.execute(known).fetchall())
    return [file for file in files if (file.name, file.digest) not in known]


def _load_all(connection: "DuckDBPyConnection", run: Run, files: list[SourceFile]) -> None:
    """Reads the files into event_rows, whose ids get the type that fits all, and rejected_events."""
    kept = id_types_of_events(connection)
    types = id_types(connection, run.config.source, run.config.quarantine, files, kept)
    for name, kind in kept.items():
        if kind != types[name]:
            for table in ("event_rows", "events"):
                connection.execute(f"alter table {table} alter {name} type {types[name]}")
    if files:
        event_rows = sql("event_rows")
        for name, kind in types.items():
            event_rows = event_rows.replace(f"${name}_type", kind)
        connection.execute(event_rows)
    for place, file in enumerate(files, start=1):
        n_rows, n_rejected = _load(connection, run, file, types)
        rejected = f", {n_rejected:,} of them set aside" if n_rejected else ""
        get_run_logger().info(f"read {Path(file.name).name}: {n_rows:,} rows{rejected} ({place} of {len(files)})")


def _load(connection: "DuckDBPyConnection", run: Run, file: SourceFile, types: dict[str, str]) -> tuple[int, int]:
    """Reads one file in the place of what it held when it was last read, and returns its rows and those set aside."""
    source, quarantine = run.config.source, run.config.quarantine
    connection.execute(f"set timezone = '{source.timezone}'")
    relation = open_events(connection, source, file)
    limits = quarantine.model_dump(include={"min_value", "max_value", "max_hours_ahead"})
    limits["earliest"] = datetime.fromisoformat(quarantine.earliest).isoformat()
    hint = "; if a quarantine.condition does this, let it use try_cast" if quarantine.conditions else ""
    with readable(file.name, hint), progress(connection, f"reading {Path(file.name).name}"):
        query = mapped(relation, source, types, quarantine)
        connection.execute(f"create or replace temp view source_rows as {query}")
        connection.execute(sql("incoming"), limits | {"has_times": source.columns.timestamp is not None})
    file_id = enter(connection, file, run.run_id)
    for name in ("insert_events", "insert_rejected"):
        connection.execute(sql(name), {"file_id": file_id})
    if first_row(connection, "select count(*) from duckdb_tables() where table_name = 'reject_errors'")[0]:
        connection.execute(sql("insert_malformed"), {"file_id": file_id})
    n_rows = first_row(connection, "select count(*) from incoming")[0]
    n_malformed, n_rejected = first_row(connection, sql("rejected_of_file"), {"file_id": file_id})
    connection.execute("update event_files set n_read = $n where file_id = $file_id",
                       {"n": n_rows + n_malformed, "file_id": file_id})  # fmt: skip
    connection.execute("drop view source_rows")
    connection.execute("set timezone = 'UTC'")
    close_events(connection)
    return n_rows + n_malformed, n_rejected


def _count(connection: "DuckDBPyConnection", n_new_files: int) -> Events:
    """The totals, of which none may be missing."""
    n_events, n_repeated, n_rejected, n_read, n_files, digests = first_row(connection, sql("event_totals"))
    if n_events + n_repeated + n_rejected != n_read:
        raise AssertionError(
            f"of {n_read:,} rows that were read, {n_events:,} are accepted, {n_repeated:,} repeated and "
            f"{n_rejected:,} rejected: not all of them"
        )
    reasons = dict(connection.execute(sql("rejected_reasons"), {"run_id": None}).fetchall())
    digest = hashlib.sha256(digests.encode()).hexdigest()
    return Events(n_events, n_read, n_repeated, n_rejected, reasons, n_new_files, n_files, digest)


def _in_words(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in reasons.items())


def _load_items(connection: "DuckDBPyConnection", source: Source) -> int:
    """Replaces the item metadata by the source's, and returns its number of items."""
    from duckdb import ColumnExpression, SQLExpression

    items, id_type = source.items, id_types_of_events(connection)["item_id"]
    if items is None:
        connection.execute(f"create or replace table items (item_id {id_type}, title varchar)")
        return 0
    if items.query is not None:
        name = "source.items.query"
        with readable(name):
            relation = connection.sql(items.query)
    else:
        name, *more = find_files(items.path, "source.items.path")
        if more:
            raise InputError(f"source.items.path: {items.path} names {len(more) + 1} files; name one")
        relation = open_table(connection, source, name, [items.item_id])
    for key in ("item_id", "title"):
        require_column(relation.columns, name, getattr(items, key), f"source.items.{key}")
    others = [ColumnExpression(column) for column in relation.columns if column not in (items.item_id, items.title)]
    kind = str(relation.types[relation.columns.index(items.item_id)])
    with readable(name):
        relation.select(
            SQLExpression(tidied(items.item_id, kind, source.ids)).cast("varchar").alias("item_id"),
            ColumnExpression(items.title).cast("varchar").alias("title"),
            *others,
        ).create_view("source_items", replace=True)
        connection.execute(sql("items").replace("$id_type", id_type))
    n_rows, n_items = first_row(connection, "select count(*), count(distinct item_id) from items")
    if n_rows > n_items:
        example = first_row(connection, "select item_id from items group by 1 having count(*) > 1 limit 1")[0]
        raise InputError(
            f"{name}: {n_rows:,} rows for {n_items:,} items, such as {example!r} more than once; "
            "metadata must have one row an item"
        )
    n_unlike = first_row(connection, "select count(*) from source_items")[0] - n_rows
    if n_unlike:
        get_run_logger().warning(f"{n_unlike:,} rows of {name} are left out: no event can have their ids")
    return n_items
