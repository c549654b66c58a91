"""Ids of people taken out of the texts that runs leave: reasons, logs, examples of expectations, reports."""

import html
import json
import re
from pathlib import Path

from tasks.files import put_in_place, write_whole
from tasks.records import manifests
from tasks.warehouse import write_json

IN_PLACE_OF_IDS = "[forgotten]"


def redact_runs(warehouse: Path, ids: list[str]) -> None:
    """Takes the ids out of reasons, logs and results of expectations.

    A report that shows one of them is removed; it is made anew when somebody asks for it.
    """
    _redact_lines(warehouse / "publications.jsonl", "reason", ids)
    for manifest in manifests(warehouse)[0]:
        folder = warehouse / "runs" / manifest["run_id"]
        reasons = [without(reason, ids) for reason in manifest["reasons"]]
        is_changed = reasons != manifest["reasons"]
        if is_changed:
            write_json(folder / "manifest.json", manifest | {"reasons": reasons})
        is_changed |= _redact_lines(folder / "log.jsonl", "message", ids)
        is_changed |= _redact_validation(folder / "validation.parquet", ids)
        report = folder / "report.html"
        if report.exists() and (is_changed or _shows(report.read_text(errors="replace"), ids)):
            report.unlink()


def _shows(report: str, ids: list[str]) -> bool:
    return any(f"<h3>User {html.escape(user_id)}</h3>" in report for user_id in ids)


def _redact_lines(path: Path, key: str, ids: list[str]) -> bool:
    """Of a file of JSON objects, one a line, the text under the key; a line that is none, as a whole."""
    if not path.is_file():
        return False
    lines = path.read_text(errors="replace").splitlines()
    redacted = [_redact_line(line, key, ids) for line in lines]
    if is_changed := redacted != lines:
        write_whole(path, "".join(f"{line}\n" for line in redacted))
    return is_changed


def _redact_line(line: str, key: str, ids: list[str]) -> str:
    try:
        entry = json.loads(line)
        text = entry[key] or ""
    except (ValueError, LookupError, TypeError):
        return without(line, ids)
    return line if without(text, ids) == text else json.dumps(entry | {key: without(text, ids)}, ensure_ascii=False)


def _redact_validation(path: Path, ids: list[str]) -> bool:
    import polars as pl

    try:
        results = pl.read_parquet(path, hive_partitioning=False)
        observed = pl.Series("observed", [without(text, ids) for text in results["observed"]], pl.String)
    except (OSError, pl.exceptions.PolarsError):  # there is none, or a damaged one
        return False
    if is_changed := not observed.equals(results["observed"]):
        unfinished = path.with_name(f"{path.name}.unfinished")
        results.with_columns(observed).write_parquet(unfinished)
        put_in_place(unfinished, path)
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
