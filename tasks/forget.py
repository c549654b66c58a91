"""People who leave: out of the events, out of every run's files and published tables, and kept out."""

import shutil
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Config
from tasks.errors import InputError
from tasks.files import identity, put_in_place
from tasks.id_types import id_types_of_events
from tasks.ledger import has_events, make_ledger
from tasks.lock import locked
from tasks.progress import working
from tasks.quoting import identifier, literal, visible
from tasks.records import read_manifest
from tasks.redact import redact_runs, without
from tasks.trouble import explained
from tasks.warehouse import connect, first_row, flipping, intact, sql, write_json

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OF_ALL_USERS = ("interactions.npz", "seen.npz")  # a row each user, in the order of users.parquet
OF_SOME_USERS = ("train.npz", "validation_fold_in.npz", "validation_targets.npz", "test_fold_in.npz",
                 "test_targets.npz", "per_user.npz")  # fmt: skip


@dataclass(frozen=True)
class Forgotten:
    """How many people were asked for, how many of them had events, and what was removed of the warehouse's ledger.

    damaged  files of which nothing could be taken out
    """

    n_people: int
    n_known: int
    n_events: int
    n_rejected: int
    damaged: tuple[str, ...] = ()


def forget(config: Config, user_ids: list[str]) -> Forgotten:
    """Removes people from events, quarantined rows, and the runs' files and tables, and keeps later deliveries out.

    What is kept of them is a salted digest of the id. Readers of published tables should get new ones afterwards.
    Raises RunUnderWay while a run has the warehouse, InputError in a warehouse without events.
    """
    warehouse = Path(config.warehouse).absolute()
    nobody = InputError(f"{config.warehouse} holds no events, and so nobody to forget")
    if not (warehouse / "events.duckdb").exists():
        raise nobody
    with explained(config, warehouse), locked(warehouse / "lock", config.lock_wait_seconds):
        with connect(warehouse / "events.duckdb", config) as connection:
            make_ledger(connection)
            if not has_events(connection):
                raise nobody
            ids = _as_stored(connection, config, user_ids)
        with working("texts of earlier runs"):
            redact_runs(warehouse, _as_shown(ids))
        with connect(warehouse / "events.duckdb", config) as connection, working("events"):
            make_ledger(connection)
            forgotten = _leave_ledger(connection, config, ids)
        return replace(forgotten, damaged=tuple(finish_forgetting(config, ids)))


def finish_forgetting(config: Config, ids: list[str] | None = None) -> list[str]:
    """Takes whoever was forgotten out of all that is kept beside the events, unless that is done.

    It goes by the digests, so that a night can finish what was killed. The caller has the warehouse's lock. `ids` are
    those whose traces in texts, such as an expectation's examples, are removed from the published tables, too.
    Returns the files that are damaged, of which nothing could be taken out.
    """
    warehouse = Path(config.warehouse).absolute()
    events = warehouse / "events.duckdb"
    if not events.exists() or not _is_pending(config, events):
        return []
    shutil.rmtree(warehouse / "tmp", ignore_errors=True)  # what killed queries had put aside
    damaged = []
    with working("the pages of deleted events") as show:
        _rewrite_database(config, events)
        folders = sorted(warehouse.glob("runs/*/"))
        for folder in folders:
            show(f"run {folder.name}")
            damaged += _leave_run(config, folder, _as_shown(ids or []))
    with connect(events, config) as connection:
        connection.execute("update forgotten set is_done = true")
    return damaged


def _is_pending(config: Config, events: Path) -> bool:
    with intact(events), connect(events, config) as connection:
        connection.execute(sql("forget/forgotten"))
        connection.execute("checkpoint")
        return first_row(connection, "select exists (from forgotten where not is_done)")[0]


def _as_stored(connection: "DuckDBPyConnection", config: Config, user_ids: list[str]) -> list[str]:
    """The ids as the events write them: 042 is 42 where ids are integers."""
    is_text, rules = id_types_of_events(connection)["user_id"] == "VARCHAR", config.source.ids
    ids = []
    for user_id in user_ids:
        if not is_text:
            with suppress(ValueError):
                user_id = str(int(user_id))
        else:
            user_id = user_id.strip() if rules.trim else user_id
            user_id = user_id.lower() if rules.lowercase else user_id
        ids.append(user_id)
    return list(dict.fromkeys(ids))


