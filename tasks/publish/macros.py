"""The views and macros inside the published file, for readers who have nothing but DuckDB."""

import re
from typing import TYPE_CHECKING

from tasks.publish.definitions import comment, definition
from tasks.settings.publication import RecommendationSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PUBLISHED = ("as_user_id", "as_item_id", "is_available", "available_items", "user_topk_now", "recommend", "similar",
             "popular", "score", "score_pairs", "explain", "recommend_for")  # fmt: skip


def write_macros(connection: "DuckDBPyConnection", rules: RecommendationSettings) -> None:
    """Creates them in the file attached as `output`, with the types that its tables have.

    DuckDB puts what a reader gives a macro into its text; a macro's own names begin with __, so that none is the
    reader's.
    """
    types = connection.execute(
        "select table_name || '.' || column_name, data_type from duckdb_columns() where database_name = 'output'"
    )
    kinds = dict(types.fetchall())
    values = {
        "user_id_type": kinds["user_items.user_id"],
        "item_id_type": kinds["user_items.item_id"],
        "factors": re.sub(r"\D", "", kinds["item_embeddings.embedding"]),
        "k": rules.k,
        "neighbors": rules.neighbors,
    }
    connection.execute("use output")
    for one in (definition(f"published/{name}") for name in PUBLISHED):
        connection.execute(re.sub(r"\$(\w+)", lambda found: str(values[found[1]]), one.query))
        comment(connection, one)
    connection.execute("use memory")
