"""A source file that should not count: out of the events, wherever it lies now, and not read again."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.data import ledger
from tasks.data.sources.files import QUERY
from tasks.errors import InputError
from tasks.run.database import connect
from tasks.run.failures import explained
from tasks.run.lock import locked
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_NEAR = 5


@dataclass(frozen=True)
class Withdrawn:
    """The paths under which the contents were read, and the rows that had been of use or quarantined."""

    paths: tuple[str, ...]
    n_used: int
    n_rejected: int


def withdraw(config: Config, path: str) -> Withdrawn:
    """Takes the file's rows out of the warehouse. Its contents are not read again, under whatever name they come.

    `path` is one under which a file was read, or the end of it, if there is one file with that end. Raises InputError
    where there is none, or more, and RunUnderWay while a run has the warehouse.
    """
    with _ledger(config) as connection:
        found = _find(connection, path, "event_files")
        paths, *counts = ledger.withdraw(connection, found)
        return Withdrawn(tuple(paths), *counts)


def undo(config: Config, path: str) -> str:
    """Lets the next run read what was withdrawn, where it still is; returns its path. Raises as `withdraw` does."""
    with _ledger(config) as connection:
        found = _find(connection, path, "withdrawn_files")
        ledger.readmit_withdrawn(connection, found)
        return found


@contextmanager
def _ledger(config: Config) -> "Iterator[DuckDBPyConnection]":
    """The warehouse's ledger, which nobody else writes to meanwhile."""
    warehouse = Warehouse.of(config)
    events = warehouse.events
    if not events.exists():
        raise InputError(f"{config.warehouse} holds no events yet; nothing was read that could be withdrawn")
    with (
        explained(config, warehouse),
        locked(warehouse.lock, config.lock_wait_seconds),
        connect(events, config) as connection,
    ):
        ledger.make_ledger(connection)
        yield connection


def _find(connection: "DuckDBPyConnection", path: str, table: str) -> str:
    """The path in the ledger that is meant; of several with the same contents, the first."""
    content = "split_part(digest, ':', 1)" if table == "event_files" else "content"
    query = f"select path, list({content}) from {table} group by path order by path"
    known = dict(connection.execute(query).fetchall())
    if path == QUERY:
        raise InputError(f"{QUERY} is run by every nightly run; change the query instead")
    exact = os.path.abspath(path)
    found = [name for name in known if name == exact] or [name for name in known if name.endswith(f"/{path}")]
    if len({one for name in found for one in known[name]}) == 1 or len(found) == 1:
        return found[0]
    which = "read" if table == "event_files" else "withdrawn"
    if found:
        raise InputError(f"{len(found)} files end with {path!r}; which one? {', '.join(found[:N_NEAR])}")
    near = difflib.get_close_matches(exact, known, N_NEAR, cutoff=0) or ["none"]
    raise InputError(f"no file {path!r} was {which}; of {len(known)}, the nearest: {', '.join(near)}")
