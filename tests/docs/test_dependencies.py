"""docs/dependencies.md is true: the lock, what is held back and until when, what an audit finds, its answers."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from datetime import date
from importlib.metadata import distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
BROKEN = {
    "fastapi": "Body() got an unexpected keyword argument 'min_items'",
    "sqlalchemy": "Can't evaluate bulk DML statement",
}
SCHEDULING = """
import asyncio, prefect.server.api.server
from prefect.server import models, schemas
from prefect.server.database import provide_database_interface
from prefect.server.services.scheduler import schedule_deployments

async def main():
    database = provide_database_interface()
    await database.create_db()
    async with database.session_context(begin_transaction=True) as session:
        flow = await models.flows.create_flow(session, schemas.core.Flow(name="night"))
        cron = schemas.schedules.CronSchedule(cron="0 3 * * *")
        schedules = [schemas.core.DeploymentSchedule(schedule=cron, active=True)]
        made = schemas.core.Deployment(name="night", flow_id=flow.id, schedules=schedules)
        await models.deployments.create_deployment(session, made)
    await schedule_deployments()
    async with database.session_context() as session:
        print("runs:", await models.flow_runs.count_flow_runs(session))

asyncio.run(main())
"""


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def requirements() -> list[Requirement]:
    """What pyproject.toml names: dependencies, all extras, and what `make lock` keeps to beyond them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    constraints = settings["tool"]["uv"]["constraint-dependencies"]
    return [Requirement(line) for line in [*project["dependencies"], *extras, *constraints]]


def bounds() -> dict[str, str]:
    """Upper bounds of pyproject.toml, e.g. {"fastapi": "<0.151"}."""
    return {
        one.name: str(part) for one in requirements() for part in one.specifier if part.operator in ("<", "<=", "==")
    }


