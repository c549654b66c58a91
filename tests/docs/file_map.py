"""The tree of files in docs/architecture.md: names from the disk, phrases from the files' own first lines."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIDTH = 28
PACKAGES = ("flows", "tasks", "elsa_core")
LISTED = ("config", "docs")
FOLDERS = {
    "sql": "DuckDB statements longer than a line",
    "sql/checks": "the contract of the published tables: queries that return no rows",
    "sql/checks/users": "those that look at each user alone; a refresh checks the changed users",
    "sql/drift": "the profile of a run's new events, and the bands",
    "sql/expectations": "our own expectations: queries for the rows that violate them",
    "sql/explore": "what the explore page shows",
    "sql/forget": "people removed from the events, and kept out",
    "sql/published": "macros and views inside the published file, and what they mean",
    "sql/queries": "what the command line shows",
    "sql/report": "what the report shows",
    "sql/source": "reading JSON, malformed lines, questions about a source",
    "sql/tables": "one output table a file: its select, and what its columns mean",
    "sql/withdraw": "source files taken out of the events",
    "config": "configurations",
    "docs": "documentation",
    "benchmarks": "one script a benchmark; RESULTS.md has what they measured",
    "tests": "one behaviour a file; the folders are those of the code, and docs",
}
FILES = {
    "Makefile": "every command of a developer: make help",
    "pyproject.toml": "the package, its dependencies, pytest and ruff",
    "constraints.txt": "the lock: the version of every package, written by make lock",
    "prefect.yaml": "the deployments and their schedules",
    "automations.yaml": "what Prefect does about runs that fail, are late or are lost",
    "Dockerfile": "a worker's image",
    ".ci/run": "what a change must pass: make test, make test-operations, make nightly",
    ".ci/audit.py": "known vulnerabilities of what is installed: make audit",
}


def file_map() -> str:
    """The tree. Raises KeyError if the folders of sql/ are not those of FOLDERS, ValueError without a docstring."""
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "sql").rglob("*") if _is_folder(path)}
    if different := found ^ {name for name in FOLDERS if name.startswith("sql/")}:
        raise KeyError(f"FOLDERS in {Path(__file__).name} and the folders of sql/ differ: {sorted(different)}")
    lines = [line for package in PACKAGES for line in _package(ROOT / package, 0)]
    for name, phrase in FOLDERS.items():
        lines.append(_line(f"{Path(name).name}/", phrase, name.count("/")))
        if name in LISTED:
            lines += [_line(path.name, _phrase(path), 1) for path in sorted((ROOT / name).glob("*.[my]*"))]
    lines += [_line(name, phrase, 0) for name, phrase in FILES.items()]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.name != "__pycache__"


def _package(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", _phrase(folder / "__init__.py"), depth)
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if _is_folder(path):
            yield from _package(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield _line(path.name, _phrase(path), depth + 1)


def _line(name: str, phrase: str, depth: int) -> str:
    return f"{'  ' * depth}{name}".ljust(WIDTH) + f" {phrase}"


def _phrase(path: Path) -> str:
    """The first sentence of a module's docstring or of a YAML file's first comment, or a page's title."""
    text = path.read_text()
    if path.suffix == ".py":
        found = ast.get_docstring(ast.parse(text))
    else:
        found = re.search(r"^# (.*)", text, re.MULTILINE)[1]
    if not found:
        raise ValueError(f"{path.relative_to(ROOT)} has no docstring, whose first line says what it is")
    return found.splitlines()[0].split(". ")[0].rstrip(".")
