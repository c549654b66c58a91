"""People who leave: out of the events, out of every run's files and published tables, and kept out."""

import html
import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Config
from tasks.errors import InputError
from tasks.history import sync
from tasks.id_types import id_types_of_events
from tasks.ledger import has_events, make_ledger
from tasks.lock import locked
from tasks.progress import working
from tasks.quoting import identifier, literal, visible
from tasks.warehouse import connect, explained, first_row, flipping, openable, sql, write_json

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

IN_PLACE_OF_IDS = "[forgotten]"
OF_ALL_USERS = ("interactions.npz", "seen.npz")  # a row each user, in the order of users.parquet
OF_SOME_USERS = ("train.npz", "validation_fold_in.npz", "validation_targets.npz", "test_fold_in.npz",
                 "test_targets.npz", "per_user.npz")  # fmt: skip


@dataclass(frozen=True)
class Forgotten:
    """How many people were asked for, how many of them had events, and what was removed of the warehouse's ledger."""

    n_people: int
    n_known: int
    n_events: int
    n_rejected: int


def forget(config: Config, user_ids: list[str]) -> Forgotten:
    """Removes people from events, quarantined rows, and the runs' files and tables, and keeps later deliveries out.

    What is kept of them is a salted digest of the id. Readers of published tables should get new ones afterwards.
    Raises RunUnderWay while a run has the warehouse, InputError in a warehouse without events.
    """
    warehouse = Path(config.warehouse).absolute()
    events = warehouse / "events.duckdb"
    if not events.exists():
        raise InputError(f"{config.warehouse} holds no events, and so nobody to forget")
    with explained(config, warehouse), locked(warehouse / "lock", config.lock_wait_seconds):
        with connect(events, config) as connection:
            make_ledger(connection)
            if not has_events(connection):
                raise InputError(f"{config.warehouse} holds no events, and so nobody to forget")
            ids = _as_stored(connection, config, user_ids)
        with working("texts of earlier runs"):
            _redact_runs(warehouse, _as_shown(ids))
        with connect(events, config) as connection, working("events"):
            connection.execute(sql("macros"))
            forgotten = _leave_ledger(connection, config, ids)
        finish_forgetting(config, ids)
    return forgotten


def finish_forgetting(config: Config, ids: list[str] | None = None) -> None:
    """Takes whoever was forgotten out of all that is kept beside the events, unless that is done.

    It goes by the digests, so that a night can finish what was killed. The caller has the warehouse's lock. `ids` are
    those whose traces in texts, such as an expectation's examples, are removed from the published tables, too.
    """
    warehouse = Path(config.warehouse).absolute()
    events = warehouse / "events.duckdb"
    if not events.exists():
        return
    with connect(events, config) as connection:
        connection.execute(sql("forget/forgotten"))
        if not first_row(connection, "select exists (from forgotten where not is_done)")[0]:
            return
        connection.execute("checkpoint")
    with working("runs' files") as show:
        _rewrite_database(config, events)
        for folder in sorted(warehouse.glob("runs/*/")):
            show(f"files of run {folder.name}")
            _leave_run(config, folder)
        for path in sorted(warehouse.glob("published/*.duckdb")):
            show(f"tables of run {path.stem}")
            with flipping(warehouse):
                _leave_tables(config, path, _as_shown(ids or []))
    with connect(events, config) as connection:
        connection.execute("update forgotten set is_done = true")


def _as_stored(connection: "DuckDBPyConnection", config: Config, user_ids: list[str]) -> list[str]:
    """The ids as the events write them: 042 is 42 where ids are integers."""
    is_text = id_types_of_events(connection)["user_id"] == "VARCHAR"
    ids = []
    for user_id in user_ids:
        if not is_text:
            with suppress(ValueError):
                user_id = str(int(user_id))
        else:
            user_id = user_id.strip() if config.source.ids.trim else user_id
            user_id = user_id.lower() if config.source.ids.lowercase else user_id
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


