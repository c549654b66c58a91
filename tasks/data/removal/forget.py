"""People who leave: out of the events, out of all that is kept beside them, and kept out."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.ledger import has_events, know_forgotten, make_ledger, options_of, pointer_to
from tasks.data.removal.forget_files import leave_run, rewrite_database
from tasks.data.removal.redact import redact_runs
from tasks.data.sources.columns import tidied
from tasks.data.sources.id_types import id_types_of_events
from tasks.errors import InputError
from tasks.run.database import connect, first_row, intact, sql
from tasks.run.durable import remove
from tasks.run.failures import explained
from tasks.run.lock import locked
from tasks.run.progress import working
from tasks.run.quoting import visible
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Forgotten:
    """How many people were asked for, how many of them had events, and what was removed of the warehouse's ledger.

    damaged  files of which nothing could be taken out
    """

    n_people: int
    n_known: int
    n_events: int
    n_rejected: int
    damaged: tuple[str, ...] = ()


def forget(config: Config, given: list[str]) -> Forgotten:
    """Removes people from events, quarantined rows, and the runs' files and tables, and keeps later deliveries out.

    What is kept of them is a salted digest of the id. Readers of published tables should get new ones afterwards.
    Raises RunUnderWay while a run has the warehouse, InputError in a warehouse without events, or for what is no id.
    """
    warehouse = Warehouse.of(config)
    nobody = InputError(f"{config.warehouse} holds no events, and so nobody to forget")
    if not warehouse.events.exists():
        raise nobody
    with explained(config, warehouse), locked(warehouse.lock, config.lock_wait_seconds):
        with connect(warehouse.events, config) as connection:
            make_ledger(connection)
            if not has_events(connection):
                raise nobody
            ids = _as_stored(connection, config, given)
        with working("texts of earlier runs"):
            redact_runs(warehouse, _as_shown(ids))
        with connect(warehouse.events, config) as connection, working("events"):
            forgotten = _leave_ledger(connection, config, ids)
        return replace(forgotten, damaged=tuple(finish_forgetting(config, ids)))


def finish_forgetting(config: Config, ids: list[str] | None = None) -> list[str]:
    """Takes whoever was forgotten out of all that is kept beside the events, unless that is done.

    It goes by the digests, so that a night can finish what was killed. The caller has the warehouse's lock. `ids` are
    those whose traces in texts, such as an expectation's examples, are removed from the published tables, too.
    Returns the files that are damaged, of which nothing could be taken out; they are tried again by the next run.
    """
    warehouse = Warehouse.of(config)
    events = warehouse.events
    if not events.exists() or not _is_pending(config, events):
        return []
    for left in warehouse.tmp.glob("*"):  # what killed queries had put aside
        remove(left)
    damaged = []
    with working("the pages of deleted events") as show:
        rewrite_database(config, events)
        for folder in sorted(warehouse.runs.glob("*/")):
            show(f"run {folder.name}")
            damaged += leave_run(config, folder.name, _as_shown(ids or []))
    if not damaged:
        with connect(events, config) as connection:
            connection.execute("update forgotten_people set is_done = true")
    return damaged


def _is_pending(config: Config, events: Path) -> bool:
    with intact(events), connect(events, config) as connection:
        connection.execute(sql("forget/forgotten"))
        connection.execute("checkpoint")
        return first_row(connection, "select exists (from forgotten_people where not is_done)")[0]


def _as_stored(connection: "DuckDBPyConnection", config: Config, given: list[str]) -> list[str]:
    """The ids as ingestion makes them of the given texts. Raises InputError for what it would make none of."""
    tidy = sql("forget/ids", tidied=tidied("given", "VARCHAR", config.source))
    is_integer = id_types_of_events(connection)["user_id"] != "VARCHAR"
    ids = []
    for text, user_id in connection.execute(tidy, {"given": given}).fetchall():
        if user_id is None:
            raise InputError(f"{text!r} is no id: it stands for no value in this warehouse; nobody is forgotten")
        if is_integer and not re.fullmatch(r"0|-?[1-9][0-9]*", user_id):
            raise InputError(f"{text!r} is no id: those of users are integers in this warehouse; nobody is forgotten")
        ids.append(user_id)
    return list(dict.fromkeys(ids))


def _as_shown(ids: list[str]) -> list[str]:
    """The ids, and how logs and messages write those of them that a terminal would obey or not show."""
    return list(dict.fromkeys([*ids, *map(visible, ids)]))


def _leave_ledger(connection: "DuckDBPyConnection", config: Config, ids: list[str]) -> Forgotten:
    """Takes the people out of event_rows, events and rejected_events, and remembers to keep them out, all at once."""
    source = config.source
    make_ledger(connection)
    know_forgotten(connection, source.ids)
    rejected = sql("forget/rejected", tidied=tidied("given", "VARCHAR", source))
    words = {user_id for user_id in ids if re.fullmatch(r"\w+", user_id)}
    others = {spelling.lower() for user_id in ids if user_id not in words for spelling in _spellings(user_id)}
    parameters = {
        "user": pointer_to(source.columns.user_id),
        "words": sorted(map(str.lower, words)),
        "others": sorted(others),
        "is_integer": id_types_of_events(connection)["user_id"] != "VARCHAR",
    }
    connection.execute("begin")
    connection.execute(sql("forget/leaving"), {"ids": ids})
    connection.execute(rejected, parameters)
    counts = first_row(connection, sql("forget/count"))
    connection.execute(sql("forget/events"))
    connection.execute(sql("events"))
    connection.execute(sql("forget/remember"), {"options": options_of(source.ids)})
    connection.execute("commit")
    return Forgotten(len(ids), *counts)


def _spellings(user_id: str) -> tuple[str, ...]:
    """The id as it is, and as JSON and CSV write it."""
    as_json = (json.dumps(user_id, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    return user_id, *as_json, user_id.replace('"', '""')
