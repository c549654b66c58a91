"""The command line, as a person at a terminal sees it."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from flows.cli import app, main
from tasks.run.index import list_runs
from tasks.run.warehouse import Warehouse
from tests.support.worlds import community_events, settings

ROOT = Path(__file__).parents[2]
COMMANDS = [name for name in app if not name.startswith("-")]


@pytest.fixture
def my_config(world: Path) -> str:
    (world / "my.yaml").write_text(yaml.safe_dump(settings()))
    return "my.yaml"


@pytest.mark.usefixtures("prefect_server")
def test_a_night_and_then_the_tables(my_config: str, world: Path, capfd: pytest.CaptureFixture) -> None:
    assert main(["nightly", "--config", my_config]) == 0
    shown = capfd.readouterr().out
    run_id = re.search(r"^run (\S+): published$", shown, re.MULTILINE)[1]
    for words in ("passed: ndcg@10", "vs. popularity", "warehouse/current.duckdb"):
        assert words in shown
    assert ["metric", "this run", "popularity", "champion"] in columns(shown)
    assert {"elsa", "popularity", "ndcg@5"} <= {row[0] for row in columns(shown)}
    assert shown.count("-readonly warehouse/current.duckdb <<'SQL'\nselect") == 3

    assert main(["recommend", "5", "-k", "3", "--config", my_config]) == 0
    header, *rows = columns(capfd.readouterr().out)
    assert header == ["rank", "item_id", "title", "score", "source"]
    assert [(row[0], row[2].split()[0], row[4]) for row in rows] == [(str(i), "Film", "personal") for i in (1, 2, 3)]

    assert main(["similar", "7", "-k", "2", "--config", my_config]) == 0
    header, *rows = columns(capfd.readouterr().out)
    assert header == ["rank", "item_id", "title", "score"] and [row[0] for row in rows] == ["1", "2"]

    rejecting = settings(gate={"minimums": {"ndcg@10": 1.1}})
    Path("rejecting.yaml").write_text(yaml.safe_dump(rejecting))
    assert main(["nightly", "--config", "rejecting.yaml"]) == 3
    shown = capfd.readouterr().out
    assert "FAILED: ndcg@10" in shown and "Nothing was published" in shown

    assert main(["recommend", "5", "-k", "0", "--config", my_config]) == 2
    assert "'0' is not a whole number from 1 on" in capfd.readouterr().err

    assert main(["runs", "--config", my_config]) == 0
    header, rejected, published = columns(capfd.readouterr().out)
    assert header == ["run", "started", "verdict", "metric", "notes"]
    assert rejected[2] == "rejected" and re.fullmatch(r"ndcg@10 0\.\d{4}", rejected[3])
    assert rejected[4].endswith("; required at least 1.1")
    assert published[:2] == ["→", run_id] and re.fullmatch("now|(a|\\d+) (seconds?|minutes?) ago", published[2])
    assert published[3] == "published" and re.fullmatch(r"ndcg@10 0\.\d{4}", published[4])


def test_before_the_first_night_there_is_nothing_to_show(my_config: str, capfd: pytest.CaptureFixture) -> None:
    assert main(["recommend", "5", "--config", my_config]) == 2
    capfd.readouterr()
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


def columns(text: str) -> list[list[str]]:
    """The cells of a printed table's lines."""
    return [re.split(" {2,}", line.strip()) for line in text.splitlines()]


def test_help_teaches(capfd: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    shown = capfd.readouterr().out
    for words in ("nightly", "recommend", "similar", "runs", "config", "Examples:", "Exit codes", "3 rejected"):
        assert words in shown


def test_every_command_has_help_with_its_arguments(capfd: pytest.CaptureFixture) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        shown = capfd.readouterr().out
        assert shown.startswith(f"Usage: elsa {name}") and "Examples:" not in shown
        words = " ".join(shown.replace("│", " ").split())
        for argument in app[name].assemble_argument_collection():
            assert argument.name in shown and argument.parameter.help in words, (name, argument.name)


@pytest.mark.parametrize(
    "usage",
    [
        "elsa init [OPTIONS] FILES...",
        "elsa forget [OPTIONS] [USERS...]",
        "elsa rollback [OPTIONS] [RUN]",
        "elsa explain [OPTIONS] USER ITEM",
    ],
)
def test_usage_names_what_may_be_repeated_or_left_out(usage: str, capfd: pytest.CaptureFixture) -> None:
    assert main([usage.split()[1], "--help"]) == 0
    assert capfd.readouterr().out.startswith(f"Usage: {usage}\n")


def test_a_wrong_command_line_is_one_message_and_exit_code_2(capfd: pytest.CaptureFixture) -> None:
    for given, said in {
        (): "a command is missing. See: elsa --help",
        ("nightl",): 'Unknown command "nightl". Did you mean "nightly"?',
        ("nonsense",): f'Unknown command "nonsense". Commands: {", ".join(COMMANDS)}. See: elsa --help',
        ("recommend",): "error: USER is missing. See: elsa recommend --help",
        ("export",): "error: --out is missing. See: elsa export --help",
        ("recommend", "5", "-k", "0"): "'0' is not a whole number from 1 on. See: elsa recommend --help",
        ("recommend", "5", "--confi", "x"): "--confi. Did you mean --config? See: elsa recommend --help",
        ("explore", "--port", "0"): "'0' is not a whole number from 1 on.",
        ("explore", "--port", "65536"): "65536 is not a port: they end with 65535. See: elsa explore --help",
        ("forget", "--file", "--config", "c.yaml"): "'--config' begins with a dash; for a file of this name give ./",
        ("recommend", "5", "6"): "unexpected arguments: 6. See: elsa recommend --help",
        ("recommend", "--user", "5"): "Unknown option: --user",
        ("export", "--out", "x", "--format", "csv"): 'Invalid value "csv" for --format',
        ("init",): "error: FILES is missing. See: elsa init --help",
        ("runs", "--config"): "parameter --config requires an argument",
        ("--version",): 'Unknown command "--version"',
    }.items():  # fmt: skip
        assert main(given) == 2, given
        shown = capfd.readouterr()
        assert shown.out == "" and shown.err.startswith("error: ") and shown.err.count("\n") == 1
        assert said in shown.err, given


@pytest.mark.parametrize("command", [["--help"], ["recommend", "--help"]])
def test_help_loads_nothing_slow(command: list[str]) -> None:
    script = (
        f"import sys; from flows.cli import main; assert main({command}) == 0; "
        "print([name for name in ('prefect', 'pydantic', 'duckdb', 'numpy', 'yaml') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.endswith("\n[]\n")


def test_config_lists_every_key(capfd: pytest.CaptureFixture) -> None:
    assert main(["config"]) == 0
    shown = capfd.readouterr().out
    assert "policy_configs.embedding_policy.patience" in shown and "default 3" in shown


def test_the_module_runs_like_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.nightly", "--config", "nowhere.yaml"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (2, "error: no such configuration file: nowhere.yaml\n")
