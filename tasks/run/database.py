"""DuckDB: connections that reach the warehouse and named files only, SQL from sql/, errors in words."""

import glob
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.run.failures import cure, refusal
from tasks.run.quoting import fill, literal
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tasks.settings.section import size_text

if TYPE_CHECKING:
    import duckdb

_settings = threading.Lock()  # threads that open one file share its settings


def sql(name: str, **parts: str) -> str:
    """The text of sql/<name>.sql, with SQL in the place of each $part; other $names are left for parameters.

    Raises ValueError for a part that the text does not have.
    """
    return fill(_text(name), **parts) if parts else _text(name)


@cache
def _text(name: str) -> str:
    return resources.files("sql").joinpath(f"{name}.sql").read_text()


def connect(
    path: Path | str, config: Config, *, read_only: bool = False, reads: Sequence[str] = ()
) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection in UTC, within the configured memory, which has no access to other files than these:

    those in the warehouse and the files and folders `reads`, absolute paths. Raises as `openable` does.
    """
    import duckdb

    warehouse = Warehouse.of(config)
    named = [path for path in reads if os.path.isfile(path)]
    files = dict.fromkeys(name for path in named for name in (path, glob.escape(path), f"{path}.wal"))
    own = [f"{warehouse.path}/.", warehouse.runs, warehouse.published, warehouse.tmp]  # links to other disks, maybe
    folders = [*map(str, own), *(path for path in reads if path not in files)]
    with _settings:
        with openable(path):
            connection = duckdb.connect(str(path), read_only=read_only)
        if not first_row(connection, "select current_setting('lock_configuration')")[0]:
            settings = sql(
                "connection",
                memory_limit=literal(size_text(config.memory_limit)),
                temp_directory=literal(str(warehouse.tmp)),
                folders=", ".join(map(literal, folders)),
                files=", ".join(map(literal, files)),
            )
            connection.execute(settings)
    connection.execute("set timezone = 'UTC'")
    return connection


def attach(connection: "duckdb.DuckDBPyConnection", path: Path, name: str) -> None:
    """Makes a DuckDB file readable under a name. Raises as `openable` does."""
    with openable(path):
        connection.execute(f"attach if not exists {literal(str(path))} as {name} (read_only)")


@contextmanager
def openable(path: Path | str, advice: str | None = None) -> Iterator[None]:
    """Raises WarehouseBusy if another program has the DuckDB file open, InputError if it cannot be opened at all.

    Without `advice` the file is one of the warehouse's own.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise refusal(path, error, "cannot be opened", advice or cure(Path(path))) from None


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Raises InputError where a DuckDB file, opened already, turns out to be damaged or to hold other tables."""
    import duckdb

    kinds = (duckdb.IOException, duckdb.CatalogException, duckdb.BinderException, duckdb.FatalException,
             duckdb.InternalException, duckdb.SerializationException)  # fmt: skip
    try:
        yield
    except duckdb.Error as error:
        if not isinstance(error, kinds) and type(error) is not duckdb.Error:  # what a damaged block is
            raise
        raise refusal(path, error, "is damaged", cure(path)) from None


def first_row(connection: "duckdb.DuckDBPyConnection", query: str, parameters: dict | None = None) -> tuple[Any, ...]:
    """The query's first row; fetches all, because DuckDB 2.0 keeps the connection busy until then."""
    return connection.execute(query, parameters).fetchall()[0]


def select(connection: "duckdb.DuckDBPyConnection", query: str, parameters: dict | None = None) -> list[dict]:
    """The query's rows, by column."""
    found = connection.execute(query, parameters)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
