"""What readers get: the flip of the symlink, the way back, the record of both, and what is kept of earlier runs."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.errors import InputError
from tasks.run.durable import remove, sync, write_whole
from tasks.run.integrity import require_tables
from tasks.run.lock import me
from tasks.run.records import current_run_id, is_night, manifests, publications, read_manifest, read_publications
from tasks.run.warehouse import (
    RUN_ID,
    Run,
    connect,
    explained,
    first_row,
    flipping,
    intact,
    openable,
    refuse_plain_file,
    sql,
)
from tasks.settings.config import Config

NOTHING_YET = "has no published tables yet; make some with: elsa nightly --config FILE"
KEPT_FOREVER = {"manifest.json", "metrics.parquet", "gate_checks.parquet", "validation.parquet", "drift.parquet",
                "report.html", "log.jsonl"}  # fmt: skip


def publish_first(run: Run) -> None:
    """Leads readers to tonight's run. Raises InputError if they were led elsewhere since the run began."""
    manifest = read_manifest(run.folder)
    replaces = manifest["replaces"]
    with flipping(run.warehouse):
        current = current_run_id(run.warehouse)
        if current != replaces:
            again = f"nightly --resume {run.run_id}" if is_night(manifest) else "refresh"
            raise InputError(
                f"readers were led from run {replaces} to {current} while this run was under way, and it is "
                f"based on the former, so nothing was published. To go on from the latter: elsa {again}"
            )
        action = manifest["kind"] if manifest["kind"] in ("forget", "withdraw") else "publish"
        _flip(run.warehouse, run.run_id, action, manifest["why"])


def publish_again(config: Config, run_id: str, reason: str | None = None) -> str:
    """Leads readers to an earlier run that has passed the gate, and returns the run they came from."""
    return _go_to(config, run_id, current_run_id(Path(config.warehouse).absolute()), "publish again", reason)


def roll_back(config: Config, run_id: str | None = None, reason: str | None = None) -> tuple[str, str]:
    """Leads readers back to a run, or to what they had before the current one; returns (to, from)."""
    warehouse = Path(config.warehouse).absolute()
    current = current_run_id(warehouse)
    run_id = run_id or _before(config, warehouse, current)
    return run_id, _go_to(config, run_id, current, "rollback", reason)


def _before(config: Config, warehouse: Path, current: str | None) -> str:
    """What readers had before the current run, if it still has tables, or else before that, and so on.

    What they were led away from by a rollback is not gone back to.
    """
    way: list[str] = []
    for entry in publications(warehouse):
        run_id = entry["run_id"]
        if run_id in way and entry["action"] != "publish again":
            way = way[: way.index(run_id)]
        way.append(run_id)
    if not way:
        raise InputError(f"{config.warehouse} {NOTHING_YET}")
    there = _there(warehouse)
    earlier = [run_id for run_id in way if run_id in there and run_id != current]
    if not earlier:
        others = [run_id for run_id in there if run_id != current]
        if others and read_publications(warehouse)[1]:
            raise InputError(
                f"{warehouse / 'publications.jsonl'} is damaged and does not say what readers had before; name one "
                f"of the runs that have tables: elsa rollback RUN; there are {', '.join(others)}"
            )
        raise InputError(f"no run before {current} has its tables still: there is nothing to roll back to")
    return earlier[-1]


def prune(run: Run) -> list[str]:
    """Removes old tables, and the matrices and models of old runs; returns the names of what it removed.

    Kept are the current run's, those of the last `keep` published runs, and whatever readers were led away from, or
    ended, less than `grace_hours` ago; of every run its manifest, metrics and verdicts.
    """
    rules, warehouse = run.config.publication, run.warehouse
    runs, _ = manifests(warehouse)  # it takes a while, and the lock is for moments
    refreshes = {manifest["run_id"] for manifest in runs if not is_night(manifest)}  # kept for the grace time only
    with flipping(warehouse):
        history = publications(warehouse)
        nights = [entry["run_id"] for entry in reversed(history)]
        nights += [one["run_id"] for one in reversed(runs) if one["status"] == "published"]  # lines of it may be lost
        last = [run_id for run_id in dict.fromkeys(nights) if run_id not in refreshes][: rules.keep]
        kept = {current_run_id(warehouse), run.run_id, *last}
        before = datetime.now(UTC) - timedelta(hours=rules.grace_hours)
        left = {entry["replaced"]: datetime.fromisoformat(entry["at"]) for entry in history}
        removed = []
        for path in sorted(warehouse.glob("published/*.duckdb")):
            if path.stem not in kept and left.get(path.stem, _changed(path)) < before:
                remove(path)
                remove(path.with_suffix(""))  # its tables that are Parquet files
                removed.append(path.name)
        for path in sorted(warehouse.glob("runs/*/manifest.json")):
            name = path.parent.name
            if name not in kept and max(left.get(name, _changed(path)), _changed(path)) < before:
                removed += [f"{name}/{heavy}" for heavy in _remove_heavy(path.parent, name in refreshes)]
        return removed


