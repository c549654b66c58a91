"""Nights that meet with trouble: what may pass is tried again, what takes too long is stopped, every end is told."""

import logging
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import duckdb
import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.states import Crashed

from flows.hooks import record_end
from flows.nightly import nightly
from tasks.data.ingest import ingest
from tasks.errors import InputError, ValidationFailed, WarehouseBusy
from tasks.run.index import list_runs
from tasks.run.manifest import read_manifest
from tasks.run.run import open_run
from tasks.run.stage import may_pass
from tasks.run.warehouse import Warehouse
from tests.support.worlds import community_events, config

BUSY = """
import duckdb, sys
with duckdb.connect("warehouse/events.duckdb"):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.mark.usefixtures("first_night", "prefect_server")
def test_a_stage_waits_for_somebody_who_has_the_events_open(caplog: pytest.LogCaptureFixture) -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:

        def let_go(record: logging.LogRecord) -> bool:
            if "Retry 1/3 will start" in record.getMessage():
                other.stdin.close()
            return True

        other.stdout.readline()
        caplog.handler.addFilter(let_go)
        try:
            assert nightly(config()).status == "published"
        finally:
            caplog.handler.removeFilter(let_go)
            other.stdin.close()
    assert "Retry 1/3 will start" in caplog.text


@pytest.mark.usefixtures("prefect_server")
def test_what_will_not_pass_is_tried_once_and_has_a_report(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("data/ratings.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match="cannot be read"):
        nightly(config())
    assert "will start" not in caplog.text
    [run] = list_runs(Warehouse(world / "warehouse"))
    report = (world / "warehouse" / "runs" / run.run_id / "report.html").read_text()
    assert "<title>Failed: run" in report and "cannot be read" in report
    with get_client(sync_client=True) as client:
        verdicts = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["verdict"])))
    [verdict] = [one.data for one in verdicts if run.run_id in one.data]
    assert verdict.startswith("**Failed**") and "cannot be read" in verdict
    log = (world / "warehouse" / "runs" / run.run_id / "log.jsonl").read_text()
    assert "Traceback" in log, "for whoever looks for a defect"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WarehouseBusy("busy"), True),
        (OSError(5, "Input/output error"), True),
        (duckdb.IOException("IO Error: Could not read from file: Input/output error"), True),
        (InputError("events.duckdb cannot be opened: Stale file handle"), True),
        (duckdb.IOException("IO Error: Could not write: No space left on device"), False),
        (OSError(28, "No space left on device"), False),
        (FileNotFoundError(2, "no such file"), False),
        (InputError("wrong"), False),
        (ValidationFailed("wrong"), False),
        (RuntimeError("defect"), False),
    ],
)
def test_which_errors_may_pass(error: Exception, expected: bool) -> None:
    def result() -> None:
        raise error

    assert may_pass(None, None, SimpleNamespace(result=result)) is expected


@pytest.mark.usefixtures("prefect_server")
def test_a_training_that_takes_too_long_is_stopped(world: Path) -> None:
    policy = {"factors": 8, "n_epochs": 1_000_000, "batch_size": 8, "strategy": "default"}
    endless = config(policy_configs={"embedding_policy": policy}, training_timeout_seconds=1.0)
    started = time.monotonic()
    with pytest.raises(InputError, match=r"longer than training_timeout_seconds=1.* n_epochs"):
        nightly(endless)
    assert time.monotonic() - started < 120, "and not a million epochs"
    assert [run.status for run in list_runs(Warehouse(world / "warehouse"))] == ["failed"]
    assert nightly(config()).status == "published"


@pytest.mark.usefixtures("without_prefect")
def test_a_supervisor_records_how_a_run_ended_whose_process_is_gone(world: Path) -> None:
    with open_run(config()) as run:
        ingest.fn(run)
        manifest = run.files.folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"flow_run_id": null', '"flow_run_id": "abc"'))
        left_behind = manifest.read_text()
    manifest.write_text(left_behind)
    (world / "my.yaml").write_text(config().model_dump_json())
    for flow_run_id in ("another", "abc"):
        flow_run = SimpleNamespace(id=flow_run_id, parameters={"config": "my.yaml"}, deployment_id="a deployment")
        record_end(nightly, flow_run, Crashed(message="Flow run process exited with code -9"))
        status = {"another": "running", "abc": "crashed"}[flow_run_id]
        assert read_manifest(run.files.folder).status == status
    assert read_manifest(run.files.folder).reasons == ["Flow run process exited with code -9"]
    report = (run.files.folder / "report.html").read_text()
    assert "<title>Crashed: run" in report and "Flow run process exited with code -9" in report
    assert "The run stopped after ingest. Nothing was published." in report


@pytest.mark.usefixtures("prefect_server")
def test_a_night_that_drifts_and_is_let_through_is_called_so(world: Path) -> None:
    drift = {"min_nights": 2, "severity": "warning"}
    for number in range(3):
        more = community_events().with_columns(pl.col("user") + 1000 * number)
        (more if number < 2 else more.head(60)).write_parquet(f"data/{number}_ratings.parquet")
        source = {"events": "data/*_ratings.parquet"}
        state = nightly(config(source=source, drift=drift), return_state=True)
        assert state.name == ("Published" if number < 2 else "Drifting")
    assert "events 60, expected" in state.message
    assert list_runs(Warehouse(world / "warehouse"))[-1].status == "published"
