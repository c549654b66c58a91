"""The files of runs, readable under the names that the selects of sql/tables/ know."""

from typing import TYPE_CHECKING

from tasks.publish.definitions import definition
from tasks.run.handles import Interactions, Rules
from tasks.run.quoting import literal
from tasks.run.records import files_of_all_runs, manifests, stages_of_all_runs
from tasks.run.warehouse import Run, attach_events

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def open_inputs(connection: "DuckDBPyConnection", run: Run, interactions: Interactions, rules: Rules) -> None:
    """Makes views of this run's files and of the records of all runs, and the macro `is_available`."""
    import pyarrow as pa

    attach_events(connection, run)
    connection.execute(definition("published/is_available").query)
    runs, _ = manifests(run.warehouse)
    records = [run.folder / f"{name}.parquet" for name in ("validation", "drift")]
    for name, paths in {
        "matrix_users": [run.folder / "users.parquet"],
        "matrix_items": [run.folder / "items.parquet"],
        "interactions": [run.folder / interactions.path],
        "rules": [run.folder / rules.path],
        "validation": [path for path in records if path.exists()],
        "metrics": files_of_all_runs(run.warehouse, runs, "evaluate", "metrics.parquet"),
        "gate_results": files_of_all_runs(run.warehouse, runs, "gate", "gate_checks.parquet"),
    }.items():
        files = ", ".join(literal(str(path)) for path in paths)
        connection.execute(
            f"create temp view {name} as from read_parquet([{files}], "
            "filename = true, union_by_name = true, hive_partitioning = false)"
        )
    kinds = {"run_id": pa.string(), "stage": pa.string(), "finished_at": pa.string(), "seconds": pa.float64()}
    schema = pa.schema(kinds | {"rows": pa.int64(), "peak_bytes": pa.int64()})
    connection.register("stages", pa.Table.from_pylist(stages_of_all_runs(runs), schema))
