"""The index of runs: what it says is what the manifests say, and it spares their reading."""

import json
from pathlib import Path

import pytest

import tasks.run.index
from tasks.run.index import all_runs, drop_index, write_index
from tasks.run.manifest import Manifest, read_manifest, write_manifest
from tasks.run.warehouse import Warehouse
from tests.support.manifests import a_manifest

N_RUNS = 50


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    found = Warehouse(tmp_path)
    for day in range(N_RUNS):
        folder = found.run_folder(f"20260101T0300{day:02}_000000")
        folder.mkdir(parents=True)
        write_manifest(folder, a_manifest(folder.name))
    return found


def n_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The manifests that are read from now on."""
    read: list[Path] = []
    honest = tasks.run.index.parse_manifest

    def counted(path: Path) -> Manifest:
        read.append(path)
        return honest(path)

    monkeypatch.setattr(tasks.run.index, "parse_manifest", counted)
    return read


def test_it_says_what_the_manifests_say_and_spares_their_reading(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_runs(warehouse)
    write_index(warehouse)
    read = n_read(monkeypatch)
    assert all_runs(warehouse) == before and len(before[0]) == N_RUNS
    assert read == []


def test_changed_new_damaged_and_removed_runs_are_noticed(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_index(warehouse)
    changed, damaged, removed, *_ = sorted(warehouse.runs.glob("*/"))
    write_manifest(changed, read_manifest(changed).model_copy(update={"status": "crashed"}))
    (damaged / "manifest.json").write_text("{")
    (removed / "manifest.json").unlink()
    removed.rmdir()
    new = warehouse.run_folder("20270101T030000_000000")
    new.mkdir()
    write_manifest(new, a_manifest(new.name, status="running"))
    read = n_read(monkeypatch)
    runs, why = all_runs(warehouse)
    status = {run.run_id: run.status for run in runs}
    assert len(status) == N_RUNS - 1 and status[changed.name] == "crashed" and status[new.name] == "running"
    assert set(why) == {damaged.name}
    assert {path.parent for path in read} == {changed, damaged, new}


def test_a_run_at_work_is_not_in_it(warehouse: Warehouse) -> None:
    at_work = sorted(warehouse.runs.glob("*/"))[0]
    write_manifest(at_work, read_manifest(at_work).model_copy(update={"status": "running"}))
    write_index(warehouse)
    assert at_work.name not in (warehouse.runs / "index.json").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"published"', '"rejected!"', 1),
        lambda text: "",
        lambda text: json.dumps([1]) + "\n",
    ],
    ids=["cut", "changed", "empty", "other"],
)
def test_a_damaged_index_is_ignored_and_written_again(damage, warehouse: Warehouse) -> None:
    before = all_runs(warehouse)
    write_index(warehouse)
    index = warehouse.runs / "index.json"
    whole = index.read_text()
    index.write_text(damage(whole))
    assert all_runs(warehouse) == before
    write_index(warehouse)
    assert index.read_text() == whole


def test_without_it_the_manifests_are_read(warehouse: Warehouse) -> None:
    before = all_runs(warehouse)
    write_index(warehouse)
    drop_index(warehouse)
    assert all_runs(warehouse) == before
