"""prefect.yaml: the flow deploys with its configuration, its form, and a cron schedule that really schedules."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.config import read_config

ROOT = Path(__file__).parents[1]


def prefect(api_url: str, *arguments: str) -> None:
    program = Path(sys.executable).parent / "prefect"
    environment = {**os.environ, "PREFECT_API_URL": api_url, "DO_NOT_TRACK": "1"}
    subprocess.run([program, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True)


@pytest.mark.usefixtures("prefect_server")
def test_deploys_with_its_configuration_and_gets_scheduled_runs() -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    prefect(PREFECT_API_URL.value(), "work-pool", "create", "elsa", "--type", "process")
    prefect(PREFECT_API_URL.value(), "--no-prompt", "deploy", "--all")
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("nightly/nightly")
        until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
        client.request(
            "POST", "/deployments/{id}/schedule", path_params={"id": deployment.id}, json={"end_time": until}
        )
        names = [run.state_name for run in client.read_flow_runs() if run.deployment_id == deployment.id]
    assert deployment.parameters["config"] == read_config(ROOT / "config" / "movielens.yaml").model_dump()
    assert deployment.global_concurrency_limit.limit == 1
    form = deployment.parameter_openapi_schema
    assert form["properties"]["config"]["$ref"].endswith("/Config")
    assert form["definitions"]["Policy"]["properties"]["factors"]["minimum"] == 1
    assert names and set(names) == {"Scheduled"}
