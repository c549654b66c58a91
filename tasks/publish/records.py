"""The records of all runs, as views `metrics`, `gate_results` and `stages`, without reading the files of all runs.

The published tables have those of the runs before them. Only the published run and later ones are read from their
files, so that a run costs as much after ten thousand others as after ten.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError
from tasks.run.database import attach, first_row
from tasks.run.index import RunSummary, all_runs
from tasks.run.manifest import read_manifest
from tasks.run.quoting import literal
from tasks.run.results import usable_parquet
from tasks.run.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

RECORDS = ("run_metrics", "gate_checks", "run_stages")


def open_records(connection: "DuckDBPyConnection", run: Run) -> None:
    """Makes the views. Raises InputError where no run has a file with metrics or checks that can be used."""
    runs, _ = all_runs(run.warehouse)
    read = _runs_to_read(connection, run, runs)
    files = [(run.warehouse.files(one.run_id), one.stages) for one in read]
    metrics = [of.metrics.path for of, done in files if "evaluate" in done]
    checks = [of.gate_checks.path for of, done in files if "gate" in done]
    _combine(connection, run, "metrics", metrics, "run_metrics")
    _combine(connection, run, "gate_results", checks, "gate_checks")
    _combine_stages(connection, run, read)


def _runs_to_read(connection: "DuckDBPyConnection", run: Run, runs: list[RunSummary]) -> list[RunSummary]:
    """Makes temp tables of the records of other runs, and returns those whose files are to be read."""
    import duckdb

    try:
        made_at = _attach_published(connection, run)
        since = [one for one in runs if _is_newer(run, one, made_at)]
        read = {one.run_id for one in since}
        kept = [one.run_id for one in runs if one.run_id not in read]
        for table in RECORDS:
            rows = f"from earlier.{table} where run_id in (select unnest($kept))"
            connection.execute(f"create or replace temp table recorded_{table} as {rows}", {"kept": kept})
        return since
    except (InputError, duckdb.Error):  # none published, or damaged: it is replaced by what is made now
        _forget_published(connection)
        return runs


def _is_newer(run: Run, one: RunSummary, made_at: datetime) -> bool:
    """Whether the published tables have not all of a run's records. Ids ascend, whatever the clock says."""
    is_later = run.replaces is None or one.run_id >= run.replaces
    went_on_since = one.is_resumed and datetime.fromisoformat(one.started_at) >= made_at
    return is_later or went_on_since or one.run_id == run.run_id


def _forget_published(connection: "DuckDBPyConnection") -> None:
    for table in RECORDS:
        connection.execute(f"create or replace temp table recorded_{table} as select '' as run_id limit 0")


def _attach_published(connection: "DuckDBPyConnection", run: Run) -> datetime:
    """Makes the published tables readable as `earlier`, and returns when their run began, to the second."""
    if run.replaces is None:
        raise InputError("none is published yet")
    attach(connection, run.warehouse.tables(run.replaces), "earlier")
    made_at = first_row(connection, "select created_at from earlier.run_info")[0]
    return made_at.replace(microsecond=0, tzinfo=UTC)


def _combine(connection: "DuckDBPyConnection", run: Run, view: str, files: "list[Path]", table: str) -> None:
    """Makes a view of the files, whose run is their folder, and the rows recorded of other runs."""
    listed = ", ".join(literal(str(path)) for path in usable_parquet(files))
    recorded = f"from recorded_{table}"
    if not listed:
        if not first_row(connection, f"select count(*) {recorded}")[0]:
            raise InputError(
                f"no run in {run.warehouse.path} has {view} that can be used; make one with: elsa nightly"
            )
        connection.execute(f"create temp view {view} as {recorded}")
        return
    rows = f"read_parquet([{listed}], filename = true, union_by_name = true, hive_partitioning = false)"
    read = f"select string_split(filename, '/')[-2] as run_id, * exclude (filename) from {rows}"
    connection.execute(f"create temp view {view} as ({read}) union all by name ({recorded})")


def _combine_stages(connection: "DuckDBPyConnection", run: Run, read: list[RunSummary]) -> None:
    import pyarrow as pa

    kinds = {"run_id": pa.string(), "stage": pa.string(), "finished_at": pa.string(), "seconds": pa.float64()}
    schema = pa.schema(kinds | {"rows": pa.int64(), "peak_bytes": pa.int64()})
    connection.register("stages_read", pa.Table.from_pylist(_stages_of(run, read), schema))
    utc = "cast(finished_at as timestamptz) at time zone 'UTC'"
    rows = f"select * replace ({utc} as finished_at) from stages_read"
    connection.execute(f"create temp view stages as ({rows}) union all by name (from recorded_run_stages)")


def _stages_of(run: Run, runs: list[RunSummary]) -> list[dict[str, Any]]:
    """Time and memory of each finished stage, a row a stage, of every run that has ingested events."""
    return [
        {"run_id": one.run_id, "stage": stage} | taken.model_dump()
        for one in runs
        if "ingest" in one.stages
        for stage, taken in read_manifest(run.warehouse.run_folder(one.run_id)).measured.items()
    ]
