"""The ledger of source files in warehouse/events.duckdb: what was taken in, what was accepted, what was refused."""

from typing import TYPE_CHECKING

from tasks.errors import InputError
from tasks.warehouse import first_row, sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def make_ledger(connection: "DuckDBPyConnection") -> None:
    """Makes the tables of files and rejected rows. Raises InputError in a warehouse of an earlier version."""
    outdated = {"event_files": "run_id", "events": "is_accepted"}
    if any(columns and outdated[name] not in columns for name, columns in _columns(connection, outdated).items()):
        raise InputError(
            "this warehouse was made by an earlier version of this program: name a new one and read the files again"
        )
    for name in ("macros", "event_files"):
        connection.execute(sql(name))


def _columns(connection: "DuckDBPyConnection", tables: dict[str, str]) -> dict[str, set[str]]:
    found = connection.execute("select table_name, column_name from duckdb_columns()").fetchall()
    return {name: {column for table, column in found if table == name} for name in tables}


def has_events(connection: "DuckDBPyConnection") -> bool:
    return first_row(connection, "select count(*) from duckdb_tables() where table_name = 'events'")[0] > 0


def forget_refused(connection: "DuckDBPyConnection") -> bool:
    """Takes out the files that were refused, if any; they are read anew if they are still named.

    Files that nobody has judged yet, of a night that died or of `elsa ingest`, stay.
    """
    forgotten = "(select file_id from event_files where not is_valid)"
    if not connection.execute(forgotten).fetchall():
        return False
    if has_events(connection):
        connection.execute(f"delete from event_rows where file_id in {forgotten}")
        if first_row(connection, "select count(*) from event_rows")[0] == 0:
            # what was wrong with them may be the types of their ids
            connection.execute("drop table event_rows; drop table events")
    connection.execute(f"delete from rejected_events where file_id in {forgotten}")
    connection.execute("delete from event_files where not is_valid")
    return True


def accept(connection: "DuckDBPyConnection") -> None:
    """The files that nobody had judged hold what is expected of them: from now on their events are known ones."""
    connection.execute("update event_files set is_valid = true where is_valid is null")
    connection.execute("update events set is_accepted = true where not is_accepted")


def refuse(connection: "DuckDBPyConnection") -> None:
    """They do not: the next night takes them out, and reads them anew if they are still named."""
    connection.execute("update event_files set is_valid = false where is_valid is null")
