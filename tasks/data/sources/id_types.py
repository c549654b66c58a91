"""Of which type the ids in the warehouse are: integers where nothing speaks against it, else text."""

from typing import TYPE_CHECKING

from tasks.data.sources.columns import (
    EXACT_BELOW,
    INTEGERS,
    OWNERS,
    Opened,
    close_events,
    is_integer,
    is_text,
    nulls,
    open_events,
    tidied,
)
from tasks.data.sources.tables import SourceTable, readable
from tasks.errors import InputError
from tasks.run.database import first_row
from tasks.run.quoting import identifier
from tasks.settings.checks import QuarantineSettings
from tasks.settings.configured_sql import in_parentheses
from tasks.settings.source import SourceSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

UNKNOWN = '"NULL"'  # DuckDB's type of a column without a value


def id_types_of_events(connection: "DuckDBPyConnection") -> dict[str, str]:
    """The types of user_id and item_id in the warehouse; empty before the first events."""
    columns = "table_name = 'event_rows' and column_name in ('user_id', 'item_id')"
    return dict(connection.execute(f"select column_name, data_type from duckdb_columns() where {columns}").fetchall())


def id_types(
    connection: "DuckDBPyConnection",
    source: SourceSettings,
    quarantine: QuarantineSettings,
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


def _wanted(source: SourceSettings, name: str) -> str:
    return {"text": "VARCHAR", "integer": "BIGINT", "auto": "auto"}[getattr(source.ids, f"{OWNERS[name]}_type")]


def _settled(source: SourceSettings, name: str, kinds: list[str], kept: str | None) -> str:
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
    known = [kept or wanted]
    for kind in sorted(kinds):
        if _common_type([*known, kind]) != "VARCHAR":
            known.append(kind)
    return _common_type(known)


def _check_conditions(connection: "DuckDBPyConnection", conditions: dict[str, str]) -> None:
    import duckdb

    for reason, condition in conditions.items():
        try:
            connection.execute(f"explain select if({in_parentheses(condition)}, 1, 0) from source_file")
        except duckdb.Error as error:
            raise InputError(f"quarantine.conditions.{reason}: {' '.join(str(error).split())}") from None


def _usable(source: SourceSettings, quarantine: QuarantineSettings) -> str:
    """The SQL condition that a row is not quarantined for its time, its value or a configured condition."""
    columns = source.columns
    conditions = map(in_parentheses, quarantine.conditions.values())
    parts = ["true", *(f"not coalesce({condition}, false)" for condition in conditions)]
    if columns.timestamp is not None:
        parts.append(f"to_utc({identifier(columns.timestamp)}) is not null")
    if columns.value is not None:
        value = f"cast({identifier(columns.value)} as varchar)"
        parts.append(f"(coalesce({value}, '') in ({nulls(source)}) or try_cast({value} as double) is not null)")
    return " and ".join(f"({part})" for part in parts)


def _id_type(connection: "DuckDBPyConnection", source: SourceSettings, opened: Opened, name: str, usable: str) -> str:
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
    if not is_text(kind) and not is_fraction:
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
