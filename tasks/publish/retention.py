"""What is kept of earlier runs, by the times that they and the publications recorded."""

from datetime import UTC, datetime, timedelta

from tasks.run.durable import remove
from tasks.run.index import RunSummary, all_runs
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.publications import publications
from tasks.run.run import LONG_AGO, Run, moment_of


def prune(run: Run) -> list[str]:
    """Removes old tables, and the matrices and models of old runs; returns the names of what it removed.

    Kept are the current run's, those of the last `keep` published runs, and whatever readers had, or ended, less than
    `grace_hours` ago; of every run its manifest, metrics and verdicts.
    """
    found, damaged = all_runs(run.warehouse)  # it takes a while, and the lock is held for moments
    runs = {summary.run_id: summary for summary in found}
    with run.warehouse.switching():
        kept, left = _kept(run, runs)
        before = datetime.now(UTC) - timedelta(hours=run.config.publication.grace_hours)
        removed = _remove_tables(run, {
            path.stem for path in run.warehouse.published.glob("*.duckdb")
            if path.stem not in kept and left.get(path.stem, _ended(path.stem, runs)) < before
        })  # fmt: skip
        old = [
            run_id
            for run_id in [*runs, *damaged]
            if run_id not in kept and max(left.get(run_id, LONG_AGO), _ended(run_id, runs)) < before
        ]
        heavy = {
            run_id: _remove_heavy(run, run_id, runs.get(run_id)) for run_id in old if not _is_pruned(runs, run_id)
        }
    for run_id in heavy.keys() & runs.keys():
        _record_pruned(run, run_id)
    return removed + [f"{run_id}/{name}" for run_id, names in heavy.items() for name in names]


def _is_pruned(runs: dict[str, RunSummary], run_id: str) -> bool:
    return run_id in runs and runs[run_id].pruned_at is not None


def _remove_tables(run: Run, run_ids: set[str]) -> list[str]:
    for run_id in run_ids:
        remove(run.warehouse.tables(run_id))
        remove(run.warehouse.large_tables(run_id))
    return sorted(run.warehouse.tables(run_id).name for run_id in run_ids)


def _kept(run: Run, runs: dict[str, RunSummary]) -> tuple[set[str | None], dict[str, datetime]]:
    """The runs that keep everything, and when readers were last switched away from each run."""
    history = publications(run.warehouse)
    published = [entry.run_id for entry in reversed(history)]
    published += [one.run_id for one in reversed(runs.values()) if one.status == "published"]  # lines may be lost
    others = {one.run_id for one in runs.values() if not one.is_night}  # kept for the grace time only
    nights = [run_id for run_id in dict.fromkeys(published) if run_id not in others]
    kept = {run.warehouse.current_run_id, run.run_id, *nights[: run.config.publication.keep]}
    left = {entry.replaced: datetime.fromisoformat(entry.at) for entry in history if entry.replaced is not None}
    return kept, left


def _ended(run_id: str, runs: dict[str, RunSummary]) -> datetime:
    """When a run ended, or at least began; by its name where its manifest is gone."""
    if run_id in runs:
        return datetime.fromisoformat(runs[run_id].finished_at or runs[run_id].started_at)
    return moment_of(run_id) or LONG_AGO


def _remove_heavy(run: Run, run_id: str, summary: RunSummary | None) -> list[str]:
    """Removes all but the records of a run, and, of one that is no refresh, its report; returns the names."""
    files = run.warehouse.files(run_id)
    results = (files.metrics, files.gate_checks, files.validation, files.drift)
    kept = {file.name for file in (*results, files.manifest, files.log)}
    kept |= set() if summary is not None and summary.is_refresh else {files.report.name}
    heavy = sorted(path for path in files.folder.iterdir() if path.name not in kept)
    for path in heavy:
        remove(path)
    return [path.name for path in heavy]


def _record_pruned(run: Run, run_id: str) -> None:
    """So that no later run looks into its folder again."""
    folder = run.warehouse.run_folder(run_id)
    pruned_at = datetime.now(UTC).isoformat(timespec="seconds")
    write_manifest(folder, read_manifest(folder).model_copy(update={"pruned_at": pruned_at}))
