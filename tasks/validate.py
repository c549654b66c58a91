"""What the events must satisfy, checked by Great Expectations inside DuckDB."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task

from tasks.config import Config
from tasks.errors import InputError, ValidationFailed
from tasks.resume import resumable
from tasks.stages import Validated
from tasks.warehouse import Run, connect, first_row, sql

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

N_EXAMPLES = 3
FUTURE = "timestamp > now() at time zone 'UTC' + interval 1 day"


@dataclass(frozen=True)
class Rule:
    """An expectation about warehouse.events, in words, and a condition that finds the rows against it."""

    name: str
    expectation: "Expectation"
    against: str | None


@task
@resumable("validate", Validated, reads=("source", "quarantine", "validation"))
def validate(run: Run) -> Validated:
    """Checks every rule, saves the results, and raises ValidationFailed with examples if one does not hold."""
    import polars as pl

    _refuse_without_events(run)
    rules = _rules(run.config)
    results = {result.expectation_config.meta["rule"]: result for result in _run(run, rules)}
    rows = [_describe(run, rule, results[rule.name]) for rule in rules]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(run.folder / "validation.parquet")
    failed = [f"{row['rule']}: {row['observed']}" for row in rows if not row["passed"]]
    with connect(run.events, run.config) as connection:
        connection.execute("update event_files set is_valid = $held where is_valid is null", {"held": not failed})
    if failed:
        raise ValidationFailed(
            f"{len(failed)} of {len(rows)} expectations about the events do not hold; nothing was "
            "trained or published:\n  " + "\n  ".join(failed)
        )
    get_run_logger().info("all %s expectations hold", len(rows))
    handle = Validated("validation.parquet", len(rows))
    run.record("validate", handle)
    return handle


def _refuse_without_events(run: Run) -> None:
    n_refused = None
    if run.events.exists():
        with connect(run.events, run.config, read_only=True) as connection:
            if first_row(connection, "select count(*) from duckdb_tables() where table_name = 'events'")[0]:
                n_refused = first_row(connection, "select count(*) from event_files where not is_valid")[0]
    if n_refused is None:
        raise InputError(f"{run.config.warehouse} holds no events yet; take some in with: elsa ingest --config FILE")
    if n_refused:
        raise ValidationFailed(
            f"{n_refused} files were refused when they were taken in or checked last; correct them or the "
            "configuration, and take them in again with: elsa ingest --config FILE"
        )


def _rules(config: Config) -> list[Rule]:
    import great_expectations.expectations as gxe

    limits, columns = config.validation, config.source.columns
    rules = [
        Rule(
            f"at least {limits.min_events:,} events",
            gxe.ExpectTableRowCountToBeBetween(min_value=limits.min_events),
            None,
        ),
        *(
            Rule(f"{name} is present", gxe.ExpectColumnValuesToNotBeNull(column=name), f"{name} is null")
            for name in ("user_id", "item_id", "timestamp")
            if getattr(columns, name) is not None
        ),
    ]
    if columns.timestamp is not None:
        rules.append(
            Rule(
                "timestamp is not in the future",
                gxe.UnexpectedRowsExpectation(
                    unexpected_rows_query=f"select * from {{batch}} where {FUTURE} limit 1000"
                ),
                FUTURE,
            )
        )
    return rules


def _run(run: Run, rules: list[Rule]) -> list[Any]:
    """Great Expectations' own results, in no particular order."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_sql(
        "warehouse",
        connection_string=f"duckdb:///{run.events}",
        kwargs={
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
            "pool_reset_on_return": None,
            "connect_args": {"read_only": True, "config": {"memory_limit": run.config.memory_limit}},
        },
    )
    try:
        batch = (
            source.add_table_asset("events", table_name="events").add_batch_definition_whole_table("all").get_batch()
        )
        for rule in rules:
            rule.expectation.meta = {"rule": rule.name}
        suite = gx.ExpectationSuite("events", expectations=[rule.expectation for rule in rules])
        return batch.validate(suite).results
    finally:
        source.get_execution_engine().engine.dispose()
        source.get_engine().dispose()


def _describe(run: Run, rule: Rule, result: Any) -> dict:
    raised = [info["exception_message"] for info in _exceptions(result)]
    if raised:
        observed = f"could not be evaluated: {raised[0]}"
    elif "observed_value" in result.result and rule.against is None:
        observed = f"there are {result.result['observed_value']:,}"
    else:
        count = result.result.get("unexpected_count", result.result.get("observed_value")) or 0
        observed = f"{count:,} events" + ("" if result.success else f" do not, such as {_examples(run, rule)}")
    return {"rule": rule.name, "severity": "blocking", "passed": bool(result.success), "observed": observed}


def _exceptions(result: Any) -> list[dict]:
    """What was raised, if anything: Great Expectations reports it per metric, or as one flat record."""
    info = result.exception_info or {}
    records = [info] if "raised_exception" in info else list(info.values())
    return [record for record in records if record.get("raised_exception")]


def _examples(run: Run, rule: Rule) -> str:
    """A few rows against the rule, with the file they came from."""
    query = sql("example_events").replace("$condition", rule.against)
    with connect(run.events, run.config, read_only=True) as connection:
        rows = connection.execute(query, {"n": N_EXAMPLES})
        names = [column[0] for column in rows.description]
        return "; ".join(
            ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True) if value is not None)
            for row in rows.fetchall()
        )
