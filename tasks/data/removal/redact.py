"""Ids of people taken out of the texts that runs leave: reasons, logs, examples of expectations, reports."""

import json
import re
from pathlib import Path

from markupsafe import escape

from tasks.errors import InputError
from tasks.run.artifacts import RunFiles
from tasks.run.durable import put_in_place, remove, write_whole
from tasks.run.index import drop_index
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.warehouse import Warehouse

IN_PLACE_OF_IDS = "[forgotten]"


def redact_runs(warehouse: Warehouse, ids: list[str]) -> None:
    """Takes the ids out of reasons, logs and results of expectations, of damaged records, too.

    A report that shows one of them is removed; it is rebuilt when somebody asks for it.
    """
    with warehouse.switching():
        for path in sorted(warehouse.path.glob(f"{warehouse.publications.name}*")):
            _redact_lines(path, "reason", ids)
    drop_index(warehouse)
    for files in map(RunFiles, sorted(warehouse.runs.glob("*/"))):
        for left in files.folder.glob("*.new"):  # of a writer that was killed
            remove(left)
        is_changed = _redact_manifest(files, ids)
        is_changed |= _redact_lines(files.log, "message", ids)
        is_changed |= _redact_validation(files.validation.path, ids)
        if files.report.is_file() and (is_changed or _shows(files.report.read_text(errors="replace"), ids)):
            files.report.unlink()


def _redact_manifest(files: RunFiles, ids: list[str]) -> bool:
    try:
        manifest = read_manifest(files.folder)
    except InputError:
        return _redact_lines(files.manifest, "", ids)
    reasons = [without(reason, ids) for reason in manifest.reasons]
    if is_changed := reasons != manifest.reasons:
        write_manifest(files.folder, manifest.model_copy(update={"reasons": reasons}))
    return is_changed


def _shows(report: str, ids: list[str]) -> bool:
    return any(f"<h3>User {escape(user_id)}</h3>" in report for user_id in ids)


def _redact_lines(path: Path, key: str, ids: list[str]) -> bool:
    """Of a file of JSON objects, one a line, the text under the key; a line that is none, as a whole."""
    if not path.is_file():
        return False
    lines = path.read_text(errors="replace").removesuffix("\n").split("\n")  # a message may hold other line ends
    redacted = [_redact_line(line, key, ids) for line in lines]
    if is_changed := redacted != lines:
        write_whole(path, "".join(f"{line}\n" for line in redacted))
    return is_changed


def _redact_line(line: str, key: str, ids: list[str]) -> str:
    try:
        entry = json.loads(line)
        text = entry[key] or ""
    except (ValueError, LookupError, TypeError):
        return without(line, [one for one in ids if not _is_number(one)])
    return line if without(text, ids) == text else json.dumps(entry | {key: without(text, ids)}, ensure_ascii=False)


def _redact_validation(path: Path, ids: list[str]) -> bool:
    import polars as pl

    try:
        results = pl.read_parquet(path, hive_partitioning=False)
        found = [without(text, ids, about=rule) for rule, text in results.select("rule", "observed").iter_rows()]
    except (OSError, pl.exceptions.PolarsError):  # there is none, or a damaged one
        return False
    observed = pl.Series("observed", found, pl.String)
    if is_changed := not observed.equals(results["observed"]):
        unfinished = path.with_name(f"{path.name}.unfinished")
        results.with_columns(observed).write_parquet(unfinished)
        put_in_place(unfinished, path)
    return is_changed


def without(text: str, ids: list[str], about: str = "") -> str:
    """The text with another word in the place of the ids, where they stand as words.

    An id that is a number is replaced only where the text, or what it is `about`, speaks of users, for numbers stand
    for much else.
    """
    is_about_users = "user" in (text + about).lower()
    there = [one for one in ids if one in text and (is_about_users or not _is_number(one))]
    if not there:
        return text
    one_of = "|".join(map(re.escape, sorted(there, key=len, reverse=True)))
    return re.sub(rf"(?<!\w)(?:{one_of})(?!\w)", IN_PLACE_OF_IDS, text)


def _is_number(user_id: str) -> bool:
    return user_id.lstrip("-").isdigit()
