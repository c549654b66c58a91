"""Damaged and odd warehouses: what is damaged is named with its cure, and costs nothing but itself."""

import asyncio
import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import polars as pl
import pytest
import yaml

from flows.cli import main
from flows.explore import make_app
from tasks.errors import InputError, RunUnderWay, WarehouseBusy
from tasks.publish.publication import roll_back
from tasks.publish.retention import prune
from tasks.report.report import find_report
from tasks.run import damage as damaged_records
from tasks.run import durable as files
from tasks.run import index
from tasks.run.database import intact, openable
from tasks.run.index import list_runs
from tasks.run.lock import locked
from tasks.run.logs import JsonLines
from tasks.run.manifest import Manifest, read_manifest, write_manifest
from tasks.run.publications import publications
from tasks.run.results import usable_parquet
from tasks.run.run import Run, end_run, open_run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tests.support.damages import cut, empty, folder, other, pipe
from tests.support.manifests import a_manifest
from tests.support.plain_nights import plain_night, plain_refresh
from tests.support.worlds import community_events, config, settings

WAREHOUSE = Path("warehouse")


def mostly_slow(*cases: object, n_fast: int = 1) -> list:
    """The first cases for the default suite, the others for make test-damage."""
    slow = (pytest.mark.slow, pytest.mark.damage)
    return [*cases[:n_fast], *(pytest.param(case, marks=slow) for case in cases[n_fast:])]


