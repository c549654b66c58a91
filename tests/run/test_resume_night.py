"""Going on with a night that died, and nights that meet: what is done again and what is not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from pydantic import BaseModel

from flows.data import ingest_alone
from flows.nightly import nightly
from tasks.errors import InputError
from tasks.publish.publication import publish_again
from tasks.run.handles import Outcome
from tasks.run.index import list_runs
from tasks.run.manifest import read_manifest
from tasks.run.run import Run, open_run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tasks.settings.section import Section
from tests.support.killed_nights import WORKERS, night
from tests.support.plain_nights import plain_flow, plain_night
from tests.support.published_state import digest_of_tables, snapshot
from tests.support.worlds import community_events, config, copy_world, make_world

ROOT = Path(__file__).parents[2]
ONCE = ("drift", "interactions", "holdout", "matrix", "train", "evaluate", "refit")


class Died(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def made_died(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which a night ended in the middle of its tables, all stages before them being done."""

    def die(*_: object) -> None:
        raise Died

    folder = tmp_path_factory.mktemp("died")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Died):
        patch.setattr("tasks.publish.materialize.write_tables", die)
        make_world(folder, config())
    return folder


@pytest.fixture
def died(world: Path, made_died: Path) -> str:
    """The run of a night that died in this world."""
    copy_world(made_died, world)
    return list_runs(Warehouse(world / "warehouse"))[-1].run_id


def done_again(lines: list[str]) -> set[str]:
    return {stage for stage in ONCE if not any(f"{stage}: done before" in line for line in lines)}


@pytest.mark.usefixtures("prefect_server")
def test_finished_stages_are_not_done_again(
    world: Path, died: str, made_first_night: tuple[Path, Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    outcome = nightly(config(), resume=died)
    assert (outcome.run_id, outcome.status) == (died, "published")
    assert done_again(caplog.messages) == set()
    made = digest_of_tables(config(), world / "warehouse" / "current.duckdb")
    undisturbed = made_first_night[0] / "warehouse"
    assert digest_of_tables(config(warehouse=str(undisturbed)), undisturbed / "current.duckdb") == made
    with pytest.raises(
        InputError, match=f"run {died} is published already; to publish it again: elsa publish {died}"
    ):
        nightly(config(), resume=died)


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"gate": {"minimums": {"ndcg@10": 0.01}, "max_loss": 0.5}}, set()),
        ({"gate": {"segments": {"history": [3]}}}, {"evaluate"}),
        ({"recommendations": {"k": 5, "neighbors": 5}}, set()),
        ({"drift": {"width": 9.0}}, {"drift"}),
        ({"publication": {"keep": 3}, "memory_limit": "2GB"}, set()),
        ({"evaluation": {"cutoffs": [5, 10], "max_users": 1000}}, {"matrix", "evaluate"}),
        (
            {"holdout": {"test_share": 0.3, "validation_share": 0.2}},
            {"holdout", "matrix", "train", "evaluate", "refit"},
        ),
        ({"validation": {"expectations": []}}, set()),
        ({"interactions": {"min_value": 5.0, "min_user_interactions": 2}}, {"interactions", "holdout"}),
        ({"seed": 1}, {"train", "evaluate", "refit"}),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_changed_configuration_is_noticed(
    changes: dict, again: set[str], world: Path, died: str, logged: list[str]
) -> None:
    logged.clear()
    assert plain_night(config(**changes), resume=died).status == "published"
    assert done_again(logged) == again


def test_new_events_are_noticed(world: Path, died: str, logged: list[str]) -> None:
    community_events().head(3000).write_parquet("data/ratings.parquet")
    logged.clear()
    assert plain_night(config(), resume=died).run_id == died
    assert done_again(logged) == set(ONCE)


def test_new_metadata_are_noticed_where_they_matter(world: Path, died: str, logged: list[str]) -> None:
    movies = pl.read_parquet("data/movies.parquet")
    movies.with_columns(genre=pl.lit("comedy")).write_parquet("data/movies.parquet")
    logged.clear()
    assert plain_night(config(), resume=died).status == "published"
    assert done_again(logged) == {"evaluate"}


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("holdout.parquet", {"holdout"}),
        ("train.npz", {"matrix"}),
        ("evaluation_model/model.safetensors", {"train"}),
        ("model", {"refit"}),
    ],
)
def test_a_damaged_file_is_noticed(file: str, again: set[str], world: Path, died: str, logged: list[str]) -> None:
    path = world / "warehouse" / "runs" / died / file
    (path / "model.safetensors" if path.is_dir() else path).write_bytes(b"damaged")
    logged.clear()
    assert plain_night(config(), resume=died).status == "published"
    assert done_again(logged) == again, "what comes after it finds the same as before"


