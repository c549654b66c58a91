"""What readers get: the switch of current.duckdb to a run's checked file, the rollback, the record of both."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from tasks.errors import InputError
from tasks.run.database import connect, first_row, intact, openable, sql
from tasks.run.durable import remove, sync, write_whole
from tasks.run.failures import explained
from tasks.run.integrity import require_tables
from tasks.run.lock import me
from tasks.run.manifest import read_manifest
from tasks.run.publications import Publication, publications, read_publications
from tasks.run.quoting import identifier
from tasks.run.run import RUN_ID, Run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

NOTHING_YET = "has no published tables yet; make some with: elsa nightly --config FILE"


def publish_first(run: Run) -> None:
    """Switches to this run's tables. Raises InputError if somebody switched since the run began."""
    manifest, warehouse = read_manifest(run.files.folder), run.warehouse
    with warehouse.switching():
        current = warehouse.current_run_id
        if current != run.replaces:
            again = f"nightly --resume {run.run_id}" if manifest.is_night else "refresh"
            raise InputError(
                f"current.duckdb was switched from run {run.replaces} to {current} while this run was at work, which "
                f"is based on the former, so nothing was published. To go on from the latter: elsa {again}"
            )
        action = manifest.kind if manifest.kind in ("forget", "withdraw") else "publish"
        _switch(warehouse, run.run_id, action, manifest.why)


def publish_again(config: Config, run_id: str, reason: str | None = None) -> str | None:
    """Switches to an earlier run that has passed the gate, and returns the run that readers had."""
    return _go_to(config, run_id, Warehouse.of(config).current_run_id, "publish again", reason)


def roll_back(config: Config, run_id: str | None = None, reason: str | None = None) -> tuple[str, str | None]:
    """Switches to a run, or to what readers had before the current one; returns (to, from)."""
    warehouse = Warehouse.of(config)
    current = warehouse.current_run_id
    run_id = run_id or _before(config, warehouse, current)
    return run_id, _go_to(config, run_id, current, "rollback", reason)


def _before(config: Config, warehouse: Warehouse, current: str | None) -> str:
    """What readers had before the current run, if it still has tables, or else before that, and so on.

    A run that a rollback has left is passed over.
    """
    way: list[str] = []
    for entry in publications(warehouse):
        if entry.run_id in way and entry.action != "publish again":
            way = way[: way.index(entry.run_id)]
        way.append(entry.run_id)
    if not way:
        raise InputError(f"{config.warehouse} {NOTHING_YET}")
    there = _there(warehouse)
    earlier = [run_id for run_id in way if run_id in there and run_id != current]
    if not earlier:
        others = [run_id for run_id in there if run_id != current]
        if others and read_publications(warehouse.publications)[1]:
            raise InputError(
                f"{warehouse.publications} is damaged and does not say what readers had before; name one "
                f"of the runs that have tables: elsa rollback RUN; there are {', '.join(others)}"
            )
        raise InputError(f"no run before {current} has its tables still: there is nothing to roll back to")
    return earlier[-1]


def _there(warehouse: Warehouse) -> list[str]:
    """Runs with finished, checked tables, oldest first; none before the first publication."""
    with suppress(FileNotFoundError):
        return sorted(path.stem for path in warehouse.published.iterdir() if path.suffix == ".duckdb")
    return []


def _go_to(config: Config, run_id: str, current: str | None, action: str, reason: str | None) -> str | None:
    """Switches from the `current` run to another. Raises InputError if somebody has switched meanwhile."""
    warehouse = Warehouse.of(config)
    if not warehouse.path.exists():
        raise InputError(f"{config.warehouse} {NOTHING_YET}")
    if run_id == current:
        raise InputError(f"run {run_id} is what readers get already")
    if run_id in _there(warehouse):  # it takes a while, and the lock is for moments
        _require_whole(config, warehouse.tables(run_id), run_id)
        require_tables(warehouse, run_id)
    with explained(config, warehouse), warehouse.switching():
        there = _there(warehouse)
        if run_id not in there:
            raise InputError(
                f"no tables of a run {run_id} are published; there are those of: {', '.join(there) or 'none'}"
            )
        if (now := warehouse.current_run_id) != current:
            raise InputError(
                f"current.duckdb was switched from run {current} to {now} while the tables of run {run_id} were "
                "checked, so nothing was changed. To switch from the latter, run this again"
            )
        _require_whole(config, warehouse.tables(run_id), run_id)
        _switch(warehouse, run_id, action, reason)
    return current


def _require_whole(config: Config, path: Path, run_id: str) -> None:
    """Raises InputError unless the file opens and is that run's, and the tables beside it can be read."""
    with intact(path), connect(path, config, read_only=True) as connection:
        found = first_row(connection, "select run_id from run_info")[0]
        if found != run_id:
            raise InputError(f"{path} holds the tables of run {found}, not of {run_id}; it was replaced by hand")
        for (view,) in connection.execute(sql("views_of_files")).fetchall():
            with openable(f"{path}: its table {view}"):
                connection.execute(f"from {identifier(view)} limit 1").fetchall()


def _switch(warehouse: Warehouse, run_id: str, action: str, reason: str | None) -> None:
    """Points current.duckdb at the run's tables, at once, then records it. `publications` mends a missing record.

    A damaged record is kept beside the new one, which holds those of its lines that can be used.
    """
    warehouse.require_link()
    history, replaced = publications(warehouse), warehouse.current_run_id
    new_link, record = warehouse.next_current, warehouse.publications
    remove(new_link)
    new_link.symlink_to(warehouse.tables(run_id).relative_to(warehouse.path))
    new_link.replace(warehouse.current)
    sync(warehouse.path)
    at = datetime.now(UTC).isoformat()
    history.append(Publication(at=at, run_id=run_id, replaced=replaced, action=action, by=me(), reason=reason))
    if read_publications(record)[1]:
        record.rename(record.with_name(f"{record.name}.damaged-{datetime.now(UTC):{RUN_ID}}"))
    write_whole(record, "".join(json.dumps(one.model_dump()) + "\n" for one in history))
