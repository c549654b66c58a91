"""Where a run's files live, who may write, and how SQL is run."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks.config import Config
from tasks.errors import InputError, WarehouseBusy

if TYPE_CHECKING:
    import duckdb

ODD_IN_PATHS = "'\"$?#%;"  # DuckDB or SQLAlchemy would read more into them


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
        """Adds a finished stage's handle to the run's manifest."""
        manifest = read_manifest(self.folder)
        manifest["stages"][stage] = asdict(handle)
        _write_json(self.folder / "manifest.json", manifest)


@contextmanager
def open_run(config: Config) -> Iterator[Run]:
    """Locks the warehouse, makes the run's folder, and writes in its manifest if the run fails."""
    warehouse = Path(config.warehouse).absolute()
    if odd := set(str(warehouse)) & set(ODD_IN_PATHS):
        raise InputError(f"warehouse {warehouse}: its path has {' '.join(sorted(odd))} in it; choose one without")
    try:
        warehouse.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"warehouse {config.warehouse} cannot be made: {error.strerror}; set another path") from None
    with _locked(warehouse):
        _tidy(warehouse)
        run = Run(config, _new_run_folder(warehouse))
        manifest = {
            "run_id": run.run_id,
            "started_at": _now(),
            "status": "running",
            "reasons": [],
            "stages": {},
            "config": config.model_dump(),
        }
        _write_json(run.folder / "manifest.json", manifest)
        try:
            yield run
        except BaseException as error:
            end_run(run, "failed", (f"{type(error).__name__}: {error}",))
            raise


def end_run(run: Run, status: str, reasons: tuple[str, ...] = ()) -> None:
    """Writes how the run ended: published, rejected or failed."""
    manifest = read_manifest(run.folder) | {"status": status, "reasons": reasons, "finished_at": _now()}
    _write_json(run.folder / "manifest.json", manifest)


def read_manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def list_runs(warehouse: Path) -> list[dict]:
    """The manifests of all runs, oldest first; a run that says it is running while nobody holds the lock has died."""
    is_idle = not _is_locked(warehouse)
    current = current_run_id(warehouse)
    manifests = [read_manifest(path.parent) for path in sorted(warehouse.glob("runs/*/manifest.json"))]
    for manifest in manifests:
        if manifest["run_id"] == current:
            manifest["status"] = "published"  # whatever happened after the flip
        elif manifest["status"] == "running" and is_idle:
            manifest["status"] = "died"
    return manifests


def current_run_id(warehouse: Path) -> str | None:
    """The run whose tables readers get, or None before the first publication."""
    link = warehouse / "current.duckdb"
    return Path(os.readlink(link)).stem if link.is_symlink() else None


def connect(path: Path | str, config: Config, *, read_only: bool = False) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection in UTC, within the configured memory. Raises as `openable` does."""
    import duckdb

    with openable(path):
        connection = duckdb.connect(str(path), read_only=read_only)
    connection.execute("set timezone = 'UTC'")
    connection.execute(f"set memory_limit = '{config.memory_limit}'")
    connection.execute(f"set temp_directory = '{Path(config.warehouse).absolute() / 'tmp'}'")
    return connection


def attach_events(connection: "duckdb.DuckDBPyConnection", run: Run) -> None:
    """Makes the events readable as `warehouse`. Raises as `openable` does."""
    with openable(run.events):
        connection.execute(f"attach '{run.events}' as warehouse (read_only)")


@contextmanager
def openable(path: Path | str) -> Iterator[None]:
    """Raises WarehouseBusy if another program has the DuckDB file open, InputError if it cannot be opened at all."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        if "could not set lock" in said.lower():
            raise WarehouseBusy(f"{path}: another program has it open; close that and run again ({said})") from None
        raise InputError(f"{path} cannot be opened: {said}") from None


def sql(name: str) -> str:
    """The text of sql/<name>.sql."""
    return resources.files("sql").joinpath(f"{name}.sql").read_text()


def first_row(connection: "duckdb.DuckDBPyConnection", query: str, parameters: dict | None = None) -> tuple:
    """The query's first row; fetches all, because DuckDB 2.0 keeps the connection busy until then."""
    return connection.execute(query, parameters).fetchall()[0]


def digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(warehouse: Path) -> Iterator[None]:
    """Holds the warehouse's lock; the system releases it when the process ends, however it ends."""
    with (warehouse / "lock").open("a+") as lock:
        if not _try_lock(lock, fcntl.LOCK_EX):
            lock.seek(0)
            raise WarehouseBusy(
                f"warehouse {warehouse} is in use by another run ({lock.read().strip()}); "
                "wait for it to end, or stop it"
            )
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()} since {_now()}")
        lock.flush()
        yield


def _tidy(warehouse: Path) -> None:
    """Removes what a killed run left unfinished; refuses a warehouse whose link is something else."""
    link = warehouse / "current.duckdb"
    if link.exists() and not link.is_symlink():
        raise InputError(
            f"{link} is a file, but must be a symlink that this program made; move it away and run again"
        )
    for unfinished in warehouse.glob("published/*.unfinished*"):
        unfinished.unlink()
    for folder in warehouse.glob("published/*/"):
        if not folder.with_suffix(".duckdb").exists():
            shutil.rmtree(folder)


def _is_locked(warehouse: Path) -> bool:
    path = warehouse / "lock"
    if not path.exists():
        return False
    with path.open() as lock:
        return not _try_lock(lock, fcntl.LOCK_SH)


def _try_lock(lock: IO, kind: int) -> bool:
    """Takes the lock, trying for a second: whoever only looks holds it for a moment."""
    for _ in range(10):
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return True
    return False


def _new_run_folder(warehouse: Path) -> str:
    """Makes a folder named after the time, one microsecond apart from any other, and returns its name."""
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S_%f")
    (warehouse / "runs" / run_id).mkdir(parents=True)
    return run_id


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write_json(path: Path, content: dict) -> None:
    """All or nothing: a reader sees the old file or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)
