"""The files of runs, readable under the names that the selects of sql/tables/ know."""

from typing import TYPE_CHECKING, Any

from tasks.errors import InputError
from tasks.publish.definitions import definition
from tasks.run.database import attach
from tasks.run.index import RunSummary, all_runs
from tasks.run.quoting import literal
from tasks.run.results import usable_parquet
from tasks.run.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection


def open_inputs(connection: "DuckDBPyConnection", run: Run) -> None:
    """Makes views of this run's files and of the records of all runs, and the macro `is_available`."""
    import pyarrow as pa

    attach(connection, run.warehouse.events, "warehouse")
    connection.execute(definition("published/is_available").query)
    files, (runs, _) = run.files, all_runs(run.warehouse)
    inputs: dict[str, list[Path]] = {
        "matrix_users": [files.users.path],
        "matrix_items": [files.items.path],
        "interactions": [files.interactions.path],
        "rules": [files.rules.path],
        "validation": [file.path for file in (files.validation, files.drift) if file.path.exists()],
        "metrics": _files_of_all(run, runs, "evaluate", files.metrics.name),
        "gate_results": _files_of_all(run, runs, "gate", files.gate_checks.name),
    }
    for name, paths in inputs.items():
        listed = ", ".join(literal(str(path)) for path in paths)
        connection.execute(
            f"create temp view {name} as from read_parquet([{listed}], "
            "filename = true, union_by_name = true, hive_partitioning = false)"
        )
    kinds = {"run_id": pa.string(), "stage": pa.string(), "finished_at": pa.string(), "seconds": pa.float64()}
    schema = pa.schema(kinds | {"rows": pa.int64(), "peak_bytes": pa.int64()})
    connection.register("stages", pa.Table.from_pylist(_stages_of(runs), schema))


def _files_of_all(run: Run, runs: list[RunSummary], of_stage: str, name: str) -> "list[Path]":
    """The file of that name of each run that has finished the stage. Raises InputError if there is none."""
    folders = (run.warehouse.run_folder(one.run_id) for one in runs if of_stage in one.stages)
    if not (found := usable_parquet(folder / name for folder in folders)):
        raise InputError(f"no run in {run.warehouse.path} has a {name} that can be used; make one with: elsa nightly")
    return found


def _stages_of(runs: list[RunSummary]) -> list[dict[str, Any]]:
    """Time and memory of each finished stage, a row a stage, of every run that has ingested events."""
    return [
        {"run_id": one.run_id, "stage": name} | taken
        for one in runs
        if "ingest" in one.stages
        for name, taken in one.measured.items()
    ]
