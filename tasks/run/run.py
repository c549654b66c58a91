"""A run: its folder, its record, and how it begins and ends."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.errors import InputError
from tasks.run.artifacts import RunFiles
from tasks.run.durable import remove
from tasks.run.failures import explained
from tasks.run.handles import rows_of
from tasks.run.index import all_runs, write_index
from tasks.run.lock import locked
from tasks.run.logs import log_to, name_flow_run
from tasks.run.manifest import Manifest, Measured, read_manifest, write_manifest
from tasks.run.memory import PeakMemory
from tasks.run.publications import publications
from tasks.run.quoting import visible
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

RESERVED_BYTES = 65_536  # more than a manifest and a line of its log take
RUN_ID = "%Y%m%dT%H%M%S_%f"
LONG_AGO = datetime.min.replace(tzinfo=UTC)
ODD_IN_PATHS = "'\"$?#%;*[\\"  # DuckDB or SQLAlchemy would read more into them
_peaks: dict[str, PeakMemory] = {}  # of the runs that are open in this process


@dataclass(frozen=True)
class Run:
    """One run: its configuration, its folder, and what was decided when it was opened.

    replaces  the run whose tables readers had then: its model is compared with, or taken over by a refresh
    at        the moment it speaks of, such as which items are available
    """

    config: Config
    run_id: str
    replaces: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse.of(self.config)

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.warehouse.run_folder(self.run_id))

    def record(self, stage: str, handle: Any) -> None:
        """Adds a finished stage's handle to the run's manifest, and what it took since the one before."""
        manifest, now = read_manifest(self.files.folder), time.time()
        manifest.stages[stage] = asdict(handle)
        manifest.measured[stage] = Measured(
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),  # which tells in which order
            seconds=round(now - manifest.last_at, 3),
            rows=rows_of(handle),
            peak_bytes=_peaks[self.run_id].take() if self.run_id in _peaks else None,
        )
        manifest.last_at = now
        write_manifest(self.files.folder, manifest)


@contextmanager
def open_run(
    config: Config, resume: str | None = None, kind: str = "nightly", why: str | None = None
) -> Iterator[Run]:
    """Locks the warehouse, makes the run's folder or takes up an earlier run's, and writes down if the run fails.

    `why` there is such a run goes into the manifest, and into the record of publications.
    Raises RunUnderWay if another one has the lock, InputError if the disk is full or may not be written to.
    """
    warehouse = _made(config)
    with explained(config, warehouse), locked(warehouse.lock, config.lock_wait_seconds) as claim:
        warehouse.tidy()
        run_id = _new_run_folder(warehouse) if resume is None else resume
        claim(run_id)
        earlier = None if resume is None else _resumable(warehouse, resume)
        run = Run(config, run_id, warehouse.current_run_id)
        write_manifest(run.files.folder, _begun(run, kind, why, earlier))
        with (
            _recorded_failure(run),
            log_to(run.files.log, run.run_id),
            explained(config, warehouse, run.files.folder),
            _peak_memory(run),
        ):
            write_index(warehouse)
            yield run


def _begun(run: Run, kind: str, why: str | None, earlier: Manifest | None) -> Manifest:
    """The manifest of a run that begins, with what an earlier attempt has done."""
    done = (
        {} if earlier is None else earlier.model_dump(include={"stages", "measured", "inputs", "files", "replacing"})
    )
    return Manifest(
        **{"stages": {}} | done,
        run_id=run.run_id,
        kind=kind,
        why=why,
        status="running",
        started_at=run.at.isoformat(timespec="milliseconds"),
        reasons=[],
        replaces=run.replaces,
        flow_run_id=name_flow_run(run.run_id),
        last_at=time.time(),
        is_resumed=earlier is not None,
        metric=run.config.compared_metric,
        policy_type=run.config.policy_configs.policy.policy_type,
        event_weights=run.config.event_weights,
        config=run.config.model_dump(mode="json"),
    )


@contextmanager
def _recorded_failure(run: Run) -> Iterator[None]:
    """Writes down why the run failed, also on a full disk: in room that was kept for that, if there was some."""
    reserve = run.files.reserve
    try:
        reserve.write_bytes(os.urandom(RESERVED_BYTES))
        yield
    except BaseException as error:
        with suppress(OSError, InputError):  # without its folder, or a manifest, nobody knows of the run
            reserve.unlink(missing_ok=True)
            end_run(run, "failed", (f"{type(error).__name__}: {error}",))
        raise
    reserve.unlink(missing_ok=True)


@contextmanager
def _peak_memory(run: Run) -> Iterator[None]:
    """Measures the memory of the run's stages for `record`."""
    with PeakMemory() as _peaks[run.run_id]:
        try:
            yield
        finally:
            del _peaks[run.run_id]


