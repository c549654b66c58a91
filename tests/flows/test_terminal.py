"""At the terminal: which configuration and warehouse answer, closed pipes, odd ids, programs that are there."""

import io
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from flows import engine
from flows.cli import app, main
from flows.commands.nightly import print_tables
from tasks.report.report import find_report
from tasks.run.run import end_run, open_run
from tasks.run.warehouse import Warehouse
from tasks.settings.deployment import as_parameters
from tests.support.published_file import NUMBERS, TEXT, publish
from tests.support.worlds import config, settings

ROOT = Path(__file__).parents[2]
PAIR = ["--out", "out.parquet"]
pytestmark = pytest.mark.usefixtures("without_prefect")


@pytest.fixture
def shop(world: Path) -> Path:
    """A published model, and the configuration whose warehouse it is in, by its absolute path."""
    publish(world, NUMBERS)
    (world / "my.yaml").write_text(yaml.safe_dump(settings(warehouse=str(world / "warehouse"))))
    return world


def test_the_environment_names_the_configuration_once(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    (shop / "elsewhere").mkdir()
    monkeypatch.chdir(shop / "elsewhere")
    monkeypatch.setenv("ELSA_CONFIG", str(shop / "my.yaml"))
    where = f"{shop / 'warehouse'}: published run {Warehouse(shop / 'warehouse').current_run_id}\n"
    for command in (["recommend", "105"], ["similar", "7"], ["explain", "105", "7"]):
        assert main(command) == 0
        shown = capfd.readouterr()
        assert "Title of" in shown.out and "warehouse" not in shown.out
        assert shown.err == where
    Path("other.yaml").write_text(yaml.safe_dump(settings()))
    assert main(["recommend", "105", "--config", "other.yaml"]) == 2, "--config wins"
    assert capfd.readouterr().err.startswith(f"{Path.cwd() / 'warehouse'}: nothing published yet\nerror: ")


def test_every_command_that_reads_a_configuration_takes_the_same_one(
    world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    found = [name for name in app if not name.startswith("-")]
    needed = {"recommend": ["1"], "similar": ["1"], "explain": ["1", "2"], "publish": ["1"],
              "forget": ["1"], "withdraw": ["1"],
              "score": ["pairs.parquet", "--out", "out"], "export": ["--out", "out"]}  # fmt: skip
    options = {name: [one.name for one in app[name].assemble_argument_collection()] for name in found}
    configured = [name for name in found if "--config" in options[name]]
    assert set(found) - set(configured) == {"config", "init"}
    for name in configured:
        monkeypatch.delenv("ELSA_CONFIG", raising=False)
        assert main([name, *needed.get(name, [])]) == 2, name
        shown = capfd.readouterr().err
        assert "--config" in shown and "ELSA_CONFIG" in shown, name
        monkeypatch.setenv("ELSA_CONFIG", "nowhere.yaml")
        assert main([name, *needed.get(name, [])]) == 2, name
        assert "ELSA_CONFIG is 'nowhere.yaml'" in capfd.readouterr().err, name


def test_the_demo_is_the_default_in_its_folder_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.delenv("ELSA_CONFIG", raising=False)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "movielens.yaml").write_text("warehouse: here\n")
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 2
    assert capfd.readouterr().err.startswith(f"{tmp_path / 'here'}: nothing published yet\n")
    assert as_parameters(None, "/app") == as_parameters("", "/app") == {"config": "/app/config/movielens.yaml"}
    (tmp_path / "my.yaml").write_text("warehouse: mine\n")
    monkeypatch.setenv("ELSA_CONFIG", "my.yaml")
    assert as_parameters(None, "/app") == {"config": "/app/my.yaml"}
    assert as_parameters("config/movielens.yaml", None) == {"config": "config/movielens.yaml"}
    assert as_parameters(str(tmp_path / "my.yaml"), "/app") == {"config": str(tmp_path / "my.yaml")}


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, "config/movielens.yaml"),
        ([], {"ELSA_CONFIG": "mine.yaml"}, "mine.yaml"),
        (["CONFIG=given.yaml"], {"ELSA_CONFIG": "mine.yaml"}, "given.yaml"),
    ],
)
def test_make_honours_the_environment(arguments: list, environment: dict, expected: str) -> None:
    def make(target: str, recipe: str) -> subprocess.CompletedProcess:
        text = f"include Makefile\n.venv/.ready: ;\n{target}: ; {recipe}\n"
        command = ["make", "-f", "-", "-n", target, *arguments]
        return subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, check=False,
                              env=without | environment)  # fmt: skip

    of_make = ("ELSA_CONFIG", "CONFIG", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")  # this may be make test
    without = {name: value for name, value in os.environ.items() if name not in of_make}
    assert make("shown", "@echo $(CONFIG)").stdout.split()[-1] == expected
    deployed = make("deploy", "@echo $(ELSA_CONFIG)")
    if arguments or environment:
        assert deployed.stdout.split()[-1] == expected
    else:
        assert "which configuration? make deploy CONFIG=my.yaml" in deployed.stderr


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        (["recommend", "105"], (141, 141)),
        (["recommend", "105", "-k", "1000"], (141, 141)),
        (["recommend", "nobody"], (2, 141)),
        (["config"], (141, 141)),
        (["--help"], (141, 141)),
    ],
)
def test_a_reader_that_has_enough_gets_no_traceback(command: list, codes: tuple, shop: Path) -> None:
    """Standard output alone is closed, or the standard error with it."""
    script = f"from flows.cli import main; import sys; sys.exit(main({[*command]}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ELSA_CONFIG": str(shop / "my.yaml")}
    for both, code in enumerate(codes):
        reading, writing = os.pipe()
        os.close(reading)
        error = writing if both else subprocess.PIPE
        done = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=error, env=environment,
                              check=False)  # fmt: skip
        os.close(writing)
        assert done.returncode == code
        assert both or (b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr)


