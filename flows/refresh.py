"""Between two nightly runs: new events in, tables rebuilt with the published model."""

from prefect import flow, get_run_logger
from prefect.states import Completed, State

from flows.hooks import record_end
from tasks.data.expectations import check_expectations
from tasks.data.holdout import hold_out
from tasks.data.ingest import ingest, take_stock
from tasks.data.interactions import build_interactions
from tasks.data.matrix import build_matrix
from tasks.data.validate import validate, validate_what_is_left
from tasks.errors import RunUnderWay
from tasks.model.adopt import adopt_evaluation_model, adopt_model
from tasks.publish.candidates import check_candidates
from tasks.publish.materialize import materialize
from tasks.publish.publish import publish
from tasks.publish.rules import apply_rules
from tasks.report.report import reported_run
from tasks.run.handles import Events
from tasks.run.run import Run, end_run
from tasks.settings.config import Config
from tasks.settings.deployment import GivenConfig, given_config


@flow(name="refresh", on_crashed=[record_end], on_cancellation=[record_end])
def refresh(config: GivenConfig) -> State:
    """Ingests, validates, and publishes tables of the published model for everyone, new users among them.

    Where another run has the warehouse, nothing is done, and the state is called Skipped.
    Drift of the new events is checked by the next nightly run, over all events since the last one.
    """
    config = given_config(config)
    check_expectations(config)
    try:
        return _refresh(config)
    except RunUnderWay as busy:  # it rebuilds tables, too
        return Completed(name="Skipped", message=str(busy))


def _refresh(config: Config) -> State:
    with reported_run(config, kind="refresh") as run:
        get_run_logger().info("run %s", run.run_id)
        events = ingest(run, retry_rejected=False)
        validate(run, events)
        _publish_with_published_model(run, events)
    return Completed(name="Published", data=run.run_id)


@flow(name="republish", on_crashed=[record_end], on_cancellation=[record_end])
def republish(config: Config, kind: str, why: str) -> str:
    """Publishes tables of the published model over the events that are left after some were removed.

    The record of publications keeps `kind`, forget or withdraw, and `why`.
    """
    with reported_run(config, kind=kind, why=why) as run:
        get_run_logger().info("run %s", run.run_id)
        events = take_stock(run)
        validate_what_is_left(run, events)
        _publish_with_published_model(run, events)
    return run.run_id


def _publish_with_published_model(run: Run, events: Events) -> None:
    rules = apply_rules(run, events)
    interactions = build_interactions(run, events)
    matrix = build_matrix(run, interactions, hold_out(run, events, interactions, is_judged=False))
    check_candidates(run, matrix, rules)
    adopt_evaluation_model(run, matrix)
    model = adopt_model(run, matrix)
    publish(run, materialize(run, events, interactions, matrix, rules, model))
    end_run(run, "published")
