"""The evaluation model on the test users, beside popularity and the published run's evaluation model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.model.champion import load_champion
from tasks.model.segments import find_segments
from tasks.run.catalogue import load_catalogue
from tasks.run.handles import COMMON_ITEMS, Champion, Evaluation, Matrix, Rules, Trained
from tasks.run.progress import working
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

    from elsa_core import Capped, LinearModel, Recommender


@dataclass(frozen=True)
class TestUsers:
    """What the models are shown of the test users, and what is hidden from them: (users, n_items) each.

    n_users_of (n_items,) is each item's number of training users
    """

    fold_in: "csr_array"
    targets: "csr_array"
    n_users_of: "np.ndarray"


@stage(
    "evaluate",
    reads=(
        "policy_configs",
        "evaluation",
        "gate.metric",
        "gate.segments.history",
        "gate.segments.popularity",
        "gate.segments.column",
        "recommendations.max_per_category",
        "seed",
    ),
)
def evaluate(run: Run, matrix: Matrix, rules: Rules, trained: Trained, champion: Champion) -> Evaluation:
    """Writes every metric's mean and interval, and its value for each test user, for each model."""
    import polars as pl

    import elsa_core

    popularity = elsa_core.Popularity.fit(run.files.train.read())
    users = TestUsers(run.files.fold_in("test").read(), run.files.targets("test").read(), popularity.n_users_of)
    own, theirs, others, reason = _models(run, trained, champion)
    models: dict[str, Recommender] = {_own_name(run): own, "popularity": popularity, **others}
    if theirs is not None:
        models["champion"] = theirs
    rows, per_user, lists = _judge_all(run, models, users, popularity.share)
    compared = {name: lists[name] for name in lists if name in (_own_name(run), "champion")}
    with working("evaluation of segments"):
        per_user |= _in_segments(run, compared, users)
    unknown = {}
    if theirs is not None:
        unknown = {_own_name(run): _share_unknown(own, users), "champion": _share_unknown(theirs, users)}
        per_user |= _on_common_items(run, own, theirs, users)
    run.files.metrics.write(pl.DataFrame(rows))
    run.files.per_user.write(per_user)
    for row in rows:
        if row["metric"] == "ndcg":
            get_run_logger().info("{model}: nDCG@{k} {value:.4f} ({low:.4f} to {high:.4f})".format(**row))
    means = {f"{row['metric']}@{row['k']}": row["value"] for row in rows if row["model"] == _own_name(run)}
    names = (run.files.metrics.name, run.files.per_user.name)
    compared_with = None if theirs is None else champion.run_id
    return Evaluation(*names, users.targets.shape[0], means, compared_with, reason, unknown)


def _models(
    run: Run, trained: Trained, champion: Champion
) -> "tuple[LinearModel, LinearModel | None, dict[str, Recommender], str]":
    """This run's model, the champion's or None, others to compare with, and why there is no champion."""
    own = run.files.model_folder(trained.path).read(run.config.policy_configs.policy.device)
    with working("models to compare with") as show:
        others: dict[str, Recommender] = {**_alternatives(run, own, show), **_capped_model(run, own)}
    reason, theirs = champion.why_not_comparable, None
    if champion.run_id is not None and not reason:
        theirs = load_champion(run, champion.run_id, "evaluation_model")
    get_run_logger().info(f"champion: {reason or champion.run_id}")
    return own, theirs, others, reason


def _judge_all(
    run: Run, models: "dict[str, Recommender]", users: TestUsers, share: "np.ndarray"
) -> "tuple[list[dict], dict[str, np.ndarray], dict[str, np.ndarray]]":
    """Rows of metrics and values for each user of every model, and the lists (users, k) that they are about."""
    rows: list[dict] = []
    per_user: dict[str, np.ndarray] = {}
    lists: dict[str, np.ndarray] = {}
    with working("evaluation") as show:
        for n_done, (name, model) in enumerate(models.items()):
            show("evaluation", n_done / len(models))
            lists[name], _ = model.recommend(users.fold_in, max(run.config.evaluation.cutoffs))
            own_rows, own_values = _judge(run, lists[name], users, share)
            rows += [{"model": name, **row} for row in own_rows]
            per_user |= {f"{name}/{metric}": values for metric, values in own_values.items()}
    return rows, per_user, lists


def _own_name(run: Run) -> str:
    return run.config.policy_configs.policy.policy_type


