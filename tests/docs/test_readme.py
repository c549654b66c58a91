"""The README is true: its reference, its file map, its tables and its commands."""

import re
from pathlib import Path

import pytest
import yaml

from flows.cli import app
from tasks.data.expectations import check_expectations
from tasks.settings.config import Config, reference_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    (\S.*?)(?:  +#.*)?$", README, re.MULTILINE)


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_configuration_reference_is_what_the_models_say() -> None:
    assert README.split("<!-- reference -->\n")[1].split("\n<!-- end")[0] == reference_table()


def test_the_file_map_names_every_file_and_no_other() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", section("File map"), re.MULTILINE))
    assert not [name for name in named if not (ROOT / name).exists()]
    modules = {
        str(path.relative_to(ROOT))
        for package in ("flows", "tasks", "elsa_core")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert modules <= named
    folders = {f"{path.relative_to(ROOT)}/" for path in (ROOT / "sql").iterdir() if path.is_dir()}
    assert {name for name in folders if "__pycache__" not in name} <= named


def test_the_table_contract_is_what_the_sql_makes() -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", section("The tables"), re.MULTILINE))
    assert documented == {path.stem for path in (ROOT / "sql" / "tables").glob("*.sql")}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")} | {"help", "bench", "clean"}
    assert {"nightly", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


def test_elsa_commands_parse() -> None:
    commands = [command.split()[1:] for command in COMMANDS if command.startswith(".venv/bin/elsa ")]
    assert len(commands) >= 4
    for command in commands:
        if command == ["--help"]:
            continue
        run, _, _ = app.parse_args(command, exit_on_error=False, print_error=False)
        assert run == app[command[0]].default_command


def test_the_library_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_the_expectations_example_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    columns = {"timestamp": "at", "value": "value", "event_type": "kind"}
    config = Config.model_validate({"source": {"columns": columns}, **yaml.safe_load(example)})
    check_expectations(config)
    assert len(config.validation.expectations) == 5


def test_the_gate_runs_what_the_readme_says() -> None:
    gate = (ROOT / ".ci" / "run").read_text()
    commands = re.findall(r"^make (\S+)", gate, re.MULTILINE)
    assert commands == [".venv/.ready", "test-operations", "test", "nightly"]
    assert gate.count("|| status=$?") == 2 and gate.index('test "$status" = 0') < gate.index("make nightly")
    assert gate.startswith("#!/usr/bin/env bash") and "set -euo pipefail" in gate


@pytest.mark.parametrize("path", ["README.md", "prefect.yaml", "Makefile", "pyproject.toml", "config/movielens.yaml"])
def test_no_absolute_paths_of_a_machine(path: str) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", (ROOT / path).read_text())
