"""Where a run's files live, who may write, and how SQL is run."""

import glob
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError
from tasks.run.durable import identity, remove, write_whole
from tasks.run.failures import cure, explained, refusal
from tasks.run.handles import rows_of
from tasks.run.lock import holder, locked
from tasks.run.logs import PeakMemory, log_to, name_flow_run
from tasks.run.quoting import fill, literal, visible
from tasks.run.records import current_run_id, manifests, publications, read_manifest
from tasks.settings.config import Config
from tasks.settings.section import size_text

if TYPE_CHECKING:
    import duckdb

SECONDS_FOR_A_FLIP = 60.0  # whoever flips or prunes holds the lock for moments
RESERVED_BYTES = 65_536  # more than a manifest and a line of its log take
RUN_ID = "%Y%m%dT%H%M%S_%f"
ODD_IN_PATHS = "'\"$?#%;*[\\"  # DuckDB or SQLAlchemy would read more into them
_settings = threading.Lock()  # threads that open one file share its settings
_peaks: dict[str, PeakMemory] = {}  # of the runs that are open in this process


@dataclass(frozen=True)
class Run:
    """One night: its configuration and its folder warehouse/runs/<run_id>/."""

    config: Config
    run_id: str

    @property
    def warehouse(self) -> Path:
        return Path(self.config.warehouse).absolute()

    @property
    def folder(self) -> Path:
        return self.warehouse / "runs" / self.run_id

    @property
    def events(self) -> Path:
        return self.warehouse / "events.duckdb"

    def record(self, stage: str, handle: Any) -> None:
        """Adds a finished stage's handle to the run's manifest, and what it took since the one before."""
        manifest, now = read_manifest(self.folder), time.time()
        manifest["stages"][stage] = asdict(handle)
        manifest["measured"][stage] = {
            "finished_at": _now(),
            "seconds": round(now - manifest["last_at"], 3),
            "rows": rows_of(handle),
            "peak_bytes": _peaks[self.run_id].take() if self.run_id in _peaks else None,
        }
        manifest["last_at"] = now
        write_json(self.folder / "manifest.json", manifest)


@contextmanager
def open_run(
    config: Config, resume: str | None = None, kind: str = "nightly", why: str | None = None
) -> Iterator[Run]:
    """Locks the warehouse, makes the run's folder or takes up an earlier run's, and writes down if the run fails.

    `why` there is such a run goes into the manifest, and into the record of publications.
    Raises RunUnderWay if another one has the lock, InputError if the disk is full or may not be written to.
    """
    warehouse = _folder(config)
    with explained(config, warehouse), locked(warehouse / "lock", config.lock_wait_seconds) as claim:
        _tidy(warehouse)
        run = Run(config, _new_run_folder(warehouse) if resume is None else resume)
        claim(run.run_id)
        manifest = {"run_id": run.run_id, "stages": {}, "measured": {}, "inputs": {}, "files": {}}
        if resume is not None:
            manifest = _resumable(warehouse, resume)
        manifest |= {
            "kind": kind,
            "why": why,
            "started_at": _now(),
            "status": "running",
            "reasons": [],
            "replaces": current_run_id(warehouse),
            "flow_run_id": name_flow_run(run.run_id),
            "last_at": time.time(),
            "is_resumed": resume is not None,
            "config": config.model_dump(),
        }
        manifest.pop("finished_at", None)
        write_json(run.folder / "manifest.json", manifest)
        with (
            _recorded_failure(run),
            log_to(run.folder / "log.jsonl", run.run_id),
            explained(config, warehouse, run.folder),
            _peak_memory(run),
        ):
            yield run


@contextmanager
def _recorded_failure(run: Run) -> Iterator[None]:
    """Writes down why the run failed, also on a full disk: in room that was kept for that, if there was some."""
    reserve = run.folder / "reserve"
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


