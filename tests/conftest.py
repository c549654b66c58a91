"""A small world whose answer is known, and ways to run nights in it."""

import atexit
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

import tasks.report.charts
from flows.cli import silence_duckdb_at_exit
from tasks.report.charts import Picture
from tasks.run.handles import Outcome
from tasks.settings.config import Config

atexit.register(silence_duckdb_at_exit)
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"  # starting one takes 15 s: use prefect_server
os.environ["DO_NOT_TRACK"] = "1"
N_USERS, N_ITEMS, N_COMMUNITIES = 240, 60, 3


@pytest.fixture(scope="session")
def prefect_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One real Prefect API for all flows of the session, on a database of its own.

    What no test looks at is turned off, the events and the task runs in its database: most of a night's cost there.
    """
    from prefect import __version__, settings
    from prefect.testing.utilities import prefect_test_harness

    services = {
        settings.PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED: False,
        settings.PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED: False,
        settings.PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False,
        settings.PREFECT_SERVER_ANALYTICS_ENABLED: False,
    }
    folder = tmp_path_factory.mktemp("prefect")
    empty = request.config.cache.mkdir("prefect") / f"{__version__}.db"  # its migrations take 10 s
    if empty.exists():
        shutil.copyfile(empty, folder / "prefect-test.db")
    with pytest.MonkeyPatch.context() as patch, settings.temporary_settings(services):
        patch.setattr("prefect.testing.utilities.mkdtemp", lambda: str(folder))
        with (
            prefect_test_harness(server_startup_timeout=120),
            settings.temporary_settings({settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        ):
            if not empty.exists():
                keep_database(folder / "prefect-test.db", empty)
            yield


def keep_database(made: Path, path: Path) -> None:
    """Copies a SQLite database that is in use, all or nothing."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(unfinished)) as target:
        source.backup(target)
    unfinished.replace(path)


@pytest.fixture(autouse=True)
def hardly_any_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws pictures for the report's own tests only: they are half of a small night's time."""
    if request.path.stem not in ("test_report", "test_pages"):
        monkeypatch.setattr(tasks.report.charts, "_picture", undrawn)


def undrawn(name: str, title: str, words: str, draw: Callable) -> Picture:
    return Picture(f"<svg><title>{title}</title></svg>", words)


@pytest.fixture
def without_prefect() -> Iterator[None]:
    """Lets a task's function run without an engine around it."""
    from prefect.logging import disable_run_logger

    with disable_run_logger():
        yield


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the small world's files in it."""
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path)
    return tmp_path


def write_world(folder: Path) -> None:
    """Writes data/ratings.parquet and data/movies.parquet."""
    (folder / "data").mkdir()
    community_events().write_parquet(folder / "data" / "ratings.parquet")
    movies = pl.DataFrame({"movie": range(N_ITEMS), "name": [f"Film {item}" for item in range(N_ITEMS)]})
    movies.with_columns(genre=pl.lit("drama")).write_parquet(folder / "data" / "movies.parquet")


@cache
def community_events() -> pl.DataFrame:
    """Users like the items of their own community (modulo 3), which popularity cannot know and a model can learn.

    User 0 rated everything low, and user 1 rated only item 0.
    """
    rng = np.random.default_rng(7)
    rows = [(1, 0, 5.0, 1_600_000_000)]
    for user in range(N_USERS):
        if user == 1:
            continue
        own = np.arange(user % N_COMMUNITIES, N_ITEMS, N_COMMUNITIES)
        liked = rng.choice(own, 10, replace=False)
        disliked = rng.choice(np.setdiff1d(np.arange(N_ITEMS), own), 3, replace=False)
        for place, item in enumerate([*liked, *disliked]):
            rating = 1.0 if user == 0 or place >= 10 else 5.0
            rows.append((user, int(item), rating, 1_600_000_000 + 1000 * place + user))
    return pl.DataFrame(rows, schema=["user", "movie", "rating", "at"], orient="row")


def settings(**changes: dict) -> dict:
    """The configuration of the small world; `changes` replace keys inside its sections, but a policy as a whole."""
    base = {
        "warehouse": "warehouse",
        "lock_wait_seconds": 0,
        "source": {
            "events": "data/ratings.parquet",
            "columns": {"user_id": "user", "item_id": "movie", "timestamp": "at", "value": "rating"},
            "items": {"path": "data/movies.parquet", "item_id": "movie", "title": "name"},
        },
        "interactions": {"min_value": 4.0, "min_user_interactions": 2},
        "holdout": {"test_share": 0.25, "validation_share": 0.2},
        "policy_configs": {"embedding_policy": {"factors": 8, "n_epochs": 5, "batch_size": 64}},
        "evaluation": {"cutoffs": [5, 10]},
        "recommendations": {"k": 10, "neighbors": 5},
    }
    for section, change in changes.items():
        is_merged = isinstance(change, dict) and section != "policy_configs"
        base[section] = {**base.get(section, {}), **change} if is_merged else change
    return base


