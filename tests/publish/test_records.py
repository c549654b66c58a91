"""The records of all runs in the published tables: what they would be if every run's files were read again."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

import tasks.publish.records
import tasks.run.results
import tasks.run.run
from tasks.publish.publication import roll_back
from tasks.run.handles import Outcome
from tasks.run.manifest import read_manifest
from tests.support.plain_nights import plain_night, plain_refresh
from tests.support.published_state import digest_of_tables
from tests.support.worlds import config

RECORDS = ("run_metrics", "gate_checks", "run_stages")
pytestmark = pytest.mark.usefixtures("without_prefect")


def records(tables) -> dict[str, list[tuple]]:
    return {name: tables(f"from {name} order by all") for name in RECORDS}


def runs(tables, table: str) -> set[str]:
    return {run_id for (run_id,) in tables(f"select distinct run_id from {table}")}


def test_they_are_those_of_all_runs_and_few_files_are_read(
    world: Path, first_night: Outcome, tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    honest = tasks.run.results.usable_parquet

    def counted(paths):
        found = honest(paths)
        read.extend(found)
        return found

    monkeypatch.setattr(tasks.publish.records, "usable_parquet", counted)
    rejected = plain_night(config(gate={"minimums": {"ndcg@10": 1.1}}))
    second = plain_night(config())
    refreshed = plain_refresh(config())
    read.clear()
    third = plain_night(config())
    nights = {first_night.run_id, rejected.run_id, second.run_id, third.run_id}
    assert runs(tables, "run_metrics") == runs(tables, "gate_checks") == nights
    assert runs(tables, "run_stages") == nights | {refreshed}
    assert {path.parent.name for path in read} == {third.run_id}, "the published run is a refresh, without metrics"
    stages = dict(tables("select run_id, count(*) from run_stages group by all"))
    assert stages[second.run_id] == stages[first_night.run_id], "with those that ended after its tables were written"


def test_they_are_as_if_every_file_were_read(
    world: Path, first_night: Outcome, tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = plain_night(config())
    rejected = plain_night(config(gate={"minimums": {"ndcg@10": 1.1}}))
    roll_back(config())
    third = plain_night(config())
    short = records(tables)
    assert {row[0] for row in short["run_metrics"]} == {
        first_night.run_id,
        second.run_id,
        rejected.run_id,
        third.run_id,
    }

    def all_of_them(connection, run, runs):
        tasks.publish.records._forget_published(connection)
        return runs

    monkeypatch.setattr(tasks.publish.records, "_runs_to_read", all_of_them)
    fourth = plain_night(config())
    whole = {name: [row for row in rows if row[0] != fourth.run_id] for name, rows in records(tables).items()}
    for name in ("run_metrics", "gate_checks"):
        assert whole[name] == short[name], name
    unfinished = {row for row in whole["run_stages"] if row[0] == third.run_id}
    assert [row for row in whole["run_stages"] if row not in unfinished] == [
        row for row in short["run_stages"] if row[0] != third.run_id
    ]


def test_a_run_that_is_resumed_later_is_read_again(world: Path, first_night: Outcome, tables) -> None:
    rejected = plain_night(config(gate={"minimums": {"ndcg@10": 1.1}}))
    plain_night(config())
    assert tables(
        f"select distinct passed from gate_checks where run_id = '{rejected.run_id}' and metric = 'ndcg@10'"
    )
    plain_night(config(), resume=rejected.run_id)
    plain_night(config())
    query = f"select count(*) from gate_checks where run_id = '{rejected.run_id}' and not passed"
    assert tables(query) == [(0,)]


def test_a_clock_that_goes_back_hides_no_run(
    world: Path, first_night: Outcome, tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=2)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.run.run, "datetime", Ahead)
        ahead = plain_night(config())
    back = plain_night(config())
    assert runs(tables, "run_metrics") == {first_night.run_id, ahead.run_id, back.run_id}


def test_all_stages_of_a_run_of_before_are_kept(world: Path, first_night: Outcome, tables) -> None:
    """The first version wrote created_at when the lists were computed, after the run had begun."""
    path = (world / "warehouse" / "current.duckdb").resolve()
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("update run_info set created_at = created_at + interval 30 seconds")
    manifest = read_manifest(world / "warehouse" / "runs" / first_night.run_id)
    plain_night(config())
    stages = tables(f"select stage from run_stages where run_id = '{first_night.run_id}'")
    assert {stage for (stage,) in stages} == set(manifest.stages)


def test_rows_of_runs_that_are_gone_go_too(world: Path, first_night: Outcome, tables) -> None:
    plain_night(config())
    shutil.rmtree(world / "warehouse" / "runs" / first_night.run_id)
    plain_night(config())
    assert first_night.run_id not in runs(tables, "run_metrics") | runs(tables, "run_stages")


def test_where_the_published_tables_are_damaged_the_files_are_read(world: Path, first_night: Outcome, tables) -> None:
    before = digest_of_tables(config(), world / "warehouse" / "current.duckdb")
    path = (world / "warehouse" / "current.duckdb").resolve()
    path.chmod(0o644)
    path.write_bytes(b"damaged" * 1000)
    second = plain_night(config())
    assert runs(tables, "run_metrics") == {first_night.run_id, second.run_id}
    assert digest_of_tables(config(), world / "warehouse" / "current.duckdb") == before
