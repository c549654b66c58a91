"""prefect.yaml: the flow deploys with the name of its configuration, and a cron schedule that really schedules."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.automations import put_in_place

ROOT = Path(__file__).parents[2]


def prefect(api_url: str, *arguments: str) -> None:
    program = Path(sys.executable).parent / "prefect"
    environment = {**os.environ, "PREFECT_API_URL": api_url, "DO_NOT_TRACK": "1", "ELSA_HOME": str(ROOT)}
    subprocess.run([program, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True)


@pytest.mark.usefixtures("prefect_server")
def test_deploys_with_its_configuration_and_gets_scheduled_runs() -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    prefect(PREFECT_API_URL.value(), "work-pool", "create", "elsa", "--type", "process")
    prefect(PREFECT_API_URL.value(), "--no-prompt", "deploy", "--all")
    with get_client(sync_client=True) as client:
        names = {"nightly/nightly", "refresh/refresh", "validate/validate-only", "rollback/rollback"}
        deployments = {name: client.read_deployment_by_name(name) for name in names}
        deployment = deployments["nightly/nightly"]
        until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
        client.request(
            "POST", "/deployments/{id}/schedule", path_params={"id": deployment.id}, json={"end_time": until}
        )
        states = [run.state_name for run in client.read_flow_runs() if run.deployment_id == deployment.id]
    assert deployment.parameters["config"] == str(ROOT / "config" / "movielens.yaml")
    for one in deployments.values():
        assert one.parameters["config"] == deployment.parameters["config"]
        assert one.global_concurrency_limit.limit == 1
        assert one.concurrency_options.collision_strategy == "CANCEL_NEW"
        assert one.tags == ["elsa"]
    assert [one.schedules != [] for one in map(deployments.get, sorted(names))] == [True, True, False, False]
    assert deployment.parameter_openapi_schema["properties"]["config"]["type"] == "string"
    assert states and set(states) == {"Scheduled"}


@pytest.mark.usefixtures("prefect_server")
def test_automations_are_put_in_place_once_and_with_the_block_if_there_is_one() -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.client.orchestration import get_client

    path = ROOT / "automations.yaml"
    lost = "elsa nights that lost their heartbeat"
    assert put_in_place(path, None) == [lost]
    with pytest.raises(ValueError, match="no block 'custom-webhook/nobody'; set ELSA_ALERT_BLOCK"):
        put_in_place(path, "custom-webhook/nobody")
    block = CustomWebhookNotificationBlock(name="elsa", url="http://127.0.0.1:9", json_data={})
    block_id = block.save("elsa-alerts")
    for name in ("custom-webhook/elsa-alerts", "custom-webhook/elsa-alerts", None):
        placed = put_in_place(path, name)
    assert placed == ["elsa nights that need someone", "elsa nights that do not end", lost]
    with get_client(sync_client=True) as client:
        found = {one.name: one for one in client.read_automations()}
    assert sorted(found) == sorted(placed)
    assert {found[name].actions[0].block_document_id for name in placed[:2]} == {block_id}, "kept without its name"
