"""The item metadata: looked at before any event is read, and taken over once the type of ids is known."""

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.data.sources.columns import EXACT_BELOW, is_integer, is_text, require_column, tidied
from tasks.data.sources.files import find_files
from tasks.data.sources.tables import SourceTable, readable, table_of_items
from tasks.errors import InputError
from tasks.run.database import first_row, sql
from tasks.run.quoting import identifier
from tasks.settings.config import Config
from tasks.settings.configured_sql import in_parentheses
from tasks.settings.source import ItemSettings, SourceSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FITS = {  # what text may stand for, the first that fits all of a column; 007 stays text, and so does yes
    "bigint": "regexp_full_match({0}, '-?(0|[1-9][0-9]*)') and try_cast({0} as bigint) is not null",
    "double": "regexp_full_match({0}, '-?(0|[1-9][0-9]*)(\\.[0-9]+)?') and length({0}) <= 16",
    "boolean": "lower({0}) in ('true', 'false')",
    "date": "length({0}) = 10 and try_cast({0} as date) is not null",
    "timestamp": "length({0}) > 10 and try_cast({0} as timestamp) is not null",
}
NEARLY_ALL = 0.9  # of a column's values fit: the others are worth a warning


def view_items(connection: "DuckDBPyConnection", config: Config, scratch: Path) -> None:
    """Makes the metadata readable as source_items: item_id as text, title, and all other columns. None without any.

    Raises InputError where it cannot be read, where the configuration names a column that it has not, or a filter
    that does not fit it.
    """
    source, items = config.source, config.source.items
    if items is None:
        return
    table = _table(connection, source, items, scratch)
    kinds = read_metadata(connection, table, (items.item_id, items.title))
    for key in ("item_id", "title"):
        require_column(list(kinds), table.name, getattr(items, key), f"source.items.{key}")
    kind = kinds[items.item_id]
    if not (is_integer(kind) or is_text(kind) or kind in EXACT_BELOW):
        raise InputError(f"{table.name}: its {items.item_id} is of type {kind}; ids must be integers or text")
    others = [f", {identifier(column)}" for column in kinds if column not in (items.item_id, items.title)]
    connection.execute(
        f"create or replace temp view source_items as select "
        f"cast({tidied(items.item_id, kind, source)} as varchar) as item_id, "
        f"cast({identifier(items.title)} as varchar) as title{''.join(others)} from metadata"
    )
    _check_columns(connection, config, table.name)


def _table(
    connection: "DuckDBPyConnection", source: SourceSettings, items: ItemSettings, scratch: Path
) -> SourceTable:
    if items.query is not None:
        return SourceTable("source.items.query", f"from {in_parentheses(items.query)}")
    assert items.path is not None
    path, *more = find_files(items.path, "source.items.path")
    if more:
        raise InputError(f"source.items.path: {items.path} names {len(more) + 1} files; name one")
    return table_of_items(connection, source, path, scratch)


def read_metadata(
    connection: "DuckDBPyConnection", table: SourceTable, as_text: tuple[str, ...] = ()
) -> dict[str, str]:
    """Makes the temporary table metadata, with the types that fit all values, and returns its columns with them.

    The columns `as_text` stay as they are. Lines that are no rows are left out, with a warning.
    """
    with readable(table.name):
        connection.execute(f"create or replace temp table metadata as {table.select}")
    malformed = [row for query in table.malformed for row in connection.execute(query).fetchall()]
    if malformed:
        line, reason, raw = min(malformed)
        get_run_logger().warning(
            f"{table.name}: {len(malformed):,} lines are left out, e.g. line {line}, {reason}: {raw[:200]}"
        )
    kinds = dict(row[:2] for row in connection.execute("describe metadata").fetchall())
    for name in kinds:
        if name in table.untyped and name not in as_text and (kind := _kind(connection, table.name, name)):
            connection.execute(f"alter table metadata alter {identifier(name)} type {kind}")
            kinds[name] = kind.upper()
    return kinds


def _kind(connection: "DuckDBPyConnection", file: str, name: str) -> str | None:
    """The type that all texts of a column stand for; None for text, with a warning where nearly all stand for one."""
    column = identifier(name)
    counts = [f"count(*) filter (where {fits.format(column)})" for fits in FITS.values()]
    n_values, *fitting = first_row(connection, f"select count({column}), {', '.join(counts)} from metadata")
    for kind, n_fitting in zip(FITS, fitting, strict=True):
        if n_fitting == n_values > 0:
            return kind
    kind, n_fitting = max(zip(FITS, fitting, strict=True), key=lambda one: one[1])
    if n_fitting >= NEARLY_ALL * n_values > 0:
        odd = f"select {column} from metadata where not ({FITS[kind].format(column)}) limit 1"
        get_run_logger().warning(
            f"{file}: the column {name!r} is text: {n_values - n_fitting:,} of {n_values:,} values are no {kind}, "
            f"e.g. {first_row(connection, odd)[0]!r}"
        )
    return None


def _check_columns(connection: "DuckDBPyConnection", config: Config, file: str) -> None:
    """Raises InputError where a key names a column that the metadata has not, or a filter does not fit it."""
    keys = ("category", "is_hidden", "available_from", "available_until")
    named = {f"source.items.{key}": getattr(config.source.items, key) for key in keys}
    named |= {"drift.category": config.drift.category, "gate.segments.column": config.gate.segments.column}
    columns = [name for name, *_ in connection.execute("describe source_items").fetchall()]
    for key, column in named.items():
        require_column(columns, file, column, key)
    for name, condition in config.recommendations.filters.items():
        said = [_why_not(connection, condition, id_type) for id_type in ("bigint", "varchar")]
        if all(said):  # of which type ids are is not known yet
            key = f"recommendations.filters.{name}"
            raise InputError(f"{key}: {condition!r} does not fit the item metadata, {file}: {said[-1]}")


def _why_not(connection: "DuckDBPyConnection", condition: str, id_type: str) -> str:
    """What DuckDB has against a filter where ids are of that type; nothing where it can be used."""
    import duckdb

    items = f"(select * replace (try_cast(item_id as {id_type}) as item_id) from source_items)"
    try:
        connection.execute(f"explain select cast({in_parentheses(condition)} as boolean) from {items}").fetchall()
    except duckdb.Error as error:
        return " ".join(str(error).split())
    return ""


def load_items(connection: "DuckDBPyConnection", source: SourceSettings, id_type: str) -> int:
    """Replaces the warehouse's item metadata by source_items, and returns its number of items.

    Raises InputError where an item comes twice.
    """
    if source.items is None:
        connection.execute(f"create or replace table items (item_id {id_type}, title varchar)")
        return 0
    name = source.items.path or "source.items.query"
    with readable(name):
        connection.execute(sql("items", id_type=id_type))
    n_rows, n_items = first_row(connection, "select count(*), count(distinct item_id) from items")
    if n_rows > n_items:
        example = first_row(connection, "select item_id from items group by 1 having count(*) > 1 limit 1")[0]
        raise InputError(
            f"{name}: {n_rows:,} rows for {n_items:,} items, e.g. {example!r} more than once; "
            "metadata must have one row an item"
        )
    n_unlike, example = first_row(connection, sql("source/unlike_ids", id_type=id_type))
    if n_unlike:
        get_run_logger().warning(
            f"{n_unlike:,} rows of {name} are left out: no event can have their ids, e.g. {example!r}; ids of events "
            f"are {id_type}; source.ids.strip_decimal reads 17850.0 as 17850"
        )
    return n_items
