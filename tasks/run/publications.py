"""publications.jsonl: every switch of current.duckdb. Lines that cannot be used are left out and named."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.run.damage import LOST, in_words, name_damaged
from tasks.run.manifest import Time
from tasks.run.warehouse import Warehouse


class Publication(BaseModel):
    """One switch: from the run `replaced`, None for the first one, to the run `run_id`.

    action  publish, publish again, rollback, forget, withdraw; `by` is user@host, `reason` what a person gave
    """

    model_config = ConfigDict(extra="allow", strict=True)

    at: Time
    run_id: str
    replaced: str | None
    action: str
    by: str | None
    reason: str | None


def publications(warehouse: Warehouse) -> list[Publication]:
    """All switches, oldest first; the link itself tells the last one in any case."""
    entries, _ = read_publications(warehouse.publications)
    current = warehouse.current_run_id
    if current is not None and (not entries or entries[-1].run_id != current):  # died between switch and record
        at = datetime.fromtimestamp(warehouse.current.lstat().st_mtime, UTC).isoformat()
        replaced = entries[-1].run_id if entries else None
        entries.append(Publication(at=at, run_id=current, replaced=replaced, action="publish", by=None, reason=None))
    return entries


def read_publications(path: Path) -> tuple[list[Publication], bool]:
    """The lines that can be used, and whether others had to be named and left out."""
    entries: list[Publication] = []
    lost: list[tuple[int, str]] = []
    if not os.path.lexists(path):
        return [], False
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        lines = path.read_bytes().splitlines()
    except LOST as error:
        name_damaged(path, f"{in_words(error)}; what readers had before is unknown")
        return [], True
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(Publication.model_validate(json.loads(line)))
        except LOST as error:
            lost.append((number, in_words(error)))
    if lost:
        numbers = ", ".join(str(number) for number, _ in lost[:5]) + (", …" if len(lost) > 5 else "")
        name_damaged(path, f"line {numbers} cannot be used ({lost[0][1]}) and is left out")
    return entries, bool(lost)
