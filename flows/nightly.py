"""The main job: events in, recommendation tables out."""

from prefect import flow, get_run_logger
from prefect.states import Completed, State

from flows.hooks import record_end
from tasks.data.drift import watch_drift
from tasks.data.expectations import check_expectations
from tasks.data.holdout import hold_out
from tasks.data.ingest import ingest
from tasks.data.interactions import build_interactions
from tasks.data.matrix import build_matrix
from tasks.data.validate import validate
from tasks.model.champion import find_champion
from tasks.model.evaluate import evaluate
from tasks.model.gate import judge
from tasks.model.train import check_device, refit, train
from tasks.publish.candidates import check_candidates
from tasks.publish.materialize import materialize
from tasks.publish.publish import publish
from tasks.publish.rules import apply_rules
from tasks.report.report import reported_run
from tasks.run.handles import Outcome
from tasks.run.run import end_run
from tasks.settings.deployment import GivenConfig, given_config


@flow(name="nightly", on_crashed=[record_end], on_cancellation=[record_end])
def nightly(config: GivenConfig, resume: str | None = None, force_reason: str | None = None) -> State:
    """Ingests, validates, trains, evaluates and, if the gate accepts the model, publishes new tables.

    `resume` names a run that died or was rejected, to continue; `force_reason` publishes what the gate rejects.
    """
    config = given_config(config)
    check_device(config)
    check_expectations(config)
    limit = config.training_timeout_seconds
    with reported_run(config, resume) as run:
        get_run_logger().info("run %s", run.run_id)
        events = ingest(run)
        validate(run, events)
        drift = watch_drift(run, events)
        rules = apply_rules(run, events)
        interactions = build_interactions(run, events)
        holdout = hold_out(run, events, interactions, is_judged=True)
        matrix = build_matrix(run, interactions, holdout)
        check_candidates(run, matrix, rules)
        champion = find_champion(run, matrix)
        evaluation_model = train.with_options(timeout_seconds=limit)(run, matrix, champion)
        evaluation = evaluate(run, matrix, rules, evaluation_model, champion)
        verdict = judge(run, evaluation, force_reason)
        if verdict.is_accepted:
            model = refit.with_options(timeout_seconds=limit)(run, matrix, evaluation_model, champion)
            publish(run, materialize(run, events, interactions, matrix, rules, model))
        status = "published" if verdict.is_accepted else "rejected"
        end_run(run, status, verdict.reasons)
    outcome = Outcome(run.run_id, status, verdict.checks, verdict.reasons)
    name = "Drifting" if drift.warnings and verdict.is_accepted else status.capitalize()
    return Completed(name=name, message="; ".join((*verdict.reasons, *drift.warnings)) or None, data=outcome)


if __name__ == "__main__":
    import sys

    from flows.cli import main

    sys.exit(main(["nightly", *sys.argv[1:]]))
