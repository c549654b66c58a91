"""The source's files: found, told apart, and known again by what they hold."""

import glob
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tasks.errors import InputError
from tasks.run.durable import identity
from tasks.settings.checks import QuarantineSettings
from tasks.settings.configured_sql import files_in
from tasks.settings.source import SourceSettings

READERS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".parquet": "parquet", ".duckdb": "database",
}  # fmt: skip
COMPRESSED = (".gz", ".zst")
QUERY = "source.query"
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # what Hive and Spark write for null


@dataclass(frozen=True)
class SourceFile:
    """A file, or the source's query. If its digest changes, "what it holds:how it is read", it is read again."""

    name: str
    n_bytes: int
    digest: str

    @property
    def format(self) -> str:
        return "query" if self.name == QUERY else reader_of(Path(self.name))

    @property
    def content(self) -> str:
        """The digest of what it holds, however that is read."""
        return self.digest.partition(":")[0]


def event_files(source: SourceSettings, quarantine: QuarantineSettings) -> list[SourceFile]:
    """What source.events or source.query names. Raises InputError where a file is missing, empty or unknown."""
    if source.query is not None:
        return [SourceFile(QUERY, 0, secrets.token_hex())]
    if not source.events:
        raise InputError("source.events: name the files that hold the events, or give a source.query")
    how = source.model_dump_json(include={"table", "csv", "columns", "ids", "nulls", "timezone"})
    how += quarantine.model_dump_json(exclude={"max_share"})
    return [
        SourceFile(str(path), path.stat().st_size, f"{identity(path)['sha256']}:{_digest(how)}")
        for path in find_files(source.events, "source.events")
    ]


def files_beside(source: SourceSettings) -> list[str]:
    """The absolute paths that the source's queries and its metadata are read from. Raises as `find_files` does."""
    found = [] if source.query is None else files_in(source.query)
    if source.items is None:
        return found
    if source.items.query is not None:
        return found + files_in(source.items.query)
    assert source.items.path is not None
    return found + list(map(str, find_files(source.items.path, "source.items.path")))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def find_files(pattern: str | list[str], key: str) -> list[Path]:
    """The absolute paths of the files that a path, a folder, a glob or a list of them names, in a stable order.

    Of a folder these are the files of known formats in it and below it. Markers such as _SUCCESS are passed over.
    """
    found = []
    for one in [pattern] if isinstance(pattern, str) else pattern:
        found += [Path(os.path.abspath(path)) for path in _named(one, key)]
    for path in found:
        reader_of(path)
        if not os.access(path, os.R_OK):
            raise InputError(f"{key}: {path} may not be read by this user; change its permissions")
        if path.stat().st_size == 0:
            raise InputError(f"{key}: {path} is empty (0 bytes); deliver it again or take it out of the list")
    return list(dict.fromkeys(found))


def _named(pattern: str, key: str) -> list[Path]:
    """The files that one path, folder or glob names."""
    if Path(pattern).is_file():
        return [Path(pattern)]
    matches = [Path(pattern)] if Path(pattern).is_dir() else map(Path, sorted(glob.glob(pattern, recursive=True)))
    found, folders = [], []
    for path in matches:
        if path.is_dir():
            folders.append(path)
        elif path.is_file() and not _is_marker(path):
            found.append(path)
    if not found:  # a glob such as ** names files and the folders that they lie in
        found = [path for folder in folders for path in _inside(folder)]
    if found:
        return found
    known = ", ".join(READERS)
    if folders:
        raise InputError(f"{key}: the folder {pattern} holds no file of a known format ({known})")
    raise InputError(f"{key}: no such file: {pattern} (looked in {Path.cwd()})")


def _inside(folder: Path) -> list[Path]:
    """The files of known formats in a folder and below it."""
    found = map(Path, sorted(glob.glob(f"{glob.escape(str(folder))}/**/*", recursive=True)))
    files = (path for path in found if path.is_file() and _suffix(path) in READERS)
    return [path for path in files if not any(_is_marker(Path(part)) for part in path.relative_to(folder).parts)]


def _is_marker(path: Path) -> bool:
    """What Spark, Hadoop and file managers leave beside the data."""
    return path.name.startswith(("_", "."))


def _suffix(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSED]
    return suffixes[-1] if suffixes else None


def reader_of(path: Path) -> str:
    """The format of a file, by its name. Raises InputError where the name does not tell."""
    suffix = _suffix(path)
    if suffix is None or suffix not in READERS:
        raise InputError(
            f"{path}: cannot tell the format from its name; use one of {', '.join(READERS)}, "
            "but for the last also followed by .gz or .zst"
        )
    return READERS[suffix]


def partitions(path: Path) -> dict[str, str | None]:
    """The values of the folders key=value that a file lies in, as Hive and Spark write them."""
    parts = (part.partition("=") for part in path.parent.parts if "=" in part)
    return {unquote(key): None if value == NO_PARTITION else unquote(value) for key, _, value in parts if key}
