"""Without PREFECT_API_URL, a command starts a temporary Prefect server, which goes with it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.worlds import settings

pytestmark = pytest.mark.slow
LONG = {"embedding_policy": {"factors": 8, "n_epochs": 1_000_000, "batch_size": 8, "strategy": "default"}}


def start(folder: Path, command: str) -> subprocess.Popen:
    """`elsa COMMAND` in a process group of its own."""
    (folder / "my.yaml").write_text(yaml.safe_dump(settings(policy_configs=LONG)))
    mine = {"PREFECT_API_URL", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"}
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [Path(sys.executable).parent / "elsa", command, "--config", "my.yaml"],
            env={**environment, "PREFECT_HOME": str(folder / "prefect")},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def processes(group: int) -> list[str]:
    """The commands of a process group that have not ended."""
    listed = subprocess.run(["ps", "-axo", "pgid=,stat=,args="], text=True, capture_output=True, check=True).stdout
    found = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [words[2] for words in found if words[0] == str(group) and not words[1].startswith("Z")]


def until(is_so: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.1)
    return is_so()


def assert_nothing_stays(process: subprocess.Popen) -> None:
    gone = until(lambda: not processes(process.pid), 15)
    left = processes(process.pid)
    if not gone:
        os.killpg(process.pid, signal.SIGKILL)
    assert gone, left


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_goes_with_a_run_that_is_killed(world: Path, number: signal.Signals) -> None:
    process = start(world, "nightly")
    assert until(lambda: "Beginning flow run" in (world / "log").read_text(), 180)
    assert len(processes(process.pid)) == 2
    url = (world / "log").read_text().split("temporary server on ")[1].split()[0]
    assert httpx.post(f"{url}/api/flow_runs/filter", json={}).status_code == 401, "nobody else is let in"
    os.kill(process.pid, number)
    assert process.wait(60) != 0
    assert_nothing_stays(process)


def test_the_server_goes_with_a_run_that_is_killed_before_the_server_answers(world: Path) -> None:
    process = start(world, "nightly")
    assert until(lambda: len(processes(process.pid)) == 2, 120)
    process.kill()
    process.wait()
    assert_nothing_stays(process)


def test_the_server_goes_with_a_run_that_has_ended(world: Path) -> None:
    process = start(world, "ingest")
    assert process.wait(180) == 0
    assert "Error" not in (world / "log").read_text()
    assert_nothing_stays(process)
