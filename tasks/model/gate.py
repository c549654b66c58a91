"""Whether the run's model may be published. A rejected model is an outcome, not an error."""

import math
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.run.handles import COMMON_ITEMS, Evaluation, Verdict
from tasks.run.lock import me
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    import numpy as np

LARGE_LIFT = 10.0  # told in times from here on, not in per cent
NUMBERS = ("value", "low", "high", "threshold")


@dataclass(frozen=True)
class Check:
    """One condition: `value`, with its interval where it has one, against `threshold`.

    segment  'all', or the users and targets that it looks at
    n_users  test users that it looks at
    """

    name: str
    metric: str
    segment: str
    n_users: int
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    passed: bool
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """The run's values and others' (users,), nan for users outside the segment; limit: the allowed relative loss."""

    name: str
    segment: str
    ours: "np.ndarray"
    theirs: "np.ndarray"
    limit: float


@stage("gate")
def judge(run: Run, evaluation: Evaluation, force_reason: str | None = None) -> Verdict:
    """Checks the minimums, the lift over popularity and, segment by segment, the loss against the published model."""
    import polars as pl

    checks = [*_minimums(run, evaluation), _lift(run, evaluation), *_unknown_targets(evaluation)]
    if evaluation.champion is None:
        verdict = f"not compared with a published model: {evaluation.why_no_champion}"
        checks.append(_said("no loss against the published model", verdict))
    checks += compare(run, _comparisons(run, evaluation))
    reasons = tuple(check.verdict for check in checks if not check.passed)
    is_accepted = not reasons or bool((force_reason or "").strip())
    if reasons and is_accepted:
        forced = f"published all the same: {me()} forced it at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {force_reason}"
        checks.append(_said("forced", forced))
        reasons = (*reasons, forced)
    kinds = {"n_users": pl.Int64, "passed": pl.Boolean} | dict.fromkeys(NUMBERS, pl.Float64)
    schema = {field.name: kinds.get(field.name, pl.String) for field in fields(Check)}
    run.files.gate_checks.write(pl.DataFrame([asdict(check) for check in checks], schema))
    said = [check for check in checks if check.threshold is not None or not check.metric]
    verdicts = tuple(f"{'passed' if check.passed else 'FAILED'}: {check.verdict}" for check in said)
    for verdict in verdicts:
        get_run_logger().info(verdict)
    metric = run.config.compared_metric
    return Verdict(run.files.gate_checks.name, is_accepted, metric, evaluation.means[metric], verdicts, reasons)


def _said(name: str, verdict: str) -> Check:
    """What decides nothing and is recorded."""
    return Check(name, "", "all", 0, None, None, None, None, True, verdict)


def _minimums(run: Run, evaluation: Evaluation) -> list[Check]:
    import polars as pl

    metrics = run.files.metrics.read().filter(pl.col("model") == _policy_type(run))
    found = {f"{row['metric']}@{row['k']}": row for row in metrics.to_dicts()}
    checks = []
    for metric, limit in run.config.gate.minimums.items():
        value, low, high, n_users = (found[metric][part] for part in ("value", "low", "high", "n_users"))
        verdict = f"{metric} {value:.4f}; required at least {limit:g}"
        checks.append(Check("minimum", metric, "all", n_users, value, low, high, limit, value >= limit, verdict))
    return checks


def _lift(run: Run, evaluation: Evaluation) -> Check:
    import numpy as np

    from elsa_core import relative_lift

    metric, limit = run.config.compared_metric, run.config.gate.min_lift_over_popularity
    values = run.files.per_user.read()
    ours, theirs = (values[f"{model}/{metric}"] for model in (_policy_type(run), "popularity"))
    lift, low, high = relative_lift(ours, theirs, run.config.seed)
    verdict = (
        f"{metric} vs. popularity: {in_words(lift)} (95 % CI {in_words(low)} to {in_words(high)}); "
        f"the whole interval must lie above {limit:+.1%}"
        + ("" if max(lift, high) <= LARGE_LIFT else f"; means {ours.mean():.3g} and {theirs.mean():.3g}")
    )
    value, lower, upper = (number if np.isfinite(number) else None for number in (lift, low, high))
    return Check("lift over popularity", metric, "all", len(ours), value, lower, upper, limit, low > limit, verdict)


