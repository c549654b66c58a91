"""Walking through published tables: what a text may mean, a user's list and its reasons, an item's neighbours."""

from typing import TYPE_CHECKING

from tasks.warehouse import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_SUGGESTIONS, N_LISTED, N_HISTORY, N_REASONS, N_FANS = 12, 12, 30, 3, 12


def look_up(connection: "DuckDBPyConnection", text: str, user_id: str | None, item_id: str | None) -> dict:
    """What was asked for: a user, an item, or else what a text may mean; `missing` says what there is not."""
    facts = {"run_id": select(connection, "explore/run")[0]["run_id"], "text": text, "user": None, "item": None}
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
            facts["item"]["fans"] = select(connection, "explore/fans", {"item_id": item_id, "n": N_FANS})
    else:
        facts["found"] = suggest(connection, text)
    return facts


def suggest(connection: "DuckDBPyConnection", text: str) -> dict:
    """At `most` so many items and users that a text may mean; without one, the most popular items."""
    if not text:
        found = {"items": select(connection, "explore/popular", {"n": N_SUGGESTIONS}), "users": []}
    else:
        parameters = {"text": text, "n": N_SUGGESTIONS}
        found = {name: select(connection, f"explore/suggest_{name}", parameters) for name in ("items", "users")}
    return found | {"most": N_SUGGESTIONS}


def look_up_user(
    connection: "DuckDBPyConnection", user_id: str, n_listed: int = N_LISTED, n_history: int = N_HISTORY
) -> dict | None:
    """The user's history and list, each item of it with its reasons; None for an unknown user."""
    listed = select(
        connection, "explore/recommendations", {"user_id": user_id, "k": n_listed, "n_reasons": N_REASONS}
    )
    history = select(connection, "explore/history", {"user_id": user_id, "n": n_history})
    return {"id": user_id, "recommendations": listed, "history": history} if listed or history else None


def look_up_item(connection: "DuckDBPyConnection", item_id: str, n_listed: int = N_LISTED) -> dict | None:
    """The item and its neighbours; None for an unknown item."""
    found = select(connection, "explore/item", {"item_id": item_id})
    if not found:
        return None
    return found[0] | {"neighbors": select(connection, "explore/neighbors", {"item_id": item_id, "k": n_listed})}


def select(connection: "DuckDBPyConnection", query: str, parameters: dict | None = None) -> list[dict]:
    """The rows of sql/<query>.sql, by column."""
    found = connection.execute(sql(query), parameters)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
