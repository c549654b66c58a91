"""What the events must satisfy, checked by Great Expectations inside DuckDB."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from tasks.data.expectations import all_expectations, as_great_expectations
from tasks.data.ledger import check, reject
from tasks.errors import ValidationFailed
from tasks.run.database import connect, first_row
from tasks.run.handles import Events, Validated
from tasks.run.progress import working
from tasks.run.run import Run
from tasks.run.stage import stage
from tasks.settings.checks import ExpectationSettings
from tasks.settings.section import size_text

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation as OfGreatExpectations

N_EXAMPLES = 3
CLOSED = {"enable_external_access": False, "autoinstall_known_extensions": False, "lock_configuration": True}


@stage("validate")
def validate(run: Run, events: Events) -> Validated:
    """Checks every expectation and saves the results. Raises ValidationFailed with examples if a blocking one fails.

    Whether the new files are accepted is then up to the next stage, drift.
    """
    rows = _check_all(run)
    stopping = [f"{row['rule']}: {row['observed']}" for row in _failed(rows) if row["severity"] == "blocking"]
    if stopping:
        with connect(run.warehouse.events, run.config) as connection:
            reject(connection, unchecked_only=True)
        raise ValidationFailed(
            f"{len(stopping)} of {len(rows)} expectations about the events do not hold: {stopping[0]}"
            + "".join(f"\n  {one}" for one in stopping[1:])
            + "\nNothing was trained or published"
        )
    with connect(run.warehouse.events, run.config) as connection:
        check(connection)
    return _reported(run, rows)


@stage("validate")
def validate_what_is_left(run: Run, events: Events) -> Validated:
    """Saves what the expectations say of events of which some were taken out; nothing is stopped or accepted."""
    return _reported(run, _check_all(run))


def _check_all(run: Run) -> list[dict]:
    """Writes validation.parquet, and returns its rows."""
    import polars as pl

    _count_rejected_files(run)
    with working("expectations"):
        results = _run(run, as_great_expectations(run.config))
    rows = [_describe(run, *found) for found in zip(all_expectations(run.config), results, strict=True)]
    run.files.validation.write(pl.DataFrame(rows, infer_schema_length=None))
    return rows


def _failed(rows: list[dict]) -> list[dict]:
    return [row for row in rows if not row["passed"]]


def _reported(run: Run, rows: list[dict]) -> Validated:
    failed = _failed(rows)
    for row in failed:
        get_run_logger().warning("%s: %s", row["rule"], row["observed"])
    get_run_logger().info("%s of %s expectations hold", len(rows) - len(failed), len(rows))
    return Validated(run.files.validation.name, len(rows), len(failed))


def _count_rejected_files(run: Run) -> None:
    """Says how many files are left out."""
    with connect(run.warehouse.events, run.config, read_only=True) as connection:
        n_rejected_files = first_row(connection, "select count(*) from event_files where not is_valid")[0]
    if n_rejected_files:
        get_run_logger().warning(
            f"{n_rejected_files:,} rejected files are left out; a nightly run tries those again that are still there"
        )


def _run(run: Run, expectations: "list[OfGreatExpectations]") -> list[Any]:
    """Great Expectations' own results, in the order of the expectations."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_sql(
        "warehouse",
        connection_string=f"duckdb:///{run.warehouse.events}",
        kwargs={  # type: ignore[call-arg]  # a field that it does not list
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
            "pool_reset_on_return": None,
            "connect_args": {
                "read_only": True,
                "config": {"memory_limit": size_text(run.config.memory_limit), **CLOSED},
            },
        },
    )
    try:
        batch = (
            source.add_table_asset("events", table_name="events").add_batch_definition_whole_table("all").get_batch()
        )
        suite = gx.ExpectationSuite("events", expectations=expectations)
        return sorted(batch.validate(suite).results, key=lambda result: result.expectation_config.meta["place"])
    finally:
        source.get_execution_engine().engine.dispose()
        source.get_engine().dispose()


def _describe(run: Run, expectation: ExpectationSettings, result: Any) -> dict:
    """One expectation and what came of it. One that could not be evaluated stops the night, whatever its severity."""
    row = {"rule": str(expectation), "severity": expectation.severity, "passed": bool(result.success)}
    raised = next(_exceptions(result), None)
    if raised is not None:
        return row | {"severity": "blocking", "passed": False, "observed": f"could not be evaluated: {raised}"}
    found = result.result
    query = result.expectation_config.kwargs.get("unexpected_rows_query")
    if query is not None:
        examples = "no unexpected rows" if result.success else f"unexpected rows: {_examples(run, query)}"
        return row | {"observed": examples}
    if found.get("unexpected_count") is not None:
        examples = ", ".join(map(str, found["partial_unexpected_list"][:N_EXAMPLES]))
        such_as = f", e.g. {examples}" if examples else ""
        return row | {"observed": f"{found['unexpected_count']:,} unexpected values{such_as}"}
    observed = found.get("observed_value")
    return row | {"observed": f"{observed:,}" if isinstance(observed, int | float) else str(observed)}


def _exceptions(result: Any) -> Iterator[str]:
    """What was raised, if anything: Great Expectations reports it per metric, or as one flat record."""
    info = result.exception_info or {}
    records = [info] if "raised_exception" in info else list(info.values())
    return (record["exception_message"] for record in records if record.get("raised_exception"))


def _examples(run: Run, query: str) -> str:
    """A few of the rows against an expectation."""
    with connect(run.warehouse.events, run.config, read_only=True) as connection:
        rows = connection.execute(f"{query.format(batch='events')} limit {N_EXAMPLES}")
        names = [column[0] for column in rows.description]
        return "; ".join(
            ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True) if value is not None)
            for row in rows.fetchall()
        )
