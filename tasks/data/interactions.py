"""Events into one row per (user, item): what counts and how much, and what was seen and does not count."""

from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.data.pairs import pair_up
from tasks.errors import InputError
from tasks.run.database import attach, connect, first_row, sql
from tasks.run.handles import Events, Interactions
from tasks.run.progress import working
from tasks.run.quoting import literal
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEW = 0.1  # of the pairs count: whoever configured that may not have meant these events


@stage("interactions", reads=("interactions", "event_weights"))
def build_interactions(run: Run, events: Events) -> Interactions:
    """Writes interactions.parquet, sorted by user and item. Raises InputError if nothing is left that counts."""
    rules, weights = run.config.interactions, run.config.event_weights
    written = run.files.interactions
    with working("interactions"), connect(":memory:", run.config) as connection:
        attach(connection, run.warehouse.events, "warehouse")
        _warn_of_unknown_types(connection, list(weights))
        n_before, n_capped = pair_up(connection, rules, weights)
        if n_capped:
            most = rules.max_user_interactions
            get_run_logger().warning(f"{n_capped:,} users have more than {most:,} items; their latest ones count")
        n_pairs, n_counting, n_users, n_items = first_row(connection, sql("interaction_counts"))
        if not n_counting:
            raise InputError(
                f"no interactions are left: {n_before:,} of {n_pairs:,} pairs of a user and an item count under "
                f"{_weighing(run)}; all of those fall to {_support(run)}; lower these limits, or raise a max_ one"
            )
        connection.execute(
            f"copy (from interactions order by user_id, item_id) to {literal(str(written))} (format parquet)"
        )
    if n_counting < FEW * n_pairs:
        get_run_logger().warning(
            f"only {n_counting:,} of {n_pairs:,} pairs of a user and an item count ({n_counting / n_pairs:.1%}); "
            f"{n_pairs - n_before:,} fall to {_weighing(run)}, {n_before - n_counting:,} to {_support(run)}"
        )
    get_run_logger().info(
        "%s interactions of %s users and %s items count; %s pairs were seen and do not count",
        f"{n_counting:,}",
        f"{n_users:,}",
        f"{n_items:,}",
        f"{n_pairs - n_counting:,}",
    )
    return Interactions(written.name, n_users, n_items, n_counting, n_capped, written.digest())


def _weighing(run: Run) -> str:
    """What decides whether an event counts, in words."""
    values = f"interactions.min_value={run.config.interactions.min_value}"
    return f"{values} and event_values={list(run.config.event_weights) or 'all'}"


def _support(run: Run) -> str:
    """What decides whether users and items have enough of them, in words."""
    rules = run.config.interactions
    limits = rules.model_dump(include={"min_user_interactions", "min_item_interactions", "max_user_interactions"})
    return " or ".join(f"{name}={limit}" for name, limit in limits.items() if limit is not None)


def _warn_of_unknown_types(connection: "DuckDBPyConnection", types: list[str]) -> None:
    found = {kind for (kind,) in connection.execute("select distinct event_type from warehouse.events").fetchall()}
    for kind in types:
        if kind not in found:
            get_run_logger().warning(f"interactions.event_values names {kind!r}, but no event is of that type")
