"""Hooks for a flow whose process is gone and cannot record itself how its run ended."""

from typing import TYPE_CHECKING

from tasks.report.report import find_report
from tasks.run.run import end_lost_run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tasks.settings.deployment import given_config

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State


def record_end(flow: "Flow", flow_run: "FlowRun", state: "State") -> None:
    """Records that the run crashed or was cancelled, and writes its report; the process's supervisor calls this."""
    given = flow_run.parameters["config"]
    config = given_config(given) if flow_run.deployment_id else Config.model_validate(given)
    reason = state.message or f"the flow run is {state.name}"
    status = "cancelled" if state.is_cancelling() or state.is_cancelled() else "crashed"
    run_id = end_lost_run(Warehouse.of(config), str(flow_run.id), status, reason)
    if run_id is not None:
        find_report(config, run_id)
