"""The command line, as a person at a terminal sees it."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from flows.cli import main
from tasks.run.index import list_runs
from tasks.run.warehouse import Warehouse
from tests.support.worlds import community_events, settings


@pytest.fixture
def my_config(world: Path) -> str:
    (world / "my.yaml").write_text(yaml.safe_dump(settings()))
    return "my.yaml"


@pytest.mark.usefixtures("prefect_server")
def test_a_night_and_then_the_tables(my_config: str, world: Path, capfd: pytest.CaptureFixture) -> None:
    assert main(["nightly", "--config", my_config]) == 0
    shown = capfd.readouterr().out
    run_id = re.search(r"^run (\S+): published$", shown, re.MULTILINE)[1]
    for words in ("passed: ndcg@10", "beside popularity", "elsa", "popularity", "ndcg@5", "warehouse/current.duckdb"):
        assert words in shown
    assert shown.count("-readonly warehouse/current.duckdb <<'SQL'\nselect") == 3

    assert main(["recommend", "5", "-k", "3", "--config", my_config]) == 0
    listed = capfd.readouterr().out
    assert listed.count("Film") == 3 and listed.count("personal") == 3

    assert main(["similar", "7", "-k", "2", "--config", my_config]) == 0
    assert capfd.readouterr().out.count("Film") == 2

    rejecting = settings(gate={"minimums": {"ndcg@10": 1.1}})
    Path("rejecting.yaml").write_text(yaml.safe_dump(rejecting))
    assert main(["nightly", "--config", "rejecting.yaml"]) == 3
    shown = capfd.readouterr().out
    assert "FAILED: ndcg@10" in shown and "Nothing was published" in shown

    with pytest.raises(SystemExit, match="2"):
        main(["recommend", "5", "-k", "0", "--config", my_config])
    assert "'0' is not a whole number from 1 on" in capfd.readouterr().err

    assert main(["runs", "--config", my_config]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"  \S+ +\d+ s +rejected +ndcg@10 0\.\d{4} +ndcg@10 is .*", lines[1])
    assert re.fullmatch(rf"→ {run_id} +\d+ s +published +ndcg@10 0\.\d{{4}}", lines[2])


def test_before_the_first_night_there_is_nothing_to_show(my_config: str, capfd: pytest.CaptureFixture) -> None:
    assert main(["recommend", "5", "--config", my_config]) == 2
    assert "no published tables yet" in capfd.readouterr().err
    assert main(["runs", "--config", my_config]) == 2
    assert "no runs yet" in capfd.readouterr().err


@pytest.mark.usefixtures("first_night")
def test_unknown_users_and_items_are_said(my_config: str, capfd: pytest.CaptureFixture) -> None:
    assert main(["recommend", "nobody", "--config", my_config]) == 2
    assert "user nobody occurs in no event" in capfd.readouterr().err
    assert main(["similar", "x' or 1=1", "--config", my_config]) == 2
    assert "is not in the published catalogue" in capfd.readouterr().err


@pytest.mark.usefixtures("without_engine")
def test_the_stages_of_the_data_alone(world: Path, capfd: pytest.CaptureFixture) -> None:
    my_config = "my.yaml"
    Path(my_config).write_text(yaml.safe_dump(settings(quarantine={"min_value": 0})))
    assert main(["validate", "--config", my_config]) == 2
    assert "holds no events yet" in capfd.readouterr().err
    assert main(["rejected", "--config", my_config]) == 2
    assert "holds no events yet" in capfd.readouterr().err
    events = community_events()
    bad = events.head(3).with_columns(rating=pl.lit(-1.0))
    pl.concat([events, events.head(2), bad]).write_parquet("data/ratings.parquet")
    assert main(["ingest", "--config", my_config]) == 0
    assert f"{events.height + 5:,} rows" in (shown := capfd.readouterr().out)
    assert f"{events.height:,} events, 2 repeated, 3 quarantined" in shown
    assert main(["validate", "--config", my_config]) == 0
    assert "expectations hold" in capfd.readouterr().out
    assert main(["rejected", "--config", my_config, "-k", "2"]) == 0
    shown = capfd.readouterr().out
    assert "ratings.parquet" in shown and shown.count('"rating":-1.0') == 2
    assert [run.status for run in list_runs(Warehouse(world / "warehouse"))] == ["failed", "ingested", "validated"]


@pytest.mark.usefixtures("prefect_server")
def test_a_defect_shows_one_traceback_that_commands_no_terminal(
    my_config: str,
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("item \x1b[31m\u202e\nof a file")

    monkeypatch.setattr("tasks.data.ingest.event_files", break_down)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(RuntimeError) as raised:
        main(["ingest", "--config", my_config])
    logged = capfd.readouterr().err
    sys.excepthook(raised.type, raised.value, raised.tb)
    shown = capfd.readouterr().err
    assert (logged + shown).count("Traceback (most recent call last)") == 1
    assert shown.endswith(r"RuntimeError: item \x1b[31m\u202e" + "\nof a file\n")
    assert not set("\x1b\u202e") & set(logged + shown)
    [log] = world.glob("warehouse/runs/*/log.jsonl")
    assert "Traceback" in log.read_text()


def test_help_teaches(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capfd.readouterr().out
    for words in ("nightly", "recommend", "similar", "runs", "config", "examples:", "exit codes", "3 rejected"):
        assert words in shown


def test_config_lists_every_key(capfd: pytest.CaptureFixture) -> None:
    assert main(["config"]) == 0
    shown = capfd.readouterr().out
    assert "policy_configs.embedding_policy.patience" in shown and "default 3" in shown


def test_the_module_runs_like_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.nightly", "--config", "nowhere.yaml"]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (2, "error: no such configuration file: nowhere.yaml\n")