def _folder(config: Config) -> Path:
    warehouse = Path(config.warehouse).absolute()
    if odd := {sign for sign in str(warehouse) if sign in ODD_IN_PATHS or visible(sign) != sign}:
        signs = " ".join(map(visible, sorted(odd)))
        raise InputError(f"warehouse {visible(warehouse)}: its path has {signs} in it; choose one without")
    if config.warehouse.startswith("~"):
        raise InputError(f"warehouse {visible(config.warehouse)}: ~ stands for no folder here; write the whole path")
    try:
        warehouse.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"warehouse {config.warehouse} cannot be made: {error.strerror}; set another path") from None
    return warehouse


def flipping(warehouse: Path) -> AbstractContextManager[None]:
    """A lock of its own, held for moments: a person can roll back while a night is under way."""
    return locked(warehouse / "publication.lock", SECONDS_FOR_A_FLIP)


def _resumable(warehouse: Path, run_id: str) -> dict:
    """The manifest of a run that can go on, whose tables, if it made any that readers never got, are removed.

    Raises InputError if there is none, or it is or was published.
    """
    folder = warehouse / "runs" / run_id
    if folder.name != run_id or not os.path.lexists(folder / "manifest.json"):  # or it leads elsewhere
        raise InputError(f"there is no run {run_id} to resume; elsa runs lists them")
    with flipping(warehouse):
        if run_id in {entry["run_id"] for entry in publications(warehouse)}:
            raise InputError(f"run {run_id} is published already; to publish it again: elsa publish {run_id}")
        (warehouse / "published" / f"{run_id}.duckdb").unlink(missing_ok=True)
        shutil.rmtree(warehouse / "published" / run_id, ignore_errors=True)
    for path in folder.rglob("*"):
        if path.is_symlink():  # the run made none, and would write where it leads
            path.unlink()
    return {"measured": {}, "inputs": {}, "files": {}} | read_manifest(folder)


def end_run(run: Run, status: str, reasons: tuple[str, ...] = ()) -> None:
    """Writes how the run ended: published, rejected or failed."""
    manifest = read_manifest(run.folder) | {"status": status, "reasons": reasons, "finished_at": _now()}
    write_json(run.folder / "manifest.json", manifest)


def end_lost_run(warehouse: Path, flow_run_id: str, status: str, reason: str) -> str | None:
    """Writes how the run of a flow run ended whose process could not, crashed or cancelled. Returns its id if any."""
    for manifest in manifests(warehouse)[0]:
        if manifest.get("flow_run_id") == flow_run_id and manifest["status"] in ("running", "failed"):
            ended = {"status": status, "reasons": [reason], "finished_at": _now()}
            write_json(warehouse / "runs" / manifest["run_id"] / "manifest.json", manifest | ended)
            return manifest["run_id"]
    return None


def list_runs(warehouse: Path) -> list[dict]:
    """The usable manifests of all runs, as `look_at_runs`."""
    return look_at_runs(warehouse)[0]


def look_at_runs(warehouse: Path) -> tuple[list[dict], dict[str, str]]:
    """The manifests as `manifests`, but a run with status 'running' that has not the lock is reported as 'died'."""
    held = holder(warehouse / "lock")
    published = {current_run_id(warehouse), *(entry["run_id"] for entry in publications(warehouse))}
    runs, damaged = manifests(warehouse)
    running = [manifest["run_id"] for manifest in runs if manifest["status"] == "running"]
    at_work = None if held is None else held.get("run_id", max(running, default=None))
    for manifest in runs:
        if manifest["run_id"] in published:
            manifest["status"] = "published"  # whatever happened after the flip
        elif manifest["status"] == "running" and manifest["run_id"] != at_work:
            manifest["status"] = "died"
    return runs, damaged


