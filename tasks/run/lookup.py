"""One user or item in published tables: a user's list and its reasons, an item's neighbours."""

from typing import TYPE_CHECKING

from tasks.run.database import select, sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_LISTED, N_HISTORY, N_REASONS = 12, 30, 3


def look_up_user(
    connection: "DuckDBPyConnection", user_id: str, n_listed: int = N_LISTED, n_history: int = N_HISTORY
) -> dict | None:
    """The user's history and list, each item of it with its reasons; None for an unknown user."""
    listed = select(
        connection, sql("explore/recommendations"), {"user_id": user_id, "k": n_listed, "n_reasons": N_REASONS}
    )
    history = select(connection, sql("explore/history"), {"user_id": user_id, "n": n_history})
    return {"id": user_id, "recommendations": listed, "history": history} if listed or history else None


def look_up_item(connection: "DuckDBPyConnection", item_id: str, n_listed: int = N_LISTED) -> dict | None:
    """The item and its neighbours; None for an unknown item."""
    found = select(connection, sql("explore/item"), {"item_id": item_id})
    if not found:
        return None
    return found[0] | {"neighbors": select(connection, sql("explore/neighbors"), {"item_id": item_id, "k": n_listed})}
