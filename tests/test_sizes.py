"""Sizes that read well: short functions, short files, and a reason where a file is long."""

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "elsa_core")
LONG_FILE, REASON = 300, "Long because"


def functions(path: Path) -> dict[str, int]:
    """Lines of each function, its docstring included."""
    found = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return {f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1 for node in found}


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package: str) -> None:
    sizes = {name: size for path in (ROOT / package).rglob("*.py") for name, size in functions(path).items()}
    assert statistics.median(sizes.values()) <= 10
    longest = sorted(sizes, key=lambda name: -sizes[name])[:10]
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= 30, longest


@pytest.mark.parametrize("package", PACKAGES)
def test_long_files_say_why(package: str) -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / package).rglob("*.py")}
    long = {name: text for name, text in texts.items() if len(text.splitlines()) > LONG_FILE}
    assert [name for name, text in long.items() if REASON not in (ast.get_docstring(ast.parse(text)) or "")] == []


def test_sql_is_short() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "sql").rglob("*.sql")}
    assert [path for path, n_lines in lines.items() if n_lines > 80] == []
