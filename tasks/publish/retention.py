"""What is kept of earlier runs, by the times that they and the publications recorded."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.run.artifacts import RunFiles
from tasks.run.durable import remove
from tasks.run.index import RunSummary, all_runs
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.publications import publications
from tasks.run.run import Run, moment_of

LONG_AGO = datetime.min.replace(tzinfo=UTC)


def prune(run: Run) -> list[str]:
    """Removes old tables, and the matrices and models of old runs; returns the names of what it removed.

    Kept are the current run's, those of the last `keep` published runs, and whatever readers had, or ended, less than
    `grace_hours` ago; of every run its manifest, metrics and verdicts.
    """
    runs = {summary.run_id: summary for summary in all_runs(run.warehouse)[0]}  # it takes a while
    with run.warehouse.switching():  # held for moments
        kept, left = _kept(run, runs)
        before = datetime.now(UTC) - timedelta(hours=run.config.publication.grace_hours)
        removed = []
        for path in sorted(run.warehouse.published.glob("*.duckdb")):
            if path.stem not in kept and left.get(path.stem, _ended(path.stem, runs)) < before:
                remove(path)
                remove(run.warehouse.large_tables(path.stem))
                removed.append(path.name)
        for run_id, summary in runs.items():
            is_old = max(left.get(run_id, LONG_AGO), _ended(run_id, runs)) < before
            if run_id not in kept and is_old and summary.pruned_at is None:
                files = RunFiles(run.warehouse.run_folder(run_id))
                removed += [f"{run_id}/{name}" for name in _remove_heavy(files, summary.is_refresh)]
        return removed


def _kept(run: Run, runs: dict[str, RunSummary]) -> tuple[set[str | None], dict[str, datetime]]:
    """The runs that keep everything, and when readers were last switched away from each run."""
    history = publications(run.warehouse)
    published = [entry.run_id for entry in reversed(history)]
    published += [one.run_id for one in reversed(runs.values()) if one.status == "published"]  # lines may be lost
    refreshes = {one.run_id for one in runs.values() if not one.is_night}  # kept for the grace time only
    nights = [run_id for run_id in dict.fromkeys(published) if run_id not in refreshes]
    kept = {run.warehouse.current_run_id, run.run_id, *nights[: run.config.publication.keep]}
    left = {entry.replaced: datetime.fromisoformat(entry.at) for entry in history if entry.replaced is not None}
    return kept, left


def _ended(run_id: str, runs: dict[str, RunSummary]) -> datetime:
    """When a run ended, or at least began; by its name where its manifest is gone."""
    if run_id in runs:
        return datetime.fromisoformat(runs[run_id].finished_at or runs[run_id].started_at)
    return moment_of(run_id) or LONG_AGO


def _remove_heavy(files: RunFiles, is_refresh: bool) -> list[str]:
    """Removes all but the records of a run, and records that."""
    results = (files.metrics, files.gate_checks, files.validation, files.drift)
    kept = {file.name for file in (*results, files.manifest, files.log)} | (
        set() if is_refresh else {files.report.name}
    )
    heavy: list[Path] = sorted(path for path in files.folder.iterdir() if path.name not in kept)
    for path in heavy:
        remove(path)
    pruned_at = datetime.now(UTC).isoformat(timespec="seconds")
    write_manifest(files.folder, read_manifest(files.folder).model_copy(update={"pruned_at": pruned_at}))
    return [path.name for path in heavy]
