"""Every file of a warehouse damaged in every way, while it is idle and while a night is under way; and the counts."""

import os
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

import flows.engine
import flows.nightly
from flows.cli import main
from tasks.run import durable as files
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tests.support.damages import cut, empty, folder, other
from tests.support.plain_nights import plain_flow, plain_night
from tests.support.worlds import settings, write_world

NOBODY = 65_534
SMALL = settings(
    policy_configs={"embedding_policy": {"factors": 4, "n_epochs": 1, "residual_neighbors": 0}},
    evaluation={"ease_up_to": 0},
    gate={"min_lift_over_popularity": -1.0},
    validation={"expectations": [{"expect": "expect_column_values_to_not_be_null", "column": "user_id"}]},
    drift={"severity": "warning"},
)
CODES = {"runs": (0,), "recommend": (0,), "rollback": (0, 2), "nightly": (0, 2, 3, 5)}
OF_READERS = ("current.duckdb", "published/second")  # their list may be an error then
OF_A_ROLLBACK = ("published/first.duckdb", "publications.jsonl")  # where nobody knows of earlier tables


def unreadable(path: Path) -> None:
    path.chmod(0)


DAMAGES = {"cut": cut, "emptied": empty, "other content": other, "a folder": folder, "unreadable": unreadable,
           "removed": files.remove}  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A small world of nobody's after two nights, called first and second."""
    place = Path("/tmp") / f"elsa-damage-{os.getpid()}"
    place.mkdir(mode=0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        write_world(place)
        Path("my.yaml").write_text(yaml.safe_dump(SMALL))
        for _ in range(2):
            plain_night(Config.model_validate(SMALL))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def damaged_world(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for copies of it; the commands run there without Prefect's engine."""
    monkeypatch.chdir(made)  # back again at the end
    monkeypatch.setattr(flows.engine, "run_flow", lambda flow, config, **named: plain_flow(flow, config))
    place = made.with_name(f"{made.name}-case")
    yield place
    with suppress(FileNotFoundError):
        shutil.rmtree(place)


def paths_of(made: Path) -> list[str]:
    """Every file and link of the warehouse, with first and second in the place of the runs' ids."""
    warehouse = made / "warehouse"
    first, second = ids_of(made)
    found = (path for path in sorted(warehouse.rglob("*")) if path.is_symlink() or path.is_file())
    return [str(path.relative_to(warehouse)).replace(first, "first").replace(second, "second") for path in found]


def ids_of(made: Path) -> list[str]:
    return [path.stem for path in sorted((made / "warehouse" / "published").glob("*.duckdb"))]


def begin(made: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made, place, symlinks=True)
    for path in (place, *place.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.chdir(place)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything; whoever runs a night may not."""
    if os.geteuid():
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Case:
    """One file, damaged in one way: what the commands answered, and what was wrong with that."""

    def __init__(self, name: str, file: str, capfd: pytest.CaptureFixture):
        """`file` is the name with the run's id in the place of first or second."""
        self.name, self.file, self.capfd, self.codes, self.wrong = name, file, capfd, {}, []

    def ask(self, command: str, *arguments: str, expected: str | None = None) -> None:
        self.capfd.readouterr()
        try:
            code = main([command, *arguments, "--config", "my.yaml"])
        except Exception:
            self.wrong.append(f"{command}: {traceback.format_exc()[-1500:]}")
            return
        said = self.capfd.readouterr()
        self.codes[command] = code
        are_out = command == "recommend" and code == 2 and self.name.startswith(OF_READERS)
        if code not in CODES[command] and not are_out:
            self.wrong.append(f"{command}: exit {code}")
        if "Traceback" in said.err:
            self.wrong.append(f"{command}: a traceback on stderr")
        named = "published" if self.name == "current.duckdb" else Path(self.file).name  # where the link leads
        is_excused = self.name in OF_A_ROLLBACK and "nothing to roll back to" in said.err
        if code == 2 and named not in said.err and not is_excused:
            self.wrong.append(f"{command}: names no file: {said.err[-300:]}")
        if code == 0 and expected is not None and said.out != expected:
            self.wrong.append(f"{command}: readers get something else")


def ask_all(case: Case, listed: str) -> None:
    case.ask("runs")
    case.ask("recommend", "2", expected=listed)
    case.ask("rollback")


def idle(case: Case, path: Path, damage: Callable[[Path], None], listed: str) -> None:
    damage(path)
    with as_nobody():
        ask_all(case, listed)
        case.ask("nightly")


def under_way(case: Case, path: Path, damage: Callable[[Path], None], listed: str) -> None:
    judge = flows.nightly.judge.fn

    def damage_and_judge(*arguments: Any) -> Any:
        somebody = os.geteuid()
        os.seteuid(os.getuid())
        damage(path)
        os.seteuid(somebody)
        case.ask("runs")
        case.ask("recommend", "2", expected=listed)
        return judge(*arguments)

    with pytest.MonkeyPatch.context() as patch, as_nobody():
        patch.setattr(flows.nightly, "judge", damage_and_judge)
        case.ask("nightly")
    case.codes["nightly, damaged meanwhile"] = case.codes.pop("nightly", None)
    with as_nobody():
        ask_all(case, None)
        case.ask("nightly")


def run_cases(
    names: list[str], damage: str, when: Callable, made: Path, place: Path, capfd: pytest.CaptureFixture
) -> None:
    first, second = ids_of(made)
    counts: Counter[tuple[str, str, int]] = Counter()
    wrong = []
    for name in names:
        begin(made, place)
        main(["recommend", "2", "--config", "my.yaml"])
        listed = capfd.readouterr().out
        file = name.replace("first", first).replace("second", second)
        case = Case(name, file, capfd)
        when(case, Path("warehouse", file), DAMAGES[damage], listed)
        counts.update((command, "exit", code) for command, code in case.codes.items())
        wrong += [f"{name}: {what}" for what in case.wrong]
    with capfd.disabled():
        print(f"\n{damage}, {when.__name__}, {len(names)} files:", dict(sorted(counts.items(), key=str)))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("name", "damage", "when"), [
    ("events.duckdb", "cut", idle), ("published/second.duckdb", "unreadable", idle),
    ("runs/first/manifest.json", "emptied", under_way),
])  # fmt: skip
def test_a_file(
    name: str, damage: str, when: Callable, made: Path, damaged_world: Path, capfd: pytest.CaptureFixture
) -> None:
    run_cases([name], damage, when, made, damaged_world, capfd)


@pytest.mark.slow
@pytest.mark.damage
@pytest.mark.parametrize("when", [idle, under_way])
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file(
    damage: str, when: Callable, made: Path, damaged_world: Path, capfd: pytest.CaptureFixture
) -> None:
    run_cases(paths_of(made), damage, when, made, damaged_world, capfd)
    assert Warehouse(Path("warehouse").absolute()).current_run_id


@pytest.mark.parametrize("name", [".", "published", "runs"])
def test_a_folder_that_may_not_be_read_is_named(
    name: str, made: Path, damaged_world: Path, capfd: pytest.CaptureFixture
) -> None:
    begin(made, damaged_world)
    path = Path("warehouse", name)
    path.chmod(0)
    needs = {".": ("runs", "recommend", "rollback", "report", "nightly"), "published": ("recommend", "rollback"),
             "runs": ("runs", "report", "nightly")}  # fmt: skip
    with as_nobody():
        for command in ("runs", "recommend", "rollback", "report", "nightly"):
            code = main([command, *(["2"] if command == "recommend" else []), "--config", "my.yaml"])
            said = capfd.readouterr().err
            assert code in (0, 2), command
            if command in needs[name]:
                assert code == 2 and "ermission denied" in said, (command, said)
                assert str(path) in said or "current.duckdb" in said, "which leads there"


def test_a_file_in_the_place_of_the_runs_is_named(
    made: Path, damaged_world: Path, capfd: pytest.CaptureFixture
) -> None:
    begin(made, damaged_world)
    files.remove(Path("warehouse/runs"))
    Path("warehouse/runs").write_text("mine")
    for command in ("runs", "report", "nightly"):
        assert main([command, "--config", "my.yaml"]) == 2
        assert "warehouse/runs" in capfd.readouterr().err