def _as_shown(ids: list[str]) -> list[str]:
    """The ids, and how logs and messages write those of them that a terminal would obey or not show."""
    return list(dict.fromkeys([*ids, *map(visible, ids)]))


def _leave_ledger(connection: "DuckDBPyConnection", config: Config, ids: list[str]) -> Forgotten:
    """Takes the people out of event_rows, events and rejected_events, and remembers to keep them out, all at once."""
    column = config.source.columns.user_id.replace("~", "~0").replace("/", "~1")
    connection.execute("begin")
    connection.execute(sql("forget/leaving"), {"ids": ids})
    connection.execute(sql("forget/rejected"), {"user": f"/{column}"})
    counts = first_row(connection, sql("forget/count"))
    connection.execute(sql("forget/events"))
    connection.execute(sql("events"))
    connection.execute(sql("forget/remember"))
    connection.execute("commit")
    return Forgotten(len(ids), *counts)


def _leave_run(config: Config, folder: Path, ids: list[str]) -> list[str]:
    """Takes the forgotten out of a run's files and its published tables, and records the new ones as its own.

    Returns the files that are damaged.
    """
    warehouse = folder.parents[1]
    tables = warehouse / "published" / f"{folder.name}.duckdb"
    files = [*sorted(folder.glob("*.parquet")), *sorted(tables.with_suffix("").glob("*.parquet"))]
    with flipping(warehouse):
        found, damaged = _with_them(config, [*files, *([tables] if tables.exists() else [])], ids)
        changed = list(found)
        if (users := folder / "users.parquet") in found:
            more, unreadable = _leave_matrices(config, users)
            changed, damaged = changed + more, damaged + unreadable
        for path in found:
            if path.suffix == ".parquet":
                _leave_parquet(config, path)
            else:
                _leave_tables(config, path, ids)
        if changed:
            _record(folder, changed)
    return damaged


def _with_them(config: Config, files: list[Path], ids: list[str]) -> tuple[list[Path], list[str]]:
    """Those of the files that have rows of forgotten people, or texts with the ids, and those that are damaged."""
    import duckdb

    found, damaged = [], []
    for path in files:
        has_them = _parquet_has_them if path.suffix == ".parquet" else _tables_have_them
        try:
            with _with_forgotten(config) as connection:
                found += [path] if has_them(connection, path, ids) else []
        except (duckdb.Error, OSError) as error:
            damaged.append(f"{path} ({str(error).splitlines()[0]})")
    return found, damaged


def _with_forgotten(config: Config) -> "DuckDBPyConnection":
    """A connection that knows is_forgotten(id)."""
    connection = connect(":memory:", config)
    events = Path(config.warehouse).absolute() / "events.duckdb"
    connection.execute(f"attach {literal(str(events))} as warehouse (read_only)")
    connection.execute("create temp view forgotten as from warehouse.forgotten")
    connection.execute(sql("forget/macros"))
    return connection


def _rows(path: Path) -> str:
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)"


def _columns(connection: "DuckDBPyConnection", path: Path) -> list[str]:
    return [name for name, *_ in connection.execute(f"describe from {_rows(path)}").fetchall()]


def _parquet_has_them(connection: "DuckDBPyConnection", path: Path, ids: list[str]) -> bool:
    query = f"select exists (from {_rows(path)} where is_forgotten(user_id))"
    return "user_id" in _columns(connection, path) and first_row(connection, query)[0]


def _tables_have_them(connection: "DuckDBPyConnection", path: Path, ids: list[str]) -> bool:
    connection.execute(f"attach {literal(str(path))} as published (read_only)")
    query = "select exists (from published.{} where is_forgotten(user_id))"
    has_rows = any(first_row(connection, query.format(table))[0] for table in _tables_of_users(connection))
    return has_rows or bool(_redacted_results(connection, ids))


