"""Publishing, going back, what is kept, and who may write: promises to readers and to the next night."""

import errno
import getpass
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import duckdb
import polars as pl
import pytest
import yaml

import tasks.run.lock
from tasks.errors import InputError, WarehouseBusy
from tasks.publish.publication import publish_again, roll_back
from tasks.publish.publish import publish
from tasks.report.report import find_report
from tasks.run.handles import Outcome, Tables, Verdict
from tasks.run.index import list_runs
from tasks.run.lock import me
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.publications import publications
from tasks.run.run import end_run, open_run
from tasks.run.warehouse import Warehouse
from tests.support.killed_nights import WORKERS
from tests.support.plain_nights import plain_night
from tests.support.published_state import snapshot
from tests.support.reading_processes import VERSION, readers
from tests.support.worlds import community_events, config, settings

ME = f"{getpass.getuser()}@{socket.gethostname()}"


def publish_a_copy(
    template: Path, n: int, resume: str | None = None, is_night: bool = True, **changes: dict
) -> tuple[str, tuple]:
    """Publishes a copy of a published file as a run of its own, told apart by its scores; what readers shall see.

    Its popular items lie beside it as a Parquet file. It is a night or a refresh.
    """
    with open_run(config(**changes), resume, "nightly" if is_night else "refresh") as run:
        path = run.warehouse.unfinished_tables(run.run_id)
        shutil.copyfile(template, path)
        path.chmod(0o644)
        with duckdb.connect(str(path)) as connection:
            for table in ("run_info", "run_metrics", "validation_results"):
                connection.execute(f"update {table} set run_id = ?", [run.run_id])
            connection.execute("update user_topk set score = score + ?", [n])
            beside = path.parent / run.run_id / "popular_items.parquet"
            beside.parent.mkdir()
            connection.execute(f"copy popular_items to '{beside}' (format parquet)")
            connection.execute("drop table popular_items")
            connection.execute(f"create view popular_items as from read_parquet('{beside}')")
            seen = connection.execute(VERSION).fetchall()[0]
        for name in ("evaluation_model", "model"):
            (run.files.folder / name).mkdir()
        (run.files.folder / "train.npz").touch()
        (run.files.folder / "metrics.parquet").touch()
        if is_night:
            run.record("gate", Verdict("", True, "", 0.0, (), ()))
        publish.fn(run, Tables(path.name, 0, 0, 0))
        end_run(run, "published")
    return run.run_id, tuple(seen)


@pytest.fixture
def template(world: Path, first_night: Outcome, without_prefect: None) -> Path:
    """The published file of a small world after one night."""
    return (world / "warehouse" / "current.duckdb").resolve()


def test_readers_see_whole_versions_only_and_never_hold_up_the_writer(world: Path, template: Path) -> None:
    warehouse, n_rollbacks = world / "warehouse", 0
    with duckdb.connect(str(template), read_only=True) as connection:
        shown = {tuple(connection.execute(VERSION).fetchall()[0])}
    with (
        duckdb.connect(str(warehouse / "current.duckdb"), read_only=True) as since_the_beginning,
        readers(world, pauses=(0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.5, 1)) as found,
    ):
        for n in range(1, 26):
            run_id, version = publish_a_copy(template, n)
            shown.add(version)
            assert Warehouse(warehouse).current_run_id == run_id
            if n % 5 == 0:
                roll_back(config())
                n_rollbacks += 1
                assert Warehouse(warehouse).current_run_id != run_id
        assert since_the_beginning.execute(VERSION).fetchall()[0] in shown
    assert n_rollbacks == 5 and len(publications(Warehouse(warehouse))) == 31
    assert len(found) > 10, "they saw many versions"
    assert found <= shown


def test_a_rollback_and_its_record(world: Path, template: Path) -> None:
    warehouse, first = world / "warehouse", template.stem
    second, third = (publish_a_copy(template, n)[0] for n in (1, 2))
    assert roll_back(config()) == (second, third)
    assert roll_back(config(), reason="prices were wrong") == (first, second)
    assert Warehouse(warehouse).current_run_id == first
    with pytest.raises(InputError, match=f"no run before {first} has its tables still"):
        roll_back(config())
    assert publish_again(config(), third) == first
    assert Warehouse(warehouse).current_run_id == third
    with pytest.raises(InputError, match="is what readers get already"):
        publish_again(config(), third)
    with pytest.raises(InputError, match=rf"no tables of a run nonsense.*{first}, {second}, {third}"):
        roll_back(config(), "nonsense")
    record = [
        (one.action, one.replaced, one.run_id, one.by, one.reason) for one in publications(Warehouse(warehouse))
    ]
    assert record == [
        ("publish", None, first, ME, None),
        ("publish", first, second, ME, None),
        ("publish", second, third, ME, None),
        ("rollback", third, second, ME, None),
        ("rollback", second, first, ME, "prices were wrong"),
        ("publish again", first, third, ME, None),
    ]
    assert {run.status for run in list_runs(Warehouse(warehouse))} == {"published"}


