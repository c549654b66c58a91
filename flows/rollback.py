"""The way back, for whoever has Prefect's page at hand and no terminal."""

from prefect import flow, get_run_logger

from tasks.publish.publication import roll_back
from tasks.settings.config import GivenConfig, given_config


@flow(name="rollback")
def rollback(config: GivenConfig, run_id: str | None = None, reason: str | None = None) -> str:
    """Leads readers back to a run, or to what they had before the current one, and returns which."""
    to, left = roll_back(given_config(config), run_id, reason)
    get_run_logger().info("readers were led from run %s to %s", left, to)
    return to
