"""The files of runs, readable under the names that the selects of sql/tables/ know."""

from typing import TYPE_CHECKING

from tasks.publish.definitions import definition
from tasks.publish.records import open_records
from tasks.run.database import attach
from tasks.run.quoting import literal
from tasks.run.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection


def open_inputs(connection: "DuckDBPyConnection", run: Run) -> None:
    """Makes views of this run's files and of the records of all runs, and the macro `is_available`."""
    attach(connection, run.warehouse.events, "warehouse")
    connection.execute(definition("published/is_available").query)
    files = run.files
    inputs: dict[str, list[Path]] = {
        "matrix_users": [files.users.path],
        "matrix_items": [files.items.path],
        "interactions": [files.interactions.path],
        "rules": [files.rules.path],
        "validation": [file.path for file in (files.validation, files.drift) if file.path.exists()],
    }
    for name, paths in inputs.items():
        listed = ", ".join(literal(str(path)) for path in paths)
        rows = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
        connection.execute(f"create temp view {name} as from {rows}")
    open_records(connection, run)