def test_another_broken_pipe_is_a_defect(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> str:
        raise BrokenPipeError("of a socket")

    monkeypatch.setattr("tasks.read.terminal.runs", break_down)
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    with pytest.raises(BrokenPipeError, match="of a socket"):
        main(["runs", "--config", "my.yaml"])


def test_ids_that_begin_with_a_dash(world: Path, capfd: pytest.CaptureFixture) -> None:
    publish(world, (["", "-5", "-k", "-x5", *TEXT[0][:4]], ["-7", "-x5", *TEXT[1][:18]]))
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    for command in (["similar"], ["recommend"]):
        assert main([*command, "-x5", "--config", "my.yaml"]) == 2
        assert "goes after all options and --" in capfd.readouterr().err
        assert main([*command, "--config", "my.yaml", "-k5"]) == 2
        assert "goes after" not in capfd.readouterr().err
        assert main([*command, "--config", "my.yaml", "--", "-x5"]) == 0
    assert main(["similar", "-7", "--config", "my.yaml"]) == 0, "a number is no option"
    assert main(["recommend", "--config", "my.yaml", "--", "-k"]) == 0
    assert main(["explain", "--config", "my.yaml", "--", "-x5", "-7"]) == 0


def test_an_id_with_a_dash_among_many(
    world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    for given in (["forget", "-x5"], ["forget", "5", "-x5"], ["forget", "--x5"], ["recommend", "5", "-x5"]):
        assert main([*given, "--config", "my.yaml"]) == 2
        assert "goes after all options and --" in capfd.readouterr().err
    for given in (["recommend", "5", "6"], ["runs", "-x5"], ["forget", "--file"]):
        assert main([*given, "--config", "my.yaml"]) == 2
        assert "goes after" not in capfd.readouterr().err
    assert forgotten_by(["--config", "my.yaml", "--", "-x5", "--x5"], monkeypatch) == ["-x5", "--x5"]


@pytest.mark.parametrize(
    "given",
    [
        ["forget", "5", "\udcff"],
        ["forget", "--file", "\udcff"],
        ["recommend", "a\udcffb"],
        ["similar", "\udcff"],
        ["explain", "5", "\udcff"],
        ["withdraw", "\udcff.csv"],
        ["rollback", "--reason", "\udcff"],
        ["publish", "\udcff"],
        ["nightly", "--resume", "\udcff"],
        ["nightly", "--force-publish", "--reason", "\udcff"],
        ["report", "\udcff"],
        ["init", "\udcff.csv"],
        ["init", "x.csv", "--out", "\udcff.yaml"],
        ["score", "\udcff", "--out", "x"],
        ["export", "--out", "\udcff"],
        ["runs", "--config", "\udcff"],
        ["\udcff"],
    ],
)
def test_arguments_that_are_no_text_are_refused_at_once(
    given: list[str], world: Path, capfd: pytest.CaptureFixture
) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    before = sorted(world.rglob("*"))
    more = [] if given[0] == "init" or "--config" in given else ["--config", "my.yaml"]
    assert main([*given, *more]) == 2
    assert r"\xff" in (said := capfd.readouterr().err) and "is not UTF-8" in said
    assert sorted(world.rglob("*")) == before


def test_a_program_is_told_the_same(world: Path) -> None:
    command = [Path(sys.executable).with_name("elsa"), "recommend", b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1
    assert rb"caf\xe9" in done.stderr


class Forgotten(Exception):
    """The ids that somebody was to be forgotten by."""


def forgotten_by(given: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def forget(config: object, ids: list[str]) -> None:
        raise Forgotten(*ids)

    monkeypatch.setattr("tasks.data.removal.forget.forget", forget)
    with pytest.raises(Forgotten) as raised:
        main(["forget", *given])
    return list(raised.value.args)


ODD_IDS = ["a\u2028b", "a\x0bb", "a\x0cb", "a\x1cb", "a\x85b", "a\rb", " a ", "é"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_id_of_a_file_ends_with_its_line_and_nowhere_else(
    end: str, mark: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    text = (mark + end.join([*ODD_IDS, "", " ", "last"])).encode()
    (world / "leave.txt").write_bytes(text)
    assert forgotten_by(["--config", "my.yaml", "--file", "leave.txt"], monkeypatch) == [*ODD_IDS, "last"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert forgotten_by(["--config", "my.yaml", "--file", "-"], monkeypatch) == [*ODD_IDS, "last"]


def test_a_file_of_ids_that_is_no_text(
    world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    (world / "leave.txt").write_bytes(b"5\n\xff\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"5\n\xff\n"), errors="surrogateescape"))
    for path in ("leave.txt", "-", "nowhere.txt"):
        assert main(["forget", "--file", path, "--config", "my.yaml"]) == 2
        assert f"--file {path} cannot be read" in capfd.readouterr().err


def test_the_newest_nights_report_is_opened_not_that_of_a_later_run_of_another_kind(world: Path) -> None:
    ids = {}
    for kind, status in [("ingest", "ingested"), ("nightly", "failed"), ("refresh", "failed"), ("ingest", "failed"),
                         ("ingest", "ingested"), ("validate", "validated")]:  # fmt: skip
        with open_run(config(), kind=kind) as run:
            end_run(run, status)
        ids[kind] = run.run_id
    assert find_report(config(), None).parent.name == ids["nightly"]
    assert find_report(config(), ids["validate"]).parent.name == ids["validate"]


def test_pairs_and_places_are_checked_before_any_server_is_started(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(engine, "run_flow", lambda *_: pytest.fail("a server would have been started"))
    monkeypatch.setenv("ELSA_CONFIG", "my.yaml")
    Path("file").write_text("")
    pl.DataFrame({"user": [1]}).write_parquet("wrong.parquet")
    pl.DataFrame({"user_id": [1], "item_id": [1]}).write_parquet("pairs.parquet")
    Path("new.yaml").write_text(yaml.safe_dump(settings(warehouse="new")))
    for command, said in [
        (["score", "absent.parquet", *PAIR], "absent.parquet cannot be read"),
        (["score", "wrong.parquet", *PAIR], "has no column 'user_id'"),
        (["score", "pairs.parquet", "--out", "no/out.parquet"], "there is no folder"),
        (["score", "pairs.parquet", *PAIR, "--config", "new.yaml"], "nothing published yet"),
        (["export", "--out", "v", "--config", "new.yaml"], "nothing published yet"),
        (["export", "--out", "file"], "--out file exists already"),
        (["export", "--out", "file/vectors"], "the folder cannot be made"),
    ]:
        assert main(command) == 2, command
        assert said in capfd.readouterr().err


def test_the_program_in_printed_queries_is_one_that_is_there(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def program() -> str:
        print_tables(config())
        shown = capfd.readouterr().out
        assert shown.count("<<'SQL'") == 3
        return shown

    python = shop / "an env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(shop))
    assert f"'{python}' -m pip install duckdb-cli" in program()
    (shop / "duckdb").write_text("")
    (shop / "duckdb").chmod(0o755)
    assert "pip" not in (shown := program()) and "\nduckdb -readonly" in shown
    python.with_name("duckdb").write_text("")
    assert "\n'an env/bin/duckdb' -readonly warehouse/current.duckdb" in program()
    monkeypatch.chdir(shop / "data")
    Path("warehouse").symlink_to(shop / "warehouse")
    assert f"\n'{python.with_name('duckdb')}' -readonly" in program()
