"""Each format as one SELECT: the rows of a source file as it has them, and the lines that are no rows."""

import glob
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.sources.csv_files import beginning_of, open_csv
from tasks.data.sources.files import SourceFile, partitions, reader_of
from tasks.errors import InputError
from tasks.run.database import first_row, openable, sql
from tasks.run.quoting import fill, identifier, literal
from tasks.settings.checks import QuarantineSettings
from tasks.settings.configured_sql import in_parentheses
from tasks.settings.source import SourceSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_BYTES_TO_TELL_JSON = 2**16


@dataclass(frozen=True)
class SourceTable:
    """A source file as SQL.

    select     its rows, all columns as they came; those of a CSV file as text
    malformed  queries for its lines that are no rows (line, reason, raw), to be asked after the rows were read
    untyped    columns whose text may stand for numbers: all of a CSV file, those of JSON with both, folders' names
    repeated   columns that come more than once
    """

    name: str
    select: str
    malformed: tuple[str, ...] = ()
    untyped: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wanted:
    """Which columns the configuration names, those of them with ids, and the one whose values may be lists.

    nulls  what stands for no value in a CSV file besides empty text
    """

    columns: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    basket: str | None = None
    nulls: tuple[str, ...] = ()


@contextmanager
def readable(name: object, hint: str = "") -> Iterator[None]:
    """Turns what DuckDB says about a file or a query into an InputError that names it."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if isinstance(error, duckdb.PermissionException):
            hint = "; of all files, a query reads those that it names as text"
        raise InputError(f"{name} cannot be read: {' '.join(str(error).split())}{hint}") from None


def table_of_events(
    connection: "DuckDBPyConnection",
    source: SourceSettings,
    quarantine: QuarantineSettings,
    file: SourceFile,
    scratch: Path,
) -> SourceTable:
    """The events of a file or query; a folder's name key=value stands for a named column that the file lacks.

    Copies that are needed go into the folder `scratch`. Raises InputError where the file cannot be read at all.
    """
    if file.format == "query":
        assert source.query is not None
        return SourceTable(file.name, f"from {in_parentheses(source.query)}")
    columns = source.columns.mapped()
    ids = tuple(columns[name] for name in ("user_id", "item_id", "event_id") if name in columns)
    wanted = Wanted(tuple(columns.values()), ids, source.columns.item_id)
    with readable(file.name):
        if file.format == "database":
            table = _of_database(connection, source, file)
        else:
            table = _of_file(connection, source, Path(file.name), wanted, scratch)
        in_conditions = re.findall(r"\w+", " ".join(quarantine.conditions.values()))
        return _with_partitions(connection, table, {*wanted.columns, *in_conditions})


def table_of_items(
    connection: "DuckDBPyConnection", source: SourceSettings, path: Path, scratch: Path
) -> SourceTable:
    """A file of item metadata, as table_of_events."""
    if reader_of(path) == "database":
        raise InputError(f"{path}: metadata in a database is read with source.items.query")
    items = source.items
    named = () if items is None else (items.item_id, items.title)
    wanted = Wanted(named, named[:1], nulls=("", *source.nulls))
    with readable(path):
        return _of_file(connection, source, path, wanted, scratch)


def _of_file(
    connection: "DuckDBPyConnection", source: SourceSettings, path: Path, wanted: Wanted, scratch: Path
) -> SourceTable:
    match reader_of(path):
        case "csv":
            file = open_csv(connection, path, source.csv, list(wanted.columns), scratch)
            above = str(file.above)
            malformed = [sql("source/rejected_lines", above=above)]
            if file.bad is not None:
                bad = literal(glob.escape(str(file.bad)))
                malformed.append(sql("source/unpaired_quotes", bad=bad, above=above))
            columns = frozenset(file.columns)
            return SourceTable(str(path), file.select(wanted.nulls), tuple(malformed), columns, file.repeated)
        case "json":
            return _of_json(connection, path, wanted)
        case _:
            place = literal(glob.escape(str(path)))
            return SourceTable(str(path), f"select * from read_parquet({place}, hive_partitioning = false)")


def _of_database(connection: "DuckDBPyConnection", source: SourceSettings, file: SourceFile) -> SourceTable:
    """A table of a DuckDB file, named with its schema or without. A view, which could read other files, is none."""
    with openable(file.name, "Deliver it again, whole"):
        connection.execute(f"attach if not exists {literal(file.name)} as {identifier(file.digest)} (read_only)")
    found = connection.execute(sql("source/tables"), {"database": file.digest}).fetchall()
    for schema, table in found:
        if source.table in (table, f"{schema}.{table}"):
            place = ".".join(map(identifier, (file.digest, schema, table)))
            return SourceTable(file.name, f"select * from {place}")
    known = ", ".join(table if schema == "main" else f"{schema}.{table}" for schema, table in found) or "none"
    raise InputError(f"{file.name} has no table {source.table!r}, which source.table names; its tables: {known}")


def _of_json(connection: "DuckDBPyConnection", path: Path, wanted: Wanted) -> SourceTable:
    """JSON objects, one a line or in whatever layout; of keys that differ in case only, the named or first one."""
    is_lines = _is_json_lines(path)
    objects = sql("source/json_lines" if is_lines else "source/json_objects")
    objects = f"({fill(objects, path=literal(glob.escape(str(path))))})"
    found = json.loads(first_row(connection, sql("source/json_structure", objects=objects))[0] or "{}")
    if not isinstance(found, dict) or not found:  # no object, or none with a key: DuckDB's answer is a text then
        found = dict.fromkeys(wanted.columns, "NULL")
    if not found:
        raise InputError(f'{path} holds no JSON object with a key: each row must be one, such as {{"user_id": 1}}')
    mixed = {name for name, kind in found.items() if kind == "JSON" or _is_fraction_of_id(name, kind, wanted)}
    columns: dict[str, object] = {}
    for name in sorted(found, key=lambda name: name not in wanted.columns):
        if name.lower() not in map(str.lower, columns):
            columns[name] = _json_type(name, found[name], wanted)
    structure = literal(json.dumps(columns, ensure_ascii=False))
    select = sql("source/json_rows", structure=structure, objects=objects)
    no_objects = sql("source/no_objects", objects=objects)
    malformed = (sql("source/rejected_lines", above="0"), no_objects) if is_lines else (no_objects,)
    return SourceTable(str(path), select, malformed, frozenset(mixed))


def _json_type(name: str, found: object, wanted: Wanted) -> object:
    """How a key's values are read, from the types that DuckDB has found in them; several types become text."""
    if isinstance(found, list) and name == wanted.basket:
        return [_json_type(name, found[0] if found else "NULL", wanted)]
    if isinstance(found, dict | list):
        return "JSON"
    return "VARCHAR" if found in ("JSON", "NULL") or _is_fraction_of_id(name, found, wanted) else found


