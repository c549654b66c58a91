"""A real server, a real worker, real ends of nights: `make test-operations`. Everything listens on loopback only."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from flows.automations import put_in_place
from tasks.config import Config
from tasks.lock import is_locked
from tasks.warehouse import current_run_id, list_runs
from tests.conftest import settings, write_world

pytestmark = [pytest.mark.slow, pytest.mark.operations]
ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LONG = {"embedding_policy": {"factors": 8, "n_epochs": 1_000_000, "batch_size": 8, "strategy": "default"}}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def until(is_so: Callable[[], Any], seconds: float, what: str) -> Any:
    """What the function returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)
    return found


class Place:
    """A server with our deployments and automations on it, a listener for alerts, and the small world's files."""

    def __init__(self, folder: Path):
        self.folder, self.alerts = folder, []
        write_world(folder)
        absolute = settings(warehouse=str(folder / "warehouse"))
        absolute["source"]["events"] = str(folder / "data" / "ratings.parquet")
        absolute["source"]["items"]["path"] = str(folder / "data" / "movies.parquet")
        self.settings = absolute
        (folder / "my.yaml").write_text(yaml.safe_dump(absolute))
        port = free_port()
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "ELSA_CONFIG": str(folder / "my.yaml"),
            "ELSA_HOME": str(ROOT),
            "ELSA_ALERT_BLOCK": "custom-webhook/elsa-alerts",
        }
        self.processes = [self.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))]

    def start(self, name: str, *arguments: str) -> subprocess.Popen:
        with (self.folder / f"{name}.log").open("a") as log:
            return subprocess.Popen(
                [BIN / "prefect", *arguments], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )

    def start_worker(self) -> subprocess.Popen:
        self.processes.append(self.start("worker", "worker", "start", "--pool", "elsa"))
        return self.processes[-1]

    def command(self, *arguments: str | Path) -> str:
        done = subprocess.run([str(part) for part in arguments], cwd=ROOT, env=self.environment, text=True,
                              capture_output=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def warehouse(self) -> Path:
        return self.folder / "warehouse"

    def run(self, name: str = "nightly/nightly", **changes: Any) -> Any:
        """Asks for a run of a deployment, with some of the configuration changed, and returns its id."""
        config = Config.model_validate(self.settings | changes).model_dump(mode="json")
        with self.client() as client:
            deployment = client.read_deployment_by_name(name)
            return client.create_flow_run_from_deployment(deployment.id, parameters={"config": config}).id

    def state(self, flow_run_id: Any) -> Any:
        with self.client() as client:
            return client.read_flow_run(flow_run_id).state

    def ends(self, flow_run_id: Any, seconds: float = 180) -> Any:
        return until(lambda: (state := self.state(flow_run_id)).is_final() and state, seconds, "the run ends")

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with (
            temporary_settings({PREFECT_API_URL: self.environment["PREFECT_API_URL"]}),
            get_client(sync_client=True) as client,
        ):
            yield client

    @contextlib.contextmanager
    def automations(self, folder: Path, old: str, new: str) -> Iterator[None]:
        """Ours with something changed, so that a test need not wait as long as a person would."""
        changed = folder / "automations.yaml"
        changed.write_text((ROOT / "automations.yaml").read_text().replace(old, new))
        with self.client():
            put_in_place(changed, None)
        yield
        with self.client():
            put_in_place(ROOT / "automations.yaml", None)

    def is_training(self) -> bool:
        runs = list_runs(self.warehouse)
        return bool(runs) and runs[-1]["status"] == "running" and "matrix" in runs[-1]["stages"]

    def training_pid(self) -> int:
        until(self.is_training, 120, "a night trains")
        return json.loads((self.warehouse / "lock").read_text())["pid"]

    def alert_of(self, state: str, seconds: float = 60) -> dict:
        return until(lambda: next((one for one in self.alerts if f" {state}: " in one["subject"]), None), seconds,
                     f"an alert of {state}, among {[one['subject'] for one in self.alerts]}")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    import httpx

    place = Place(tmp_path_factory.mktemp("place"))

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            place.alerts.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def is_up() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{place.environment['PREFECT_API_URL']}/health").is_success
        return False

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        try:
            until(is_up, 120, "the server answers")
            script = (
                "from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook\n"
                f"url = 'http://127.0.0.1:{listener.server_port}/'\n"
                "data = {'subject': '{{subject}}', 'body': '{{body}}'}\n"
                "Webhook(name='elsa', url=url, json_data=data).save('elsa-alerts')"
            )
            place.command(sys.executable, "-c", script)
            place.command(BIN / "prefect", "work-pool", "create", "elsa", "--type", "process", "--overwrite")
            place.command(BIN / "prefect", "--no-prompt", "deploy", "--all")
            place.command(sys.executable, "-m", "flows.automations")
            yield place
        finally:
            for process in reversed(place.processes):
                process.terminate()
                process.wait(30)
            listener.shutdown()


def test_cron_deployments_get_scheduled_runs(place: Place) -> None:
    with place.client() as client:
        for name in ("nightly/nightly", "refresh/refresh"):
            deployment = client.read_deployment_by_name(name)
            body = {"end_time": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
            client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment.id}, json=body)
            assert [run for run in client.read_flow_runs() if run.deployment_id == deployment.id], name
    place.command(BIN / "prefect", "--no-prompt", "deployment", "schedule", "pause", "--all")


