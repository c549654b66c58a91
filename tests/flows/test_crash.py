"""A night that is killed, at every step that lasts and at random moments, while others read: nothing torn or lost."""

import json
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tasks.run.index import list_runs
from tasks.run.warehouse import Warehouse
from tests.support.killed_nights import WORKERS, night
from tests.support.published_state import digest_of_tables
from tests.support.reading_processes import VERSION, readers
from tests.support.worlds import community_events, config, write_world


def run(folder: Path, **options) -> int:
    process = WORKERS.Process(target=night, args=(folder,), kwargs=options)
    process.start()
    process.join()
    return process.exitcode


def version(folder: Path) -> tuple:
    """What readers see without the run: its tables."""
    with duckdb.connect(str(folder / "warehouse" / "current.duckdb"), read_only=True) as connection:
        return tuple(connection.execute(VERSION).fetchall()[0][1:])


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A warehouse with one night behind it and new events before it, and how an undisturbed second night ends."""
    before, after = tmp_path_factory.mktemp("crash") / "before", tmp_path_factory.mktemp("crash") / "after"
    before.mkdir()
    write_world(before)
    assert run(before) == 0
    events = community_events()
    more = events.filter(pl.col("user") < 90).with_columns(pl.col("user") + 1000)
    pl.concat([events, more]).write_parquet(before / "data" / "more.parquet")
    (before / "data" / "more.parquet").replace(before / "data" / "ratings.parquet")
    shutil.copytree(before, after, symlinks=True)
    (after / "ready").unlink()
    assert run(after) == 0
    seconds = (after / "steps.json").stat().st_mtime - (after / "ready").stat().st_mtime
    made = after / "warehouse"
    return {
        "before": before,
        "seconds": seconds,
        "steps": json.loads((after / "steps.json").read_text()),
        "versions": {version(before), version(after)},
        "digest": digest_of_tables(config(warehouse=str(made)), made / "current.duckdb"),
    }


def disturb(nights: dict, folder: Path, kill_at: int | None, after_seconds: float, resumes: bool) -> Counter:
    """Kills a night, goes on with it or starts another, and checks all that was promised."""
    shutil.copytree(nights["before"], folder, symlinks=True)
    (folder / "ready").unlink()
    warehouse, counts = folder / "warehouse", Counter()
    old = Warehouse(warehouse).current_run_id
    with readers(folder) as found:
        process = WORKERS.Process(target=night, args=(folder, kill_at))
        process.start()
        while not (folder / "ready").exists():
            time.sleep(0.005)
        if kill_at is None:
            time.sleep(after_seconds)
            process.kill()
        process.join()
        counts["killed" if process.exitcode == -signal.SIGKILL else "ended before the kill"] += 1
        assert version(folder) in nights["versions"]
        last = list_runs(Warehouse(warehouse))[-1]
        counts[
            "killed after the flip" if Warehouse(warehouse).current_run_id != old else "killed before the flip"
        ] += 1
        goes_on = resumes and last.run_id != old and last.status == "died"
        assert run(folder, resume=last.run_id if goes_on else None) == 0, (folder / "night.log").read_text()
        counts["resumed" if goes_on else "run again"] += 1
    assert digest_of_tables(config(warehouse=str(warehouse)), warehouse / "current.duckdb") == nights["digest"]
    assert {one[0] for one in found} <= {run.run_id for run in list_runs(Warehouse(warehouse))}, found
    assert {one[1:] for one in found} <= nights["versions"]
    assert len({one[0] for one in found}) == len(found), "a run has one version"
    assert not list(warehouse.glob("published/*unfinished*"))
    counts["versions seen by readers"] += len(found)
    return counts


def disturb_all(nights: dict, folder: Path, steps: list[int], n_random: int) -> None:
    rng, counts = random.Random(n_random), Counter()
    plans = [(step, 0.0) for step in steps] + [(None, rng.uniform(0, nights["seconds"])) for _ in range(n_random)]
    for number, (kill_at, seconds) in enumerate(plans):
        counts += disturb(nights, folder / str(number), kill_at, seconds, resumes=number % 3 < 2)
    print(f"\n{len(steps)} of {len(nights['steps'])} steps and {n_random} random moments: {dict(counts)}")
    assert counts["killed"] >= len(steps) + 0.7 * n_random
    assert counts["resumed"] and counts["run again"]


def test_killed_now_and_then(nights: dict, tmp_path: Path) -> None:
    flip = nights["steps"].index("replace current.duckdb.new") + 1
    assert nights["steps"][flip - 2] == "symlink_to current.duckdb.new"
    disturb_all(nights, tmp_path, [len(nights["steps"]) // 2, flip + 1], n_random=1)


@pytest.mark.slow
@pytest.mark.crash
def test_killed_at_every_step_and_at_random_moments(nights: dict, tmp_path: Path) -> None:
    disturb_all(nights, tmp_path, list(range(1, len(nights["steps"]) + 1)), n_random=60)
