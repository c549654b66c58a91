"""Fixtures of all tests; the functions that they and the tests call lie in tests/support."""

# ruff: noqa: E402  a worker has its core before anything starts threads
import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

from tests.support.cores import pin_worker

pin_worker()

import duckdb
import pytest
from prefect import Flow

import tasks.report.charts
from flows.cli import silence_duckdb_at_exit
from tasks.run.handles import Outcome
from tests.support.log_lines import logger_into
from tests.support.made_once import made_once
from tests.support.plain_nights import plain_flow, undrawn
from tests.support.servers import serve_pages, serve_prefect
from tests.support.three_nights import Nights, copy_three_nights, make_three_nights
from tests.support.worlds import config, copy_world, make_world, write_world

atexit.register(silence_duckdb_at_exit)
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"  # starting one takes 15 s: use prefect_server
os.environ["DO_NOT_TRACK"] = "1"


@pytest.fixture(scope="session")
def prefect_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One real Prefect API for all flows of the session, on a database of its own."""
    with serve_prefect(tmp_path_factory.mktemp("prefect"), request.config.cache.mkdir("prefect")):
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """No test cuts the power; those of the order of writing look at the calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def hardly_any_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws pictures for the report's own tests only: they are half of a small night's time."""
    if request.path.stem not in ("test_report", "test_pages"):
        monkeypatch.setattr(tasks.report.charts, "_picture", undrawn)


@pytest.fixture
def without_prefect() -> Iterator[None]:
    """Lets a task's function run without an engine around it."""
    from prefect.logging import disable_run_logger

    with disable_run_logger():
        yield


@pytest.fixture
def without_engine(without_prefect: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets flows run as functions, also those that a command starts: no server, no retries, no states."""
    monkeypatch.setattr(Flow, "__call__", plain_flow)
    monkeypatch.setattr("flows.engine._server", nullcontext)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the small world's files in it."""
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def made_first_night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A small world after the night of config(), for `first_night` to copy."""
    return made_once(tmp_path_factory, "first_night", lambda folder: make_world(folder, config()))


@pytest.fixture
def first_night(world: Path, made_first_night: tuple[Path, Outcome]) -> Outcome:
    """The night of config(), published in `world`: made once, and copied for each test."""
    folder, outcome = made_first_night
    copy_world(folder, world)
    return outcome


@pytest.fixture
def tables() -> Callable[[str], list[tuple]]:
    """Runs a query on the published tables, as a reader would."""

    def query(text: str) -> list[tuple]:
        with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
            return connection.execute(text).fetchall()

    return query


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    made = made_once(tmp_path_factory, "three_nights", make_three_nights)
    return copy_three_nights(made, tmp_path_factory.mktemp("nights"))


@pytest.fixture(scope="module")
def address(nights: Nights) -> Iterator[str]:
    """The explore page, served as `elsa explore` serves it."""
    with serve_pages(nights.config) as url:
        yield url


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What tasks say, at any level, where they run without an engine."""
    lines: list[str] = []
    logger = logger_into(lines)
    for name, module in list(sys.modules.items()):
        if name.startswith("tasks.") and hasattr(module, "get_run_logger"):
            monkeypatch.setattr(module, "get_run_logger", lambda: logger)
    return lines
