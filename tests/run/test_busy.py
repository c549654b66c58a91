"""Services that are busy or absent: somebody has the published file open for writing; Prefect does not answer."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import duckdb
import polars as pl
import pytest
import yaml

from flows import engine
from flows.cli import main
from flows.commands.nightly import print_tables
from tasks.data.ingest import ingest
from tasks.errors import WarehouseBusy
from tasks.publish.incremental import reuse_earlier
from tasks.publish.publication import _require_whole
from tasks.read.score import score_file
from tasks.run.database import connect
from tasks.run.run import Run, end_run, open_run
from tests.support.published_file import NUMBERS, publish
from tests.support.worlds import config, settings

pytestmark = pytest.mark.usefixtures("without_prefect")
HOLD = """
import duckdb, sys
from pathlib import Path
path = Path(sys.argv[1]).resolve()
path.chmod(0o644)
with duckdb.connect(str(path)):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def published_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from prefect.logging import disable_run_logger

    folder = tmp_path_factory.mktemp("shop")
    with disable_run_logger():
        publish(folder, NUMBERS)
    (folder / "my.yaml").write_text(yaml.safe_dump(settings()))
    pl.DataFrame({"user_id": [105], "item_id": [7]}).write_parquet(folder / "pairs.parquet")
    return folder


@pytest.fixture
def shop(published_shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a published model in its warehouse."""
    monkeypatch.chdir(published_shop)
    return published_shop


@pytest.mark.parametrize(
    "command",
    [
        ["nightly"],
        ["refresh"],
        ["ingest"],
        ["validate"],
        ["score", "pairs.parquet", "--out", "scored.parquet"],
        ["export", "--out", "vectors"],
    ],
    ids=lambda command: command[0],
)
def test_a_server_that_does_not_answer_is_named_at_once(
    command: list, shop: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    started = time.monotonic()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert main([*command, "--config", "my.yaml"]) == 2
    assert time.monotonic() - started < 60
    shown = capfd.readouterr().err
    assert "PREFECT_API_URL is 'http://127.0.0.1:9/api'" in shown and "Traceback" not in shown + caplog.text
    assert not Path("vectors").exists() and not Path("scored.parquet").exists()


@pytest.mark.parametrize("url", ["localhost:4200/api", "http://nowhere.invalid/api", "http://127.0.0.1:42o0/api"])
def test_an_address_that_is_none_is_named(url: str, shop: Path, capfd: pytest.CaptureFixture) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        assert main(["ingest", "--config", "my.yaml"]) == 2
    assert f"PREFECT_API_URL is {url!r}" in capfd.readouterr().err


def test_a_server_that_never_says_a_word_is_given_up(
    shop: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr("flows.engine.SECONDS_FOR_AN_ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            assert main(["ingest", "--config", "my.yaml"]) == 2
    assert f"PREFECT_API_URL is {url!r}" in capfd.readouterr().err


@pytest.fixture(scope="module")
def holder(published_shop: Path) -> Iterator[Path]:
    """The published file, which another program has open for writing from now on."""
    path = published_shop / "warehouse" / "current.duckdb"
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        yield path
        other.stdin.close()


@pytest.fixture
def held(shop: Path, holder: Path) -> Path:
    return holder


@pytest.mark.parametrize(
    "command",
    [
        ["recommend", "105"],
        ["similar", "7"],
        ["explain", "105", "7"],
        ["export", "--out", "vectors"],
        ["explore"],
        ["report"],
    ],
    ids=lambda command: command[0],
)
def test_whoever_reads_the_published_file_says_that_it_is_busy(
    command: list, held: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "run_flow", lambda *_: pytest.fail("a server would have been started"))
    if command == ["report"]:
        _end_as_night(held.resolve().stem)
    assert main([*command, "--config", "my.yaml"]) == 5
    assert "another program has it open; close that and run again" in capfd.readouterr().err
    assert not Path("vectors").exists()


def _end_as_night(run_id: str) -> None:
    """The manifest that the run of the published file would have left."""
    with open_run(config()) as run:
        end_run(run, "published")
    manifest = (run.files.folder / "manifest.json").read_text().replace(run.run_id, run_id)
    (run.files.folder.parent / run_id / "manifest.json").write_text(manifest)
    run.files.folder.rename(run.files.folder.parent.parent / "away")


def test_a_refresh_says_so_too(held: Path) -> None:
    """What it takes over it reads from the published file."""
    trained = SimpleNamespace(model_run_id=held.resolve().stem)
    run = Run(config(), "20270101T000000_000000", replaces=held.resolve().stem)
    with closing(connect(":memory:", config())) as connection, pytest.raises(WarehouseBusy):
        reuse_earlier(connection, run, trained, None, Path("new.duckdb"))
    assert not Path("new.duckdb").exists()


def test_a_rollback_says_so_too(held: Path) -> None:
    with pytest.raises(WarehouseBusy):
        _require_whole(config(), held, held.resolve().stem)


def test_scores_need_no_published_file(held: Path) -> None:
    assert score_file.fn(config(), Path("pairs.parquet"), Path("scores.parquet")).n_scored == 1


def test_a_night_that_was_published_is_published_though_its_file_is_busy(
    held: Path, capfd: pytest.CaptureFixture
) -> None:
    print_tables(config())
    assert "no queries to paste" in capfd.readouterr().out


def test_the_explore_page_says_so(held: Path) -> None:
    import anyio
    import httpx

    from flows.explore import HOST, make_app

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(config()))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.get("/")

    answer = anyio.run(ask)
    assert answer.status_code == 503 and str(held.name) in answer.text


def test_a_source_that_somebody_writes_to_is_busy_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect("source.duckdb") as connection:
        connection.execute("create table events as select 1 as user, 2 as movie")
    command = [sys.executable, "-c", HOLD, "source.duckdb"]
    source = {"events": "source.duckdb", "columns": {"user_id": "user", "item_id": "movie"}, "items": None}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        own = config(source=source, interactions={"min_value": None})
        with open_run(own) as run, pytest.raises(WarehouseBusy, match="source.duckdb"):
            ingest.fn(run)
        other.communicate()
