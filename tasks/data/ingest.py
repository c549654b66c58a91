"""Source files into warehouse/events.duckdb: what is new or changed, all or nothing, and nothing lost."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.data.items import load_items, view_items
from tasks.data.ledger import (
    enter,
    has_events,
    is_withdrawn,
    know_forgotten,
    make_ledger,
    pointer_to,
    readmit,
    reject,
)
from tasks.data.removal.forget import finish_forgetting
from tasks.data.sources.columns import OWNERS, close_events, mapped, open_events
from tasks.data.sources.files import SourceFile, event_files, files_beside
from tasks.data.sources.id_types import id_types, id_types_of_events
from tasks.data.sources.tables import SourceTable, readable, table_of_events
from tasks.errors import InputError, ValidationFailed
from tasks.run.database import connect, first_row, sql
from tasks.run.handles import Events
from tasks.run.progress import working
from tasks.run.quoting import literal
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HINTS = {
    "unreadable time": "source.columns.timestamp_format says how times are written",
    "user has decimals": "source.ids.strip_decimal reads 17850.0 as 17850",
    "item has decimals": "source.ids.strip_decimal reads 17850.0 as 17850",
    "user is no integer": "source.ids.user_type says of what type the ids of a new warehouse are",
    "item is no integer": "source.ids.item_type says of what type the ids of a new warehouse are",
}
OLDEST_NEWS_DAYS = 20 * 365


@stage("ingest")
def ingest(run: Run, retry_rejected: bool = True) -> Events:
    """Adds the events of new files, replaces those of changed ones, and takes over the item metadata.

    Rejected files that are still named are tried again, or left out. Raises ValidationFailed where too many of the
    new rows cannot be used; their files are rejected, and stay to be looked at.
    """
    files = event_files(run.config.source, run.config.quarantine)
    _finish_forgetting(run)
    reads = [*files_beside(run.config.source), *(file.name for file in files)]
    with connect(run.warehouse.events, run.config, reads=reads) as connection, _scratch(run) as scratch:
        make_ledger(connection)
        view_items(connection, run.config, scratch)
        connection.execute("begin")
        n_again = readmit(connection, files, run.run_id) if retry_rejected else 0
        new = _new_files(connection, files)
        _load_all(connection, run, new, scratch)
        if not first_row(connection, "select count(*) from active_files where n_read > 0")[0]:
            raise InputError(f"source.events: {run.config.source.events} holds no rows: nothing to learn from")
        if new or n_again:
            with progress(connection, "merging"):
                connection.execute(sql("events"))
            _require_one_id_each(connection, run.config.source.ids.strip_decimal)
        n_items = load_items(connection, run.config.source, id_types_of_events(connection)["item_id"])
        handle = _count(connection, len(new) + n_again)
        n_new, n_new_rejected = first_row(connection, sql("rejected_of_run"), {"run_id": run.run_id})
        reasons = dict(connection.execute(sql("rejected_reasons"), {"run_id": run.run_id}).fetchall())
        is_rejected = n_new_rejected > run.config.quarantine.max_share * n_new
        if is_rejected:
            reject(connection, unchecked_only=True)
        connection.execute("commit")
    log, hints = get_run_logger(), "".join(f"; {HINTS[reason]}" for reason in reasons if reason in HINTS)
    log.info(f"{handle.n_events:,} events, after {n_new:,} rows of {len(new)} new or changed files; "
             f"metadata for {n_items:,} items")  # fmt: skip
    if handle.n_files > len(files):
        log.info(f"the events include those of {handle.n_files - len(files)} files of earlier nights")
    if handle.n_repeated:
        log.info(f"{handle.n_repeated:,} repeated deliveries of an event count once")
    if n_new_rejected:
        log.warning(f"{n_new_rejected:,} rows were quarantined ({_in_words(reasons)}); see: elsa rejected{hints}")
    if is_rejected:
        run.record("ingest", handle)
        raise ValidationFailed(
            f"{n_new_rejected:,} of {n_new:,} rows read cannot be used ({_in_words(reasons)}), more than "
            f"quarantine.max_share={run.config.quarantine.max_share} allows; nothing was trained or published. "
            f"Look at them with: elsa rejected{hints}"
        )
    return handle


@stage("ingest")
def take_stock(run: Run) -> Events:
    """The events as they are, without a look at the source."""
    _finish_forgetting(run)
    return stock(run)


def stock(run: Run) -> Events:
    """The totals of what is there. Raises InputError where that is nothing."""
    nothing = InputError(f"{run.config.warehouse} holds no events yet; ingest some with: elsa ingest --config FILE")
    if not run.warehouse.events.exists():
        raise nothing
    with connect(run.warehouse.events, run.config) as connection:
        if not has_events(connection):
            raise nothing
        make_ledger(connection)
        handle = _count(connection, 0)
    if not handle.n_events:
        raise InputError(f"{run.config.warehouse} holds no events any more; readers keep the tables they had")
    get_run_logger().info(f"{handle.n_events:,} events")
    return handle


def _finish_forgetting(run: Run) -> None:
    for damaged in finish_forgetting(run.config):
        get_run_logger().warning(f"may hold rows of people who were forgotten, and is damaged; remove it: {damaged}")


def progress(connection: "DuckDBPyConnection", step: str) -> AbstractContextManager:
    """Shows meanwhile how far the statement is that runs, where DuckDB can tell: not while it aggregates."""
    connection.execute("set enable_progress_bar = true; set enable_progress_bar_print = false")
    return working(step, lambda: connection.query_progress() / 100)


def _new_files(connection: "DuckDBPyConnection", files: list[SourceFile]) -> list[SourceFile]:
    query = "select path, digest from active_files union all select path, digest from event_files where not is_valid"
    known = set(connection.execute(query).fetchall())
    new = [file for file in files if (file.name, file.digest) not in known]
    withdrawn = [file for file in new if is_withdrawn(connection, file)]
    for file in withdrawn:
        get_run_logger().warning(f"{file.name} is not read: what it holds was withdrawn; elsa withdraw --undo")
    return [file for file in new if file not in withdrawn]


def _load_all(connection: "DuckDBPyConnection", run: Run, files: list[SourceFile], scratch: Path) -> None:
    """Reads the files into event_rows, whose ids get the type that fits all, and rejected_events."""
    kept = id_types_of_events(connection)
    connection.execute(f"set timezone = {literal(run.config.source.timezone)}")
    with working("looking at the files") as show:
        tables = []
        for file in files:
            show(f"looking at {Path(file.name).name}")
            tables.append(table_of_events(connection, run.config.source, run.config.quarantine, file, scratch))
        show("types of ids")
        types = id_types(connection, run.config.source, run.config.quarantine, tables, kept)
    for name, kind in kept.items():
        if kind != types[name]:
            for table in ("event_rows", "events"):
                connection.execute(f"alter table {table} alter {name} type {types[name]}")
    if files:
        connection.execute(sql("event_rows", **{f"{name}_type": kind for name, kind in types.items()}))
    for place, (file, source) in enumerate(zip(files, tables, strict=True), start=1):
        n_rows, n_rejected = _load(connection, run, file, source, types)
        rejected = f", {n_rejected:,} of them quarantined" if n_rejected else ""
        get_run_logger().info(f"read {Path(file.name).name}: {n_rows:,} rows{rejected} ({place} of {len(files)})")
    connection.execute("set timezone = 'UTC'")


def _load(
    connection: "DuckDBPyConnection", run: Run, file: SourceFile, table: SourceTable, types: dict[str, str]
) -> tuple[int, int]:
    """Reads a file in the place of what it held when it was last read; returns its rows and those quarantined."""
    source, quarantine = run.config.source, run.config.quarantine
    opened = open_events(connection, source, table)
    limits = quarantine.model_dump(include={"min_value", "max_value", "max_hours_ahead"})
    limits["earliest"] = datetime.fromisoformat(quarantine.earliest).isoformat()
    hint = "; if a quarantine.condition does this, let it use try_cast" if quarantine.conditions else ""
    with readable(file.name, hint), progress(connection, f"reading {Path(file.name).name}"):
        query = mapped(opened, source, types, quarantine)
        connection.execute(f"create or replace temp view source_rows as {query}")
        connection.execute(sql("incoming"), limits | {"has_times": source.columns.timestamp is not None})
    leaves_out = know_forgotten(connection, source.ids)
    if leaves_out:
        user = {"user": pointer_to(source.columns.user_id)}
        if n_forgotten := first_row(connection, sql("forget/incoming"), user)[0]:
            get_run_logger().info(f"{n_forgotten:,} rows of people who were forgotten are not taken in")
    file_id = enter(connection, file, run.run_id)
    for name in ("insert_events", "insert_rejected"):
        connection.execute(sql(name), {"file_id": file_id})
    for query in table.malformed:
        connection.execute(sql("insert_malformed", malformed=query), {"file_id": file_id})
    if leaves_out:
        connection.execute(sql("forget/malformed"), {"file_id": file_id})
    _warn_of_odd_times(connection, file)
    n_rows = first_row(connection, "select count(*) from incoming")[0]
    n_malformed, n_rejected = first_row(connection, sql("rejected_of_file"), {"file_id": file_id})
    connection.execute("update event_files set n_read = $n where file_id = $file_id",
                       {"n": n_rows + n_malformed, "file_id": file_id})  # fmt: skip
    connection.execute("drop view source_rows")
    close_events(connection)
    return n_rows + n_malformed, n_rejected


@contextmanager
def _scratch(run: Run) -> Iterator[Path]:
    """A folder for copies of source files; what a killed run left in it goes, too."""
    folder = run.warehouse.tmp / "sources"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _warn_of_odd_times(connection: "DuckDBPyConnection", file: SourceFile) -> None:
    """Times that all lie decades back are rarely meant: seconds were taken for milliseconds, say."""
    first, last, now = first_row(connection, sql("source/span_of_times"))
    if last is not None and (now - last).days > OLDEST_NEWS_DAYS:
        get_run_logger().warning(
            f"{file.name}: all times lie between {first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M}; if that is wrong, "
            "look at their unit, or say how they are written: source.columns.timestamp_format"
        )


def _require_one_id_each(connection: "DuckDBPyConnection", strip_decimal: bool | None) -> None:
    """Raises InputError where an id comes as 13 and as 13.0, unless the configuration says that these are two."""
    if strip_decimal is not None:
        return
    for name, kind in id_types_of_events(connection).items():
        if kind == "VARCHAR":
            for found, twin in connection.execute(sql("source/decimal_twins", id=name)).fetchall():
                raise InputError(
                    f"{name}: there are both {found!r} and {twin!r}, which would be two {OWNERS[name]}s; set "
                    "source.ids.strip_decimal to true to make them one, or to false to keep them apart"
                )


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
