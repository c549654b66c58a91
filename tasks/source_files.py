"""The source's files: found, told apart, opened, and their columns under our names."""

import glob
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Csv, Ids, Quarantine, Source
from tasks.errors import InputError
from tasks.warehouse import digest_of_file

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
FRACTIONS = ("FLOAT", "DOUBLE")
NUMBERS = (*INTEGERS, *FRACTIONS, "DECIMAL")
MOMENTS = ("TIMESTAMP", "DATE")
READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet", ".duckdb": "db"}
QUERY = "source.query"


@dataclass(frozen=True)
class SourceFile:
    """A file, or the source's query. If its digest changes, "what it holds:how it is read", it is read anew."""

    name: str
    n_bytes: int
    digest: str

    @property
    def format(self) -> str:
        return "query" if self.name == QUERY else _reader(Path(self.name))


def event_files(source: Source, quarantine: Quarantine) -> list[SourceFile]:
    """What source.events or source.query names. Raises InputError where a file is missing, empty or unknown."""
    if source.query is not None:
        return [SourceFile(QUERY, 0, secrets.token_hex())]
    if not source.events:
        raise InputError("source.events: name the files that hold the events, or give a source.query")
    how = source.model_dump_json(include={"table", "csv", "columns", "ids", "timezone"})
    how += quarantine.model_dump_json(exclude={"max_share"})
    return [
        SourceFile(str(path), path.stat().st_size, f"{digest_of_file(path)}:{_digest(how)}")
        for path in find_files(source.events, "source.events")
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def find_files(pattern: str | list[str], key: str) -> list[Path]:
    """The absolute paths of the files that a path, a glob or a list of them names, in a stable order."""
    found = []
    for one in [pattern] if isinstance(pattern, str) else pattern:
        matches = [one] if Path(one).is_file() else sorted(glob.glob(one, recursive=True))
        paths = [Path(os.path.abspath(path)) for path in matches if Path(path).is_file()]
        if not paths:
            raise InputError(f"{key}: no such file: {one} (looked in {Path.cwd()})")
        found += paths
    for path in found:
        _reader(path)
        if not os.access(path, os.R_OK):
            raise InputError(f"{key}: {path} may not be read by this user; change its permissions")
        if path.stat().st_size == 0:
            raise InputError(f"{key}: {path} is empty (0 bytes); deliver it again or take it out of the list")
    return list(dict.fromkeys(found))


def _reader(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    if not suffixes or suffixes[-1] not in READERS:
        raise InputError(
            f"{path}: cannot tell the format from its name; use one of {', '.join(READERS)}, "
            "but for the last also followed by .gz or .zst"
        )
    return READERS[suffixes[-1]]


@contextmanager
def readable(name: object, hint: str = "") -> Iterator[None]:
    """Turns what DuckDB says about a file or a query into an InputError that names it."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise InputError(f"{name} cannot be read: {str(error).splitlines()[0]}{hint}") from None


def open_table(connection: "DuckDBPyConnection", source: Source, path: Path, ids: list[str]) -> "DuckDBPyRelation":
    """A file of metadata as a relation. Its columns `ids` are integers or text."""
    literal = glob.escape(str(path))
    with readable(path):
        match _reader(path):
            case "parquet":
                return connection.read_parquet(literal)
            case "csv":
                found = connection.sql(_read_csv(literal, source.csv, "all_varchar = true")).columns
                types = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in ids if name in found)
                return connection.sql(_read_csv(literal, source.csv, f"types = {{{types}}}" if types else ""))
            case "json":
                return _read_json(connection, literal, ids)
            case _:
                raise InputError(f"{path}: metadata in a database is read with source.items.query")


def _read_csv(literal: str, csv: Csv, *options: str) -> str:
    given = {"delim": csv.delimiter, "quote": csv.quote, "encoding": csv.encoding}
    given = [f"{name} = {_text(value)}" for name, value in given.items() if value is not None]
    return f"from read_csv({', '.join([_text(literal), 'header = true', *given, *filter(None, options)])})"


def _read_json(connection: "DuckDBPyConnection", literal: str, ids: list[str]) -> "DuckDBPyRelation":
    found = connection.read_json(literal, format="newline_delimited", sample_size=-1)
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    types |= {name: "VARCHAR" for name in ids if name in types and types[name] not in INTEGERS}
    return connection.read_json(literal, format="newline_delimited", columns=types)


def open_events(connection: "DuckDBPyConnection", source: Source, file: SourceFile) -> "DuckDBPyRelation":
    """Makes the file readable as the view source_file: all its columns as they came, those of a CSV file as text.

    Rows that a CSV file's reader cannot take for rows go to the table reject_errors when the view is read.
    """
    literal, ids = glob.escape(file.name), [source.columns.user_id, source.columns.item_id]
    with readable(file.name):
        match file.format:
            case "query":
                relation = connection.sql(source.query)
            case "parquet":
                relation = connection.read_parquet(literal)
            case "csv":
                options = "all_varchar = true", "store_rejects = true"
                relation = connection.sql(_read_csv(literal, source.csv, *options))
            case "json":
                relation = _read_json(connection, literal, ids)
            case _:
                database = _name(file.digest)
                connection.execute(f"attach if not exists {_text(file.name)} as {database} (read_only)")
                relation = connection.sql(f"from {database}.{_name(source.table)}")
        relation.create_view("source_file", replace=True)
    columns = source.columns.model_dump()
    for ours, theirs in columns.items():
        require_column(relation.columns, file.name, theirs, f"source.columns.{ours}")
        if file.format == "csv" and f"{theirs}_1" in relation.columns:  # DuckDB's name for a second one
            raise InputError(f"{file.name} has two columns {theirs!r}, which source.columns.{ours} names; rename one")
    _define_to_utc(connection, relation, source)
    return relation


def _define_to_utc(connection: "DuckDBPyConnection", relation: "DuckDBPyRelation", source: Source) -> None:
    """Makes to_utc the macro that fits the type of the opened file's times."""
    column = source.columns.timestamp
    kind = "VARCHAR" if column is None else str(relation.types[relation.columns.index(column)])
    convert = "number" if kind.startswith(NUMBERS) else "moment" if kind.startswith(MOMENTS) else "text"
    connection.execute(f"create or replace temp macro to_utc(given) as utc_from_{convert}(given)")


def close_events(connection: "DuckDBPyConnection") -> None:
    """Lets go of what open_events has opened."""
    connection.execute("drop view if exists source_file")
    connection.execute("drop table if exists reject_errors; drop table if exists reject_scans")


def mapped(relation: "DuckDBPyRelation", source: Source, types: dict[str, str], quarantine: Quarantine) -> str:
    """The query that brings source_file's columns under our names, as they came; unmapped ones are null."""
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    selected = ["row_number() over () as row_number", "source_file as whole_row"]
    for ours, theirs in source.columns.model_dump().items():
        if theirs is None:
            expression = "null"
        elif ours in types:
            given = tidied(theirs, kinds[theirs], source.ids)
            selected.append(f"{given} is not null as has_{ours}")
            expression = f"try_cast({given} as {types[ours]})"
        else:
            expression = f"nullif({_name(theirs)}, '')" if kinds[theirs] == "VARCHAR" else _name(theirs)
        selected.append(f"{expression} as {ours}")
    reasons = [f"if({condition}, {_text(reason)}, null)" for reason, condition in quarantine.conditions.items()]
    selected.append(f"nullif(concat_ws('; ', {', '.join(['null', *reasons])}), '') as conditions")
    return f"select {', '.join(selected)} from source_file"


def tidied(column: str, kind: str, ids: Ids) -> str:
    """The SQL for an id of a column of that type, as configured: an integer as it is, else text, null if empty."""
    if kind in INTEGERS:
        return _name(column)
    text = f"cast({_name(column)} as varchar)"
    if kind in FRACTIONS:
        text = f"if(isfinite({_name(column)}), {text}, null)"
    if ids.trim:
        text = f"trim({text})"
    if ids.lowercase:
        text = f"lower({text})"
    if ids.strip_decimal:
        text = f"regexp_replace({text}, '^(-?[0-9]+)\\.0+$', '\\1')"
    return f"nullif({text}, '')"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def require_column(columns: list[str], name: object, column: str | None, key: str) -> None:
    """Raises InputError if the file does not have the column that the configuration's key names."""
    if column is not None and column not in columns:
        raise InputError(f"{name} has no column {column!r}, which {key} names; it has {', '.join(columns)}")


def id_types_of_events(connection: "DuckDBPyConnection") -> dict[str, str]:
    """The types of user_id and item_id in the warehouse; empty before the first events."""
    columns = "table_name = 'event_rows' and column_name in ('user_id', 'item_id')"
    return dict(connection.execute(f"select column_name, data_type from duckdb_columns() where {columns}").fetchall())


def id_types(
    connection: "DuckDBPyConnection",
    source: Source,
    quarantine: Quarantine,
    files: list[SourceFile],
    kept: dict[str, str],
) -> dict[str, str]:
    """The types that fit the ids of the given files and those that the warehouse has `kept`.

    Rows that will be set aside for their time, their value or a condition do not count. Raises InputError where a
    condition cannot be used, or a file has text and the warehouse integers.
    """
    found: dict[str, list[str]] = {name: [kept[name]] if kept else [] for name in ("user_id", "item_id")}
    for file in files:
        relation = open_events(connection, source, file)
        _check_conditions(connection, quarantine.conditions)
        for name, kinds in found.items():
            kinds.append(_id_type(connection, source, file, relation, name, _usable(source, quarantine)))
            if _common_type(kinds) == "VARCHAR" and kept.get(name, "VARCHAR") != "VARCHAR":
                raise InputError(
                    f"{file.name}: its {name} is text, but this warehouse holds {name} as {kept[name]}; "
                    "correct the file, or start a new warehouse for it"
                )
        close_events(connection)
    return {name: _common_type(kinds) for name, kinds in found.items()}


def _check_conditions(connection: "DuckDBPyConnection", conditions: dict[str, str]) -> None:
    import duckdb

    for reason, condition in conditions.items():
        try:
            connection.execute(f"explain select if({condition}, 1, 0) from source_file")
        except duckdb.Error as error:
            raise InputError(f"quarantine.conditions.{reason}: {str(error).splitlines()[0]}") from None


def _usable(source: Source, quarantine: Quarantine) -> str:
    """The SQL condition that a row is not set aside for its time, its value or a configured condition."""
    columns = source.columns
    parts = ["true", *(f"not coalesce({condition}, false)" for condition in quarantine.conditions.values())]
    if columns.timestamp is not None:
        parts.append(f"to_utc({_name(columns.timestamp)}) is not null")
    if columns.value is not None:
        value = _name(columns.value)
        parts.append(f"({value} is null or cast({value} as varchar) = '' or try_cast({value} as double) is not null)")
    return " and ".join(f"({part})" for part in parts)


def _id_type(
    connection: "DuckDBPyConnection",
    source: Source,
    file: SourceFile,
    relation: "DuckDBPyRelation",
    name: str,
    usable: str,
) -> str:
    """An integer type, VARCHAR, or "NULL" where the file holds no id at all."""
    column = getattr(source.columns, name)
    kind = str(relation.types[relation.columns.index(column)])
    if kind == "UBIGINT":
        largest = connection.execute(f"select max({_name(column)}) from source_file").fetchall()[0][0]
        return "BIGINT" if largest is None or largest < 2**63 else kind
    if kind in (*INTEGERS, '"NULL"'):
        return kind
    is_fraction = kind in FRACTIONS and source.ids.strip_decimal
    if kind != "VARCHAR" and not is_fraction:
        hint = "; source.ids.strip_decimal reads 17850.0 as 17850" if kind in FRACTIONS else ""
        raise InputError(f"{file.name}: its {name} is of type {kind}; ids must be integers or text{hint}")
    with readable(file.name):
        n_ids, n_integers = connection.execute(
            f"select count(id), count(*) filter (where id = cast(try_cast(id as bigint) as varchar)) "
            f"from (select {tidied(column, kind, source.ids)} as id from source_file where {usable})"
        ).fetchall()[0]
    if n_ids == 0:
        return '"NULL"'
    return "BIGINT" if (file.format == "csv" or is_fraction) and n_integers == n_ids else "VARCHAR"


def _common_type(types: list[str]) -> str:
    known = {kind for kind in types if kind != '"NULL"'}
    if not known or "VARCHAR" in known:
        return "VARCHAR"
    if "HUGEINT" in known or ("UBIGINT" in known and len(known) > 1):
        return "VARCHAR"  # Parquet holds no integers beyond 64 bits
    return known.pop() if len(known) == 1 else "BIGINT"
