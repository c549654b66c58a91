"""Forgotten people taken out of a run's files and published tables, which are rewritten and then replaced."""

import shutil
import zipfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.ledger import know_forgotten
from tasks.data.removal.redact import without
from tasks.errors import InputError, WarehouseBusy
from tasks.run.artifacts import Artifact, RunFiles
from tasks.run.database import attach, connect, first_row, sql
from tasks.run.durable import identity, put_in_place, sync
from tasks.run.manifest import Identity, Manifest, read_manifest, write_manifest
from tasks.run.quoting import identifier, literal
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ASIDE = "forgotten"  # how the names of new files end until they are put in place


def leave_run(config: Config, run_id: str, ids: list[str]) -> list[str]:
    """Takes the forgotten out of a run's files and its published tables. Returns the files that are damaged.

    All that is new is written first, beside the old, and put into its place at the end: a kill tears nothing apart.
    """
    warehouse = Warehouse.of(config)
    files, tables = warehouse.files(run_id), warehouse.tables(run_id)
    parquet = [*sorted(files.folder.glob("*.parquet")), *sorted(warehouse.large_tables(run_id).glob("*.parquet"))]
    with warehouse.switching():
        _finish_replacing(warehouse, files)
        found, damaged = _with_them(config, [*parquet, *([tables] if tables.exists() else [])], ids)
        changed = list(found)
        if files.users.path in found:
            more, unreadable = _leave_matrices(config, files)
            changed, damaged = changed + more, damaged + unreadable
        for path in found:
            if path.suffix == ".parquet":
                _leave_parquet(config, path)
            else:
                _leave_tables(config, path, ids)
        if changed:
            _begin_replacing(warehouse, files, changed)
            _finish_replacing(warehouse, files)
    return damaged


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{ASIDE}")


def _begin_replacing(warehouse: Warehouse, files: RunFiles, changed: list[Path]) -> None:
    """Writes down in the run's manifest that all new files are there, with their sizes and digests."""
    for path in changed:
        sync(_aside(path))
    new = {str(path.relative_to(warehouse.path)): Identity.model_validate(identity(_aside(path))) for path in changed}
    try:
        write_manifest(files.folder, read_manifest(files.folder).model_copy(update={"replacing": new}))
    except InputError:  # a damaged manifest: nothing can go on with such a run, nor compare its files
        for path in changed:
            put_in_place(_aside(path), path)


def _finish_replacing(warehouse: Warehouse, files: RunFiles) -> None:
    """Puts new files into their places, if all were there; if not, they go."""
    with suppress(InputError):
        manifest = read_manifest(files.folder)
        if manifest.replacing:
            _put_all_in_place(warehouse, files, manifest)
    name = files.folder.name
    left = [*files.folder.glob(f"*.{ASIDE}"), *warehouse.published.glob(f"{name}*.{ASIDE}"),
            *warehouse.large_tables(name).glob(f"*.{ASIDE}")]  # fmt: skip
    for path in left:
        path.unlink()


def _put_all_in_place(warehouse: Warehouse, files: RunFiles, manifest: Manifest) -> None:
    new = manifest.replacing
    for path in (warehouse.path / name for name in new):
        if _aside(path).exists() and path.exists():
            put_in_place(_aside(path), path)
    if str(files.users.path.relative_to(warehouse.path)) in new:
        for file in _of_some_users(files):
            file.path.unlink(missing_ok=True)
    renewed = manifest.published | {name: new[name] for name in manifest.published if name in new}
    write_manifest(files.folder, manifest.model_copy(update={"published": renewed, "replacing": {}}))


def _of_some_users(files: RunFiles) -> list[Artifact]:
    """Those of held-out users, which a resumed run makes again."""
    splits = [part(split) for split in ("validation", "test") for part in (files.fold_in, files.targets)]
    return [files.train, *splits, files.per_user]


def _with_them(config: Config, files: list[Path], ids: list[str]) -> tuple[list[Path], list[str]]:
    """Those of the files that have rows of forgotten people, or texts with the ids, and those that are damaged."""
    import duckdb

    found, damaged, connection = [], [], None
    with ExitStack() as opened:
        for path in files:
            has_them = _parquet_has_them if path.suffix == ".parquet" else _tables_have_them
            try:
                if connection is None or path.suffix != ".parquet":
                    connection = opened.enter_context(_with_forgotten(config))
                found += [path] if has_them(connection, path, ids) else []
            except (duckdb.Error, OSError) as error:
                connection = None  # it may be of no use any more
                said = str(error).splitlines()[0]
                if "could not set lock" in said.lower():
                    busy = f"{path}: another program has it open; close that, run again ({said})"
                    raise WarehouseBusy(busy) from None
                if isinstance(error, duckdb.OutOfMemoryException) or "permission denied" in said.lower():
                    raise
                damaged.append(f"{path} ({said})")
    return found, damaged


