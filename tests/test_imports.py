"""Who may import whom: flows → tasks → elsa_core, and nobody else's business."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import elsa_core

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "great_expectations", "polars", "scipy")
FORBIDDEN = {
    "elsa_core": {
        "flows",
        "tasks",
        "prefect",
        "duckdb",
        "polars",
        "great_expectations",
        "pyarrow",
        "pydantic",
        "ruamel",
        "yaml",
    },
    "tasks": {"flows"},
    "flows": {"elsa_core", "torch", "scipy", "polars", "duckdb", "numpy", "pyarrow", "great_expectations"},
}
STAGES_STAND_ON = ("run", "settings")
WITHIN_TASKS = {
    "settings": (),
    "run": ("settings",),
    **dict.fromkeys(("data", "model", "publish", "read", "report"), STAGES_STAND_ON),
}


def imports_of(path: Path) -> set[str]:
    """Full names of what a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_stage(path: Path) -> bool:
    return bool(re.search(r"^@(stage|task)\b", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert not {name.split(".")[0] for name in imports_of(path)} & FORBIDDEN[package], path


def test_elsa_core_needs_nothing_but_arithmetic() -> None:
    allowed = {"elsa_core", "numpy", "scipy", "torch", "safetensors"} | sys.stdlib_module_names
    for path in (ROOT / "elsa_core").glob("*.py"):
        assert {name.split(".")[0] for name in imports_of(path)} <= allowed, path


@pytest.mark.parametrize("package", WITHIN_TASKS)
def test_packages_of_tasks_know_what_they_stand_on_and_no_other(package: str) -> None:
    allowed = {"errors", package, *WITHIN_TASKS[package]}
    files = sorted((ROOT / "tasks" / package).rglob("*.py"))
    assert files
    for path in files:
        found = {name.split(".")[1] for name in imports_of(path) if name.startswith("tasks.")}
        assert found <= allowed, path


def test_every_package_of_tasks_has_its_rule() -> None:
    packages = {path.parent.name for path in (ROOT / "tasks").glob("*/__init__.py")}
    assert packages == set(WITHIN_TASKS)
    assert {path.stem for path in (ROOT / "tasks").glob("*.py")} == {"__init__", "errors"}


def test_stages_do_not_import_each_other() -> None:
    stages = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "tasks").rglob("*.py")
        if is_stage(path)
    }
    assert len(stages) == 16
    for name in stages:
        assert not imports_of(ROOT / f"{name.replace('.', '/')}.py") & (stages - {name}), name


def test_elsa_core_reads_no_environment() -> None:
    for path in (ROOT / "elsa_core").glob("*.py"):
        assert "os" not in imports_of(path) and "environ" not in path.read_text(), path


@pytest.mark.parametrize("module", ["flows.nightly", "flows.cli"])
def test_nothing_heavy_is_loaded_before_a_task_needs_it(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_function_of_elsa_core_hides_its_module() -> None:
    modules = {path.stem for path in (ROOT / "elsa_core").glob("*.py")}
    assert not modules & set(elsa_core.__all__)


def test_mypy_passes_over_no_module() -> None:
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    assert not [one for one in overrides if one.get("ignore_errors")]


def test_what_tests_share_lies_in_no_test_module() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        shared = {name for name in imports_of(path) if name.split(".")[0] == "tests"}
        assert not [name for name in shared if re.search(r"\.(conftest|test_\w+)", name)], path
