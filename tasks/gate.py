"""Whether tonight's model may be published. A rejected model is an outcome, not an error."""

from dataclasses import asdict, dataclass

from prefect import get_run_logger, task

from tasks.stages import Evaluation, Verdict
from tasks.warehouse import Run


@dataclass(frozen=True)
class Check:
    """One condition: `value`, with its 95 % interval where it has one, against `threshold`."""

    name: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    passed: bool
    verdict: str


@task
def judge(run: Run, evaluation: Evaluation) -> Verdict:
    """Checks the minimums, the lift over popularity and the loss against the published model."""
    import polars as pl

    checks = [*_minimums(run, evaluation), _lift(run, evaluation), _no_loss(run, evaluation)]
    pl.DataFrame([asdict(check) for check in checks], infer_schema_length=None).write_parquet(
        run.folder / "gate_checks.parquet"
    )
    verdicts = tuple(f"{'passed' if check.passed else 'FAILED'}: {check.verdict}" for check in checks)
    for verdict in verdicts:
        get_run_logger().info(verdict)
    failed = tuple(check.verdict for check in checks if not check.passed)
    handle = Verdict("gate_checks.parquet", not failed, verdicts, failed)
    run.record("gate", handle)
    return handle


def _minimums(run: Run, evaluation: Evaluation) -> list[Check]:
    import polars as pl

    metrics = pl.read_parquet(run.folder / evaluation.path).filter(pl.col("model") == _policy_type(run))
    found = {f"{row['metric']}@{row['k']}": row for row in metrics.to_dicts()}
    checks = []
    for metric, limit in run.config.gate.minimums.items():
        value, low, high = (found[metric][part] for part in ("value", "low", "high"))
        verdict = f"{metric} is {value:.4f}, at least {limit:g} is asked for"
        checks.append(Check("minimum", metric, value, low, high, limit, value >= limit, verdict))
    return checks


def _lift(run: Run, evaluation: Evaluation) -> Check:
    from elsa_core import relative_lift

    metric, limit = _compared_metric(run), run.config.gate.min_lift_over_popularity
    ours_and_theirs = _per_user(run, evaluation, metric, _policy_type(run), "popularity")
    lift, low, high = relative_lift(*ours_and_theirs, run.config.seed)
    verdict = (
        f"{metric} is {lift:+.1%} ({low:+.1%} to {high:+.1%}) beside popularity, "
        f"the whole interval must lie above {limit:+.1%}"
    )
    return Check("lift over popularity", metric, lift, low, high, limit, low > limit, verdict)


def _no_loss(run: Run, evaluation: Evaluation) -> Check:
    from elsa_core import paired_difference

    metric = _compared_metric(run)
    name = "no loss against the published model"
    if evaluation.champion is None:
        verdict = f"not compared with a published model: {evaluation.why_no_champion}"
        return Check(name, metric, None, None, None, None, True, verdict)
    difference, low, high = paired_difference(
        *_per_user(run, evaluation, metric, _policy_type(run), "champion"), run.config.seed
    )
    verdict = (
        f"{metric} is {difference:+.4f} ({low:+.4f} to {high:+.4f}) beside run {evaluation.champion}, "
        "the interval must not lie below 0 as a whole"
    )
    return Check(name, metric, difference, low, high, 0.0, high >= 0, verdict)


def _policy_type(run: Run) -> str:
    """Tonight's model goes by its name in the metrics."""
    return run.config.policy_configs.policy.policy_type


def _compared_metric(run: Run) -> str:
    return f"{run.config.gate.metric}@{max(run.config.evaluation.cutoffs)}"


def _per_user(run: Run, evaluation: Evaluation, metric: str, *models: str) -> list:
    """The metric's values for each test user (users,), one array a model, in the same order of users."""
    import numpy as np

    with np.load(run.folder / evaluation.per_user_path) as values:
        return [values[f"{model}/{metric}"] for model in models]