def _with_forgotten(config: Config) -> "DuckDBPyConnection":
    """A connection that knows is_forgotten(id)."""
    connection = connect(":memory:", config)
    attach(connection, Warehouse.of(config).events, "warehouse")
    know_forgotten(connection, config.source.ids, "warehouse.forgotten_people")
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


def _leave_matrices(config: Config, files: RunFiles) -> tuple[list[Path], list[str]]:
    """Takes the forgotten out of the matrices of all users; a resumed run makes the others again.

    Returns those that are rewritten, and those that are damaged.
    """
    import numpy as np
    from scipy import sparse

    stays = np.ones(files.users.read().height, dtype=bool)
    with _with_forgotten(config) as connection:
        rows = _rows(files.users.path)
        gone = connection.execute(f"select user_idx from {rows} where is_forgotten(user_id)").fetchnumpy()
    stays[gone["user_idx"]] = False
    changed, damaged = [], []
    for file in (file for file in (files.weights, files.seen) if file.path.exists()):
        path = file.path
        try:
            X = file.read()
        except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
            damaged.append(f"{path} ({error})")
            continue
        if X.shape[0] != len(stays):
            damaged.append(f"{path} ({X.shape[0]:,} rows, but there are {len(stays):,} users)")
            continue
        with _aside(path).open("wb") as stream:
            sparse.save_npz(stream, X[np.flatnonzero(stays)], compressed=False)
        changed.append(path)
    return changed, damaged


def _leave_parquet(config: Config, path: Path) -> None:
    """Rewrites the file without the forgotten, beside it; user_idx counts on without a gap."""
    with _with_forgotten(config) as connection:
        is_numbered = "user_idx" in _columns(connection, path)
        number = "replace (cast(row_number() over () - 1 as uinteger) as user_idx)" if is_numbered else ""
        query = f"select * {number} from {_rows(path)} where not is_forgotten(user_id)"
        connection.execute(f"copy ({query}) to {literal(str(_aside(path)))} (format parquet)")


def _leave_tables(config: Config, path: Path, ids: list[str]) -> None:
    """Rewrites a published file without the forgotten, beside it. Whoever has the old one open keeps it."""
    shutil.copyfile(path, _aside(path))
    with _with_forgotten(config) as connection:
        connection.execute(f"attach {literal(str(_aside(path)))} as published")
        for table in _tables_of_users(connection):
            connection.execute(f"delete from published.{table} where is_forgotten(user_id)")
        for (rule, old), new in _redacted_results(connection, ids).items():
            query = "update published.validation_results set observed = $new where observed = $old and rule = $rule"
            connection.execute(query, {"rule": rule, "old": old, "new": new})
        connection.execute("detach published")
    rewrite_database(config, _aside(path))


def _tables_of_users(connection: "DuckDBPyConnection") -> list[str]:
    return [identifier(name) for (name,) in connection.execute(sql("forget/tables_of_users")).fetchall()]


def _redacted_results(connection: "DuckDBPyConnection", ids: list[str]) -> dict[tuple[str, str], str]:
    """By rule and what it observed, where that names one of the ids, what is to stand there instead."""
    query = "select distinct rule, observed from published.validation_results where observed is not null"
    rows = connection.execute(query).fetchall()
    return {(rule, old): new for rule, old in rows if (new := without(old, ids, about=rule)) != old}


def rewrite_database(config: Config, path: Path) -> None:
    """Rewrites a DuckDB file, because a deleted row stays on its pages until they are used again."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    for left in (unfinished, unfinished.with_name(f"{unfinished.name}.wal")):
        left.unlink(missing_ok=True)
    with connect(":memory:", config) as connection:
        attach(connection, path, "old")
        connection.execute(f"attach {literal(str(unfinished))} as new (storage_version 'v1.5.0')")
        connection.execute("copy from database old to new")
    put_in_place(unfinished, path)