@pytest.fixture(scope="module")
def made_two_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world with two published nights, without Prefect."""
    from tests.support.worlds import write_world

    folder = tmp_path_factory.mktemp("two_nights")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_world(folder)
        plain_night(config())
        plain_night(config())
        Path("my.yaml").write_text(yaml.safe_dump(settings()))
    return folder


@pytest.fixture
def two_nights(made_two_nights: Path, world: Path, without_prefect: None) -> tuple[str, str]:
    """The ids of two published nights in the working directory."""
    from tests.support.worlds import copy_world

    copy_world(made_two_nights, world)
    first, second = (run.run_id for run in list_runs(Warehouse(WAREHOUSE)))
    damaged_records.begin_to_name()
    return first, second


def content(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text)


def without(key: str) -> Callable[[Path], None]:
    return changed(lambda manifest: manifest.pop(key))


def changed(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return damage


MANIFESTS = {
    "cut": cut,
    "empty": empty,
    "other": other,
    "a folder": folder,
    "a pipe": pipe,
    "gone": files.remove,
    "a list": content("[]"),
    "null": content("null"),
    "nested": content("[" * 5000),
    "without stages": without("stages"),
    "without a start": without("started_at"),
    "without a configuration": without("config"),
    "stages are a list": changed(lambda one: one.update(stages=[1])),
    "a start without a zone": changed(lambda one: one.update(started_at="2026-01-01")),
    "a metric that is text": changed(lambda one: one["stages"]["gate"].update(value="high")),
    "of another run": changed(lambda one: one.update(run_id="20200101T000000_000000")),
}


@pytest.mark.parametrize("damage", mostly_slow(*MANIFESTS, n_fast=2))
def test_a_damaged_manifest_of_an_earlier_run_is_left_out_and_named_once(
    damage: str, two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    first, second = two_nights
    MANIFESTS[damage](WAREHOUSE / "runs" / first / "manifest.json")
    assert main(["runs", "--config", "my.yaml"]) == 0
    said = capfd.readouterr()
    assert re.search(rf"^ +{first} +damaged", said.out, re.MULTILINE) and second in said.out
    assert said.err.count(f"{first}/manifest.json is damaged") == 1
    assert main(["report", "--config", "my.yaml"]) == 0
    assert main(["report", first, "--config", "my.yaml"]) == 2
    assert f"{first}/manifest.json" in capfd.readouterr().err
    with open_run(config()) as run:
        prune(run)
        end_run(run, "failed")
    assert main(["rollback", "--config", "my.yaml"]) == 0
    assert Warehouse(WAREHOUSE.absolute()).current_run_id == first
    assert "Traceback" not in capfd.readouterr().err


def test_a_night_and_a_refresh_do_without_what_is_damaged_of_earlier_runs(two_nights: tuple[str, str]) -> None:
    first, second = (WAREHOUSE / "runs" / run_id for run_id in two_nights)
    cut(first / "manifest.json")
    third = plain_night(config())
    folder = WAREHOUSE / "runs" / third.run_id
    cut(second / "metrics.parquet")
    other(second / "gate_checks.parquet")
    community_events().head(50).with_columns(pl.col("user") + 1000).write_parquet("data/more.parquet")
    fourth = plain_refresh(config(source={"events": ["data/ratings.parquet", "data/more.parquet"]}))
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        query = "select list(distinct run_id order by run_id) from {}"
        found = {name: connection.execute(query.format(name)).fetchall()[0][0]
                 for name in ("run_metrics", "gate_checks", "run_stages")}  # fmt: skip
    assert found["run_metrics"] == found["gate_checks"] == [second.name, third.run_id], (
        "as they were when it was whole"
    )
    assert found["run_stages"] == [second.name, third.run_id, fourth]
    assert find_report(config(), None) == folder.absolute() / "report.html"


@pytest.mark.parametrize(("name", "column", "value"), [
    ("metrics.parquet", "value", "high"), ("metrics.parquet", "model", 5), ("gate_checks.parquet", "passed", "yes"),
    ("gate_checks.parquet", "segment", [5]),
])  # fmt: skip
def test_a_column_of_another_kind_is_left_out_and_named(
    name: str, column: str, value: object, two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    path = WAREHOUSE / "runs" / two_nights[0] / name
    pl.read_parquet(path).with_columns(pl.lit(value).alias(column)).write_parquet(path)
    folders = [WAREHOUSE / "runs" / run_id for run_id in two_nights]
    assert usable_parquet(folder / name for folder in folders) == [folders[1] / name]
    said = capfd.readouterr().err
    assert f"{path} is damaged: its column '{column}' is" in said and two_nights[1] not in said


@pytest.mark.parametrize("written", ["[]", "null", "5", '{"choices": 5}', '{"choices": [5]}', '{"history": [{}]}'])
def test_a_report_does_without_a_model_record_that_is_none(
    written: str, two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    folder = WAREHOUSE / "runs" / two_nights[1]
    (folder / "report.html").unlink(missing_ok=True)
    (folder / "evaluation_model" / "model.json").write_text(written)
    assert main(["report", "--config", "my.yaml"]) == 0
    assert "evaluation_model/model.json is damaged" in capfd.readouterr().err


def test_counts_that_are_no_numbers_are_damage(two_nights: tuple[str, str], capfd: pytest.CaptureFixture) -> None:
    path = WAREHOUSE / "runs" / two_nights[1] / "manifest.json"
    changed(lambda one: one["stages"]["matrix"].update(n_users="many"))(path)
    assert main(["report", two_nights[1], "--config", "my.yaml"]) == 2
    assert "manifest.json is damaged: stages.matrix: n_users: " in capfd.readouterr().err


@pytest.mark.parametrize("damage", mostly_slow("cut", "without stages", "gone"))
def test_a_damaged_manifest_of_the_published_run_is_said_with_its_cure(
    damage: str, two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    folder = WAREHOUSE / "runs" / two_nights[1]
    MANIFESTS[damage](folder / "manifest.json")
    for attempt in (plain_night, plain_refresh):
        with pytest.raises(InputError, match=r"manifest.json is damaged: .*elsa rollback; or remove .*evaluation"):
            attempt(config())
    shutil.rmtree(folder / "evaluation_model")
    assert plain_night(config()).status == "published", "what the message says to do helps"


def test_manifests_are_read_once_and_before_the_lock_is_taken(
    two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.read import terminal as published

    n_reads: Counter[str] = Counter()
    read = index.parse_manifest

    def counted(path: Path) -> Manifest:
        n_reads[path.parent.name] += 1
        with suppress(RunUnderWay), locked(WAREHOUSE / "publication.lock"):
            return read(path)
        pytest.fail("readers of the lock wait meanwhile")

    monkeypatch.setattr(index, "parse_manifest", counted)
    with open_run(config()) as run:
        for most, attempt in (
            (1, lambda: published.runs(config())),
            (2, lambda: find_report(config(), None)),  # the second time where it is rebuilt
            (1, lambda: prune(run)),
        ):
            n_reads.clear()
            index.drop_index(Warehouse(WAREHOUSE))
            attempt()
            assert 1 <= n_reads[two_nights[0]] <= most


def test_lost_lines_of_the_record_are_named_and_the_next_flip_writes_a_whole_one(
    two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    first, second = two_nights
    path = WAREHOUSE / "publications.jsonl"
    damaged = path.read_bytes()[:-20] + b"\n\xff\xfe\n[]\n" + b'{"at": "x"}\n'
    path.write_bytes(damaged)
    assert [one.run_id for one in publications(Warehouse(WAREHOUSE))] == [first, second], (
        "the symlink tells the last one"
    )
    capfd.readouterr()
    assert main(["runs", "--config", "my.yaml"]) == 0
    assert capfd.readouterr().err.count("publications.jsonl is damaged: line 2, 3, 4, 5 cannot be used") == 1
    assert roll_back(config()) == (first, second)
    assert [json.loads(line)["run_id"] for line in path.read_text().splitlines()] == [first, second, first]
    [aside] = WAREHOUSE.glob("publications.jsonl.damaged-*")
    assert aside.read_bytes() == damaged


@pytest.mark.parametrize("damage", mostly_slow(empty, other, folder, files.remove, pipe))
def test_without_the_record_a_run_is_named_to_roll_back_to(
    damage: Callable[[Path], None], two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    first = two_nights[0]
    damage(WAREHOUSE / "publications.jsonl")
    code = main(["rollback", "--config", "my.yaml"])
    said = capfd.readouterr().err
    assert code == 2 and ("elsa rollback RUN" in said or "nothing to roll back to" in said)
    with open_run(config(publication={"keep": 2, "grace_hours": 0.0})) as run:
        assert not [name for name in prune(run) if name.endswith(".duckdb")], "the runs say that they are published"
    assert main(["rollback", first, "--config", "my.yaml"]) == 0
    assert Warehouse(WAREHOUSE).current_run_id == first
    assert [one.run_id for one in publications(Warehouse(WAREHOUSE))][-1] == first


def test_records_are_on_disk_before_they_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append("fsync"))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda *paths: (steps.append("replace"), replace(*paths)))
    write_manifest(tmp_path, a_manifest(tmp_path.name))
    assert steps == ["fsync", "replace", "fsync"]


def test_writers_of_one_file_do_not_meet_and_what_killed_ones_left_goes(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    left, young = tmp_path / "report.html.0a.new", tmp_path / "report.html.0b.new"
    for one in (left, young):
        one.write_text("half")
    os.utime(left, (0, 0))
    texts = [str(number) * 200_000 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        for _ in range(5):
            list(pool.map(files.write_whole, [path] * len(texts), texts))
    assert path.read_text() in texts
    assert {one.name for one in tmp_path.iterdir()} == {"report.html", "report.html.0b.new"}


def test_all_that_is_published_is_on_disk_before_its_digest_is_recorded(
    two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    recorded: dict[str, bool] = {}
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(".unfinished"))
        fsync(descriptor)

    def record(folder: Path, manifest: Manifest) -> None:
        for name in manifest.published:
            file = (WAREHOUSE / name).absolute()
            recorded[name] = str(file) in synced and str(file.parent) in synced
        write_manifest(folder, manifest)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr("tasks.publish.publish.write_manifest", record)
    plain_night(config())
    assert len(recorded) > 6 and all(recorded.values()), recorded


@pytest.mark.parametrize("name", mostly_slow("publications.jsonl.new", "lock", "current.duckdb.new",
                                             "manifest.json.new", "report.html.new", "publication.lock"))  # fmt: skip
def test_a_planted_link_is_not_followed(name: str, two_nights: tuple[str, str]) -> None:
    mine, first = Path("mine.txt"), two_nights[0]
    mine.write_text("mine")
    folder = WAREHOUSE / "runs" / two_nights[1] if name.startswith(("manifest", "report")) else WAREHOUSE
    files.remove(folder / name)
    (folder / name).symlink_to(mine.absolute())
    for attempt in (
        lambda: write_manifest(folder, read_manifest(folder)) if name[0] == "m" else None,
        lambda: (folder / "report.html").unlink() or find_report(config(), two_nights[1]) if name[0] == "r" else None,
        lambda: roll_back(config(), first),
        lambda: plain_night(config()),
    ):
        try:
            attempt()
        except InputError as error:
            assert "must be a file that this program made" in str(error) and name in ("lock", "publication.lock")
    assert mine.read_text() == "mine"


def test_outputs_do_not_follow_a_planted_link(two_nights: tuple[str, str]) -> None:
    from tasks.read.score import score_file

    mine = Path("mine.txt")
    mine.write_text("mine")
    pl.DataFrame({"user_id": [2], "item_id": [2]}).write_parquet("pairs.parquet")
    Path("scored.parquet.unfinished").symlink_to(mine.absolute())
    assert score_file.fn(config(), Path("pairs.parquet"), Path("scored.parquet")).n_pairs == 1
    assert mine.read_text() == "mine"


def test_a_run_that_goes_on_writes_through_no_link(two_nights: tuple[str, str]) -> None:
    mine = Path("mine.txt")
    mine.write_text("mine")
    with pytest.raises(RuntimeError), open_run(config()) as run:
        raise RuntimeError
    (run.files.folder / "log.jsonl").unlink()
    for name in ("log.jsonl", "metrics.parquet", "reserve"):
        (run.files.folder / name).symlink_to(mine.absolute())
    with open_run(config(), resume=run.run_id):
        assert not (run.files.folder / "metrics.parquet").is_symlink()
    assert mine.read_text() == "mine"


def flipped(path: Path) -> None:
    """One bit in the middle is another one; the size stays."""
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(found)


@pytest.mark.parametrize("damage", mostly_slow(flipped, cut, empty, other, n_fast=2))
def test_damaged_tables_are_not_switched_to(damage: Callable[[Path], None], two_nights: tuple[str, str]) -> None:
    path = WAREHOUSE / "published" / f"{two_nights[0]}.duckdb"
    path.chmod(0o644)
    damage(path)
    with pytest.raises(InputError, match=rf"{path.name} (is damaged|cannot be opened)"):
        roll_back(config())
    assert Warehouse(WAREHOUSE).current_run_id == two_nights[1]


def test_a_rollback_does_not_undo_what_is_published_meanwhile(
    two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:

    from tasks.publish import publication

    third: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(publication, "require_tables", lambda *_: third.append(plain_night(config()).run_id))
        with pytest.raises(InputError, match=f"switched from run {two_nights[1]} to .*run this again"):
            roll_back(config())
    assert Warehouse(WAREHOUSE).current_run_id == third[0]
    assert roll_back(config()) == (two_nights[1], third[0]), "again, from the latter"


def test_what_readers_get_already_is_said_before_anything_is_read(
    two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.publish import publication
    from tasks.run import integrity as whole

    monkeypatch.setattr(whole, "identity", lambda *_: pytest.fail("a file was read"))
    with pytest.raises(InputError, match="is what readers get already"):
        publication.publish_again(config(), two_nights[1])


def test_a_publication_of_an_earlier_version_is_only_opened(two_nights: tuple[str, str]) -> None:
    folder = WAREHOUSE / "runs" / two_nights[0]
    write_manifest(folder, read_manifest(folder).model_copy(update={"published": {}}))
    assert roll_back(config()) == two_nights


def test_a_refresh_does_not_copy_a_damaged_file(two_nights: tuple[str, str]) -> None:
    flipped(WAREHOUSE / "published" / f"{two_nights[1]}.duckdb")
    with pytest.raises(InputError, match=r"duckdb is damaged: run .* wrote something else"):
        plain_refresh(config())


@pytest.mark.parametrize("damage", mostly_slow(flipped, cut, files.remove, folder))
@pytest.mark.parametrize("name", mostly_slow("model/model.safetensors", "items.parquet", "model/model.json",
                                             "interactions.npz", "users.parquet", n_fast=2))  # fmt: skip
def test_scores_are_made_with_what_the_run_wrote_only(
    damage: Callable[[Path], None], name: str, two_nights: tuple[str, str]
) -> None:
    from tasks.read.score import score_file

    pl.DataFrame({"user_id": [2], "item_id": [2]}).write_parquet("pairs.parquet")
    damage(WAREHOUSE / "runs" / two_nights[1] / name)
    with pytest.raises(InputError, match=f"{name} is damaged: run {two_nights[1]} wrote something else"):
        score_file.fn(config(), Path("pairs.parquet"), Path("scored.parquet"))
    assert not Path("scored.parquet").exists()


async def asked_of_the_page(*requests: dict) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app=make_app(config()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return [await client.get("/", params=asked) for asked in requests]


@pytest.mark.parametrize("damage", mostly_slow(files.remove, cut, empty, other, folder, n_fast=2))
def test_readers_say_that_the_tables_are_damaged(
    damage: Callable[[Path], None], two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    path = WAREHOUSE / "published" / f"{two_nights[1]}.duckdb"
    path.chmod(0o644)
    damage(path)
    answers = asyncio.run(asked_of_the_page({}, {"user": "2"}, {"item": "2"}, {"q": "Film"}))
    assert {answer.status_code for answer in answers} == {503}
    assert all(".duckdb" in answer.text and "elsa rollback" in answer.text for answer in answers)
    for command in (["recommend", "2"], ["similar", "2"], ["explain", "2", "2"], ["explore"]):
        assert main([*command, "--config", "my.yaml"]) == 2, command
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("place", [folder, content("mine")])
def test_what_lies_in_the_place_of_the_link_is_said(
    place: Callable[[Path], None], two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    files.remove(WAREHOUSE / "current.duckdb")
    place(WAREHOUSE / "current.duckdb")
    for command in (["recommend", "2"], ["rollback"]):
        assert main([*command, "--config", "my.yaml"]) == 2
    assert "current.duckdb" in capfd.readouterr().err
    assert main(["runs", "--config", "my.yaml"]) == 0


@pytest.mark.parametrize("written", ["[]", "5", '"x"', '{"since": 5}', '{"since": "2099-01-01"}', "\xff\x00" * 50_000,
                                     "[" * 9000])  # fmt: skip
def test_a_run_begins_whatever_is_in_the_lock(written: str, world: Path, capfd: pytest.CaptureFixture) -> None:
    WAREHOUSE.mkdir()
    (WAREHOUSE / "lock").write_bytes(written.encode("latin-1"))
    with open_run(config()) as run:
        assert [one.status for one in list_runs(Warehouse(WAREHOUSE))] == ["running"]
        assert json.loads((WAREHOUSE / "lock").read_text())["run_id"] == run.run_id
        (WAREHOUSE / "lock").write_bytes(written.encode("latin-1"))
        assert [one.status for one in list_runs(Warehouse(WAREHOUSE))] == ["running"]
        with pytest.raises(RunUnderWay), locked(WAREHOUSE / "lock"):
            pass
    assert len(capfd.readouterr().err) < 300


@pytest.mark.parametrize("name", ["lock", "publication.lock"])
@pytest.mark.parametrize("damage", mostly_slow(folder, pipe))
def test_a_lock_that_is_no_file_is_named(
    name: str, damage: Callable[[Path], None], two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    damage(WAREHOUSE / name)
    assert main(["runs", "--config", "my.yaml"]) == 0
    with pytest.raises(InputError, match=f"{name} must be a file that this program made: move away"):
        plain_night(config()) if name == "lock" else roll_back(config())


@pytest.mark.parametrize("damage", mostly_slow(cut, other, folder))
def test_damaged_events_are_said_with_what_can_be_had_back(
    damage: Callable[[Path], None], two_nights: tuple[str, str], capfd: pytest.CaptureFixture
) -> None:
    events = WAREHOUSE / "events.duckdb"
    damage(events)
    for attempt in (plain_night, plain_refresh):
        with pytest.raises(InputError, match=r"events.duckdb (cannot be opened|is damaged): .*or move it"):
            attempt(config())
    assert main(["rejected", "--config", "my.yaml"]) == 2
    assert "or move it" in capfd.readouterr().err
    events.rename("aside")
    assert plain_night(config()).status == "published", "what the message says to do helps"


@pytest.mark.parametrize(("who", "error"), [
    ("another program", RuntimeError("CUDA error: device-side assert")),
    ("another program", duckdb.BinderException("Binder Error: no column x")),
    ("this program", duckdb.BinderException("Binder Error: no column x")),
])  # fmt: skip
def test_events_that_are_whole_are_not_called_damaged(
    who: str, error: Exception, two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.nightly

    opened: list[subprocess.Popen | duckdb.DuckDBPyConnection] = []
    hold = "import duckdb; c = duckdb.connect('warehouse/events.duckdb'); print(flush=True); input()"

    def fail(*_: object) -> None:
        if who == "this program":
            opened.append(duckdb.connect("warehouse/events.duckdb"))
        elif who == "another program":
            command = [sys.executable, "-c", hold]
            opened.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            opened[0].stdout.readline()
        raise error

    monkeypatch.setattr(flows.nightly, "judge", fail)
    try:
        with pytest.raises(type(error), match=str(error)):
            plain_night(config())
    finally:
        for one in opened:
            one.close() if who == "this program" else one.communicate(b"\n")


def test_events_are_read_within_the_memory_limit_and_only_for_errors_of_duckdb(
    two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.run.database

    read: list[float] = []
    connect = tasks.run.database.connect

    def counted(path: Path, own: Config, **named: Any) -> duckdb.DuckDBPyConnection:
        read.append(own.memory_limit)
        return connect(path, own, **named)

    for error, expected in ((RuntimeError("a bug"), []), (duckdb.InternalException("a bug"), [1e9])):
        with pytest.raises(type(error), match="a bug"), open_run(config(memory_limit="1GB")) as run:
            manifest = read_manifest(run.files.folder)
            write_manifest(run.files.folder, manifest.model_copy(update={"stages": {"ingest": {}}}))
            monkeypatch.setattr(tasks.run.database, "connect", counted)
            raise error
        assert read == expected


def test_a_block_of_the_events_that_is_damaged_is_said_too(two_nights: tuple[str, str]) -> None:
    path = WAREHOUSE / "events.duckdb"
    found = bytearray(path.read_bytes())
    for place in range(3 * 4096 + 100, len(found), 4096):
        found[place] ^= 1
    path.write_bytes(found)
    with pytest.raises(InputError, match=r"events.duckdb"):
        plain_night(config())


def test_what_a_resumed_run_writes_anew_is_no_damage(
    two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.nightly

    record = Run.record

    def fail(run: Run, stage: str = "matrix", handle: Any = None) -> None:
        if stage == "matrix":
            raise RuntimeError("a bug in the matrix")
        record(run, stage, handle)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(flows.nightly, "check_candidates", lambda *_: fail(run=None))
        plain_night(config())
    run_id = list_runs(Warehouse(WAREHOUSE))[-1].run_id
    monkeypatch.setattr(Run, "record", fail)
    with pytest.raises(RuntimeError, match="a bug in the matrix"):
        plain_night(config(holdout={"test_share": 0.3, "validation_share": 0.2}), resume=run_id)


def test_an_error_that_only_names_the_warehouse_is_no_damage(world: Path, without_prefect: None) -> None:
    with pytest.raises(ValueError, match="option is bad") as raised, open_run(config()) as run:
        raise ValueError(f"cannot frobnicate {run.files.folder}: option is bad")
    assert type(raised.value) is ValueError


@pytest.mark.parametrize(("said", "kind", "words"), [
    ('Could not write file "tmp/x": No space left on device', duckdb.IOException, "No space left"),
    ('Cannot open file "x.parquet": Permission denied', InputError, "Permission denied. Correct that and run again"),
    ('Could not set lock on file "x"', WarehouseBusy, "a.duckdb"),
    ("Could not read enough bytes from file", InputError, "is damaged: .*backup"),
    ("Corrupt database file: computed checksum 9 does not match", InputError, "is damaged: .*backup"),
])  # fmt: skip
def test_a_file_is_damaged_only_where_the_file_is_at_fault(
    said: str, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    for reads in (openable, intact):
        words = words.replace("is damaged", "(is damaged|cannot be opened)")
        with pytest.raises(kind, match=words) as raised, reads(tmp_path / "a.duckdb"):
            raise (duckdb.Error if "Corrupt" in said else duckdb.IOException)(said)
        assert "backup" in words or "backup" not in str(raised.value)


def test_a_delivered_database_that_is_damaged_is_to_be_delivered_again(world: Path, without_prefect: None) -> None:
    Path("data/e.duckdb").write_bytes(b"no database" * 1000)
    own = config(source={"events": "data/e.duckdb", "table": "ratings"})
    with pytest.raises(InputError, match=r"e.duckdb .*Deliver it again") as raised:
        plain_night(own)
    assert "backup" not in str(raised.value)


def test_a_log_of_another_file_beside_the_events_is_said(two_nights: tuple[str, str]) -> None:
    with duckdb.connect("other.duckdb") as connection:
        connection.execute("pragma disable_checkpoint_on_shutdown; create table t as select 1 as x")
        shutil.copyfile("other.duckdb.wal", WAREHOUSE / "events.duckdb.wal")
    with pytest.raises(InputError, match=r"events.duckdb.wal"):
        plain_night(config())


@pytest.mark.parametrize("removed", mostly_slow("the run's folder", "train.npz", "the warehouse", "events.duckdb",
                                                "manifest.json"))  # fmt: skip
def test_what_is_removed_while_a_run_is_under_way_is_named(
    removed: str, two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.nightly
    from tasks.data.matrix import build_matrix

    def build_and_remove(run, interactions, holdout):
        handle = build_matrix.fn(run, interactions, holdout)
        path = {
            "the run's folder": run.files.folder,
            "the warehouse": run.warehouse,
            "events.duckdb": run.warehouse.events,
        }
        files.remove(path.get(removed, run.files.folder / removed))
        return handle

    monkeypatch.setattr(flows.nightly, "build_matrix", build_and_remove)
    words = {"the warehouse": "folder .* was removed", "the run's folder": "folder .* was removed"}
    with pytest.raises(InputError, match=words.get(removed, removed)):
        plain_night(config())


def test_the_lock_says_who_is_at_work_whatever_the_clock_said(two_nights: tuple[str, str]) -> None:
    later = "20990101T000000_000000"
    shutil.copytree(WAREHOUSE / "runs" / two_nights[0], WAREHOUSE / "runs" / later)
    path = WAREHOUSE / "runs" / later / "manifest.json"
    started = datetime(2099, 1, 1, tzinfo=UTC).isoformat()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run_id": later, "started_at": started}))
    manifest = json.loads((WAREHOUSE / "runs" / two_nights[0] / "manifest.json").read_text())
    changes = {"status": "running", "run_id": later, "started_at": started}
    path.write_text(json.dumps(manifest | changes))
    with open_run(config()) as run:
        status = {one.run_id: one.status for one in list_runs(Warehouse(WAREHOUSE))}
        assert status[run.run_id] == "running" and status[later] == "died"
        assert run.run_id > later, "in every list, the newest run is the last one"
    assert main(["runs", "--config", "my.yaml"]) == 0


def test_a_clock_that_was_wrong_spoils_no_age(two_nights: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    path = WAREHOUSE / "runs" / two_nights[0] / "manifest.json"
    later = (datetime.now(UTC) + timedelta(days=30_000)).isoformat()
    changed(lambda one: one.update(started_at=later))(path)
    assert main(["runs", "--config", "my.yaml"]) == 0
    assert f"{two_nights[0]}  now" in capsys.readouterr().out
    (WAREHOUSE / "lock").write_text(json.dumps({"owner": "ann@elsewhere", "pid": 4000000, "since": later}))
    with locked(WAREHOUSE / "lock"):
        assert "(ann@elsewhere, pid 4000000, for a moment)" in capsys.readouterr().err


def test_a_refresh_that_fails_early_is_filed_as_one(
    two_nights: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.report import report
    from tasks.report.facts import collect_facts

    Path("data/ratings.parquet").write_text("no Parquet")
    with pytest.raises(InputError):
        plain_refresh(config())
    failed = list_runs(Warehouse(WAREHOUSE))[-1]
    run = report.Run(config(), failed.run_id)
    keys: list[str] = []
    for name in ("create_markdown_artifact", "create_table_artifact", "create_link_artifact"):
        monkeypatch.setattr(report, name, lambda *_, key, **__: keys.append(key))
    facts = collect_facts(run)
    report._create_artifacts(facts, run.files.folder / "report.html")
    assert facts["is_refresh"] and keys == ["refresh"]
    assert report._template().render(facts)
    assert find_report(config(), None).parent.name == two_nights[1], "the newest night"


def test_a_full_disk_is_recorded_in_the_room_that_was_kept(world: Path, without_prefect: None) -> None:
    with pytest.raises(InputError, match="No space left"), open_run(config()) as run:
        assert (run.files.folder / "reserve").stat().st_size == 65_536
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not (run.files.folder / "reserve").exists()
    [failed] = list_runs(Warehouse(WAREHOUSE))
    assert failed.status == "failed" and "No space left" in failed.reasons[0]


def test_a_run_without_room_for_the_reserve_is_recorded_all_the_same(
    world: Path, without_prefect: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_a_part(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_a_part)
    with pytest.raises(InputError, match="No space left"), open_run(config()):
        pass
    [failed] = list_runs(Warehouse(WAREHOUSE))
    assert failed.status == "failed" and "No space left" in failed.reasons[0]
    assert not (WAREHOUSE / "runs" / failed.run_id / "reserve").exists()


def test_a_line_for_which_there_is_no_room_is_left_out_without_a_word(capfd: pytest.CaptureFixture) -> None:
    handler = JsonLines(Path("/dev/full"), "run")
    handler.emit(logging.makeLogRecord({"msg": "a line"}))
    handler.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 3. GiB for an array"),
        duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block of size 256.0 KiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_memory_that_is_not_enough_is_said_with_a_hint(error: Exception, world: Path, without_prefect: None) -> None:
    with pytest.raises(InputError, match="there is not memory enough: .*Allow more with"), open_run(config()):
        raise error