def _is_fraction_of_id(name: str, found: object, wanted: Wanted) -> bool:
    """Whether ids are numbers of which some have decimals: 13 and 13.0 are told apart by how they are written."""
    return found == "DOUBLE" and name in wanted.ids


def _is_json_lines(path: Path) -> bool:
    """Whether each line is a value of its own, told by the beginning; a file in one line is one unless an array."""
    first, *others = beginning_of(path, N_BYTES_TO_TELL_JSON).strip("\ufeff\r\n\t ").splitlines() or [""]
    if first.startswith("["):
        return bool(others) and _is_json(first, list)
    return not others or any(_is_json(line, dict) for line in (first, *others))


def _is_json(line: str, kind: type) -> bool:
    try:
        return isinstance(json.loads(line), kind)
    except ValueError:
        return False


def _with_partitions(connection: "DuckDBPyConnection", table: SourceTable, wanted: set[str]) -> SourceTable:
    """The table with named columns that it has not, but that a folder it lies in does: key=value."""
    there = [name.lower() for name in connection.sql(table.select).columns]
    found = {name: value for name, value in partitions(Path(table.name)).items()
             if name in wanted and name.lower() not in there}  # fmt: skip
    if not found:
        return table
    added = ", ".join(
        f"cast({'null' if value is None else literal(value)} as varchar) as {identifier(name)}"
        for name, value in found.items()
    )
    return replace(table, select=f"select *, {added} from ({table.select})", untyped=table.untyped | set(found))