def in_words(change: float) -> str:
    """A relative change: a large one in times, and one from nothing at all without a number."""
    if not math.isfinite(change):
        return "unbounded"
    return f"{change:+.1%}" if change <= LARGE_LIFT else f"{1 + change:,.0f} times"


def _unknown_targets(evaluation: Evaluation) -> list[Check]:
    shares = " and ".join(f"{share:.2%} by {model}" for model, share in evaluation.unknown_targets.items())
    return [_said("unknown targets", f"of the targets, items that training never saw: {shares}")] if shares else []


def _comparisons(run: Run, evaluation: Evaluation) -> list[Comparison]:
    """Everything that is judged at once: the whole and each segment beside the champion, and segments' floors."""
    import numpy as np

    metric, rules, own = run.config.compared_metric, run.config.gate, _policy_type(run)
    values = run.files.per_user.read()
    beside = "no loss against the published model"
    found = []
    if evaluation.champion is not None:
        ours, theirs = (values[f"{model}/{metric}"] for model in (own, "champion"))
        found.append(Comparison(beside, "all", ours, theirs, rules.max_loss))
    for path, ours in values.items():
        model, _, segment = (*path.split("/", 2), "")[:3]
        if model != own or not segment:
            continue
        if evaluation.champion is not None:
            limit = rules.max_loss if segment == COMMON_ITEMS else rules.segments.max_loss
            found.append(Comparison(beside, segment, ours, values[f"champion/{metric}/{segment}"], limit))
        if (floor := rules.segments.minimums.get(segment)) is not None:
            theirs = np.where(np.isnan(ours), np.nan, floor)
            found.append(Comparison("floor", segment, ours, theirs, 0.0))
    return found


def compare(run: Run, comparisons: list[Comparison]) -> list[Check]:
    """One check a comparison, with simultaneous intervals of all that have users enough to be judged."""
    import numpy as np

    from elsa_core import simultaneous_changes

    judged = [comparison for comparison in comparisons if _is_judged(run, comparison)]
    intervals = {}
    if judged:
        ours, theirs = (np.column_stack([getattr(one, side) for one in judged]) for side in ("ours", "theirs"))
        ends = simultaneous_changes(ours, theirs, run.config.gate.false_alarm_rate, run.config.seed)
        intervals = {(one.name, one.segment): end for one, end in zip(judged, zip(*ends, strict=True), strict=True)}
    return [_check(run, one, intervals.get((one.name, one.segment))) for one in comparisons]


def _is_judged(run: Run, comparison: Comparison) -> bool:
    """Users enough to tell, and something to lose."""
    import numpy as np

    n_users = (~np.isnan(comparison.ours)).sum()
    is_whole = comparison.segment in ("all", COMMON_ITEMS)
    return (is_whole or n_users >= run.config.gate.segments.min_users) and np.nansum(comparison.theirs) > 0


def _check(run: Run, one: Comparison, interval: tuple[float, float, float] | None) -> Check:
    import numpy as np

    n_users = int((~np.isnan(one.ours)).sum())
    what = f"{run.config.compared_metric} of {one.segment}, {n_users:,} users,"
    parts = (one.name, run.config.compared_metric, one.segment, n_users)
    if interval is None:
        value = float(np.nanmean(one.ours)) if n_users else None
        return Check(*parts, value, None, None, None, True, f"{what} not judged: too few users, or nothing to lose")
    change, low, high = (float(end) for end in interval)
    is_worse, is_shown = high < -one.limit, low >= -one.limit
    asks_for_proof = run.config.gate.undecided == "reject" and one.segment in ("all", COMMON_ITEMS)
    passed = is_shown if asks_for_proof else not is_worse
    finding = "worse" if is_worse else "not worse" if is_shown else "too few users to tell"
    level = f"{1 - run.config.gate.false_alarm_rate:.0%}".replace("%", " %")
    verdict = (
        f"{what} vs. {'floor' if one.name == 'floor' else 'champion'}: {change:+.1%} "
        f"({level} CI {low:+.1%} to {high:+.1%}); allowed loss {one.limit:.1%}: {finding}"
    )
    return Check(*parts, change, low, high, -one.limit, passed, verdict)


def _policy_type(run: Run) -> str:
    """The run's model goes by its name in the metrics."""
    return run.config.policy_configs.policy.policy_type
