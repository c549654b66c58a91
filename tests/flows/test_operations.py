"""A real server, a real worker, real ends of nights: `make test-operations`. Everything listens on loopback only."""

import base64
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
from uuid import uuid4

import duckdb
import pytest
import yaml

from flows.auth import auth_string
from flows.automations import put_in_place
from tasks.run.index import list_runs
from tasks.run.lock import holder
from tasks.run.warehouse import Warehouse
from tests.support.worlds import settings, write_world

pytestmark = [pytest.mark.slow, pytest.mark.operations]
ROOT = Path(__file__).parents[2]
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
        self.auth = auth_string(folder / "prefect")
        self.environment = {
            **os.environ,
            "PREFECT_API_AUTH_STRING": self.auth,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
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
            command = [sys.executable, "-m", "flows.auth", BIN / "prefect", *arguments]
            return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)

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
        changed = self.folder / f"{uuid4()}.yaml"
        changed.write_text(yaml.safe_dump(self.settings | changes))
        return self.run_with(str(changed) if changes else None, name)

    def run_with(self, given: Any, name: str = "nightly/nightly") -> Any:
        """The same with anything as the parameter, or with the deployment's own."""
        with self.client() as client:
            deployment = client.read_deployment_by_name(name)
            parameters = {} if given is None else {"config": given}
            return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id

    def state(self, flow_run_id: Any) -> Any:
        with self.client() as client:
            return client.read_flow_run(flow_run_id).state

    def ends(self, flow_run_id: Any, seconds: float = 180) -> Any:
        return until(lambda: (state := self.state(flow_run_id)).is_final() and state, seconds, "the run ends")

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

        own = {PREFECT_API_URL: self.environment["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: self.auth}
        with (
            temporary_settings(own),
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
        runs = list_runs(Warehouse(self.warehouse))
        return bool(runs) and runs[-1].status == "running" and "matrix" in runs[-1].stages

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
    run_id = Warehouse(place.warehouse).current_run_id
    with place.client() as client:
        assert client.read_flow_run(first).name == run_id
        body = {"artifacts": {"flow_run_id": {"any_": [str(first)]}}}
        artifacts = {one["key"]: one for one in client.request("POST", "/artifacts/filter", json=body).json()}
    assert {"verdict", "metrics", "report", "evaluation-model", "model"} <= set(artifacts)
    assert f"Published**: run {run_id}" in artifacts["verdict"]["data"]
    assert (place.warehouse / "runs" / run_id / "report.html").exists()
    with duckdb.connect(str(place.warehouse / "current.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from user_topk").fetchall()[0][0] > 0


def test_a_refresh_and_a_rollback(place: Place) -> None:
    night = Warehouse(place.warehouse).current_run_id
    assert place.ends(place.run("refresh/refresh")).name == "Published"
    assert Warehouse(place.warehouse).current_run_id != night
    assert place.ends(place.run("rollback/rollback")).is_completed()
    assert Warehouse(place.warehouse).current_run_id == night


FOREIGN = [
    {},
    {"content-type": "application/json"},
    {"content-type": "text/plain"},
    {"origin": "http://evil.test", "content-type": "text/plain;charset=UTF-8"},
    {"origin": "null", "host": "evil.test:4200"},
    {"host": "evil.test:4200", "content-type": "application/x-www-form-urlencoded"},
    {"authorization": ""},
    {"authorization": "Bearer elsa"},
    {"authorization": "Basic " + base64.b64encode(b"elsa:guess").decode()},
    {"authorization": "Basic \u00e4".encode()},
    {"x-forwarded-host": "127.0.0.1", "x-forwarded-for": "127.0.0.1", "cookie": "auth=1"},
]


def test_a_web_page_learns_nothing_from_the_server_and_starts_nothing(place: Place) -> None:
    import httpx

    with place.client() as client:
        deployment = client.read_deployment_by_name("nightly/nightly").id
        before = {run.id for run in client.read_flow_runs()}
    stolen = place.folder / "stolen.csv"
    query = f"copy (select 1) to '{stolen}'; select 1 as user_id, 1 as item_id"
    text = place.settings | {"source": {"query": query}}
    api = place.environment["PREFECT_API_URL"]
    with httpx.Client(timeout=60) as page:
        for headers in FOREIGN:
            for path, body in [
                ("/deployments/filter", {}),
                (f"/deployments/{deployment}/create_flow_run", {"parameters": {"config": text}}),
                (f"/deployments/{deployment}/create_flow_run", {}),
            ]:
                answer = page.post(api + path, content=json.dumps(body), headers=headers)
                assert answer.status_code == 401, (path, headers)
                assert "access-control-allow-origin" not in answer.headers
        asked = {"origin": "http://evil.test", "access-control-request-method": "POST"}
        answer = page.options(f"{api}/deployments/filter", headers=asked)
        assert answer.status_code == 400 and "access-control-allow-origin" not in answer.headers
    with place.client() as client:
        assert {run.id for run in client.read_flow_runs()} == before
    assert not stolen.exists()


def test_the_server_answers_nothing_to_whoever_does_not_know_its_auth_string(place: Place) -> None:
    """Every path of its API, and the sockets."""
    import httpx
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    api = place.environment["PREFECT_API_URL"]
    with httpx.Client(auth=tuple(place.auth.split(":")), timeout=60) as client:
        paths = client.get(f"{api}/openapi.json").json()["paths"]
    methods = [(method, path.removeprefix("/api")) for path, found in paths.items() for method in found]
    assert len(methods) > 150
    with httpx.Client(timeout=60) as client:
        answered = {
            path: client.request(method, api + path.replace("{", "").replace("}", "")).status_code
            for method, path in [*methods, ("get", "/openapi.json"), ("get", "/docs"), ("post", "/health")]
        }
    assert {path for path, code in answered.items() if code != 401} <= {"/health", "/ready"}
    for path in ("/events/in", "/events/out", "/logs/out", "/task_runs/subscriptions/scheduled"):
        for protocols, token in ((None, None), (["prefect"], None), (["prefect"], "elsa:guess")):
            url = api.replace("http", "ws", 1) + path
            with pytest.raises(WebSocketException), connect(url, subprotocols=protocols) as socket:
                socket.send(json.dumps({"type": "auth", "token": token}))
                while True:
                    socket.recv(timeout=20)


def test_a_rejected_night_is_announced_with_its_reason_in_the_first_line(place: Place) -> None:
    assert place.ends(place.run(gate={"minimums": {"ndcg@10": 1.5}})).name == "Rejected"
    alert = place.alert_of("Rejected")
    assert alert["subject"].startswith("elsa nightly Rejected: ndcg＠10 ") and "at least 1.5" in alert["subject"]
    assert "at least 1.5" in alert["body"].splitlines()[0]


def test_a_night_that_fails_is_announced_with_its_reason_in_the_first_line(place: Place) -> None:
    assert place.ends(place.run(source=place.settings["source"] | {"events": "nowhere.parquet"})).is_failed()
    assert "no such file: nowhere.parquet" in place.alert_of("Failed")["body"].splitlines()[0]


def test_text_in_place_of_the_name_of_a_configuration_is_refused(place: Place) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    stolen = place.folder / "stolen.csv"
    query = f"copy (select 1) to '{stolen}'; select 1 as user_id, 1 as item_id"
    text = place.settings | {"source": {"query": query}}
    with pytest.raises(PrefectHTTPStatusError, match="409"):
        place.run_with(text)
    with place.client() as client:
        url = f"/deployments/{client.read_deployment_by_name('nightly/nightly').id}"
        client._client.patch(url, json={"enforce_parameter_schema": False}).raise_for_status()
        try:
            state = place.ends(place.run_with(text))
        finally:
            client._client.patch(url, json={"enforce_parameter_schema": True}).raise_for_status()
    assert state.is_failed() and "must be the name of a configuration file" in state.message
    said = "elsa nightly Failed: Flow run encountered an exception: InputError: the parameter config must be the name"
    until(lambda: any(one["subject"].startswith(said) for one in place.alerts), 60, "it is announced")
    assert not stolen.exists()


def test_a_run_is_told_nothing_of_other_files(place: Place) -> None:
    other = place.folder / "other.yaml"
    other.write_text("password: hunter2\n\t: hunter2\n")
    for given in ("/etc/passwd", str(other)):
        run = place.run_with(given)
        state = place.ends(run)
        assert state.is_failed() and "root:" not in state.message and "hunter2" not in state.message
        with place.client() as client:
            logs = client._client.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(run)]}}}).json()
        assert logs and "hunter2" not in str(logs) and "root:" not in str(logs)


