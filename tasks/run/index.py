"""All runs in short, without reading each one's manifest: an index beside them, which follows from the manifests.

An entry counts while its manifest has the size and time of change that the index knows; others are read. The index is
only ever a shortcut: a damaged one is ignored, and the next run writes it again.
"""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from tasks.errors import InputError
from tasks.run.damage import LOST, in_words, name_damaged
from tasks.run.durable import write_whole
from tasks.run.lock import holder
from tasks.run.manifest import Manifest, OfKind, parse_manifest
from tasks.run.publications import publications
from tasks.run.warehouse import Warehouse

Stamp = tuple[int, int]  # of a file: bytes, time of change in nanoseconds
Entries = dict[str, tuple[Stamp, "RunSummary"]]  # by run, with its manifest's stamp
_known: dict[Path, tuple[Stamp, Entries]] = {}  # indexes as this process read or wrote them last


@dataclass(frozen=True)
class RunSummary(OfKind):
    """What lists of runs show, and what later runs ask of earlier ones; fields as in `Manifest`.

    value   of `metric` on the test users, once the gate has judged it
    stages  the finished ones
    """

    run_id: str
    kind: str
    status: str
    started_at: str
    finished_at: str | None
    reasons: list[str]
    replaces: str | None
    flow_run_id: str | None
    is_resumed: bool
    pruned_at: str | None
    metric: str
    policy_type: str
    value: float | None
    stages: list[str]

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        content = manifest.model_dump(include={field for field in cls.__dataclass_fields__ if field != "value"})
        content["stages"] = list(manifest.stages)
        return cls(**content, value=manifest.stages.get("gate", {}).get("value"))


FIELDS = list(RunSummary.__dataclass_fields__)


def all_runs(warehouse: Warehouse) -> tuple[list[RunSummary], dict[str, str]]:
    """All runs, oldest first, as their manifests say; and by run what is wrong with the others, which are named."""
    entries, damaged = _look(warehouse)
    return [run for _, run in entries.values()], damaged


def runs_as_they_stand(warehouse: Warehouse) -> tuple[list[RunSummary], dict[str, str]]:
    """The same, but a run with status 'running' that does not hold the lock is reported as 'died'."""
    held = holder(warehouse.lock)
    published = {warehouse.current_run_id, *(entry.run_id for entry in publications(warehouse))}
    runs, damaged = all_runs(warehouse)
    running = [run.run_id for run in runs if run.status == "running"]
    at_work = None if held is None else held.get("run_id", max(running, default=None))
    statuses = {run_id: "died" for run_id in running if run_id != at_work}
    statuses |= {run_id: "published" for run_id in published if run_id}  # whatever happened after the switch
    return [replace(run, status=statuses.get(run.run_id, run.status)) for run in runs], damaged


def list_runs(warehouse: Warehouse) -> list[RunSummary]:
    return runs_as_they_stand(warehouse)[0]


def write_index(warehouse: Warehouse) -> None:
    """Brings the index up to date, where it is not; by whoever holds the warehouse's lock."""
    entries, _ = _look(warehouse)
    ended = {run_id: entry for run_id, entry in entries.items() if entry[1].status != "running"}
    path = warehouse.index
    if ended != _read(path):
        found = [[*stamp, *vars(run).values()] for stamp, run in ended.values()]
        content = json.dumps([FIELDS, *found])
        write_whole(path, f"{_digest(content)}\n{content}")
        _known[path] = _stamp(path) or (0, 0), ended


def drop_index(warehouse: Warehouse) -> None:
    """Its reasons may hold what was just taken out of the manifests."""
    for path in warehouse.runs.glob(f"{warehouse.index.name}*"):
        path.unlink(missing_ok=True)


def _look(warehouse: Warehouse) -> tuple[Entries, dict[str, str]]:
    known, entries, damaged = _read(warehouse.index), {}, {}
    for run_id in _names_of_folders(warehouse.runs):
        stamp = _stamp(f"{warehouse.runs}/{run_id}/manifest.json")  # a Path for each of them would cost more
        if stamp is not None and run_id in known and known[run_id][0] == stamp:
            entries[run_id] = known[run_id]
            continue
        files = warehouse.files(run_id)
        if stamp is None and not files.log.exists():
            continue  # no run of ours, or one that was killed before it began
        try:
            manifest = parse_manifest(files.manifest)
            if manifest.run_id != run_id:
                raise ValueError(f"it is the manifest of run {manifest.run_id!r:.40}")
            entries[run_id] = stamp or (0, 0), RunSummary.of(manifest)
        except LOST as error:
            damaged[run_id] = in_words(error)
            name_damaged(files.manifest, f"{damaged[run_id]}; run {run_id} is left out")
    return entries, damaged


def _names_of_folders(path: Path) -> list[str]:
    """Those in the folder; none where it is not there yet. Raises InputError where it is no folder."""
    try:
        with os.scandir(path) as found:
            return sorted(one.name for one in found if one.is_dir())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise InputError(f"{path} must be a folder that this program made: move away what is there") from None


def _stamp(path: str | Path) -> Stamp | None:
    """None where there is nothing, or a link that leads nowhere is not even that."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0) if os.path.lexists(path) else None
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> Entries:
    stamp = _stamp(path)
    if stamp is None:
        return {}
    if _known.get(path, (None,))[0] != stamp:
        _known[path] = stamp, _parse(path)
    return _known[path][1]


def _parse(path: Path) -> Entries:
    """The entries; none of a damaged index, nor one that an earlier version wrote with other fields."""
    try:
        digest, _, content = path.read_text(encoding="utf-8").partition("\n")
        fields, *found = json.loads(content) if digest == _digest(content) else [[]]
        if fields != FIELDS:
            return {}
        runs = (((size, changed), RunSummary(*values)) for size, changed, *values in found)
        return {run.run_id: (stamp, run) for stamp, run in runs}
    except LOST:
        return {}


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
