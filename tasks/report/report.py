"""The report of a run: one HTML file with everything that happened, and the same in short as Prefect's artifacts."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import TaskRunContext

from tasks.errors import InputError
from tasks.report.facts import collect_facts
from tasks.report.plain_text import plain
from tasks.run.durable import write_whole
from tasks.run.index import runs_as_they_stand
from tasks.run.manifest import Manifest, read_manifest
from tasks.run.run import Run, open_run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    from jinja2 import Template


@contextmanager
def reported_run(
    config: Config, resume: str | None = None, kind: str = "nightly", why: str | None = None
) -> Iterator[Run]:
    """`open_run`, and a report of how the run ended. One that fails does not undo the run."""
    run = None
    try:
        with open_run(config, resume, kind, why) as run:
            yield run
    except Exception:
        if run is not None:
            write_report(run, return_state=True)
        raise
    write_report(run, return_state=True)


@task
def write_report(run: Run) -> Path:
    """Writes report.html into the run's folder and, where Prefect runs the night, its artifacts."""
    facts = collect_facts(run)
    path = _write(run, facts)
    if TaskRunContext.get() is not None:
        _create_artifacts(facts, path)
    return path


def find_report(config: Config, run_id: str | None) -> Path:
    """A run's report, by default of the newest night; made now if there is none of how the run stands.

    Raises InputError for an unknown run, for one whose manifest is damaged, and where it cannot be written.
    """
    warehouse = Warehouse.of(config)
    found, damaged = runs_as_they_stand(warehouse)
    runs = {one.run_id: one for one in found}
    if run_id in damaged:
        read_manifest(warehouse.run_folder(run_id))  # which says what is wrong with it
    if not runs:
        raise InputError(f"{config.warehouse} has no runs yet; start one with: elsa nightly --config FILE")
    if run_id not in (None, *runs):
        raise InputError(f"there is no run {run_id}; elsa runs lists them")
    run = Run(config, run_id or max(runs, key=lambda one: (runs[one].is_night, one)))
    path, manifest = run.files.report, run.files.manifest
    summary = runs[run.run_id]
    if path.exists() and summary.pruned_at is not None:
        return path  # what it was made from is gone
    is_final = path.exists() and summary.status not in ("running", "died")
    if is_final and path.stat().st_mtime_ns > manifest.stat().st_mtime_ns:
        return path
    try:
        return _write(run, collect_facts(run))
    except OSError as error:
        raise InputError(f"the report cannot be written: {error}") from None


def _write(run: Run, facts: dict[str, Any]) -> Path:
    write_whole(run.files.report, _template().render(facts))
    return run.files.report


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("tasks.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"number": _number, "signed": _signed, "moment": _moment, "duration": _duration}
    return templates.get_template("report.html.j2")


def _create_artifacts(facts: dict[str, Any], path: Path) -> None:
    """The verdict in words, the metrics, and the way to the report, for Prefect's pages."""
    manifest = facts["manifest"]
    checks = [f"- {'✓' if row['passed'] else '✗'} {plain(row['verdict'])}" for row in facts["gate"]]
    verdict = [
        f"**{manifest.status.capitalize()}**: run {manifest.run_id}",
        plain(facts["lead"]),
        *(f"- {plain(reason)}" for reason in manifest.reasons),
        *(["", "The gate:", *checks] if checks else []),
        f"\n`elsa report {manifest.run_id}`",
    ]
    kind = "refresh" if facts["is_refresh"] else "verdict"
    create_markdown_artifact("\n".join(verdict), key=kind, description="What became of the run, and why")
    if metrics := facts["metrics"]:
        create_table_artifact(metrics, key="metrics", description="Means on the test users, with 95 % intervals")
    if not facts["is_refresh"]:
        create_link_artifact(path.as_uri(), link_text=f"report of run {manifest.run_id}", key="report")


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _signed(value: int) -> str:
    return f"{value:+,}" if value else "unchanged"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%-d %B %Y, %H:%M} UTC"


def _duration(manifest: Manifest) -> str:
    """From the start to the end of a run that has ended."""
    started, finished = (datetime.fromisoformat(at or "") for at in (manifest.started_at, manifest.finished_at))
    seconds = round((finished - started).total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60} s"
