"""The file that tables are written to: the connection, what it has already, what is streamed into it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.publish.published_model import PublishedModel
from tasks.run.quoting import literal

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Reuse:
    """What a refresh takes over from the published tables.

    users        whose lists and vectors are computed, as rows of the matrices
    changed      user_id of everyone who has new rows in any table, or none any more
    in_file      tables that the new file has already, without the rows that are computed
    whole        tables that are taken over as they are; those not `in_file` are Parquet files
    n_refreshes  refreshes, with this one, since all rows were computed
    """

    users: "np.ndarray"
    changed: "pa.Table"
    in_file: frozenset[str]
    whole: frozenset[str]
    n_refreshes: int


@dataclass(frozen=True)
class Output:
    """The unfinished file, attached as `output`.

    reuse           None where every row is computed
    parameters      values for the selects, by name
    max_table_size  bytes; a larger table is a Parquet file in `folder`, and a view reads it
    """

    connection: "DuckDBPyConnection"
    model: PublishedModel
    reuse: Reuse | None
    parameters: dict[str, Any]
    max_table_size: float
    folder: Path
    show: Callable[..., None]

    def stream(self, name: str, batches: "Iterator[pa.RecordBatch]") -> None:
        """Makes the batches readable, once, under a name."""
        import pyarrow as pa

        first = next(batches)

        def all_batches() -> "Iterator[pa.RecordBatch]":
            yield first
            yield from batches

        self.connection.register(name, pa.RecordBatchReader.from_batches(first.schema, all_batches()))

    def create(self, table: str, query: str, n_bytes: float) -> None:
        """Creates the table with the rows of the query, or a view of a Parquet file with them."""
        if n_bytes <= self.max_table_size:
            self._execute(f"create table output.{table} as {query}", query)
            return
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{table}.parquet"
        self._execute(f"copy ({query}\n) to {literal(str(path))} (format parquet)", query)
        rows = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
        self.connection.execute(f"create view output.{table} as select {self._typed(rows)} from {rows}")

    def append(self, table: str, query: str) -> None:
        """Appends the rows of the query to a table that is there already."""
        self._execute(f"insert into output.{table} by name {query}", query)

    def _execute(self, statement: str, query: str) -> None:
        import duckdb

        (parsed,) = duckdb.extract_statements(query)
        self.connection.execute(statement, {name: self.parameters[name] for name in parsed.named_parameters})

    def _typed(self, rows: str) -> str:
        """The columns of the rows of a Parquet file, where a fixed-size list has become one of any length."""
        columns = [column for (column, *_) in self.connection.execute(f"describe from {rows}").fetchall()]
        if "embedding" not in columns:
            return "*"
        ((factors,),) = self.connection.execute(f"select max(len(embedding)) from {rows}").fetchall()
        return f"* replace (cast(embedding as float[{factors}]) as embedding)"
