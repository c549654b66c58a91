"""The source's files: found, told apart, opened, and their columns under our names."""

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
        if path.stat().st_size == 0:
            raise InputError(f"{key}: {path} is empty (0 bytes); deliver it again or take it out of the list")
    return list(dict.fromkeys(found))


def _reader(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    if not suffixes or suffixes[-1] not in READERS:
        raise InputError(
            f"{path}: cannot tell the format from its name; use one of {', '.join(READERS)}, "
            "also followed by .gz or .zst"
        )
    return READERS[suffixes[-1]]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what DuckDB says about a file into an InputError that names the file."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def open_file(
    connection: "DuckDBPyConnection", path: Path, ids: list[str], *, all_text: bool = False
) -> "DuckDBPyRelation":
    """The file as a relation. The columns `ids` are integers or text; of a CSV file, they or `all_text` are text."""
    literal = glob.escape(str(path))
    with readable(path):
        match _reader(path):
            case "parquet":
                return connection.read_parquet(literal)
            case "csv" if all_text:
                return connection.read_csv(literal, header=True, all_varchar=True)
            case "csv":
                found = connection.read_csv(literal, header=True, all_varchar=True).columns
                return connection.read_csv(
                    literal, header=True, dtype={name: "VARCHAR" for name in ids if name in found}
                )
            case _:
                found = connection.read_json(literal, format="newline_delimited", sample_size=-1)
                types = dict(zip(found.columns, map(str, found.types), strict=True))
                types |= {name: "VARCHAR" for name in ids if name in types and types[name] not in INTEGERS}
                return connection.read_json(literal, format="newline_delimited", columns=types)


def mapped(connection: "DuckDBPyConnection", source: Source, path: Path) -> "DuckDBPyRelation":
    """The file's columns under our names, as they came; unmapped ones are null."""
    from duckdb import ColumnExpression, ConstantExpression

    mapping = source.columns.model_dump()
    relation = open_file(connection, path, [mapping["user_id"], mapping["item_id"]], all_text=True)
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


def id_types_of_events(connection: "DuckDBPyConnection") -> dict[str, str]:
    """The types of user_id and item_id in the warehouse; empty before the first events."""
    columns = "table_name = 'events' and column_name in ('user_id', 'item_id')"
    return dict(connection.execute(f"select column_name, data_type from duckdb_columns() where {columns}").fetchall())


def id_types(
    connection: "DuckDBPyConnection", source: Source, files: list[SourceFile], kept: dict[str, str]
) -> dict[str, str]:
    """The types that fit the ids of the given files and those that the warehouse has `kept`.

    Raises InputError where a file has text and the warehouse integers.
    """
    types = {}
    for name in ("user_id", "item_id"):
        found = {file.path: _id_type(connection, source, file.path, name) for file in files}
        text = next((path for path, kind in found.items() if kind == "VARCHAR"), None)
        if text is not None and kept.get(name, "VARCHAR") != "VARCHAR":
            raise InputError(
                f"{text}: its {name} is text, but this warehouse holds {name} as {kept[name]}; "
                "correct the file, or start a new warehouse for it"
            )
        types[name] = _common_type([*found.values(), *([kept[name]] if kept else [])])
    return types


def _id_type(connection: "DuckDBPyConnection", source: Source, path: Path, name: str) -> str:
    """An integer type, VARCHAR, or "NULL" where the file holds no id at all."""
    relation = mapped(connection, source, path).select(name)
    kind = str(relation.types[0])
    if kind in (*INTEGERS, '"NULL"'):
        return kind
    if kind != "VARCHAR":
        raise InputError(f"{path}: its {name} is of type {kind}; ids must be integers or text")
    as_integer = f"cast(try_cast({name} as bigint) as varchar)"
    with readable(path):
        n_ids, n_integers = relation.aggregate(
            f"count({name}), count(*) filter (where {name} = {as_integer})"
        ).fetchall()[0]
    if n_ids == 0:
        return '"NULL"'
    return "BIGINT" if _reader(path) == "csv" and n_integers == n_ids else "VARCHAR"


def _common_type(types: list[str]) -> str:
    known = {kind for kind in types if kind != '"NULL"'}
    if not known or "VARCHAR" in known:
        return "VARCHAR"
    if len(known) == 1:
        return known.pop()
    return "HUGEINT" if known & {"UBIGINT", "HUGEINT"} else "BIGINT"
