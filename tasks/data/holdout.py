"""What is hidden from the evaluation models: the last days of everyone, or the latest items of some users."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from tasks.data.interactions import pair_up
from tasks.errors import InputError
from tasks.run.database import attach, connect, first_row, sql
from tasks.run.handles import Events, Holdout, Interactions
from tasks.run.progress import working
from tasks.run.quoting import literal
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ENOUGH = 100  # users to validate with, and to test with: of fewer, a night says little


@stage("holdout", reads=("holdout", "interactions", "event_weights"))
def hold_out(run: Run, events: Events, interactions: Interactions) -> Holdout:
    """Writes holdout.parquet: what evaluation models may know of each pair, and which pairs they are asked for.

    Raises InputError where holdout.by is time, and there is nobody to ask for.
    """
    with working("holdout"), connect(":memory:", run.config) as connection:
        attach(connection, run.warehouse.events, "warehouse")
        connection.read_parquet(str(run.files.interactions), hive_partitioning=False).create_view("all_interactions")
        start, reason = _decide(run, connection)
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
    if start is None:
        return _not_by_time(run, "no event has a time")
    pair_up(connection, run.config.interactions, run.config.event_weights, before=start)
    connection.execute(sql("holdout_by_time"), _rules(run) | {"window_start": start})
    n_validation, n_test = first_row(connection, sql("window_users"))
    window = f"the window from {start:%Y-%m-%d %H:%M} on ({rules.days:g} days)"
    users = f"{n_validation:,} users to validate with and {n_test:,} to test with"
    if min(n_validation, n_test) >= (ENOUGH if rules.by == "auto" else 1):
        return start, f"time: {window} has {users}"
    return _not_by_time(run, f"{window} has {users}" + (f", not {ENOUGH} each" if rules.by == "auto" else ""))


def _not_by_time(run: Run, why: str) -> tuple[None, str]:
    if run.config.holdout.by == "time":
        raise InputError(f"holdout.by is time, but {why}; set it to auto or users, or change holdout.days")
    return None, f"users: {why}"


def _rules(run: Run, *names: str) -> dict[str, Any]:
    return {name: getattr(run.config.holdout, name) for name in ("salt", "test_share", "validation_share", *names)}