def _rewrite_database(config: Config, path: Path) -> None:
    """Writes a DuckDB file anew, because a deleted row stays on its pages until they are used again."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with connect(":memory:", config) as connection, openable(path):
        connection.execute(f"attach {literal(str(path))} as old (read_only)")
        connection.execute(f"attach {literal(str(unfinished))} as new (storage_version 'v1.5.0')")
        connection.execute("copy from database old to new")
    _put_in_place(unfinished, path)


def _put_in_place(unfinished: Path, path: Path) -> None:
    shutil.copymode(path, unfinished)
    sync(unfinished)
    unfinished.replace(path)
    sync(path.parent)


def _leave_run(config: Config, folder: Path) -> None:
    """Takes the forgotten out of a run's tables of users and its matrices of all users; others of its matrices go.

    A resumed run makes anew what it misses.
    """
    import numpy as np
    import polars as pl
    from scipy import sparse

    users = folder / "users.parquet"
    gone = _places(config, users) if users.exists() else []
    if gone:
        stays = np.ones(pl.read_parquet(users, hive_partitioning=False).height, dtype=bool)
        stays[gone] = False
        for path in (folder / name for name in OF_ALL_USERS if (folder / name).exists()):
            unfinished = path.with_name(f"unfinished_{path.name}")
            sparse.save_npz(unfinished, sparse.load_npz(path)[np.flatnonzero(stays)], compressed=False)
            unfinished.replace(path)
        for name in OF_SOME_USERS:
            (folder / name).unlink(missing_ok=True)
    for path in sorted(folder.glob("*.parquet")):
        _leave_parquet(config, path)


def _places(config: Config, users: Path) -> list[int]:
    """The rows of users.parquet that are of forgotten people."""
    with _with_forgotten(config) as connection:
        query = "select user_idx from read_parquet($path, hive_partitioning = false) where is_forgotten(user_id)"
        return [place for (place,) in connection.execute(query, {"path": str(users)}).fetchall()]


def _with_forgotten(config: Config) -> "DuckDBPyConnection":
    """A connection that knows is_forgotten(id)."""
    connection = connect(":memory:", config)
    events = Path(config.warehouse).absolute() / "events.duckdb"
    connection.execute(f"attach {literal(str(events))} as warehouse (read_only)")
    connection.execute("create temp view forgotten as from warehouse.forgotten")
    connection.execute(sql("forget/macros"))
    return connection


def _leave_parquet(config: Config, path: Path) -> None:
    """Writes the file anew without the forgotten, where it has any; user_idx counts on without a gap."""
    with _with_forgotten(config) as connection:
        rows = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
        columns = [name for name, *_ in connection.execute(f"describe from {rows}").fetchall()]
        if "user_id" not in columns:
            return
        if not first_row(connection, f"select count(*) from {rows} where is_forgotten(user_id)")[0]:
            return
        number = "replace (cast(row_number() over () - 1 as uinteger) as user_idx)" if "user_idx" in columns else ""
        unfinished = path.with_name(f"{path.name}.unfinished")
        query = f"select * {number} from {rows} where not is_forgotten(user_id)"
        connection.execute(f"copy ({query}) to {literal(str(unfinished))} (format parquet)")
    _put_in_place(unfinished, path)


def _leave_tables(config: Config, path: Path, ids: list[str]) -> None:
    """Takes the forgotten out of a published file and the Parquet files beside it: a new file in the old one's place.

    Whoever has the old one open keeps it until then.
    """
    for beside in sorted(path.with_suffix("").glob("*.parquet")):
        _leave_parquet(config, beside)
    with _with_forgotten(config) as connection, openable(path):
        connection.execute(f"attach {literal(str(path))} as published (read_only)")
        tables = [name for name in _tables_of_users(connection) if _has_forgotten(connection, name)]
        results = _redacted_results(connection, ids)
        connection.execute("detach published")
        if not tables and not results:
            return
        unfinished = path.with_name(f"{path.name}.unfinished")
        shutil.copyfile(path, unfinished)
        connection.execute(f"attach {literal(str(unfinished))} as published")
        for table in tables:
            connection.execute(f"delete from published.{table} where is_forgotten(user_id)")
        for old, new in results.items():
            query = "update published.validation_results set observed = $new where observed = $old"
            connection.execute(query, {"old": old, "new": new})
        connection.execute("detach published")
    _rewrite_database(config, unfinished)
    _put_in_place(unfinished, path)


def _tables_of_users(connection: "DuckDBPyConnection") -> list[str]:
    return [identifier(name) for (name,) in connection.execute(sql("forget/tables_of_users")).fetchall()]


def _has_forgotten(connection: "DuckDBPyConnection", table: str) -> bool:
    return first_row(connection, f"select exists (from published.{table} where is_forgotten(user_id))")[0]


def _redacted_results(connection: "DuckDBPyConnection", ids: list[str]) -> dict[str, str]:
    """What expectations observed that names one of the ids, and what is to stand there instead."""
    rows = connection.execute("select distinct observed from published.validation_results").fetchall()
    return {old: new for (old,) in rows if old is not None and (new := without(old, ids)) != old}


def _redact_runs(warehouse: Path, ids: list[str]) -> None:
    """Takes the ids out of reasons, logs and results of expectations.

    A report that shows one of them is removed; it is made anew when somebody asks for it.
    """
    _redact_lines(warehouse / "publications.jsonl", "reason", ids)
    for folder in sorted(warehouse.glob("runs/*/")):
        is_changed = _redact_manifest(folder / "manifest.json", ids)
        is_changed |= _redact_lines(folder / "log.jsonl", "message", ids)
        is_changed |= _redact_validation(folder / "validation.parquet", ids)
        report = folder / "report.html"
        if report.exists() and (is_changed or _shows(report.read_text(), ids)):
            report.unlink()


def _shows(report: str, ids: list[str]) -> bool:
    return any(f"<h3>User {html.escape(user_id)}</h3>" in report for user_id in ids)


def _redact_manifest(path: Path, ids: list[str]) -> bool:
    if not path.exists():
        return False
    manifest = json.loads(path.read_text())
    reasons = [without(reason, ids) for reason in manifest["reasons"]]
    if is_changed := reasons != manifest["reasons"]:
        write_json(path, manifest | {"reasons": reasons})
    return is_changed


def _redact_lines(path: Path, key: str, ids: list[str]) -> bool:
    """Of a file of JSON objects, one a line, the text under the key."""
    if not path.exists():
        return False
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    redacted = [entry | {key: entry[key] and without(entry[key], ids)} for entry in entries]
    if is_changed := redacted != entries:
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.write_text("".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in redacted))
        unfinished.replace(path)
    return is_changed


def _redact_validation(path: Path, ids: list[str]) -> bool:
    import polars as pl

    if not path.exists():
        return False
    results = pl.read_parquet(path, hive_partitioning=False)
    observed = pl.Series("observed", [without(text, ids) for text in results["observed"]], pl.String)
    if is_changed := not observed.equals(results["observed"]):
        unfinished = path.with_name(f"{path.name}.unfinished")
        results.with_columns(observed).write_parquet(unfinished)
        unfinished.replace(path)
    return is_changed


def without(text: str, ids: list[str]) -> str:
    """The text with another word in the place of the ids, where they stand as words.

    An id that is a number is replaced only in text that speaks of users, for numbers stand for much else.
    """
    is_about_users = "user" in text.lower()
    there = [one for one in ids if one in text and (is_about_users or not one.lstrip("-").isdigit())]
    if not there:
        return text
    one_of = "|".join(map(re.escape, sorted(there, key=len, reverse=True)))
    return re.sub(rf"(?<!\w)(?:{one_of})(?!\w)", IN_PLACE_OF_IDS, text)
