"""Source files taken into the warehouse of the working directory, without an engine."""

import duckdb

from tasks.data.ingest import ingest
from tasks.data.ledger import accept
from tasks.run.handles import Events
from tasks.run.run import open_run
from tests.support.worlds import config

COLUMNS = {"user_id": "user", "item_id": "movie", "timestamp": "at", "value": "rating", "event_type": "kind"}


def take_in(
    events: str | list[str] | None,
    columns: dict | None = None,
    items: dict | None = None,
    quarantine: dict | None = None,
    **source: object,
) -> Events:
    source |= {"events": events, "columns": COLUMNS if columns is None else columns, "items": items}
    changes = {"source": source, "interactions": {"min_value": None}, "quarantine": quarantine or {}}
    with open_run(config(**changes)) as run:
        handle = ingest.fn(run)
    with duckdb.connect("warehouse/events.duckdb") as connection:
        accept(connection)
    return handle


def stored(
    query: str = "select user_id, item_id, timestamp, value, event_type from events order by all",
) -> list[tuple]:
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        return connection.execute(query).fetchall()
