"""Where everything lies in a warehouse, and which run's tables readers get."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tasks.errors import InputError
from tasks.run.artifacts import RunFiles
from tasks.run.durable import remove
from tasks.run.lock import locked
from tasks.settings.config import Config

SECONDS_FOR_A_SWITCH = 60.0  # whoever switches or prunes holds the lock for moments


@dataclass(frozen=True)
class Warehouse:
    """A folder, absolute: events, one folder a run, published tables, and the link that readers open."""

    path: Path

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(Path(config.warehouse).absolute())

    @property
    def events(self) -> Path:
        return self.path / "events.duckdb"

    @property
    def current(self) -> Path:
        """A link to the published file that readers open."""
        return self.path / "current.duckdb"

    @property
    def next_current(self) -> Path:
        """The link that takes its place in a switch."""
        return self.path / "current.duckdb.new"

    @property
    def lock(self) -> Path:
        """Held by the one run at work."""
        return self.path / "lock"

    @property
    def publications(self) -> Path:
        """The record of every switch of `current`, a JSON object a line."""
        return self.path / "publications.jsonl"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def index(self) -> Path:
        """A shortcut to what the manifests say."""
        return self.runs / "index.json"

    @property
    def published(self) -> Path:
        return self.path / "published"

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    def run_folder(self, run_id: str) -> Path:
        return self.runs / run_id

    def files(self, run_id: str) -> RunFiles:
        """What lies in a run's folder."""
        return RunFiles(self.run_folder(run_id))

    def tables(self, run_id: str) -> Path:
        """A run's published file."""
        return self.published / f"{run_id}.duckdb"

    def unfinished_tables(self, run_id: str) -> Path:
        """The same before it is checked and published."""
        return self.published / f"{run_id}.duckdb.unfinished"

    def large_tables(self, run_id: str) -> Path:
        """The folder of those of its tables that are Parquet files."""
        return self.published / run_id

    @property
    def current_run_id(self) -> str | None:
        """The run whose tables readers get, or None before the first publication."""
        return Path(os.readlink(self.current)).stem if self.current.is_symlink() else None

    def switching(self) -> AbstractContextManager:
        """A lock of its own, held for moments: a person can roll back while a run is at work."""
        return locked(self.path / "publication.lock", SECONDS_FOR_A_SWITCH)

    def require_link(self) -> None:
        """Raises InputError if current.duckdb is no symlink: somebody's file is not overwritten."""
        if self.current.exists() and not self.current.is_symlink():
            raise InputError(
                f"{self.current} is a file, but must be a symlink that this program made; move it away and run again"
            )

    def tidy(self) -> None:
        """Removes what a killed run left unfinished. Raises InputError like `require_link`."""
        self.require_link()
        for unfinished in self.published.glob("*.unfinished*"):
            remove(unfinished)
        for folder in self.published.glob("*/"):
            if folder.suffix != ".duckdb" and not self.tables(folder.name).exists():
                remove(folder)
