"""A source file's columns under our names: ids, times, and whatever else the configuration maps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.data.sources.tables import SourceTable, readable
from tasks.errors import InputError
from tasks.run.quoting import identifier, literal
from tasks.settings.checks import QuarantineSettings
from tasks.settings.configured_sql import in_parentheses
from tasks.settings.source import SourceSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
EXACT_BELOW = {"FLOAT": 2**24, "DOUBLE": 2**53}  # from there on one number stands for several integers
NUMBERS = (*INTEGERS, *EXACT_BELOW, "DECIMAL")
MOMENTS = ("TIMESTAMP", "DATE")
TEXTS = ("VARCHAR", "UUID", "ENUM")
OWNERS = {"user_id": "user", "item_id": "item"}


@dataclass(frozen=True)
class Opened:
    """A source file that is readable as the view source_file, its columns with their types, and as what it came.

    is_basket  its items came as lists; each is a row of its own in source_file
    """

    table: SourceTable
    kinds: dict[str, str]
    is_basket: bool


def open_events(connection: "DuckDBPyConnection", source: SourceSettings, table: SourceTable) -> Opened:
    """Makes source_file, and to_utc, the macro that reads its times.

    Raises InputError where a column is missing or comes twice.
    """
    with readable(table.name):
        relation = connection.sql(table.select)
        kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    for ours, theirs in source.columns.mapped().items():
        require_column(list(kinds), table.name, theirs, f"source.columns.{ours}")
        if theirs in table.repeated:
            key = f"source.columns.{ours}"
            raise InputError(f"{table.name} has two columns {theirs!r}, which {key} names; rename one")
    select, item = table.select, source.columns.item_id
    if is_basket := kinds[item].endswith("]"):
        column, kinds[item] = identifier(item), kinds[item].rpartition("[")[0]
        one_each = f"unnest(if(len({column}) > 0, cast({column} as {kinds[item]}[]), [null]))"
        select = f"select * replace ({one_each} as {column}) from ({select})"
    connection.execute(f"create or replace temp view source_file as {select}")
    connection.execute(f"create or replace temp macro to_utc(given) as finite({_reading_of_times(source, kinds)})")
    return Opened(table, kinds, is_basket)


def close_events(connection: "DuckDBPyConnection") -> None:
    """Lets go of what open_events has opened."""
    connection.execute("drop view if exists source_file")
    connection.execute("drop table if exists reject_errors; drop table if exists reject_scans")


def require_column(columns: list[str], name: object, column: str | None, key: str) -> None:
    """Raises InputError if the file does not have the column that the configuration's key names."""
    if column is not None and column not in columns:
        raise InputError(f"{name} has no column {column!r}, which {key} names; it has {', '.join(columns)}")


def _reading_of_times(source: SourceSettings, kinds: dict[str, str]) -> str:
    """The SQL that makes a timestamp in UTC of `given`, a value of the column of times."""
    if source.columns.timestamp is None:
        return "cast(null as timestamp)"
    kind = kinds[source.columns.timestamp]
    if kind.startswith(MOMENTS):
        return "utc_from_moment(given)"
    if formats := source.columns.timestamp_formats():
        listed = ", ".join(map(literal, formats))
        return f"cast(try_strptime(cast(given as varchar), [{listed}]) as timestamptz) at time zone 'UTC'"
    return "utc_from_number(given)" if kind.startswith(NUMBERS) else "utc_from_text(cast(given as varchar))"


def mapped(opened: Opened, source: SourceSettings, types: dict[str, str], quarantine: QuarantineSettings) -> str:
    """The query that brings source_file's columns under our names, as they came; unmapped ones are null.

    no_user, no_item say why an id cannot be used; conditions, what quarantine.conditions says against the row.
    """
    columns = source.columns.mapped()
    selected = ["row_number() over () as row_number", "__whole_row as whole_row"]
    for ours, owner in OWNERS.items():
        given, kind = tidied(columns[ours], opened.kinds[columns[ours]], source), opened.kinds[columns[ours]]
        selected += _id(given, kind, types[ours], ours, owner)
    for ours in ("event_id", "timestamp", "value", "event_type"):
        selected.append(f"{_other(opened, source, ours)} as {ours}")
    reasons = [
        f"if({in_parentheses(condition)}, {literal(reason)}, null)"
        for reason, condition in quarantine.conditions.items()
    ]
    selected.append(f"nullif(concat_ws('; ', {', '.join(['null', *reasons])}), '') as conditions")
    rows = "(select __row as __whole_row, * from source_file as __row) as source_file"  # a condition may name it
    return f"select {', '.join(selected)} from {rows}"


def _id(given: str, kind: str, wanted: str, ours: str, owner: str) -> list[str]:
    """An id of the wanted type, null where it cannot be of it, and why."""
    converted = f"try_cast({given} as {wanted})"
    if is_integer(kind):
        return [f"{converted} as {ours}", f"no_number({literal(owner)}, {given}, {converted}) as no_{owner}"]
    if wanted != "VARCHAR":  # 12.7 and 007 are no integers
        converted = f"if(cast({converted} as varchar) = {given}, {converted}, null)"
    return [f"{converted} as {ours}", f"no_id({literal(owner)}, {given}, {converted}) as no_{owner}"]


def _other(opened: Opened, source: SourceSettings, ours: str) -> str:
    """The SQL for a column that is no id; null for what stands for no value."""
    theirs = source.columns.mapped().get(ours)
    if theirs is None:
        return "null"
    column, kind = identifier(theirs), opened.kinds[theirs]
    if is_text(kind):
        column = f"cast({column} as varchar)"
        is_null = f"{column} in ({nulls(source)})"
        if ours == "value":  # NaN is a number, which cannot be used
            is_null += f" and try_cast({column} as double) is null"
        column = f"if({is_null}, null, {column})"
    if ours == "event_id" and opened.is_basket:
        column = f"cast({column} as varchar) || ' ' || {identifier(source.columns.item_id)}"
    return column


def tidied(column: str, kind: str, source: SourceSettings) -> str:
    """The SQL for an id of a column of that type: an integer, or text as configured; null for no id."""
    name = identifier(column)
    if is_integer(kind):
        return f"cast({name} as hugeint)" if kind.startswith("DECIMAL") else name
    text = f"cast({name} as varchar)"
    if kind in EXACT_BELOW:  # others are written as what they are, rounded: 1.8e+16
        text = f"if(abs({name}) < {EXACT_BELOW[kind]}, {text}, format('{{:e}}', cast({name} as double)))"
        text = f"if(isfinite({name}), {text}, null)"
    if source.ids.trim:
        text = f"trim({text})"
    if source.ids.lowercase:
        text = f"lower({text})"
    if source.ids.strip_decimal:
        text = f"regexp_replace({text}, '^(-?[0-9]+)\\.0+$', '\\1')"
    return f"if({text} in ({nulls(source)}), null, {text})"


def nulls(source: SourceSettings) -> str:
    return ", ".join(map(literal, ["", *source.nulls]))


def is_text(kind: str) -> bool:
    return kind.startswith(TEXTS) and not kind.endswith("]")


def is_integer(kind: str) -> bool:
    return kind in INTEGERS or (kind.startswith("DECIMAL") and kind.endswith(",0)"))
