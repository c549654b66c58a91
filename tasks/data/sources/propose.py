"""A configuration proposed from the columns of somebody's files: config/template.yaml, filled in."""

import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.data.sources.csv_files import lines_of
from tasks.data.sources.files import find_files, reader_of
from tasks.data.sources.guess import Column, find_by_values, find_columns
from tasks.data.sources.tables import readable, table_of_items
from tasks.errors import InputError
from tasks.run.database import connect
from tasks.run.run import ODD_IN_PATHS
from tasks.settings.config import Config
from tasks.settings.source import CsvSettings, SourceSettings
from tasks.settings.yaml_text import dump_yaml

TEMPLATE = Path(__file__).parents[3] / "config" / "template.yaml"
N_ROWS = 1000  # looked at of each file
IDS = ("user_id", "item_id")
OF_EVENTS = (*IDS, "timestamp", "value", "event_type")
TODO = "TODO"
UNTOLD = "CHECK, its name does not tell: "
Filled = dict[str, tuple[Any, str]]  # the value of a key, by its whole path, and a comment


@dataclass(frozen=True)
class Table:
    """A file's columns, those of a CSV file as text, and the encoding with which it can be read."""

    path: Path
    columns: list[Column]
    encoding: str

    def __str__(self) -> str:
        has_names = any(column.tokens for column in self.columns)
        hint = "" if has_names else " (is there a line with the names of the columns?)"
        return f"{self.path.name}: {', '.join(column.name for column in self.columns)}{hint}"


@dataclass(frozen=True)
class Proposal:
    """The text of a configuration, what was found in words, and the keys that a person must fill in."""

    text: str
    found: list[str]
    missing: list[str]


def propose(files: list[str], items: str | None, out: Path) -> Proposal:
    """Looks at the columns of event files, and of a file of item metadata if one is named. Writes nothing.

    Raises InputError where a file cannot be read.
    """
    paths = find_files(files, "elsa init")
    events = _common([_read(path) for path in paths])
    name = "".join("-" if sign in ODD_IN_PATHS or sign.isspace() else sign for sign in out.stem)
    filled: Filled = {"warehouse": (f"warehouse/{name}", "folder for everything the runs write of this data set")}
    filled["source.events"] = (files[0] if len(files) == 1 else files, f"{len(paths)} file(s) now")
    filled |= _map_events(events)
    tables = [events]
    if items is not None:
        tables.append(_read(find_files([items], "elsa init --items")[0]))
        filled |= {"source.items.path": (items, "")} | _map_items(tables[1], filled["source.columns.item_id"][0])
    head = "".join(f"# Columns of {_plain(str(table))}\n" for table in tables)
    keys = [f"{key}: {_as_yaml(value)}" for key, (value, _) in filled.items()]
    missing = [key for key, (value, _) in filled.items() if value == TODO]
    return Proposal(head + fill(TEMPLATE.read_text(), filled), [*map(str, tables), *keys], missing)


def write(proposal: Proposal, out: Path) -> None:
    """Raises InputError where the file exists already or cannot be made."""
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(proposal.text)
    except FileExistsError:
        raise InputError(f"--out {out} exists already; name another file with --out, or move it away") from None
    except OSError as error:
        raise InputError(f"--out {out} cannot be made: {error.strerror}") from None


def _read(path: Path) -> Table:
    if reader_of(path) == "database":
        raise InputError(f"{path}: elsa init reads no databases; copy config/template.yaml and set source.table")
    encoding = _encoding(path) if reader_of(path) == "csv" else "utf-8"
    with (
        TemporaryDirectory() as scratch,
        connect(":memory:", Config(), reads=[str(path), scratch]) as connection,
        readable(path),
    ):
        table = table_of_items(connection, SourceSettings(csv=CsvSettings(encoding=encoding)), path, Path(scratch))
        relation = connection.sql(table.select).limit(N_ROWS)
        names, rows = relation.columns, relation.fetchall()
    values = zip(*rows, strict=True) if rows else ((),) * len(names)
    return Table(path, [Column(name, _there(column)) for name, column in zip(names, values, strict=True)], encoding)


def _encoding(path: Path) -> str:
    """UTF-8 or UTF-16 where the first lines can be that, else latin-1, as which anything can be read."""
    with suppress(UnicodeError, OSError):
        if "\0" not in "".join(islice(lines_of(path, "utf-16"), N_ROWS)):
            return "utf-16"
    text = "".join(islice(lines_of(path, "utf-8"), N_ROWS))
    return "utf-8" if text.isascii() or not any("\udc80" <= sign <= "\udcff" for sign in text) else "latin-1"