def config(**changes: dict) -> Config:
    return Config.model_validate(settings(**changes))


@pytest.fixture(scope="session")
def made_first_night(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A small world after the night of config(), for `first_night` to copy."""
    return make_world(tmp_path_factory.mktemp("first_night"), config())


@pytest.fixture
def first_night(world: Path, made_first_night: tuple[Path, Outcome]) -> Outcome:
    """The night of config(), published in `world`: made once, and copied for each test."""
    folder, outcome = made_first_night
    copy_world(folder, world)
    return outcome


def make_world(folder: Path, night: Config) -> tuple[Path, Outcome]:
    """A small world in which there was a night."""
    from flows.nightly import nightly

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_world(folder)
        return folder, nightly(night)


def copy_world(made: Path, folder: Path) -> None:
    """Copies a world with its warehouse, which then is as if it had been made in the other folder."""
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)
    with duckdb.connect(str(folder / "warehouse" / "events.duckdb")) as connection:
        connection.execute("update event_files set path = replace(path, ?, ?)", [str(made), str(folder)])


@pytest.fixture
def tables() -> Callable[[str], list[tuple]]:
    """Runs a query on the published tables, as a reader would."""

    def query(text: str) -> list[tuple]:
        with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
            return connection.execute(text).fetchall()

    return query


def by_duckdb_1_5(path: Path, query: str) -> str:
    """What an older DuckDB, its command line, answers from the file."""
    program = Path(sys.executable).parent / "duckdb"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("v1.5")
    command = [program, "-readonly", "-csv", "-noheader", path, query]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every published file byte for byte, and where the symlink points."""
    found: dict[str, bytes | str] = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("published/*")
    }
    link = folder / "current.duckdb"
    return found | ({"current.duckdb": str(link.readlink())} if link.is_symlink() else {})


@dataclass(frozen=True)
class Nights:
    """Published; published with more events; rejected. A user's id and a title are odd."""

    config: Config
    rejecting: Config
    run_ids: tuple[str, str, str]

    @property
    def warehouse(self) -> Path:
        return Path(self.config.warehouse)

    def folder(self, place: int) -> Path:
        return self.warehouse / "runs" / self.run_ids[place]


ODD_USER, ODD_TITLE = '<b>five</b> & "co"', "<script>alert(7)</script>"


@pytest.fixture(scope="module")
def nights(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    from flows.nightly import nightly
    from tests.support.plain_nights import plain_night

    folder = tmp_path_factory.mktemp("nights")
    write_world(folder)
    data = folder / "data"
    user = pl.when(pl.col("user") == 5).then(pl.lit(ODD_USER)).otherwise(pl.col("user").cast(pl.String))
    events = community_events().with_columns(user=user)
    events.write_parquet(data / "ratings.parquet")
    title = pl.when(pl.col("movie") == 7).then(pl.lit(ODD_TITLE)).otherwise(pl.col("name"))
    movies = pl.read_parquet(data / "movies.parquet").with_columns(name=title)
    movies.write_parquet(data / "movies.parquet")
    source = {
        "events": str(data / "*ratings.parquet"),
        "items": {"path": str(data / "movies.parquet"), "item_id": "movie", "title": "name"},
    }
    own = config(warehouse=str(folder / "warehouse"), source=source, drift={"severity": "warning"})
    rejecting = own.model_copy(update={"gate": own.gate.model_copy(update={"minimums": {"ndcg@10": 1.1}})})
    first = plain_night(own)
    events.head(600).with_columns(user=pl.format("new {}", "user")).write_parquet(data / "more-ratings.parquet")
    second = plain_night(own)
    return Nights(own, rejecting, (first.run_id, second.run_id, nightly(rejecting).run_id))


@pytest.fixture(scope="module")
def address(nights: Nights) -> Iterator[str]:
    """The explore page, served as `elsa explore` serves it."""
    import uvicorn

    from flows.explore import HOST, make_app

    with socket.socket() as chosen:
        chosen.bind((HOST, 0))
        server = uvicorn.Server(uvicorn.Config(make_app(nights.config), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [chosen]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://{HOST}:{chosen.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What tasks say, at any level, where they run without an engine."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.Logger("lines")
    logger.addHandler(Lines())
    for name, module in list(sys.modules.items()):
        if name.startswith("tasks.") and hasattr(module, "get_run_logger"):
            monkeypatch.setattr(module, "get_run_logger", lambda: logger)
    return lines