def _made(config: Config) -> Warehouse:
    """The warehouse, whose folder is made where there is none. Raises InputError for a path that cannot be used."""
    warehouse = Warehouse.of(config)
    if odd := {sign for sign in str(warehouse.path) if sign in ODD_IN_PATHS or visible(sign) != sign}:
        signs = " ".join(map(visible, sorted(odd)))
        raise InputError(f"warehouse {visible(warehouse.path)}: its path has {signs} in it; choose one without")
    if config.warehouse.startswith("~"):
        raise InputError(f"warehouse {visible(config.warehouse)}: ~ stands for no folder here; write the whole path")
    try:
        warehouse.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"warehouse {config.warehouse} cannot be made: {error.strerror}; set another path") from None
    return warehouse


def _resumable(warehouse: Warehouse, run_id: str) -> Manifest:
    """The manifest of a run that can go on, whose tables, if it made any that readers never got, are removed.

    Raises InputError if there is none, or it is or was published.
    """
    files = warehouse.files(run_id)
    if files.folder.name != run_id or not os.path.lexists(files.manifest):  # or it leads elsewhere
        raise InputError(f"there is no run {run_id} to resume; elsa runs lists them")
    with warehouse.switching():
        if run_id in {entry.run_id for entry in publications(warehouse)}:
            raise InputError(f"run {run_id} is published already; to publish it again: elsa publish {run_id}")
        warehouse.tables(run_id).unlink(missing_ok=True)
        shutil.rmtree(warehouse.large_tables(run_id), ignore_errors=True)
    for path in files.folder.rglob("*"):
        if path.is_symlink():  # the run made none, and would write where it leads
            remove(path)
    return read_manifest(files.folder)


def end_run(run: Run, status: str, reasons: tuple[str, ...] = ()) -> None:
    """Writes how the run ended: published, rejected, failed, ingested or validated."""
    _end(run.warehouse, run.run_id, status, reasons)


def end_lost_run(warehouse: Warehouse, flow_run_id: str, status: str, reason: str) -> str | None:
    """Writes how the run of a flow run ended whose process could not, crashed or cancelled. Returns its id if any."""
    for run in all_runs(warehouse)[0]:
        if run.flow_run_id == flow_run_id and run.status in ("running", "failed"):
            _end(warehouse, run.run_id, status, (reason,))
            return run.run_id
    return None


def _end(warehouse: Warehouse, run_id: str, status: str, reasons: tuple[str, ...]) -> None:
    folder = warehouse.run_folder(run_id)
    ended = {"status": status, "reasons": list(reasons), "finished_at": _now()}
    write_manifest(folder, read_manifest(folder).model_copy(update=ended))


def _new_run_folder(warehouse: Warehouse) -> str:
    """Makes a folder named after the time, behind all others whatever the clock says, and returns its name."""
    names = sorted((path.name for path in warehouse.runs.glob("*/")), reverse=True)
    latest = next((moment for name in names if (moment := moment_of(name)) is not None), LONG_AGO)
    run_id = max(datetime.now(UTC), latest + timedelta(microseconds=1)).strftime(RUN_ID)
    warehouse.run_folder(run_id).mkdir(parents=True)
    return run_id


def moment_of(run_id: str) -> datetime | None:
    """When a run began by its name; None for what is no name of a run, or beyond the last one."""
    try:
        moment = datetime.strptime(run_id, RUN_ID).replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment if moment.year < datetime.max.year else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
