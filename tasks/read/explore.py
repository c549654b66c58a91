"""Walking through published tables: what a text may mean, and what was asked for."""

from typing import TYPE_CHECKING

from tasks.run.database import select, sql
from tasks.run.lookup import look_up_item, look_up_user

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_SUGGESTIONS, N_FANS = 12, 12


def look_up(connection: "DuckDBPyConnection", text: str, user_id: str | None, item_id: str | None) -> dict:
    """What was asked for: a user, an item, or else what a text may mean; `missing` says what there is not."""
    facts = {"run_id": select(connection, sql("explore/run"))[0]["run_id"], "text": text, "user": None, "item": None}
    facts |= {"found": None, "missing": None}
    if user_id is not None:
        facts["user"] = look_up_user(connection, user_id)
        if facts["user"] is None:
            facts["missing"] = f"user {user_id} has no list in this run"
    elif item_id is not None:
        facts["item"] = look_up_item(connection, item_id)
        if facts["item"] is None:
            facts["missing"] = f"item {item_id} is not in the catalogue of this run"
        else:
            facts["item"]["fans"] = select(connection, sql("explore/fans"), {"item_id": item_id, "n": N_FANS})
    else:
        facts["found"] = suggest(connection, text)
    return facts


def suggest(connection: "DuckDBPyConnection", text: str) -> dict:
    """At `most` so many items and users that a text may mean; without one, the most popular items."""
    if not text:
        found = {"items": select(connection, sql("explore/popular"), {"n": N_SUGGESTIONS}), "users": []}
    else:
        parameters = {"text": text, "n": N_SUGGESTIONS}
        found = {name: select(connection, sql(f"explore/suggest_{name}"), parameters) for name in ("items", "users")}
    return found | {"most": N_SUGGESTIONS}