def lock() -> dict[str, list[Requirement]]:
    """The pins of constraints.txt by name; several where a version depends on the platform."""
    pins: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^[^#\n]+", (ROOT / "constraints.txt").read_text(), re.MULTILINE):
        pin = Requirement(line)
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def pinned(pin: Requirement) -> str:
    (exact,) = pin.specifier
    assert exact.operator == "==", f"{pin} is no pin: make lock"
    return exact.version


def test_the_lock_has_what_pyproject_names_within_its_bounds() -> None:
    pins = lock()
    for one in requirements():
        found = pins.get(canonicalize_name(one.name), [])
        assert found, f"{one} is missing in constraints.txt: make lock"
        wrong = [str(pin) for pin in found if pinned(pin) not in one.specifier]
        assert not wrong, f"constraints.txt says {wrong}, pyproject.toml {one}: make lock"


def test_the_lock_has_what_the_packages_require_themselves() -> None:
    """Followed through the installed packages, for this platform and the extras that are asked for."""
    pins, seen = lock(), set()
    waiting = [(canonicalize_name(one.name), extra) for one in requirements() for extra in ("", *one.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen or not (installed := [*distributions(name=name)]):
            continue
        seen.add((name, extra))
        for one in map(Requirement, installed[0].requires or []):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                assert canonicalize_name(one.name) in pins, f"{name} requires {one}: make lock"
                waiting += [(canonicalize_name(one.name), part) for part in ("", *one.extras)]
    assert len(seen) > 100


def test_the_lock_names_no_index_and_no_path() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "make lock" in text
    assert not re.search(r"://|^-|file:| @ ", text, re.MULTILINE)


def test_every_bound_is_on_the_page_with_its_reason() -> None:
    held, series = (dict(re.findall(r"^\| `([\w-]+)` \| `([^`]+)` \| \S", section(title), re.MULTILINE))
                    for title in ("Held back", "Bounds of a series"))  # fmt: skip
    assert held.keys() == {"fastapi", "sqlalchemy", "duckdb-sqlalchemy", "torch"}
    assert held | series == bounds()


@pytest.mark.parametrize("name", ["fastapi", "sqlalchemy"])
def test_what_waits_for_prefect_waits_for_the_installed_one(name: str) -> None:
    reason = re.search(rf"^\| `{name}` \|.*?\| (.*?) \|", section("Held back"), re.MULTILINE)[1]
    series = re.search(r"Prefect (\d+\.\d+)", reason)[1]
    assert version("prefect").startswith(f"{series}."), f"{name} was held back for Prefect {series}: make held-back"


def newest(name: str, folder: Path) -> str:
    """Puts the newest release into a folder, whatever pyproject.toml says, and returns its version."""
    subprocess.run([*PIP, "--no-compile", "--target", str(folder), name], check=True)
    (found,) = folder.glob("*.dist-info/METADATA")
    return re.search(r"^Version: (\S+)", found.read_text(), re.MULTILINE)[1]


def schedule(home: Path, *before: Path) -> subprocess.CompletedProcess:
    """Lets Prefect's scheduler make the runs of a cron deployment, with packages of other folders before ours."""
    environment = {"PATH": "", "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                   "DO_NOT_TRACK": "1", "PYTHONPATH": ":".join(map(str, before))}  # fmt: skip
    command = [sys.executable, "-c", SCHEDULING]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.held_back
@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_the_newest_one_still_breaks_prefect(name: str, tmp_path: Path) -> None:
    ours = schedule(tmp_path / "ours")
    assert "runs: 3" in ours.stdout, ours.stderr
    found = newest(name, tmp_path / "newest")
    done = schedule(tmp_path / "theirs", tmp_path / "newest")
    assert "runs: 3" not in done.stdout, f"{name} {found} works with Prefect {version('prefect')}: its bound can go"
    assert BROKEN[name] in done.stderr, f"{name} {found} fails, but not for the reason in docs/dependencies.md"


def requirements_of_newest(name: str) -> tuple[str, list[Requirement]]:
    """Version and requirements of the newest release, for this platform."""
    command = [*PIP, "--dry-run", "--ignore-installed", "--report", "-", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    metadata = json.loads(done.stdout)["install"][0]["metadata"]
    required = map(Requirement, metadata["requires_dist"])
    return metadata["version"], [one for one in required if not one.marker or one.marker.evaluate({"extra": ""})]


@pytest.mark.held_back
@pytest.mark.slow
def test_the_newest_duckdb_sqlalchemy_still_refuses_our_duckdb() -> None:
    found, required = requirements_of_newest("duckdb-sqlalchemy")
    (duckdb,) = (one for one in required if one.name == "duckdb")
    assert version("duckdb") not in duckdb.specifier, f"duckdb-sqlalchemy {found} allows it: its bound can go"


@pytest.mark.held_back
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch comes without CUDA")
def test_the_newest_torch_still_brings_cuda() -> None:
    found, required = requirements_of_newest("torch")
    assert version("torch") in SpecifierSet(bounds()["torch"])
    assert any("cuda" in one.name or "nvidia" in one.name for one in required), f"torch {found} has none: unpin it"


AUDIT = runpy.run_path(str(ROOT / ".ci" / "audit.py"))
CLEAN = {"name": "rich", "version": "15.0.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}
BAD = {"name": "jinja2", "version": "3.1.5", "vulns": [
    {"id": "PYSEC-2026-1", "fix_versions": ["3.1.6"], "aliases": ["CVE-2026-1"]}]}  # fmt: skip
ANSWER = "| `CVE-2026-1` | jinja2 | templates are ours | 2027-05-31 |\n"


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([CLEAN], 0, "1 packages looked up, 0 findings, 0 answered"),
        ([CLEAN, BAD], 1, "jinja2 3.1.5: PYSEC-2026-1 (CVE-2026-1), mended in 3.1.6"),
        ([SKIPPED, SKIPPED], 2, "no audit: the database has nothing on 2 of 2 packages, e.g. torch"),
        ([CLEAN, SKIPPED], 2, "no audit: the database has nothing on 1 of 2 packages, e.g. torch"),
        ([BAD, SKIPPED], 1, "1 without an answer"),
        ([], 2, "no audit"),
    ],
)
def test_the_audit_tells_findings_from_no_audit(packages: list[dict], code: int, words: str) -> None:
    found, lines = AUDIT["judge"](packages, set())
    assert found == code and words in "\n".join(lines)


@pytest.mark.parametrize(("today", "code"), [(date(2027, 5, 31), 0), (date(2027, 6, 1), 1)])
def test_an_answer_counts_until_its_day(today: date, code: int) -> None:
    assert AUDIT["judge"]([BAD], AUDIT["answered"](ANSWER, today))[0] == code


def test_the_audit_asks_about_public_versions_of_all_but_our_own() -> None:
    pins = AUDIT["installed"]()
    assert f"torch=={version('torch').split('+')[0]}" in pins and len(pins) == len(set(pins)) > 50
    assert not [pin for pin in pins if pin.startswith("elsa-nightly") or "+" in pin]
