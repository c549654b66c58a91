"""Every way to break the product that tests/support/mutants.py lists is noticed by the tests named there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mutants import MUTANTS, OF_ELSA_CORE, OF_THE_PIPELINE, Mutant

ROOT = Path(__file__).parents[1]
COPIED = ("elsa_core", "tasks", "flows", "sql", "tests", "config", "docs")
PASSED, FAILED = 0, 1  # what pytest exits with
SECONDS = 300  # a mutant that takes longer hangs, which is noticed, too


def place_of(mutant: Mutant, root: Path) -> Path:
    """The one file that has the text to replace."""
    files = [path for path in (root / mutant.package).rglob("*") if path.suffix in (".py", ".sql")]
    counts = {path: n for path in files if (n := path.read_text().count(mutant.old))}
    found = ", ".join(f"{n} times in {path.relative_to(root)}" for path, n in counts.items()) or "nowhere"
    assert sum(counts.values()) == 1, (
        f"{mutant.name}: {mutant.old!r} must stand once in {mutant.package}/, not {found}"
    )
    return next(iter(counts))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_there_is_something_to_break(mutant: Mutant) -> None:
    place_of(mutant, ROOT)
    assert mutant.new != mutant.old
    files = [ROOT / name.split("::")[0] for name in mutant.tests if not name.startswith("-")]
    assert files and all(path.is_file() for path in files)


def test_there_are_as_many_as_the_first_round_had() -> None:
    assert len(OF_ELSA_CORE) >= 31 and len(OF_THE_PIPELINE) >= 12
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, to break."""
    folder = tmp_path_factory.mktemp("mutants")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    return folder


def run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """pytest's exit status, and what it said."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return FAILED, "timed out"
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.mutations
@pytest.mark.parametrize("tests", sorted({mutant.tests for mutant in MUTANTS}), ids=" ".join)
def test_the_unbroken_copy_passes(tests: tuple[str, ...], copy: Path) -> None:
    status, said = run_tests(copy, tests)
    assert status == PASSED, said


@pytest.mark.slow
@pytest.mark.mutations
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_is_noticed(mutant: Mutant, copy: Path) -> None:
    path = place_of(mutant, copy)
    whole = path.read_text()
    path.write_text(whole.replace(mutant.old, mutant.new))
    try:
        status, said = run_tests(copy, mutant.tests)
    finally:
        path.write_text(whole)
    assert status == FAILED, f"it survives, or cannot be run: pytest exits with {status}\n{said[-2000:]}"
