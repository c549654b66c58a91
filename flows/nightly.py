"""The main job: last night's events in, tonight's recommendation tables out."""

from prefect import flow, get_run_logger
from prefect.states import Completed, State

from tasks.config import Config
from tasks.drift import watch_drift
from tasks.evaluate import evaluate
from tasks.expectations import check_expectations
from tasks.gate import judge
from tasks.ingest import ingest
from tasks.interactions import build_interactions
from tasks.materialize import materialize
from tasks.matrix import build_matrix
from tasks.publish import publish
from tasks.report import write_report
from tasks.stages import Outcome
from tasks.train import check_device, refit, train
from tasks.validate import validate
from tasks.warehouse import end_run, open_run


@flow(name="nightly")
def nightly(config: Config) -> State:
    """Ingests, validates, trains, evaluates and, if the gate lets the model pass, publishes new tables."""
    check_device(config)
    check_expectations(config)
    with open_run(config) as run:
        get_run_logger().info("run %s", run.run_id)
        events = ingest(run)
        validate(run)
        watch_drift(run)
        interactions = build_interactions(run)
        matrix = build_matrix(run, interactions)
        evaluation_model = train(run, matrix)
        verdict = judge(run, evaluate(run, evaluation_model))
        if verdict.is_accepted:
            model = refit(run, matrix, evaluation_model)
            publish(run, materialize(run, events, interactions, matrix, model))
        status = "published" if verdict.is_accepted else "rejected"
        end_run(run, status, verdict.reasons)
    write_report(run, return_state=True)  # a report that fails does not undo a night
    outcome = Outcome(run.run_id, status, verdict.checks, verdict.reasons)
    return Completed(name=status.capitalize(), message="; ".join(verdict.reasons) or None, data=outcome)


if __name__ == "__main__":
    import sys

    from flows.cli import main

    sys.exit(main(["nightly", *sys.argv[1:]]))