def _alternatives(run: Run, own: "LinearModel", show: Callable[..., None]) -> "dict[str, LinearModel]":
    """What could be run instead of the run's ELSA: its low-rank part alone, and EASE where it fits."""
    import elsa_core

    policy = run.config.policy_configs.policy
    models: dict[str, LinearModel] = {}
    if (low_rank := own.without_residual()) is not None:
        models["elsa_low_rank"] = low_rank
    if policy.policy_type == "elsa" and len(own.is_known) <= run.config.evaluation.ease_up_to:
        files = run.files
        X, validation = files.train.read(), (files.fold_in("validation").read(), files.targets("validation").read())
        k = max(run.config.evaluation.cutoffs)
        try:
            models["ease"] = elsa_core.fit_ease(
                X, tuple(policy.ease_ridge), validation, k=k, device=policy.device,
                on_progress=lambda step, share: show(f"{step}, to compare with", share),
            )  # fmt: skip
        except elsa_core.EaseError as error:
            get_run_logger().warning("EASE is left out of the comparison: %s", error)
    return models


def _capped_model(run: Run, model: "LinearModel") -> "dict[str, Capped]":
    """What the cap per category makes of a model, by a name of its own, to be judged beside it; {} without a cap."""
    from elsa_core import Capped

    cap = run.config.recommendations.max_per_category
    if cap is None:
        return {}
    name = f"{run.config.policy_configs.policy.policy_type}_capped"
    return {name: Capped(model, load_catalogue(run).category, cap)}


def _judge(
    run: Run, items: "np.ndarray", users: TestUsers, share: "np.ndarray"
) -> "tuple[list[dict], dict[str, np.ndarray]]":
    """One row a metric of the lists (users, k) with its interval, and the values for each user where it has them.

    share (n_items,) is each item's share of the training users.
    """
    from elsa_core.bootstrap import coverage_with_interval, mean_with_interval
    from elsa_core.metrics import evaluate, popularity_of_lists

    cutoffs, seed = run.config.evaluation.cutoffs, run.config.seed
    n_users, n_items = users.targets.shape
    per_user = evaluate(items, users.targets, cutoffs)
    for k in cutoffs:
        per_user |= popularity_of_lists(items, share, k)
    means = {name: mean_with_interval(values, seed) for name, values in per_user.items()}
    means |= {f"coverage@{k}": coverage_with_interval(items, n_items, k, seed) for k in cutoffs}
    rows = []
    for metric in run.config.evaluation.metric_names():
        name, at = metric.split("@")
        value, low, high = means[metric]
        rows.append({"metric": name, "k": int(at), "value": value, "low": low, "high": high, "n_users": n_users})
    return rows, per_user


def _in_segments(run: Run, lists: "dict[str, np.ndarray]", users: TestUsers) -> "dict[str, np.ndarray]":
    """The gate's metric of each model's lists in each segment: 'model/metric/segment', nan for users outside."""
    import numpy as np

    from elsa_core import evaluate

    metric, k = run.config.compared_metric, max(run.config.evaluation.cutoffs)
    values = {}
    for segment in find_segments(run, users.fold_in, users.targets, users.n_users_of):
        for name, items in lists.items():
            inside = evaluate(items, users.targets, [k], among=segment.items)[metric]
            values[f"{name}/{metric}/{segment.name}"] = (
                inside if segment.users is None else np.where(segment.users, inside, np.nan)
            )
    return values


def _on_common_items(
    run: Run, own: "LinearModel", champion: "LinearModel", users: TestUsers
) -> "dict[str, np.ndarray]":
    """Both models' values where only items that both know are candidates and targets; {} if they know the same."""
    from elsa_core import evaluate

    common = own.is_known & champion.is_known
    if (own.is_known == champion.is_known).all() or not common[users.targets.indices].any():
        return {}
    metric, k = run.config.compared_metric, max(run.config.evaluation.cutoffs)
    values = {}
    for name, model in ((_own_name(run), own), ("champion", champion)):
        items, _ = model.recommend(users.fold_in, k, allowed=common)
        values[f"{name}/{metric}/{COMMON_ITEMS}"] = evaluate(items, users.targets, [k], among=common)[metric]
    return values


def _share_unknown(model: "LinearModel", users: TestUsers) -> float:
    """The share of targets that the model cannot recommend, because its training saw no user with them."""
    return float((~model.is_known[users.targets.indices]).mean())