def test_a_rollback_leads_to_what_readers_had_before_whenever_it_was_begun(world: Path, template: Path) -> None:
    with open_run(config()) as rejected:
        end_run(rejected, "rejected")
    second = publish_a_copy(template, 1)[0]
    assert publish_a_copy(template, 2, resume=rejected.run_id)[0] == rejected.run_id < second
    assert roll_back(config()) == (second, rejected.run_id)
    assert publish_again(config(), template.stem) == second
    assert roll_back(config()) == (second, template.stem), "also from a run that was published again"
    (world / "warehouse" / "published" / f"{template.stem}.duckdb").unlink()
    with pytest.raises(InputError, match=second):
        roll_back(config())


def test_before_a_first_publication_there_is_nothing_to_roll_back_to(world: Path) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="has no published tables yet; make some with: elsa nightly"):
            roll_back(config())
        Path("warehouse").mkdir(exist_ok=True)


def test_a_published_run_is_not_taken_up_again_even_after_a_rollback(world: Path, template: Path) -> None:
    warehouse = world / "warehouse"
    second = publish_a_copy(template, 1)[0]
    manifest = warehouse / "runs" / second / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"status": "published"', '"status": "running"'))  # then killed
    roll_back(config())
    before = files_beneath(warehouse / "published")
    with pytest.raises(InputError, match=f"run {second} is published already; to publish it again"):
        publish_a_copy(template, 2, resume=second)
    assert files_beneath(warehouse / "published") == before
    assert publish_again(config(), second) == template.stem


def test_tables_that_readers_never_got_are_rebuilt_with_all_that_lies_beside_them(
    world: Path, template: Path
) -> None:
    published = world / "warehouse" / "published"
    with open_run(config()) as died:
        shutil.copyfile(template, published / f"{died.run_id}.duckdb")  # between the rename and the flip
        (published / died.run_id).mkdir()
        (published / died.run_id / "user_topk.parquet").touch()
    with pytest.raises(RuntimeError), open_run(config(), resume=died.run_id):
        raise RuntimeError
    assert {path.name for path in published.iterdir()} == {template.name}


