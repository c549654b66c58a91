"""The ledger of source files in warehouse/events.duckdb: ingested, accepted, rejected."""

from typing import TYPE_CHECKING

from tasks.data.sources.files import SourceFile
from tasks.errors import InputError
from tasks.run.database import first_row, sql
from tasks.run.quoting import literal
from tasks.settings.source import IdSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SUPERSEDED = "(select replaces from event_files where replaces is not null and is_valid is distinct from false)"


def make_ledger(connection: "DuckDBPyConnection") -> None:
    """Makes the tables of files and rejected rows. Raises InputError in a warehouse of an earlier version."""
    outdated = {"event_files": "is_checked", "events": "is_accepted"}
    if any(columns and outdated[name] not in columns for name, columns in _columns(connection, outdated).items()):
        raise InputError(
            "this warehouse was made by an earlier version of this program: name a new one and read the files again"
        )
    for name in ("macros", "event_files", "withdraw/files", "forget/forgotten"):
        connection.execute(sql(name))


def _columns(connection: "DuckDBPyConnection", tables: dict[str, str]) -> dict[str, set[str]]:
    found = connection.execute("select table_name, column_name from duckdb_columns()").fetchall()
    return {name: {column for table, column in found if table == name} for name in tables}


def has_events(connection: "DuckDBPyConnection") -> bool:
    return first_row(connection, "select count(*) from duckdb_tables() where table_name = 'events'")[0] > 0


def readmit(connection: "DuckDBPyConnection", files: list[SourceFile], run_id: str) -> int:
    """Rejected files that are still named are judged again, as if this run had read them; returns how many.

    Rejected files that nobody names any more stay where they are, left out. Where nothing else is there, all start
    again: what was wrong with them may be the types of their ids.
    """
    rejected = {(path, digest): file_id for file_id, path, digest in connection.execute(
        "select file_id, path, digest from event_files where not is_valid"
    ).fetchall()}  # fmt: skip
    again = [rejected[file.name, file.digest] for file in files if (file.name, file.digest) in rejected]
    if again:
        connection.execute(
            "update event_files set is_valid = null, is_checked = false, run_id = $run_id where file_id in $again",
            {"run_id": run_id, "again": again},
        )
    if rejected and not first_row(connection, "select count(*) from active_files")[0]:
        for table in ("event_rows", "events"):
            connection.execute(f"drop table if exists {table}")
        connection.execute("delete from rejected_events; delete from event_files")
    return len(again)


def enter(connection: "DuckDBPyConnection", file: SourceFile, run_id: str) -> int:
    """Makes the entry of a new file or version and returns its id. An accepted version stays until this one is."""
    replaces = None
    known = "select file_id, is_valid, replaces from event_files where path = $path order by file_id"
    for earlier, is_valid, its_own in connection.execute(known, {"path": file.name}).fetchall():
        replaces = earlier if is_valid else replaces or its_own
        if not is_valid:
            _delete(connection, "$file_id", {"file_id": earlier})
    return first_row(
        connection,
        "insert into event_files (path, n_bytes, digest, n_read, run_id, replaces) "
        "values ($path, $n_bytes, $digest, 0, $run_id, $replaces) returning file_id",
        {"path": file.name, "n_bytes": file.n_bytes, "digest": file.digest, "run_id": run_id, "replaces": replaces},
    )[0]


def check(connection: "DuckDBPyConnection") -> None:
    """The expectations hold with all files that count."""
    connection.execute("update event_files set is_checked = true where is_valid is null")


def accept(connection: "DuckDBPyConnection") -> None:
    """What nobody had judged is from now on known, and what it replaces goes."""
    _delete(connection, f"select file_id from event_files where file_id in {SUPERSEDED}", {})
    connection.execute(
        "update event_files set is_valid = true, is_checked = true, replaces = null where is_valid is null"
    )
    connection.execute("update events set is_accepted = true where not is_accepted")


def reject(connection: "DuckDBPyConnection", *, unchecked_only: bool) -> None:
    """Leaves out what nobody had judged, or only what no expectations have held for; what it replaced is back."""
    condition = "is_valid is null" + (" and not is_checked" if unchecked_only else "")
    connection.execute(f"update event_files set is_valid = false where {condition}")
    connection.execute(sql("events"))


def _delete(connection: "DuckDBPyConnection", file_ids: str, parameters: dict) -> None:
    for table in ("event_rows", "rejected_events", "event_files"):
        connection.execute(f"delete from {table} where file_id in ({file_ids})", parameters)


def know_forgotten(connection: "DuckDBPyConnection", ids: IdSettings, people: str = "forgotten_people") -> bool:
    """Makes is_forgotten(id) and may_be_forgotten(text); returns whether there is anybody to keep out."""
    connection.execute(sql("forget/macros", people=people, options=literal(options_of(ids))))
    return first_row(connection, "select exists (from forgotten)")[0]


def pointer_to(column: str) -> str:
    """The JSON pointer to a column of a quarantined row."""
    return "/" + column.replace("~", "~0").replace("/", "~1")


def options_of(ids: IdSettings) -> str:
    """By what ids are told apart."""
    return ids.model_dump_json(include={"trim", "lowercase", "strip_decimal"})


def withdraw(connection: "DuckDBPyConnection", path: str) -> tuple[list[str], int, int]:
    """Takes out a file, in all its versions, and others with the same contents, which are kept out.

    Returns the paths, the rows that could be used, and the quarantined ones.
    """
    found = connection.execute(sql("withdraw/alike"), {"path": path}).fetchall()
    file_ids = [file_id for file_id, _ in found]
    counts = first_row(connection, sql("withdraw/count"), {"file_ids": file_ids})
    connection.execute("begin")
    connection.execute(sql("withdraw/remember"), {"file_ids": file_ids})
    _delete(connection, "select unnest($file_ids)", {"file_ids": file_ids})
    if has_events(connection):
        connection.execute(sql("events"))
    connection.execute("commit")
    return list(dict.fromkeys(name for _, name in found)), *counts


def readmit_withdrawn(connection: "DuckDBPyConnection", path: str) -> int:
    """Lets the contents of a file that was withdrawn be read again; returns how many versions of it there were."""
    alike = "content in (select content from withdrawn_files where path = $path)"
    return first_row(connection, f"delete from withdrawn_files where {alike}", {"path": path})[0]


def is_withdrawn(connection: "DuckDBPyConnection", file: SourceFile) -> bool:
    """Whether what the file holds was withdrawn, under whatever path."""
    query = "select exists (from withdrawn_files where content = $content)"
    return first_row(connection, query, {"content": file.content})[0]
