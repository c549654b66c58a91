"""What is hidden from the evaluation models: the last days of everyone, or the latest items of some users."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from tasks.data.pairs import pair_up
from tasks.errors import InputError
from tasks.run.database import attach, connect, first_row, sql
from tasks.run.handles import Events, Holdout, Interactions
from tasks.run.progress import working
from tasks.run.quoting import literal
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ENOUGH = 100  # users to validate with, and to test with: of fewer, a run says little
SHARE_BEFORE = 0.5  # of what counts, at least: a model of less says little of the one that learns from everything


@stage("holdout", reads=("holdout", "interactions", "event_weights"))
def hold_out(run: Run, events: Events, interactions: Interactions, *, is_judged: bool) -> Holdout:
    """Writes holdout.parquet: what evaluation models may know of each pair, and which pairs they are asked for.

    A run that judges no model has no window. Raises InputError where holdout.by is time, and there is nobody to ask.
    """
    with working("holdout"), connect(":memory:", run.config) as connection:
        attach(connection, run.warehouse.events, "warehouse")
        read = f"read_parquet({literal(str(run.files.interactions))}, hive_partitioning = false)"
        connection.execute(f"create temp view all_interactions as from {read}")
        start, reason = _decide(run, connection) if is_judged else (None, "users: no model is judged")
        if start is None:
            connection.execute(sql("holdout_by_users"), _rules(run, "target_share"))
        pairs = "(from holdout order by user_id, item_id)"
        connection.execute(f"copy {pairs} to {literal(str(run.files.holdout))} (format parquet)")
    get_run_logger().info(f"holdout by {reason}")
    window_start = None if start is None else start.isoformat()
    return Holdout(run.files.holdout.name, window_start, reason, run.files.holdout.digest())


def _decide(run: Run, connection: "DuckDBPyConnection") -> tuple[datetime | None, str]:
    """When the window begins, None if users are held out, and what is done and why. By time, makes the holdout."""
    rules = run.config.holdout
    if rules.by == "users":
        return None, "users, as configured"
    start = first_row(connection, sql("window_start"), {"days": rules.days})[0]
    found, is_enough = ("no event has a time", False) if start is None else _open_window(run, connection, start)
    if is_enough:
        return start, f"time: {found}"
    if rules.by == "time":
        raise InputError(f"holdout.by is time, but {found}; set it to auto or users, or change holdout.days")
    return None, f"users: {found}"


def _open_window(run: Run, connection: "DuckDBPyConnection", start: datetime) -> tuple[str, bool]:
    """Makes the holdout by time; says what is in the window and before it, and whether that is enough."""
    rules = run.config.holdout
    pair_up(connection, run.config.interactions, run.config.event_weights, before=start)
    connection.execute(sql("holdout_by_time"), _rules(run) | {"window_start": start})
    n_validation, n_test, share = first_row(connection, sql("window_users"))
    found = (
        f"from {start:%Y-%m-%d} on, {rules.days} days before the newest event's, there are {n_validation:,} users to "
        f"validate with and {n_test:,} to test with, and {share:.0%} of what counts lies before"
    )
    fewest = min(n_validation, n_test)
    return found, fewest >= 1 if rules.by == "time" else fewest >= ENOUGH and share >= SHARE_BEFORE


def _rules(run: Run, *names: str) -> dict[str, Any]:
    return {name: getattr(run.config.holdout, name) for name in ("salt", "test_share", "validation_share", *names)}