def _remove_heavy(folder: Path, is_refresh: bool) -> list[str]:
    kept = KEPT_FOREVER - {"report.html"} if is_refresh else KEPT_FOREVER
    heavy = sorted(path for path in folder.iterdir() if path.name not in kept)
    for path in heavy:
        remove(path)
    return [path.name for path in heavy]


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.lstat().st_mtime, UTC)


def _there(warehouse: Path) -> list[str]:
    """Runs with finished, checked tables, oldest first; none before the first night."""
    with suppress(FileNotFoundError):
        return sorted(path.stem for path in (warehouse / "published").iterdir() if path.suffix == ".duckdb")
    return []


def _go_to(config: Config, run_id: str, current: str | None, action: str, reason: str | None) -> str:
    """Leads readers from the `current` run to another. Raises InputError if a night has published meanwhile."""
    warehouse = Path(config.warehouse).absolute()
    if not warehouse.exists():
        raise InputError(f"{config.warehouse} {NOTHING_YET}")
    if run_id == current:
        raise InputError(f"run {run_id} is what readers get already")
    if run_id in _there(warehouse):  # it takes a while, and the lock is for moments
        _require_whole(config, warehouse / "published" / f"{run_id}.duckdb", run_id)
        require_tables(warehouse, run_id)
    with explained(config, warehouse), flipping(warehouse):
        there = _there(warehouse)
        if run_id not in there:
            raise InputError(
                f"no tables of a run {run_id} are published; there are those of: {', '.join(there) or 'none'}"
            )
        if (now := current_run_id(warehouse)) != current:
            raise InputError(
                f"readers were switched from run {current} to {now} while the tables of run {run_id} were checked, "
                "so nothing was changed. To switch from the latter, run this again"
            )
        _require_whole(config, warehouse / "published" / f"{run_id}.duckdb", run_id)
        _flip(warehouse, run_id, action, reason)
    return current


def _require_whole(config: Config, path: Path, run_id: str) -> None:
    """Raises InputError unless the file opens and is that run's, and the tables beside it can be read."""
    with intact(path), connect(path, config, read_only=True) as connection:
        found = first_row(connection, "select run_id from run_info")[0]
        if found != run_id:
            raise InputError(f"{path} holds the tables of run {found}, not of {run_id}; it was replaced by hand")
        for (view,) in connection.execute(sql("views_of_files")).fetchall():
            with openable(f"{path}: its table {view}"):
                connection.execute(f"from {view} limit 1").fetchall()


def _flip(warehouse: Path, run_id: str, action: str, reason: str | None) -> None:
    """Points current.duckdb at the run's tables, at once, then records it. `publications` mends a missing record.

    A damaged record is kept beside the new one, which holds those of its lines that can be used.
    """
    refuse_plain_file(warehouse)
    history, replaced = publications(warehouse), current_run_id(warehouse)
    new_link, record = warehouse / "current.duckdb.new", warehouse / "publications.jsonl"
    remove(new_link)
    new_link.symlink_to(Path("published") / f"{run_id}.duckdb")
    new_link.replace(warehouse / "current.duckdb")
    sync(warehouse)
    entry = {"at": datetime.now(UTC).isoformat(), "run_id": run_id, "replaced": replaced}
    history.append(entry | {"action": action, "by": me(), "reason": reason})
    if read_publications(warehouse)[1]:
        record.rename(warehouse / f"publications.jsonl.damaged-{datetime.now(UTC):{RUN_ID}}")
    write_whole(record, "".join(json.dumps(one) + "\n" for one in history))