def _there(values: tuple) -> tuple:
    """Those that are not missing; of a basket, the items in it."""
    items = (one for value in values for one in (value if isinstance(value, list) else [value]))
    return tuple(one for one in items if one not in (None, "") and one == one)


def _common(tables: list[Table]) -> Table:
    """The first table with the columns that all have. Raises InputError where there is none."""
    first, columns = tables[0], tables[0].columns
    for table in tables[1:]:
        names = {column.name for column in table.columns}
        columns = [column for column in columns if column.name in names]
        if not columns:
            raise InputError(f"{table.path} has no column in common with {first.path}; name event files only")
    return Table(first.path, columns, first.encoding)


def _map_events(table: Table) -> Filled:
    found, guessed = _find_events(table.columns)
    filled: Filled = {
        f"source.columns.{key}": _found(table, key, found, UNTOLD if key in guessed else _doubt(key, found.get(key)))
        for key in OF_EVENTS
        if key in found or key in IDS
    }
    at = found.get("timestamp")
    if at is not None and at.values and not at.has_moments and at.formats:
        note = "CHECK: the day or the month first?" if len(at.formats) > 1 else ""
        filled["source.columns.timestamp_format"] = (at.formats[0], note)
    if any(found[key].has_decimals for key in IDS if key in found):
        filled["source.ids.strip_decimal"] = (True, "reads an id such as 17850.0 as 17850")
    if table.encoding != "utf-8":
        filled["source.csv.encoding"] = (table.encoding, "CHECK: the text is not UTF-8")
    return filled


def _find_events(columns: list[Column]) -> tuple[dict[str, Column], set[str]]:
    """The columns of events, and those of them that only their values speak for: the last id, the only time."""
    found = find_columns(columns, OF_EVENTS)
    left = [column for column in columns if column not in found.values()]
    last = {"timestamp": find_by_values(left, lambda column: column.has_moments and column.numbers is None)}
    unsure = [key for key in IDS if key not in found]
    if len(unsure) == 1:
        last[unsure[0]] = find_by_values(left, lambda column: column.is_marked and column.can_be_id())
    guessed = {key: column for key, column in last.items() if column is not None and key not in found}
    return found | guessed, set(guessed)


def _doubt(key: str, column: Column | None) -> str:
    """What a person should look at in a column that was found by its name."""
    if column is None or not column.values:
        return ""
    if key == "timestamp" and not column.has_moments and not column.formats:
        return "CHECK, neither ISO text nor a Unix epoch; timestamp_format says how it is written: "
    if key == "value" and column.numbers and min(column.numbers) < 0:
        return "CHECK, some are negative (quarantine.min_value): "
    if key == "user_id" and "session" in column.tokens:
        return "CHECK, sessions are no persons: "
    return ""


def _map_items(table: Table, item_column: str) -> Filled:
    same = find_by_values(table.columns, lambda column: column.name == item_column)
    alone = find_by_values(table.columns, lambda column: column.tokens == ["id"] and column.can_be_id())
    item = same or alone or find_columns(table.columns, ("item_id",)).get("item_id")
    others = [column for column in table.columns if column is not item]
    found = ({"item_id": item} if item else {}) | find_columns(others, ("title", "category"))
    keys = [key for key in ("item_id", "title", "category") if key in found or key != "category"]
    return {f"source.items.{key}": _found(table, key, found, "") for key in keys}


def _found(table: Table, key: str, found: dict[str, Column], note: str) -> tuple[str, str]:
    """The column's name, or TODO, and a comment."""
    if key in found:
        return found[key].name, note + found[key].examples()
    return TODO, f"TODO: name the column for {key}; there are in {table}"


def fill(template: str, filled: Filled) -> str:
    """The template with these keys set. A key in a comment, or one that holds a set one, comes out of its comment."""
    lines: list[str] = []
    path: list[str] = []
    for line in template.splitlines():
        if match := re.fullmatch(r"( *)(?:# )?( *)(\w+):(.*)", line):
            indent, name = match[1] + match[2], match[3]
            path = [*path[: len(indent) // 2], name]
            key = ".".join(path)
            if key in filled:
                value, comment = filled[key]
                line = _line(f"{indent}{name}: {_as_yaml(value)}", comment)
            elif any(one.startswith(f"{key}.") for one in filled):
                line = f"{indent}{name}:{match[4]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _line(text: str, comment: str) -> str:
    """A line with a comment, which whatever stands in a file must not end."""
    return f"{text:<32} # {_plain(comment)}" if comment else text


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _as_yaml(value: Any) -> str:
    """In one line, in quotes where YAML would read something else."""
    return dump_yaml(value, in_one_line=True).removesuffix("...\n").strip()
