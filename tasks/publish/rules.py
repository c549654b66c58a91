"""Which items may be recommended, and when: the metadata's availability and the configured filters."""

from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.errors import InputError
from tasks.run.database import attach, connect, first_row, sql
from tasks.run.handles import Events, Rules
from tasks.run.quoting import identifier, literal
from tasks.run.run import Run
from tasks.run.stage import stage
from tasks.settings.configured_sql import in_parentheses

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

READ_AS = {
    "category": "cast({column} as varchar)",
    "is_hidden": "try_cast({column} as boolean)",
    "available_from": "utc_from_text(cast({column} as varchar)) at time zone 'UTC'",
    "available_until": "utc_from_text(cast({column} as varchar)) at time zone 'UTC'",
}
WITHOUT = {
    "category": "cast(null as varchar)",
    "is_hidden": "false",
    "available_from": "cast(null as timestamptz)",
    "available_until": "cast(null as timestamptz)",
}


@stage("rules")
def apply_rules(run: Run, events: Events) -> Rules:
    """Writes rules.parquet. Raises InputError where a column or a filter cannot be used, before any training."""
    written = run.files.rules
    with connect(":memory:", run.config) as connection:
        attach(connection, run.warehouse.events, "warehouse")
        connection.execute(sql("macros"))
        connection.execute(f"set timezone = {literal(run.config.source.timezone)}")
        expressions = {name: _expression(connection, run, name) for name in READ_AS}
        query = sql("rules", is_allowed=_all_filters(connection, run), **expressions)
        connection.execute(f"create temp table rules as {query}")
        connection.execute(f"copy (from rules) to {literal(str(written))} (format parquet)")
        n_items, n_barred = first_row(
            connection, "select count(*), count(*) filter (where is_hidden or not is_allowed) from rules"
        )
        digest = f"{written.digest()} {first_row(connection, sql('metadata_digest'))[0]}"
    handle = Rules(written.name, n_items, n_barred, digest)
    if n_barred:
        get_run_logger().info(f"{n_barred:,} of {n_items:,} items are hidden, or kept back by a filter")
    return handle


def _expression(connection: "DuckDBPyConnection", run: Run, name: str) -> str:
    """How the metadata's column for it is read. Raises InputError where a value cannot be read."""
    items = run.config.source.items
    column: str | None = None if items is None else getattr(items, name)
    if column is None:
        return WITHOUT[name]
    quoted = identifier(column)
    expression = READ_AS[name].format(column=quoted)
    unread = connection.execute(
        f"select item_id, {quoted} from warehouse.items "
        f"where nullif(trim(cast({quoted} as varchar)), '') is not null and {expression} is null limit 1"
    ).fetchall()
    if unread:
        kind = "true or false" if name == "is_hidden" else "a time"
        raise InputError(
            f"source.items.{name}: item {unread[0][0]} has {unread[0][1]!r} in the column {column!r}, "
            f"which cannot be read as {kind}; correct the metadata"
        )
    return f"coalesce({expression}, false)" if name == "is_hidden" else expression


def _all_filters(connection: "DuckDBPyConnection", run: Run) -> str:
    """One condition that holds where all filters do. Raises InputError where one does not fit the metadata."""
    import duckdb

    conditions = []
    for name, condition in run.config.recommendations.filters.items():
        conditions.append(f"coalesce(cast({in_parentheses(condition)} as boolean), false)")
        try:
            connection.execute(f"select count(*) filter (where {conditions[-1]}) from warehouse.items").fetchall()
        except duckdb.Error as error:
            raise InputError(
                f"recommendations.filters.{name}: {condition!r} does not fit the item metadata: "
                f"{str(error).splitlines()[0]}"
            ) from None
    return " and ".join(conditions) or "true"