def test_a_night_that_nobody_starts_is_announced_as_late(place: Place) -> None:
    night = place.run()
    alert = place.alert_of("Late", 120)
    assert alert["subject"] == "elsa nightly Late: it has not started"
    assert alert["body"].startswith("It should have started at ")
    with place.client() as client:
        client.delete_flow_run(night)


def test_a_night_runs_is_seen_and_a_second_one_at_once_is_cancelled(place: Place) -> None:
    place.start_worker()
    first = place.run()
    until(lambda: place.state(first).is_running(), 120, "the first night runs")
    second = place.run()
    assert place.ends(second).is_cancelled()
    place.alert_of("Cancelled")
    state = place.ends(first)
    assert (state.is_completed(), state.name) == (True, "Published")
    run_id = current_run_id(place.warehouse)
    with place.client() as client:
        assert client.read_flow_run(first).name == run_id
        body = {"artifacts": {"flow_run_id": {"any_": [str(first)]}}}
        artifacts = {one["key"]: one for one in client.request("POST", "/artifacts/filter", json=body).json()}
    assert {"verdict", "metrics", "report", "evaluation-model", "model"} <= set(artifacts)
    assert f"Published**: run {run_id}" in artifacts["verdict"]["data"]
    assert (place.warehouse / "runs" / run_id / "report.html").exists()
    with duckdb.connect(str(place.warehouse / "current.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from user_topk").fetchall()[0][0] > 0


def test_a_refresh_and_a_way_back(place: Place) -> None:
    night = current_run_id(place.warehouse)
    assert place.ends(place.run("refresh/refresh")).name == "Published"
    assert current_run_id(place.warehouse) != night
    assert place.ends(place.run("rollback/rollback")).is_completed()
    assert current_run_id(place.warehouse) == night


def test_a_rejected_night_is_announced_with_its_reason_in_the_first_line(place: Place) -> None:
    assert place.ends(place.run(gate={"minimums": {"ndcg@10": 1.5}})).name == "Rejected"
    alert = place.alert_of("Rejected")
    assert alert["subject"].startswith("elsa nightly Rejected: ndcg@10 is ") and "at least 1.5" in alert["subject"]
    assert "at least 1.5" in alert["body"].splitlines()[0]


def test_a_night_that_fails_is_announced_with_its_reason_in_the_first_line(place: Place) -> None:
    assert place.ends(place.run(source=place.settings["source"] | {"events": "nowhere.parquet"})).is_failed()
    assert "no such file: nowhere.parquet" in place.alert_of("Failed")["body"].splitlines()[0]


def test_a_night_that_does_not_end_is_announced_and_killed_it_is_crashed_and_the_next_one_succeeds(
    place: Place, tmp_path: Path
) -> None:
    with place.automations(tmp_path, "within: 21600", "within: 15"):
        night = place.run(policy_configs=LONG)
        until(lambda: [one for one in place.alerts if "still running" in one["subject"]], 120, "it is announced")
    os.kill(place.training_pid(), signal.SIGKILL)
    assert place.ends(night, 60).is_crashed()
    assert place.alert_of("Crashed")["body"].strip()
    until(lambda: list_runs(place.warehouse)[-1]["status"] == "crashed", 30, "the end is in the history")
    assert not is_locked(place.warehouse / "lock")
    assert place.ends(place.run()).name == "Published"


def test_a_night_that_lost_its_worker_too_is_found_by_its_heartbeat(place: Place, tmp_path: Path) -> None:
    n_alerts = len(place.alerts)
    with place.automations(tmp_path, "within: 90", "within: 40"):
        night = place.run(policy_configs=LONG)
        pid, worker = place.training_pid(), place.processes[-1]
        time.sleep(35)  # a heartbeat
        assert place.state(night).is_running()
        worker.kill()
        worker.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        assert place.ends(night, 240).is_crashed()
    until(lambda: len(place.alerts) > n_alerts, 60, "it is announced")
    assert "its heartbeat stopped" in place.alerts[-1]["body"]
    assert list_runs(place.warehouse)[-1]["status"] == "died"
    place.start_worker()
    assert place.ends(place.run()).name == "Published"
