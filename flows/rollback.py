"""Rollback as a flow, to be started from Prefect's page."""

from prefect import flow, get_run_logger

from tasks.publish.publication import roll_back
from tasks.settings.deployment import GivenConfig, given_config


@flow(name="rollback")
def rollback(config: GivenConfig, run_id: str | None = None, reason: str | None = None) -> str:
    """Switches current.duckdb to a run, or to the one published before the current one; returns which."""
    to, left = roll_back(given_config(config), run_id, reason)
    get_run_logger().info("current.duckdb switched from run %s to run %s", left, to)
    return to
