"""A process that is killed while it ingests: the next one ends where an undisturbed one would."""

import os
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tasks.data.ingest import ingest
from tasks.data.interactions import build_interactions
from tasks.data.ledger import accept
from tasks.run.run import open_run
from tests.support.ingestion import stored
from tests.support.killed_nights import WORKERS
from tests.support.plain_nights import events_of
from tests.support.worlds import config

N_FILES, N_ROWS = 4, 60_000
CHANGES = {
    "source": {"events": "events/*.csv", "columns": {"user_id": "user", "item_id": "movie"}, "items": None},
    "interactions": {"min_value": None},
    "quarantine": {"max_share": 1},
}


def ledger() -> list[tuple]:
    return stored("select path, n_read, digest from active_files order by path")


def digest() -> str:
    """Of the interactions that follow from the events."""
    with open_run(config(**CHANGES)) as run:
        ingest.fn(run)
        return build_interactions.fn(run, events_of(run)).digest


def take_in(folder: Path) -> None:
    from prefect.logging import disable_run_logger

    os.chdir(folder)
    with disable_run_logger(), open_run(config(**CHANGES)) as run:
        Path("ready").touch()
        ingest.fn(run)
    Path("done").touch()
    signal.pause()  # until it is killed


def start() -> BaseProcess:
    for name in ("ready", "done"):
        Path(name).unlink(missing_ok=True)
    process = WORKERS.Process(target=take_in, args=(Path.cwd(),), daemon=True)
    process.start()
    wait_for("ready", process)
    return process


def wait_for(name: str, process: BaseProcess) -> None:
    while not Path(name).exists():
        assert process.is_alive()
        time.sleep(0.005)


def kill(process: BaseProcess) -> bool:
    """Kills it and says whether there was something left to do."""
    process.kill()
    process.join()
    return not Path("done").exists()


def an_earlier_night(world: Path) -> Path:
    """The events as a night left them that had other versions of the first files, and accepted them."""
    kept = world / "earlier.duckdb"
    (world / "warehouse" / "events.duckdb").unlink()
    shutil.copytree("events", "later")
    for number in range(2):
        Path(f"events/{number}.csv").write_text("user,movie\n" + "".join(f"{user},1\n" for user in range(1000)))
    with open_run(config(**CHANGES)) as run:
        ingest.fn(run)
    shutil.move("warehouse/events.duckdb", kept)
    with duckdb.connect(str(kept)) as connection:
        accept(connection)
    shutil.copytree("later", "events", dirs_exist_ok=True)
    return kept


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize("n_kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_random_moments(n_kills: int, world: Path) -> None:
    rng = random.Random(n_kills)
    (world / "events").mkdir()
    for number in range(N_FILES):
        frame = pl.DataFrame({"user": range(N_ROWS), "movie": [rng.randrange(300) for _ in range(N_ROWS)]})
        frame.with_columns(user=pl.when(pl.col("user") % 100 > 0).then("user")).write_csv(f"events/{number}.csv")
    process = start()
    wait_for("done", process)
    seconds = Path("done").stat().st_mtime - Path("ready").stat().st_mtime
    kill(process)
    undisturbed, files = digest(), ledger()
    assert len(files) == N_FILES
    earlier = an_earlier_night(world)
    n_killed = 0
    for number in range(2 * n_kills):  # some may have ended before the kill
        if n_killed == n_kills:
            break
        for path in (world / "warehouse").glob("events.duckdb*"):
            path.unlink()
        if number % 2:  # the files replace others
            shutil.copy(earlier, "warehouse/events.duckdb")
        process = start()
        time.sleep(rng.uniform(0, seconds))
        n_killed += kill(process)
        assert digest() == undisturbed
        assert ledger() == files
    assert n_killed == n_kills, "few were killed before they had ended"