def connect(
    path: Path | str, config: Config, *, read_only: bool = False, reads: Sequence[str] = ()
) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection in UTC, within the configured memory, which has no access to other files than these:

    those in the warehouse and the files and folders `reads`, absolute paths. Raises as `openable` does.
    """
    import duckdb

    warehouse = Path(config.warehouse).absolute()
    named = [path for path in reads if os.path.isfile(path)]
    files = dict.fromkeys(name for path in named for name in (path, glob.escape(path), f"{path}.wal"))
    own = [str(warehouse / name) for name in (".", "runs", "published", "tmp")]  # links to other disks, maybe
    folders = [*own, *(path for path in reads if path not in files)]
    with _settings:
        with openable(path):
            connection = duckdb.connect(str(path), read_only=read_only)
        if not first_row(connection, "select current_setting('lock_configuration')")[0]:
            settings = fill(
                sql("connection"),
                memory_limit=literal(size_text(config.memory_limit)),
                temp_directory=literal(str(warehouse / "tmp")),
                folders=", ".join(map(literal, folders)),
                files=", ".join(map(literal, files)),
            )
            connection.execute(settings)
    connection.execute("set timezone = 'UTC'")
    return connection


def attach_events(connection: "duckdb.DuckDBPyConnection", run: Run) -> None:
    """Makes the events readable as `warehouse`. Raises as `openable` does."""
    with openable(run.events):
        connection.execute(f"attach '{run.events}' as warehouse (read_only)")


@contextmanager
def openable(path: Path | str, advice: str | None = None) -> Iterator[None]:
    """Raises WarehouseBusy if another program has the DuckDB file open, InputError if it cannot be opened at all.

    Without `advice` the file is one of the warehouse's own.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise refusal(path, error, "cannot be opened", advice or cure(Path(path))) from None


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Raises InputError where a DuckDB file, opened already, turns out to be damaged or to hold other tables."""
    import duckdb

    kinds = (duckdb.IOException, duckdb.CatalogException, duckdb.BinderException, duckdb.FatalException,
             duckdb.InternalException, duckdb.SerializationException)  # fmt: skip
    try:
        yield
    except duckdb.Error as error:
        if not isinstance(error, kinds) and type(error) is not duckdb.Error:  # what a damaged block is
            raise
        raise refusal(path, error, "is damaged", cure(path)) from None


def sql(name: str) -> str:
    """The text of sql/<name>.sql."""
    return resources.files("sql").joinpath(f"{name}.sql").read_text()


def first_row(connection: "duckdb.DuckDBPyConnection", query: str, parameters: dict | None = None) -> tuple:
    """The query's first row; fetches all, because DuckDB 2.0 keeps the connection busy until then."""
    return connection.execute(query, parameters).fetchall()[0]


def digest_of_file(path: Path) -> str:
    return str(identity(path)["sha256"])


def _tidy(warehouse: Path) -> None:
    """Removes what a killed run left unfinished; refuses a warehouse whose link is something else."""
    refuse_plain_file(warehouse)
    for unfinished in warehouse.glob("published/*.unfinished*"):
        remove(unfinished)
    for folder in warehouse.glob("published/*/"):
        if folder.suffix != ".duckdb" and not folder.with_suffix(".duckdb").exists():
            remove(folder)


def refuse_plain_file(warehouse: Path) -> None:
    """Raises InputError if current.duckdb is no symlink: somebody's file is not overwritten."""
    link = warehouse / "current.duckdb"
    if link.exists() and not link.is_symlink():
        raise InputError(
            f"{link} is a file, but must be a symlink that this program made; move it away and run again"
        )


def _new_run_folder(warehouse: Path) -> str:
    """Makes a folder named after the time, behind all others whatever the clock says, and returns its name."""
    earlier = [moment for path in warehouse.glob("runs/*/") if (moment := _moment(path.name)) is not None]
    now = max([datetime.now(UTC).replace(tzinfo=None), *(moment + timedelta(microseconds=1) for moment in earlier)])
    run_id = now.strftime(RUN_ID)
    (warehouse / "runs" / run_id).mkdir(parents=True)
    return run_id


def _moment(run_id: str) -> datetime | None:
    """When a run began by its name; None for what is no name of a run, or beyond the last one."""
    try:
        moment = datetime.strptime(run_id, RUN_ID)
    except ValueError:
        return None
    return moment if moment.year < datetime.max.year else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(path: Path, content: dict) -> None:
    """All or nothing, as `write_whole` writes."""
    write_whole(path, json.dumps(content, indent=1))
