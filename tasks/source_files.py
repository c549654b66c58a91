"""The source's files: found, told apart, opened, and their columns under our names."""

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Source
from tasks.errors import InputError
from tasks.warehouse import digest_of_file

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class SourceFile:
    """A file, and a digest of it and the configured column mapping: if either changes, it is read anew."""

    path: Path
    digest: str


def event_files(source: Source) -> list[SourceFile]:
    """The files that source.events names. Raises InputError where one is missing, empty or of no known format."""
    mapping = source.columns.model_dump_json()
    return [
        SourceFile(path, hashlib.sha256((digest_of_file(path) + mapping).encode()).hexdigest())
        for path in find_files(source.events, "source.events")
    ]


def find_files(pattern: str | list[str], key: str) -> list[Path]:
    """The files that a path, a glob or a list of them names, in a stable order."""
    found = []
    for one in [pattern] if isinstance(pattern, str) else pattern:
        paths = [Path(path) for path in sorted(glob.glob(one, recursive=True)) if Path(path).is_file()]
        if not paths:
            raise InputError(f"{key}: no such file: {one} (looked in {Path.cwd()})")
        found += paths
    for path in found:
        _reader(path)
        if path.stat().st_size == 0:
            raise InputError(f"{key}: {path} is empty (0 bytes); deliver it again or take it out of the list")
    return list(dict.fromkeys(found))


def _reader(path: Path) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    if not suffixes or suffixes[-1].lower() not in READERS:
        raise InputError(
            f"{path}: cannot tell the format from its name; use one of {', '.join(READERS)}, "
            "also followed by .gz or .zst"
        )
    return READERS[suffixes[-1].lower()]


def open_file(
    connection: "DuckDBPyConnection", path: Path, text_columns: list[str] | None = None
) -> "DuckDBPyRelation":
    """The file as a relation. In a CSV file the `text_columns`, or all where none are named, are read as text."""
    import duckdb

    try:
        match _reader(path):
            case "csv" if text_columns is not None:
                return connection.read_csv(str(path), header=True, dtype=dict.fromkeys(text_columns, "VARCHAR"))
            case "csv":
                return connection.read_csv(str(path), header=True, all_varchar=True)
            case "json":
                return connection.read_json(str(path), format="newline_delimited")
            case _:
                return connection.read_parquet(str(path))
    except duckdb.Error as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def mapped(connection: "DuckDBPyConnection", source: Source, path: Path) -> "DuckDBPyRelation":
    """The file's columns under our names, as they came; unmapped ones are null."""
    from duckdb import ColumnExpression, ConstantExpression

    relation = open_file(connection, path)
    mapping = source.columns.model_dump()
    for ours, theirs in mapping.items():
        require_column(relation.columns, path, theirs, f"source.columns.{ours}")
    return relation.select(
        *(
            (ConstantExpression(None) if theirs is None else ColumnExpression(theirs)).alias(ours)
            for ours, theirs in mapping.items()
        )
    )


def require_column(columns: list[str], path: Path, column: str | None, key: str) -> None:
    """Raises InputError if the file does not have the column that the configuration's key names."""
    if column is not None and column not in columns:
        raise InputError(f"{path} has no column {column!r}, which {key} names; it has {', '.join(columns)}")


def with_id_types(
    connection: "DuckDBPyConnection", source: Source, files: list[SourceFile]
) -> list[tuple[SourceFile, dict[str, str]]]:
    """Each file with the types that its ids get: those of the warehouse, or one that fits all of tonight's files."""
    rows = connection.execute("select column_name, data_type from duckdb_columns() where table_name = 'events'")
    kept = dict(rows.fetchall())
    found = {
        name: [_id_type(connection, source, file.path, name) for file in files] for name in ("user_id", "item_id")
    }
    types = {name: kept.get(name) or _common_type(own) for name, own in found.items()}
    for name, own in found.items():
        for file, kind in zip(files, own, strict=True):
            if kind == "VARCHAR" and types[name] != "VARCHAR":
                raise InputError(
                    f"{file.path}: its {name} is text, but this warehouse holds {name} as {types[name]}; "
                    "correct the file, or start a new warehouse for it"
                )
    return [(file, types) for file in files]


def _id_type(connection: "DuckDBPyConnection", source: Source, path: Path, name: str) -> str:
    relation = mapped(connection, source, path).select(name)
    kind = str(relation.types[0])
    if kind in INTEGERS or kind == '"NULL"':
        return kind
    if kind != "VARCHAR":
        raise InputError(f"{path}: its {name} is of type {kind}; ids must be integers or text")
    if _reader(path) == "csv":
        round_trips = f"bool_and(cast(try_cast({name} as bigint) as varchar) is not distinct from {name})"
        return "BIGINT" if relation.aggregate(round_trips).fetchall()[0][0] else "VARCHAR"
    return kind


def _common_type(types: list[str]) -> str:
    known = {kind for kind in types if kind != '"NULL"'}
    if not known or "VARCHAR" in known:
        return "VARCHAR"
    return known.pop() if len(known) == 1 else "BIGINT"
