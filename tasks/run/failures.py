"""What ended a run, in words for a person who can put it right: time, memory, the disk, files that are damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import InputError, WarehouseBusy
from tasks.run.durable import identity
from tasks.run.integrity import TABLES_CURE
from tasks.run.manifest import read_manifest
from tasks.run.quoting import identifier
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    from duckdb import Error

FULL_DISK = ("No space left", "quota exceeded")
NO_ENTRY = ("Read-only file system", "Permission denied", "Input/output error")
READERS = ("duckdb", "polars", "pyarrow")
NO_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "can't start new thread", "failed to map segment")
CURES = {  # of a DuckDB file of the warehouse that cannot be used
    "events.duckdb": (
        "Restore it from a backup; or move it, and events.duckdb.wal if that is there, out of the warehouse: the "
        "next night reads all files again that source.events names. Events of files that are gone, and what drift "
        "has learnt, are lost then"
    ),
}


def cure(path: Path) -> str:
    """What to do about a DuckDB file of the warehouse that cannot be used."""
    return CURES.get(path.name, TABLES_CURE)


def refusal(path: Path | str, error: "Error", what: str, advice: str) -> "InputError | Error":
    """What to raise where DuckDB cannot use a file, with `what` is wrong then and the advice.

    Another program that has it open, or rights that are missing, are no fault of the file. An error about disk or
    memory that is full comes back as it is.
    """
    import duckdb

    said = str(error).splitlines()[0]
    is_here = isinstance(error, duckdb.ConnectionException)
    if is_here or "could not set lock" in said.lower():
        who = "this program" if is_here else "another program"
        return WarehouseBusy(f"{path}: {who} has it open; close that and run again ({said})")
    if isinstance(error, duckdb.OutOfMemoryException) or any(sign in said for sign in FULL_DISK):
        return error
    if any(sign in said for sign in NO_ENTRY):
        return InputError(f"{path} cannot be read: {said}. Correct that and run again")
    return InputError(f"{path} {what}: {said}. {advice}")


@contextmanager
def explained(config: Config, warehouse: Warehouse, folder: Path | None = None) -> Iterator[None]:
    """Raises InputError where time is up, memory or disk full, or the warehouse read-only, whichever library met it.

    With a run's folder, also where a file that the run needs has been damaged or removed meanwhile.
    """
    before = warehouse.current_run_id
    try:
        yield
    except InputError:
        if folder is not None and (said := _lost_record(folder)):
            raise InputError(f"{said} while the run was under way; run it again") from None
        raise
    except Exception as error:
        if _is_out_of_time(error):
            raise InputError(
                f"training took longer than training_timeout_seconds={config.training_timeout_seconds}; allow more, "
                "or train less: n_epochs, factors"
            ) from None
        if said := out_of_memory(error):
            raise InputError(said) from error
        now = warehouse.current_run_id
        got = "keep the tables they had" if now == before else f"get the tables of run {now} already"
        if said := _unwritable(error, warehouse):
            raise InputError(f"the warehouse cannot be written to: {said}; readers {got}") from error
        if said := _damage(error, config, warehouse, folder):
            raise InputError(f"{said}; readers {got}") from error
        raise


def _is_out_of_time(error: Exception) -> bool:
    """Whether Prefect stopped a task; the system's time-outs are another matter."""
    if not isinstance(error, TimeoutError):
        return False
    from prefect.task_engine import TaskRunTimeoutError

    return isinstance(error, TaskRunTimeoutError)


def out_of_memory(error: BaseException) -> str | None:
    """What to do where this process, or DuckDB, got no more memory; None for any other error."""
    said = next((line for line in str(error).splitlines() if any(sign in line.lower() for sign in NO_MEMORY)), "")
    if not said and not isinstance(error, MemoryError):
        return None
    is_duckdb = "duckdb" in type(error).__module__
    return (
        f"there is not memory enough: {said or type(error).__name__}. Allow more with "
        f"{'memory_limit' if is_duckdb else 'ulimit -v, or a larger machine'}; or need less: factors, "
        "batch_size, evaluation.max_users, ease_up_to, residual_neighbors"
    )


def out_of_reach(error: Exception) -> str | None:
    """What the system does not let this user read or write, or has no room for; None for any other error."""
    if not (isinstance(error, OSError) or _comes_from(error, *READERS)):
        return None
    lines = (line for line in str(error).splitlines() if any(sign in line for sign in FULL_DISK + NO_ENTRY))
    return next((f"{line}; correct that and run again" for line in lines), None)


def _unwritable(error: Exception, warehouse: Warehouse) -> str | None:
    signs = FULL_DISK + (NO_ENTRY if str(warehouse.path) in str(error) else ())
    return next((line for line in str(error).splitlines() if any(sign in line for sign in signs)), None)


def _damage(error: Exception, config: Config, warehouse: Warehouse, folder: Path | None) -> str | None:
    """Which file of the warehouse is not what the run has written, and what to do; None if all are."""
    events = warehouse.events
    if folder is not None:
        if said := _damage_of_run(folder):
            return f"{said} while the run was under way; run it again"
        is_about_events = _comes_from(error, "duckdb") or str(events) in str(error)
        was_there = events.exists() or "ingest" in read_manifest(folder).stages
        if is_about_events and was_there and (said := _damage_of_events(config, events)):
            return said
    named = next((line for line in str(error).splitlines() if f"{warehouse.path}/" in line), None)
    if named is None or not (isinstance(error, OSError) or _comes_from(error, *READERS)):
        return None
    return f"the warehouse is damaged: {named}. Put back what was there, or move away what is in its place; run again"


def _comes_from(error: Exception, *libraries: str) -> bool:
    return type(error).__module__.partition(".")[0].removeprefix("_") in libraries


def _damage_of_run(folder: Path) -> str | None:
    if said := _lost_record(folder):
        return said
    for name, digest in [one for files in read_manifest(folder).files.values() for one in files.items()]:
        if not (folder / name).is_file() or identity(folder / name)["sha256"] != digest:
            return f"{folder / name} was changed or removed"
    return None


def _lost_record(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"the run's own folder {folder} was removed"
    try:
        read_manifest(folder)
    except InputError:
        return f"{folder / 'manifest.json'} was damaged or removed"
    return None


def _damage_of_events(config: Config, path: Path) -> str | None:
    """What DuckDB says when it reads all that is in the file; None where it may not, or has not the memory."""
    import duckdb

    from tasks.run.database import connect, intact  # which needs this module

    if not path.exists():
        return f"{path} was removed. {cure(path)}"
    try:
        with intact(path), connect(path, config, read_only=True) as connection:
            for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall():
                connection.execute(f"select max(hash(t)) from {identifier(name)} as t").fetchall()
    except (WarehouseBusy, duckdb.Error):
        return None
    except InputError as error:
        return str(error)
    return None