def test_a_night_that_does_not_end_is_announced_and_killed_it_is_crashed_and_the_next_one_succeeds(
    place: Place, tmp_path: Path
) -> None:
    with place.automations(tmp_path, "within: 21600", "within: 15"):
        night = place.run(policy_configs=LONG)
        until(lambda: [one for one in place.alerts if "still running" in one["subject"]], 120, "it is announced")
    os.kill(place.training_pid(), signal.SIGKILL)
    assert place.ends(night, 60).is_crashed()
    assert place.alert_of("Crashed")["body"].strip()
    until(lambda: list_runs(Warehouse(place.warehouse))[-1].status == "crashed", 30, "the end is in the history")
    assert holder(place.warehouse / "lock") is None
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
    assert list_runs(Warehouse(place.warehouse))[-1].status == "died"
    place.start_worker()
    assert place.ends(place.run()).name == "Published"


def test_each_alert_came_once_and_the_auth_string_stands_nowhere(place: Place) -> None:
    bodies = [one["body"] for one in place.alerts]
    assert len(set(bodies)) == len(bodies)
    secret = place.auth.partition(":")[2].encode()
    shown = subprocess.run(["ps", "-axww", "-o", "args="], capture_output=True, check=True).stdout
    assert b"prefect" in shown and secret not in shown
    files = [path for path in place.folder.rglob("*") if path.is_file() and path != place.folder / "prefect" / "auth"]
    assert place.folder / "server.log" in files and not [path for path in files if secret in path.read_bytes()]