def test_a_rejected_run_can_be_judged_anew(world: Path, logged: list[str]) -> None:
    rejected = plain_night(config(gate={"minimums": {"ndcg@10": 1.1}}))
    logged.clear()
    outcome = plain_night(config(), resume=rejected.run_id)
    assert (outcome.run_id, outcome.status) == (rejected.run_id, "published")
    assert "train" not in done_again(logged)


def test_there_is_nothing_to_resume(world: Path) -> None:
    with pytest.raises(InputError, match="there is no run nonsense to resume; elsa runs lists them"):
        plain_night(config(), resume="nonsense")


def test_stages_read_no_section_that_they_do_not_name(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage may look at the keys that it names, at what lies in them, and at what is on the way to them."""
    night = config()
    named, looked_at = watch_sections(night, monkeypatch)
    plain_night(night)
    plain_night(night)
    everywhere = {"warehouse", "memory_limit"}
    for stage in ONCE:
        allowed = {one for path in named[stage] for one in MEANT.get(path, (path,))}
        found = {path for place, path in looked_at if place == stage} - everywhere
        odd = {path for path in found if not any(f"{path}.".startswith(f"{one}.") or f"{one}.".startswith(f"{path}.")
                                                 for one in allowed)}  # fmt: skip
        assert not odd, stage
        assert found, stage


MEANT = {"event_weights": ("interactions.event_values", "policy_configs")}  # a property of the configuration


def watch_sections(
    night: Config, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, tuple[str, ...]], set[tuple[str, str]]]:
    """By stage, the keys that it names; and pairs of a stage and a key that was looked at while it was at work."""
    import tasks.run.stage

    named: dict[str, tuple[str, ...]] = {}
    looked_at: set[tuple[str, str]] = set()
    current, reads = ["between"], [()]
    paths = {id(section): path for path, section in sections(night)}
    inputs, is_done, record = tasks.run.stage._inputs, tasks.run.stage._is_done, Run.record
    plain = BaseModel.__getattribute__

    def note(own, its_reads, arguments):
        reads[0] = its_reads
        return inputs(own, its_reads, arguments)

    def begin(run, stage, digest):
        named[stage] = reads[0]
        current[0] = stage
        return is_done(run, stage, digest)

    def end(run, stage, handle):
        current[0] = "between"
        record(run, stage, handle)

    def look(self, name):
        if id(self) in paths and name in type(self).model_fields:
            looked_at.add((current[0], f"{paths[id(self)]}.{name}".removeprefix(".")))
        return plain(self, name)

    monkeypatch.setattr(tasks.run.stage, "_inputs", note)
    monkeypatch.setattr(tasks.run.stage, "_is_done", begin)
    monkeypatch.setattr(Run, "record", end)
    monkeypatch.setattr(Section, "__getattribute__", look)
    return named, looked_at


def sections(section: BaseModel, path: str = "") -> Iterator[tuple[str, BaseModel]]:
    yield path, section
    for name in type(section).model_fields:
        below = getattr(section, name)
        if isinstance(below, BaseModel):
            yield from sections(below, f"{path}.{name}".removeprefix("."))


def test_two_nights_at_once(world: Path) -> None:
    first, second = (WORKERS.Process(target=night, args=(world,)) for _ in range(2))
    first.start()
    while not list(world.glob("warehouse/runs/*/manifest.json")):
        assert first.is_alive()
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)  # however slow the machine, it is under way when the second one comes
    try:
        assert [run.status for run in list_runs(Warehouse(world / "warehouse"))] == ["running"]
        second.start()
        second.join()
    finally:
        os.kill(first.pid, signal.SIGCONT)
        first.join()
    assert (first.exitcode, second.exitcode) == (0, 1)
    assert f"pid {first.pid}" in (world / "night.log").read_text()
    assert [run.status for run in list_runs(Warehouse(world / "warehouse"))] == ["published"]


def test_a_night_while_events_are_taken_in(world: Path) -> None:
    with open_run(config()):
        before = snapshot(world / "warehouse")
        process = WORKERS.Process(target=night, args=(world,))
        process.start()
        process.join()
        assert process.exitcode == 1 and f"pid {os.getpid()}" in (world / "night.log").read_text()
        assert snapshot(world / "warehouse") == before
    plain_flow(ingest_alone, config())
    assert plain_night(config()).status == "published"


@pytest.mark.slow
def test_a_terminated_night_says_so(world: Path) -> None:
    import yaml

    from tests.support.worlds import settings

    (world / "my.yaml").write_text(yaml.safe_dump(settings(policy_configs={"embedding_policy": {
        "factors": 8, "n_epochs": 100_000, "batch_size": 8, "strategy": "default"}})))  # fmt: skip
    command = [sys.executable, "-m", "flows.nightly", "--config", "my.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            # not earlier: while modules are imported, Python itself can lose what a signal's handler raises
            while not any("epoch 1," in log.read_text() for log in world.glob("warehouse/runs/*/log.jsonl")):
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            with suppress(ProcessLookupError):  # they may all have ended
                os.killpg(process.pid, signal.SIGKILL)  # its temporary server, too
    (run,) = list_runs(Warehouse(world / "warehouse"))
    assert run.status == "crashed" and run.reasons
    assert not Path("warehouse/lock").read_text()


def on_a_small_disk(world: Path) -> Path:
    """A file system of 64 MB; skips where none can be mounted."""
    small = world / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    return small


@pytest.mark.usefixtures("first_night")
def test_a_full_disk_is_one_clear_error(world: Path) -> None:
    warehouse = world / "warehouse"
    small = on_a_small_disk(world)
    try:
        (warehouse / "published").rename(world / "kept")
        (warehouse / "published").symlink_to(small)
        for path in (world / "kept").iterdir():
            (small / path.name).write_bytes(path.read_bytes())
        (small / "filler").write_bytes(b"\0" * (os.statvfs(small).f_bavail * os.statvfs(small).f_frsize - 300_000))
        run_id, before = Warehouse(warehouse).current_run_id, digest_of_tables(config(), warehouse / "current.duckdb")
        with pytest.raises(InputError, match="No space left"):
            plain_night(config())
        assert Warehouse(warehouse).current_run_id == run_id
        assert digest_of_tables(config(), warehouse / "current.duckdb") == before
        assert not list(small.glob("*unfinished*"))
        (small / "filler").unlink()
        assert plain_night(config()).status == "published", "once there is room again"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_read_only_folder_is_one_clear_error(world: Path, first_night: Outcome) -> None:
    warehouse = world / "warehouse"
    mounts = (["mount", "--bind", str(warehouse), str(warehouse)],
              ["mount", "-o", "remount,ro,bind", str(warehouse)])  # fmt: skip
    for command in mounts:
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"no folder can be made read-only here: {mounted.stderr.strip()}")
    try:
        with pytest.raises(InputError, match="Read-only file system"):
            plain_night(config())
        with pytest.raises(InputError, match="Read-only file system"):
            publish_again(config(), "20260101T000000_000000")
        assert read_manifest(warehouse / "runs" / first_night.run_id).status == "published"
        assert digest_of_tables(config(), warehouse / "current.duckdb")
    finally:
        subprocess.run(["umount", str(warehouse)], check=True)


@pytest.mark.usefixtures("first_night")
def test_the_same_events_configuration_and_seed_give_the_same_tables(world: Path) -> None:
    one, other, seeded = config(), config(warehouse="other"), config(warehouse="seeded", seed=1)
    digests = [digest_of_tables(one, world / "warehouse" / "current.duckdb")]
    for settings in (other, seeded):
        plain_night(settings)
        digests.append(digest_of_tables(settings, world / settings.warehouse / "current.duckdb"))
    assert digests[0] == digests[1] != digests[2]
    changed = community_events().with_columns(
        rating=pl.when(pl.col("user") == 5).then(1.0).otherwise(pl.col("rating"))
    )
    changed.write_parquet("data/ratings.parquet")
    plain_night(one)
    assert digest_of_tables(one, world / "warehouse" / "current.duckdb") != digests[0]
