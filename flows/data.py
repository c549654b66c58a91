"""Ingest and validate as flows of their own, to look at the data before a nightly run."""

from prefect import flow

from tasks.data.drift import watch_drift
from tasks.data.expectations import check_expectations
from tasks.data.ingest import ingest, stock
from tasks.data.validate import validate
from tasks.run.handles import Events, Validated
from tasks.run.run import end_run, open_run
from tasks.settings.deployment import GivenConfig, given_config


@flow(name="ingest")
def ingest_alone(config: GivenConfig) -> Events:
    """Ingests new and changed source files."""
    with open_run(given_config(config), kind="ingest") as run:
        events = ingest(run)
        end_run(run, "ingested")
    return events


@flow(name="validate")
def validate_alone(config: GivenConfig) -> Validated:
    """Checks the expectations about all ingested events, and the drift of the new ones."""
    config = given_config(config)
    check_expectations(config)
    with open_run(config, kind="validate") as run:
        events = stock(run)
        validated = validate(run, events)
        watch_drift(run, events)
        end_run(run, "validated")
    return validated
