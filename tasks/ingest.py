"""Source files into warehouse/events.duckdb: what is new or changed, all or nothing."""

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.config import ItemSource, Source
from tasks.errors import InputError
from tasks.stages import Events
from tasks.warehouse import Run, connect, digest_of_file, first_row, sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
MOMENTS = ("TIMESTAMP", "DATE")
READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class SourceFile:
    path: Path
    digest: str


@task
def ingest(run: Run) -> Events:
    """Adds the events of new files, replaces those of changed ones, and takes over the item metadata."""
    logger = get_run_logger()
    source = run.config.source
    files = [SourceFile(path, _digest(path, source)) for path in _find(source.events, "source.events")]
    with connect(run.events, run.config) as connection:
        connection.execute(sql("macros"))
        connection.execute(sql("event_files"))
        known = dict(connection.execute("select path, digest from event_files").fetchall())
        new = [file for file in files if known.get(str(file.path)) != file.digest]
        connection.execute("begin")
        n_new = sum(_load(connection, source, file, ids) for file, ids in _with_id_types(connection, source, new))
        n_items = _load_items(connection, source.items)
        n_events, n_files = first_row(connection, "select coalesce(sum(n_rows), 0), count(*) from event_files")
        if not n_events:
            raise InputError(f"source.events: {source.events} holds no rows; there is nothing to learn from")
        digests = connection.execute("select digest from event_files order by path").fetchall()
        connection.execute("commit")
    logger.info(
        "%s events, %s of them from %s new or changed files; metadata for %s items",
        f"{n_events:,}",
        f"{n_new:,}",
        len(new),
        f"{n_items:,}",
    )
    handle = Events(int(n_events), n_new, n_files, hashlib.sha256(repr(digests).encode()).hexdigest())
    run.record("ingest", handle)
    return handle


def _find(pattern: str | list[str], key: str) -> list[Path]:
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


def _digest(path: Path, source: Source) -> str:
    """Of what the file says under this column mapping: either changes, and the file is read anew."""
    return hashlib.sha256((digest_of_file(path) + source.columns.model_dump_json()).encode()).hexdigest()


def _open(connection: "DuckDBPyConnection", path: Path) -> "DuckDBPyRelation":
    """The file as a relation; every column of a CSV file is text."""
    import duckdb

    try:
        match _reader(path):
            case "csv":
                return connection.read_csv(str(path), all_varchar=True, header=True)
            case "json":
                return connection.read_json(str(path), format="newline_delimited")
            case _:
                return connection.read_parquet(str(path))
    except duckdb.Error as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _mapped(connection: "DuckDBPyConnection", source: Source, path: Path) -> "DuckDBPyRelation":
    """The file's columns under our names, as they came; unmapped ones are null."""
    from duckdb import ColumnExpression, ConstantExpression

    relation = _open(connection, path)
    mapping = source.columns.model_dump()
    for ours, theirs in mapping.items():
        _require_column(relation, path, theirs, f"source.columns.{ours}")
    return relation.select(
        *(
            (ConstantExpression(None) if theirs is None else ColumnExpression(theirs)).alias(ours)
            for ours, theirs in mapping.items()
        )
    )


def _require_column(relation: "DuckDBPyRelation", path: Path, column: str | None, key: str) -> None:
    if column is not None and column not in relation.columns:
        raise InputError(f"{path} has no column {column!r}, which {key} names; it has {', '.join(relation.columns)}")


def _with_id_types(
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
    relation = _mapped(connection, source, path).select(name)
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


def _load(connection: "DuckDBPyConnection", source: Source, file: SourceFile, id_types: dict[str, str]) -> int:
    """Reads one file into events and returns its number of rows."""
    import duckdb
    from duckdb import ColumnExpression

    columns = _mapped(connection, source, file.path)
    kind = str(columns.types[columns.columns.index("timestamp")])
    convert = (
        "utc_from_number"
        if kind.startswith(NUMBERS)
        else "utc_from_time"
        if kind.startswith(MOMENTS)
        else "utc_from_text"
    )
    connection.execute(f"create or replace temp macro to_utc(given) as {convert}(given)")
    typed = [
        ColumnExpression(name).cast(id_types[name]).alias(name) if name in id_types else ColumnExpression(name)
        for name in columns.columns
    ]
    columns.select(*typed).create_view("source_rows", replace=True)
    try:
        connection.execute(sql("incoming"))
        _refuse_unreadable(connection, source, file.path)
    except duckdb.Error as error:
        raise InputError(f"{file.path} cannot be read: {str(error).splitlines()[0]}") from None
    n_rows = _replace_events(connection, file)
    get_run_logger().info("read %s: %s rows", file.path, f"{n_rows:,}")
    return n_rows


def _replace_events(connection: "DuckDBPyConnection", file: SourceFile) -> int:
    """Puts the incoming rows in the place of whatever the file held when it was last ingested."""
    path = {"path": str(file.path)}
    connection.execute(sql("events"))
    connection.execute(
        "delete from events where file_id = (select file_id from event_files where path = $path)", path
    )
    connection.execute("delete from event_files where path = $path", path)
    n_rows = first_row(connection, "select count(*) from incoming")[0]
    connection.execute(
        "insert into event_files (path, digest, n_rows) values ($path, $digest, $n_rows)",
        {**path, "digest": file.digest, "n_rows": n_rows},
    )
    connection.execute(sql("insert_events"), path)
    return n_rows


def _refuse_unreadable(connection: "DuckDBPyConnection", source: Source, path: Path) -> None:
    for name, expected in [("timestamp", "a time"), ("value", "a finite number")]:
        count, example = first_row(
            connection, f"select count(unreadable_{name}), any_value(unreadable_{name}) from incoming"
        )
        if count:
            raise InputError(
                f"{path}: {count:,} rows have no readable {name} in column "
                f"{getattr(source.columns, name)!r}, such as {example!r}, which is not {expected}; "
                "correct them or map another column"
            )


def _load_items(connection: "DuckDBPyConnection", items: ItemSource | None) -> int:
    """Replaces the item metadata by the file's, and returns its number of items."""
    from duckdb import ColumnExpression

    id_type = first_row(
        connection, "select data_type from duckdb_columns() where table_name = 'events' and column_name = 'item_id'"
    )[0]
    if items is None:
        connection.execute(f"create or replace table items (item_id {id_type}, title varchar)")
        return 0
    [path] = _find([items.path], "source.items.path")
    relation = _open(connection, path)
    for key in ("item_id", "title"):
        _require_column(relation, path, getattr(items, key), f"source.items.{key}")
    others = [name for name in relation.columns if name not in (items.item_id, items.title)]
    relation.select(
        ColumnExpression(items.item_id).cast("varchar").alias("item_id"),
        ColumnExpression(items.title).cast("varchar").alias("title"),
        *(ColumnExpression(name) for name in others),
    ).create_view("source_items", replace=True)
    connection.execute(
        f"create or replace table items as select * replace (try_cast(item_id as {id_type}) as item_id) "
        "from source_items where try_cast(item_id as {0}) is not null".format(id_type)
    )
    n_rows, n_items = first_row(connection, "select count(*), count(distinct item_id) from items")
    if n_rows > n_items:
        example = first_row(connection, "select item_id from items group by 1 having count(*) > 1 limit 1")[0]
        raise InputError(
            f"{path}: {n_rows:,} rows for {n_items:,} items, such as {example!r} more than once; "
            "metadata must have one row an item"
        )
    return n_items
