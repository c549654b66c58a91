"""Events into pairs of a user and an item: which count and how much, as of now or of an earlier moment."""

from datetime import datetime
from typing import TYPE_CHECKING

from tasks.run.database import first_row, sql
from tasks.settings.training import InteractionSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_HALF_LIVES = 20  # an older event counts as one of this age, a millionth, so that it still counts


def pair_up(
    connection: "DuckDBPyConnection",
    rules: InteractionSettings,
    weights: dict[str, float],
    before: datetime | None = None,
) -> tuple[int, int]:
    """Makes the temp table `interactions` from the attached events, or those before a moment.

    Returns how many pairs count before the cap and the minimum supports, and how many users the cap hits.
    """
    parameters = {
        "before": before,
        "min_value": rules.min_value,
        "event_types": list(weights),
        "event_weights": list(weights.values()),
        "half_life_days": rules.half_life_days,
        "max_half_lives": MAX_HALF_LIVES,
        "binarize": rules.binarize,
    }
    connection.execute(sql("interactions"), parameters)
    n_before = first_row(connection, sql("interaction_counts"))[1]
    n_capped = _cap_users(connection, rules.max_user_interactions)
    support = {"min_users": rules.min_item_interactions, "min_items": rules.min_user_interactions}
    while first_row(connection, sql("drop_rare"), support)[0]:
        pass
    return n_before, n_capped


def _cap_users(connection: "DuckDBPyConnection", most: int | None) -> int:
    """Lets only the latest of a user's pairs count, if there is a limit, and returns how many users it hits."""
    if most is None:
        return 0
    n_capped = first_row(connection, sql("users_above_cap"), {"most": most})[0]
    if n_capped:
        connection.execute(sql("cap_users"), {"most": most})
    return n_capped