def files_beneath(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_fails_before_or_after_the_flip_says_what_readers_get(
    world: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = publish_a_copy(template, 1)[0]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", full)
        with pytest.raises(InputError, match=r"cannot be written to: .*No space left.*readers keep the tables they"):
            roll_back(config())
    assert Warehouse(world / "warehouse").current_run_id == second
    with monkeypatch.context() as patch:
        patch.setattr("tasks.publish.publication.sync", full)
        with pytest.raises(InputError, match=f"No space left.*readers get the tables of run {template.stem} already"):
            roll_back(config())
    assert Warehouse(world / "warehouse").current_run_id == template.stem
    with monkeypatch.context() as patch:
        patch.setattr("tasks.publish.publish.prune", full)
        with pytest.raises(InputError, match=r"No space left.*readers get the tables of run \S+ already"):
            publish_a_copy(template, 2)
    assert list_runs(Warehouse(world / "warehouse"))[-1].status == "published"


def test_a_rollback_is_short(world: Path, template: Path) -> None:
    publish_a_copy(template, 1)
    (world / "my.yaml").write_text(yaml.safe_dump(settings()))
    script = (
        "import sys; from flows.cli import main; assert main(['rollback', '--config', 'my.yaml']) == 0; "
        "print([name for name in ('prefect', 'torch', 'polars', 'great_expectations') if name in sys.modules])"
    )
    with open_run(config()):  # which has the warehouse
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", script]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
    assert Warehouse(world / "warehouse").current_run_id == template.stem


def test_a_flip_whose_record_was_lost_is_recorded_afterwards(world: Path, template: Path) -> None:
    warehouse = world / "warehouse"
    lines = (warehouse / "publications.jsonl").read_text()
    second = publish_a_copy(template, 1)[0]
    (warehouse / "publications.jsonl").write_text(lines)  # died between flip and record
    assert [one.run_id for one in publications(Warehouse(warehouse))] == [template.stem, second]
    third = publish_a_copy(template, 2)[0]
    written = [json.loads(line)["run_id"] for line in (warehouse / "publications.jsonl").read_text().splitlines()]
    assert written == [template.stem, second, third]


def test_a_file_that_is_not_what_its_name_says_is_not_published(world: Path, template: Path) -> None:
    second, third = (publish_a_copy(template, n)[0] for n in (1, 2))
    folder = world / "warehouse" / "published"
    (folder / f"{second}.duckdb").unlink()
    shutil.copyfile(template, folder / f"{second}.duckdb")
    with pytest.raises(InputError, match=f"holds the tables of run {template.stem}, not of {second}"):
        roll_back(config(), second)
    (folder / f"{second}.duckdb").write_bytes(b"\0" * 5000)
    with pytest.raises(InputError, match=f"{second}.duckdb"):
        roll_back(config(), second)
    assert Warehouse(world / "warehouse").current_run_id == third


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_tables_whose_parquet_files_are_damaged_are_not_published(damage: str, world: Path, template: Path) -> None:
    second, third = (publish_a_copy(template, n)[0] for n in (1, 2))
    path = world / "warehouse" / "published" / second / "popular_items.parquet"
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{second}.duckdb: its table popular_items cannot be opened"):
        roll_back(config())
    assert Warehouse(world / "warehouse").current_run_id == third


def test_after_a_rollback_the_run_that_readers_get_is_the_champion(world: Path, first_night: Outcome) -> None:
    plain_night(config())
    roll_back(config())
    third = plain_night(config())
    stages = read_manifest(world / "warehouse" / "runs" / third.run_id).stages
    assert stages["evaluate"]["champion"] == first_night.run_id
    assert stages["train"]["started_from"] == first_night.run_id


def test_a_rollback_during_a_night_is_not_overruled_by_it(world: Path, template: Path) -> None:
    publish_a_copy(template, 1)
    with (
        pytest.raises(InputError, match=r"switched from run \S+ to \S+ while this run was at work"),
        open_run(config()) as run,
    ):
        assert roll_back(config())[0] == template.stem, "a night does not hold up a rollback"
        unfinished = run.warehouse.unfinished_tables(run.run_id)
        shutil.copyfile(template, unfinished)
        publish.fn(run, Tables(unfinished.name, 0, 0, 0))
    assert Warehouse(world / "warehouse").current_run_id == template.stem


def test_what_is_kept_and_what_goes(world: Path, template: Path) -> None:
    warehouse = world / "warehouse"
    kept_for_long = {"publication": {"keep": 2, "grace_hours": 1000.0}}
    runs = [template.stem, *(publish_a_copy(template, n, **kept_for_long)[0] for n in range(1, 5))]
    names = {path.stem for path in warehouse.glob("published/*.duckdb")}
    assert names == set(runs), "within the grace time nothing goes"
    roll_back(config(), runs[0])
    age_runs(warehouse, hours=2)
    age_publications(warehouse, hours=2)
    roll_back(config(), runs[1])  # readers left runs[0] just now
    last = publish_a_copy(template, 9, publication={"keep": 2, "grace_hours": 1.0})[0]
    left = {path.stem for path in warehouse.glob("published/*.duckdb")}
    assert left == {last, runs[1], runs[0]}, "the current, the last two, and what was left within the grace time"
    heavy = {path.parent.name for path in warehouse.glob("runs/*/train.npz")}
    assert heavy == left
    assert {path.parent.name for path in warehouse.glob("runs/*/manifest.json")} == {*runs, last}
    assert {path.parent.name for path in warehouse.glob("runs/*/metrics.parquet")} == {*runs, last}
    assert {path.name for path in warehouse.glob("published/*/")} == left - {runs[0]}, "the first has none"
    assert roll_back(config()) == (runs[1], last)


def test_refreshes_do_not_count_among_the_runs_that_are_kept(world: Path, template: Path) -> None:
    soon = {"publication": {"keep": 2, "grace_hours": 0.0}}
    second = publish_a_copy(template, 1, **soon)[0]
    *_, last = (publish_a_copy(template, n, is_night=False, **soon)[0] for n in (2, 3, 4))
    assert {path.stem for path in (world / "warehouse").glob("published/*.duckdb")} == {template.stem, second, last}


def test_a_run_begins_by_removing_tables_without_their_file(world: Path, template: Path) -> None:
    published = world / "warehouse" / "published"
    second = publish_a_copy(template, 1)[0]
    (published / "20200101T000000_000000").mkdir()
    (published / "20200101T000000_000000" / "user_topk.parquet").touch()
    with open_run(config()):
        assert {path.name for path in published.glob("*/")} == {second}


def age_runs(warehouse: Path, hours: float) -> None:
    """As if all runs had been so much earlier; what is recorded counts, not when files were changed."""
    for folder in warehouse.glob("runs/*/"):
        manifest = read_manifest(folder)
        times = {
            name: (datetime.fromisoformat(at) - timedelta(hours=hours)).isoformat()
            for name in ("started_at", "finished_at")
            if (at := getattr(manifest, name))
        }
        write_manifest(folder, manifest.model_copy(update=times))


def test_a_copied_warehouse_keeps_what_the_original_would(world: Path, template: Path) -> None:
    """Copying changes the times of files."""
    warehouse = world / "warehouse"
    soon = {"publication": {"keep": 1, "grace_hours": 1.0}}
    publish_a_copy(template, 1, **soon)
    age_runs(warehouse, hours=2)
    age_publications(warehouse, hours=2)
    last = publish_a_copy(template, 2, **soon)[0]
    assert {path.stem for path in warehouse.glob("published/*.duckdb")} >= {last}
    assert not template.exists()


def test_what_is_removed_also_of_a_run_whose_manifest_is_damaged_and_reports_stay(
    world: Path, template: Path
) -> None:
    warehouse = world / "warehouse"
    first = template.stem
    report = find_report(config(), first)
    text = report.read_text()
    soon = {"publication": {"keep": 1, "grace_hours": 0.0}}
    damaged = publish_a_copy(template, 1)[0]
    (warehouse / "runs" / damaged / "manifest.json").write_text("{")
    publish_a_copy(template, 2, **soon)
    assert not (warehouse / "runs" / damaged / "model").exists()
    assert not (warehouse / "runs" / first / "model").exists()
    assert find_report(config(), first).read_text() == text, "it cannot be made again"


def age_publications(warehouse: Path, hours: float) -> None:
    path = warehouse / "publications.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        entry["at"] = (datetime.fromisoformat(entry["at"]) - timedelta(hours=hours)).isoformat()
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_the_current_run_stays_however_old_it_is(world: Path, template: Path) -> None:
    publish_a_copy(template, 1)
    roll_back(config())
    warehouse = world / "warehouse"
    age_publications(warehouse, hours=10_000)
    age_runs(warehouse, hours=10_000)
    from tasks.publish.retention import prune

    with open_run(config(publication={"keep": 1, "grace_hours": 0.0})) as run:
        prune(run)
    assert Warehouse(warehouse).current_run_id == template.stem and template.exists()
    assert (warehouse / "runs" / template.stem / "model" / "model.safetensors").exists()


def test_metrics_and_verdicts_of_all_nights_are_in_the_current_file(first_night: Outcome, tables) -> None:
    rejected = plain_night(config(gate={"minimums": {"ndcg@10": 1.1}}))
    last = plain_night(config())
    runs = [(outcome.run_id,) for outcome in (first_night, rejected, last)]
    assert tables("select distinct run_id from run_metrics order by 1") == runs
    assert tables("select distinct run_id from gate_checks where not passed") == [(rejected.run_id,)]
    assert tables("select run_id from run_info") == [(last.run_id,)]


def test_a_forced_publication_says_who_and_why(world: Path, tables) -> None:
    impossible = config(gate={"minimums": {"ndcg@10": 1.1}})
    assert plain_night(impossible, force_reason=" ").status == "rejected", "a reason has words"
    outcome = plain_night(impossible, force_reason="the shop opens today")
    assert outcome.status == "published"
    words = f"{ME} forced it at {datetime.now(UTC):%Y-%m-%d} "
    assert "at least 1.1" in outcome.reasons[0] and words in outcome.reasons[1]
    assert outcome.reasons[1].endswith("the shop opens today")
    assert read_manifest(world / "warehouse" / "runs" / outcome.run_id).reasons == list(outcome.reasons)
    assert tables("select verdict from gate_checks where name = 'forced'") == [(outcome.reasons[1],)]
    assert plain_night(config(), force_reason="not needed").reasons == (), "what passes is not forced"


def test_a_force_does_not_reach_the_contract(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.publish.materialize
    from tasks.publish.contract import ContractBroken

    monkeypatch.setattr(tasks.publish.materialize, "check_contract", broken)
    with pytest.raises(ContractBroken):
        plain_night(config(), force_reason="whatever")
    assert Warehouse(world / "warehouse").current_run_id is None


def broken(*_: object) -> None:
    from tasks.publish.contract import ContractBroken

    raise ContractBroken("no")


def test_a_dead_owner_holds_nobody_up(world: Path, capfd: pytest.CaptureFixture) -> None:
    Path("warehouse").mkdir()
    left = {"owner": "ann@elsewhere", "pid": 4_000_000, "since": (datetime.now(UTC) - timedelta(hours=5)).isoformat()}
    Path("warehouse/lock").write_text(json.dumps(left))
    with open_run(config()):
        pass
    assert (
        "taking over the lock of a run that has died (ann@elsewhere, pid 4000000, for 5 hours)"
        in capfd.readouterr().err
    )
    with open_run(config()):
        pass
    assert capfd.readouterr().err == "", "a run that ended in order leaves no owner behind"


def hold(folder: Path) -> None:
    """Has the warehouse until there is a file 'let go'."""
    os.chdir(folder)
    with open_run(config()):
        Path("held").touch()
        while not Path("let go").exists():
            time.sleep(0.01)


@pytest.fixture
def holder(world: Path) -> "Iterator[multiprocessing.Process]":
    """A process that has the warehouse."""
    process = WORKERS.Process(target=hold, args=(world,))
    process.start()
    while not (world / "held").exists():
        assert process.is_alive()
        time.sleep(0.01)
    yield process
    (world / "let go").touch()
    process.join()


def test_an_owner_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert me() == f"uid {os.getuid()}@{socket.gethostname()}"


def test_a_living_owner_is_named(world: Path, holder: "multiprocessing.Process") -> None:
    with (
        pytest.raises(
            WarehouseBusy,
            match=rf"in use by another run \({ME}, pid {holder.pid}, for (a moment|a second|\d+ seconds)\)",
        ),
        open_run(config()),
    ):
        pass
    holder.kill()
    holder.join()
    with open_run(config()):
        assert [run.status for run in list_runs(Warehouse(world / "warehouse"))] == ["died", "running"]
    assert list_runs(Warehouse(world / "warehouse"))[0].status == "died"


def test_a_run_waits_if_it_may(
    world: Path,
    holder: "multiprocessing.Process",
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = tasks.run.lock._try

    def while_waiting(lock: IO, how: int, wait_seconds: float = 0.0) -> bool:
        if wait_seconds == 60:
            (world / "let go").touch()
        return honest(lock, how, wait_seconds)

    monkeypatch.setattr(tasks.run.lock, "_try", while_waiting)
    with open_run(config(lock_wait_seconds=60.0)) as run:
        assert [one.status for one in list_runs(Warehouse(world / "warehouse"))][:1] == [
            "failed"
        ] or not holder.is_alive()
        assert run.files.folder.exists()
    assert f"waiting up to 60 s for another run ({ME}, pid {holder.pid}" in capfd.readouterr().err


def test_a_file_in_the_place_of_the_link_is_not_overwritten(world: Path, template: Path) -> None:
    link = world / "warehouse" / "current.duckdb"
    second = publish_a_copy(template, 1)[0]
    link.unlink()
    link.write_text("mine")
    for attempt in (lambda: plain_night(config()), lambda: roll_back(config(), template.stem)):
        with pytest.raises(InputError, match="is a file, but must be a symlink"):
            attempt()
    assert link.read_text() == "mine"
    link.unlink()
    roll_back(config(), second)
    assert Warehouse(world / "warehouse").current_run_id == second, (
        "once it is moved away, a rollback repairs the link"
    )


@pytest.mark.parametrize(
    ("model", "damage"),
    [("evaluation_model", "flipped"), ("model", "flipped"), ("evaluation_model", "gone"), ("model", "cut")],
)
def test_a_corrupt_model_file_is_one_clear_error(world: Path, first_night: Outcome, model: str, damage: str) -> None:
    before = snapshot(world / "warehouse")
    path = world / "warehouse" / "runs" / first_night.run_id / model / "model.safetensors"
    content = path.read_bytes()
    damaged = {"cut": content[:100], "flipped": content[:-1] + bytes([content[-1] ^ 1])}
    path.write_bytes(damaged[damage]) if damage in damaged else path.unlink()
    more = pl.concat([community_events(), community_events().head(50).with_columns(pl.col("user") + 1000)])
    more.write_parquet("data/ratings.parquet")
    with pytest.raises(
        InputError, match=rf"{model}/model.safetensors is damaged: run {first_night.run_id} wrote something else"
    ):
        plain_night(config())
    assert snapshot(world / "warehouse") == before
    shutil.rmtree(path.parent)
    assert plain_night(config()).status == "published", "what the message says to do helps"
