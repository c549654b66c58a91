"""A source file's columns under our names: ids, times, and whatever else the configuration maps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.config import Quarantine, Source
from tasks.errors import InputError
from tasks.quoting import identifier, literal
from tasks.source_tables import SourceTable, readable
from tasks.warehouse import first_row

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
EXACT_BELOW = {"FLOAT": 2**24, "DOUBLE": 2**53}  # from there on one number stands for several integers
NUMBERS = (*INTEGERS, *EXACT_BELOW, "DECIMAL")
MOMENTS = ("TIMESTAMP", "DATE")
TEXTS = ("VARCHAR", "UUID", "ENUM")
UNKNOWN = '"NULL"'  # DuckDB's type of a column without a value
OWNERS = {"user_id": "user", "item_id": "item"}


@dataclass(frozen=True)
class Opened:
    """A source file that is readable as the view source_file, its columns with their types, and as what it came.

    is_basket  its items came as lists; each is a row of its own in source_file
    """

    table: SourceTable
    kinds: dict[str, str]
    is_basket: bool


def open_events(connection: "DuckDBPyConnection", source: Source, table: SourceTable) -> Opened:
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


def _reading_of_times(source: Source, kinds: dict[str, str]) -> str:
    """The SQL that makes a timestamp in UTC of `given`, a value of the column of times."""
    kind = kinds.get(source.columns.timestamp, "VARCHAR")
    if kind.startswith(MOMENTS):
        return "utc_from_moment(given)"
    if formats := source.columns.timestamp_formats():
        listed = ", ".join(map(literal, formats))
        return f"cast(try_strptime(cast(given as varchar), [{listed}]) as timestamptz) at time zone 'UTC'"
    return "utc_from_number(given)" if kind.startswith(NUMBERS) else "utc_from_text(cast(given as varchar))"


def mapped(opened: Opened, source: Source, types: dict[str, str], quarantine: Quarantine) -> str:
    """The query that brings source_file's columns under our names, as they came; unmapped ones are null.

    no_user, no_item say why an id cannot be used; conditions, what quarantine.conditions says against the row.
    """
    columns = source.columns.mapped()
    selected = ["row_number() over () as row_number", "__file as whole_row"]
    for ours, owner in OWNERS.items():
        given, kind = tidied(columns[ours], opened.kinds[columns[ours]], source), opened.kinds[columns[ours]]
        selected += _id(given, kind, types[ours], ours, owner)
    for ours in ("event_id", "timestamp", "value", "event_type"):
        selected.append(f"{_other(opened, source, ours)} as {ours}")
    reasons = [f"if({condition}, {literal(reason)}, null)" for reason, condition in quarantine.conditions.items()]
    selected.append(f"nullif(concat_ws('; ', {', '.join(['null', *reasons])}), '') as conditions")
    return f"select {', '.join(selected)} from source_file as __file"


def _id(given: str, kind: str, wanted: str, ours: str, owner: str) -> list[str]:
    """An id of the wanted type, null where it cannot be of it, and why."""
    converted = f"try_cast({given} as {wanted})"
    if is_integer(kind):
        return [f"{converted} as {ours}", f"no_number({literal(owner)}, {given}, {converted}) as no_{owner}"]
    if wanted != "VARCHAR":  # 12.7 and 007 are no integers
        converted = f"if(cast({converted} as varchar) = {given}, {converted}, null)"
    return [f"{converted} as {ours}", f"no_id({literal(owner)}, {given}, {converted}) as no_{owner}"]


def _other(opened: Opened, source: Source, ours: str) -> str:
    """The SQL for a column that is no id; null for what stands for no value."""
    theirs = source.columns.mapped().get(ours)
    if theirs is None:
        return "null"
    column, kind = identifier(theirs), opened.kinds[theirs]
    if kind.startswith(TEXTS):
        column = f"cast({column} as varchar)"
        is_null = f"{column} in ({_nulls(source)})"
        if ours == "value":  # NaN is a number, which cannot be used
            is_null += f" and try_cast({column} as double) is null"
        column = f"if({is_null}, null, {column})"
    if ours == "event_id" and opened.is_basket:
        column = f"cast({column} as varchar) || ' ' || {identifier(source.columns.item_id)}"
    return column


def tidied(column: str, kind: str, source: Source) -> str:
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
    return f"if({text} in ({_nulls(source)}), null, {text})"


def _nulls(source: Source) -> str:
    return ", ".join(map(literal, ["", *source.nulls]))


def is_integer(kind: str) -> bool:
    return kind in INTEGERS or (kind.startswith("DECIMAL") and kind.endswith(",0)"))


def id_types_of_events(connection: "DuckDBPyConnection") -> dict[str, str]:
    """The types of user_id and item_id in the warehouse; empty before the first events."""
    columns = "table_name = 'event_rows' and column_name in ('user_id', 'item_id')"
    return dict(connection.execute(f"select column_name, data_type from duckdb_columns() where {columns}").fetchall())


def id_types(
    connection: "DuckDBPyConnection",
    source: Source,
    quarantine: Quarantine,
    tables: list[SourceTable],
    kept: dict[str, str],
) -> dict[str, str]:
    """The types for the ids of the given files, beside those that the warehouse has `kept`.

    Rows that will be quarantined for their time, their value or a condition do not count; and where the ids are
    integers already, text does not either: its rows will be quarantined. Raises InputError where a condition or a
    column of ids cannot be used.
    """
    found: dict[str, list[str]] = {name: [] for name in OWNERS}
    for table in tables:
        opened = open_events(connection, source, table)
        _check_conditions(connection, quarantine.conditions)
        for name, kinds in found.items():
            is_settled = "VARCHAR" in (kept.get(name), _wanted(source, name))
            usable = "false" if is_settled else _usable(source, quarantine)
            kinds.append(_id_type(connection, source, opened, name, usable))
        close_events(connection)
    return {name: _settled(source, name, kinds, kept.get(name)) for name, kinds in found.items()}


def _wanted(source: Source, name: str) -> str:
    return {"text": "VARCHAR", "integer": "BIGINT", "auto": "auto"}[getattr(source.ids, f"{OWNERS[name]}_type")]


def _settled(source: Source, name: str, kinds: list[str], kept: str | None) -> str:
    wanted = _wanted(source, name)
    if kept is not None and wanted != "auto" and (kept == "VARCHAR") != (wanted == "VARCHAR"):
        raise InputError(
            f"source.ids.{OWNERS[name]}_type: this warehouse holds {name} as {kept} already; name a new warehouse "
            "and read the files again, or leave the key out"
        )
    if "VARCHAR" in (kept, wanted):
        return "VARCHAR"
    if kept is None and wanted == "auto":
        return _common_type(kinds)
    known = [kept or wanted, *(kind for kind in kinds if kind != "VARCHAR")]
    return known[0] if _common_type(known) == "VARCHAR" else _common_type(known)


def _check_conditions(connection: "DuckDBPyConnection", conditions: dict[str, str]) -> None:
    import duckdb

    for reason, condition in conditions.items():
        try:
            connection.execute(f"explain select if({condition}, 1, 0) from source_file")
        except duckdb.Error as error:
            raise InputError(f"quarantine.conditions.{reason}: {' '.join(str(error).split())}") from None


def _usable(source: Source, quarantine: Quarantine) -> str:
    """The SQL condition that a row is not quarantined for its time, its value or a configured condition."""
    columns = source.columns
    parts = ["true", *(f"not coalesce({condition}, false)" for condition in quarantine.conditions.values())]
    if columns.timestamp is not None:
        parts.append(f"to_utc({identifier(columns.timestamp)}) is not null")
    if columns.value is not None:
        value = f"cast({identifier(columns.value)} as varchar)"
        parts.append(f"(coalesce({value}, '') in ({_nulls(source)}) or try_cast({value} as double) is not null)")
    return " and ".join(f"({part})" for part in parts)


def _id_type(connection: "DuckDBPyConnection", source: Source, opened: Opened, name: str, usable: str) -> str:
    """An integer type, VARCHAR, or UNKNOWN where the file holds no id at all."""
    column = getattr(source.columns, name)
    kind = opened.kinds[column]
    if kind in ("UBIGINT", "HUGEINT") or (kind.startswith("DECIMAL") and is_integer(kind)):
        limits = f"select min({identifier(column)}), max({identifier(column)}) from source_file"
        least, largest = first_row(connection, limits)
        is_within = largest is None or (least >= -(2**63) and largest < 2**63)
        return "BIGINT" if is_within else kind if kind == "UBIGINT" else "HUGEINT"
    if kind in (*INTEGERS, UNKNOWN):
        return kind
    is_fraction = kind in EXACT_BELOW and bool(source.ids.strip_decimal)
    if not kind.startswith(TEXTS) and not is_fraction:
        hint = "; source.ids.strip_decimal reads 17850.0 as 17850" if kind in EXACT_BELOW else ""
        raise InputError(f"{opened.table.name}: its {name} is of type {kind}; ids must be integers or text{hint}")
    with readable(opened.table.name):
        n_ids, n_integers = first_row(
            connection,
            "select count(id), count(*) filter (where id = cast(try_cast(id as bigint) as varchar)) "
            f"from (select {tidied(column, kind, source)} as id from source_file where {usable}) "
            "where no_id('id', id, id) is null",
        )
    if n_ids == 0:
        return UNKNOWN
    may_be_integers = column in opened.table.untyped or is_fraction
    return "BIGINT" if may_be_integers and n_integers == n_ids else "VARCHAR"


def _common_type(types: list[str]) -> str:
    known = {kind for kind in types if kind != UNKNOWN}
    if not known or "VARCHAR" in known:
        return "VARCHAR"
    if "HUGEINT" in known or ("UBIGINT" in known and len(known) > 1):
        return "VARCHAR"  # Parquet holds no integers beyond 64 bits
    return known.pop() if len(known) == 1 else "BIGINT"