def _leave_matrices(config: Config, users: Path) -> tuple[list[Path], list[str]]:
    """Takes the forgotten out of the matrices of all users; the run's other matrices go.

    A resumed run makes anew what it misses. Returns those that are written anew, and those that are damaged.
    """
    import numpy as np
    import polars as pl
    from scipy import sparse

    stays = np.ones(pl.read_parquet(users, hive_partitioning=False).height, dtype=bool)
    with _with_forgotten(config) as connection:
        gone = connection.execute(f"select user_idx from {_rows(users)} where is_forgotten(user_id)").fetchnumpy()
    stays[gone["user_idx"]] = False
    changed, damaged = [], []
    for path in (path for name in OF_ALL_USERS if (path := users.with_name(name)).exists()):
        try:
            X = sparse.load_npz(path)[np.flatnonzero(stays)]
        except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
            damaged.append(f"{path} ({error})")
            continue
        unfinished = path.with_name(f"unfinished_{path.name}")
        sparse.save_npz(unfinished, X, compressed=False)
        put_in_place(unfinished, path)
        changed.append(path)
    for name in OF_SOME_USERS:
        users.with_name(name).unlink(missing_ok=True)
    return changed, damaged


def _leave_parquet(config: Config, path: Path) -> None:
    """Writes the file anew without the forgotten; user_idx counts on without a gap."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with _with_forgotten(config) as connection:
        is_numbered = "user_idx" in _columns(connection, path)
        number = "replace (cast(row_number() over () - 1 as uinteger) as user_idx)" if is_numbered else ""
        query = f"select * {number} from {_rows(path)} where not is_forgotten(user_id)"
        connection.execute(f"copy ({query}) to {literal(str(unfinished))} (format parquet)")
    put_in_place(unfinished, path)


def _leave_tables(config: Config, path: Path, ids: list[str]) -> None:
    """Takes the forgotten out of a published file: a new file in the old one's place.

    Whoever has the old one open keeps it until then.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    shutil.copyfile(path, unfinished)
    with _with_forgotten(config) as connection:
        connection.execute(f"attach {literal(str(unfinished))} as published")
        for table in _tables_of_users(connection):
            connection.execute(f"delete from published.{table} where is_forgotten(user_id)")
        for old, new in _redacted_results(connection, ids).items():
            query = "update published.validation_results set observed = $new where observed = $old"
            connection.execute(query, {"old": old, "new": new})
        connection.execute("detach published")
    _rewrite_database(config, unfinished)
    put_in_place(unfinished, path)


def _tables_of_users(connection: "DuckDBPyConnection") -> list[str]:
    return [identifier(name) for (name,) in connection.execute(sql("forget/tables_of_users")).fetchall()]


def _redacted_results(connection: "DuckDBPyConnection", ids: list[str]) -> dict[str, str]:
    """What expectations observed that names one of the ids, and what is to stand there instead."""
    rows = connection.execute("select distinct observed from published.validation_results").fetchall()
    return {old: new for (old,) in rows if old is not None and (new := without(old, ids)) != old}


def _record(folder: Path, changed: list[Path]) -> None:
    """Sizes and digests of files that are not any more what the run had published."""
    with suppress(InputError):  # of a damaged manifest, which records nothing
        manifest, warehouse = read_manifest(folder), folder.parents[1]
        files = manifest.get("published", {})
        names = {str(path.relative_to(warehouse)): path for path in changed}
        new = {name: identity(path) for name, path in names.items() if name in files}
        write_json(folder / "manifest.json", manifest | {"published": files | new})


def _rewrite_database(config: Config, path: Path) -> None:
    """Writes a DuckDB file anew, because a deleted row stays on its pages until they are used again."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with connect(":memory:", config) as connection:
        connection.execute(f"attach {literal(str(path))} as old (read_only)")
        connection.execute(f"attach {literal(str(unfinished))} as new (storage_version 'v1.5.0')")
        connection.execute("copy from database old to new")
    put_in_place(unfinished, path)
