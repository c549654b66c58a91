"""The data's stages alone, for whoever wants to look at them before a night."""

from prefect import flow

from tasks.data.drift import watch_drift
from tasks.data.expectations import check_expectations
from tasks.data.ingest import ingest, stock
from tasks.data.validate import validate
from tasks.run.handles import Events, Validated
from tasks.run.run import end_run, open_run
from tasks.settings.config import GivenConfig, given_config


@flow(name="ingest")
def ingest_alone(config: GivenConfig) -> Events:
    """Takes in what is new or changed."""
    with open_run(given_config(config), kind="ingest") as run:
        events = ingest(run)
        end_run(run, "ingested")
    return events


@flow(name="validate")
def validate_alone(config: GivenConfig) -> Validated:
    """Checks the expectations about all events that were taken in, and how the new ones differ from earlier ones."""
    config = given_config(config)
    check_expectations(config)
    with open_run(config, kind="validate") as run:
        events = stock(run)
        validated = validate(run, events)
        watch_drift(run, events)
        end_run(run, "validated")
    return validated
