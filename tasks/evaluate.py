"""The evaluation model on the test users, beside popularity and the published run's evaluation model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.stages import Evaluation, Matrix, Trained
from tasks.warehouse import Run, current_run_id, read_manifest

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

    from elsa_core import Model

SCORING_ROWS = 8192  # users ranked at a time


@dataclass(frozen=True)
class TestUsers:
    """What the models are shown of the test users, and what is hidden from them: (users, n_items) each."""

    fold_in: "csr_array"
    targets: "csr_array"


@task
def evaluate(run: Run, matrix: Matrix, trained: Trained) -> Evaluation:
    """Writes every metric's mean and interval, and its value for each test user, for each model."""
    import numpy as np
    import polars as pl
    from scipy import sparse

    import elsa_core

    device = run.config.policy_configs.elsa.device
    users = _load_test_users(run)
    popularity = elsa_core.Popularity.fit(sparse.load_npz(run.folder / "train.npz"))
    models = {"elsa": elsa_core.load(run.folder / trained.path, device), "popularity": popularity}
    champion, reason = _comparable_champion(run)
    if champion is not None:
        models["champion"] = _load_champion(run, champion, matrix.n_items, device)
    get_run_logger().info("champion: %s", champion or reason)
    rows, per_user = [], {}
    for name, model in models.items():
        own_rows, own_values = _judge(run, model, users, popularity.share)
        rows += [{"model": name, **row} for row in own_rows]
        per_user |= {f"{name}/{metric}": values for metric, values in own_values.items()}
    pl.DataFrame(rows).write_parquet(run.folder / "metrics.parquet")
    np.savez(run.folder / "per_user.npz", **per_user)
    for row in rows:
        if row["metric"] == "ndcg":
            get_run_logger().info(
                "%s: nDCG@%s %.4f (%.4f to %.4f)", *(row[key] for key in ("model", "k", "value", "low", "high"))
            )
    handle = Evaluation("metrics.parquet", "per_user.npz", users.targets.shape[0], champion, reason)
    run.record("evaluate", handle)
    return handle


def _load_test_users(run: Run) -> TestUsers:
    from scipy import sparse

    return TestUsers(*(sparse.load_npz(run.folder / f"{name}.npz") for name in ("test_fold_in", "test_targets")))


def _comparable_champion(run: Run) -> tuple[str | None, str]:
    """The published run, if its evaluation model never saw tonight's test users; else None and why not."""
    run_id = current_run_id(run.warehouse)
    if run_id is None:
        return None, "none is published yet"
    folder = run.warehouse / "runs" / run_id
    if not (folder / "evaluation_model" / "model.json").exists():
        return None, f"the published run {run_id} has no evaluation model any more"
    if read_manifest(folder)["config"]["holdout"] != run.config.holdout.model_dump():
        return None, f"the published run {run_id} held out other users"
    return run_id, ""


def _load_champion(run: Run, run_id: str, n_items: int, device: str) -> "Model":
    """Its evaluation model over tonight's items: what it did not know, and what is gone, it cannot recommend."""
    import polars as pl

    import elsa_core

    folder = run.warehouse / "runs" / run_id
    tonight = pl.read_parquet(run.folder / "items.parquet").select("item_id", "item_idx")
    theirs = pl.read_parquet(folder / "items.parquet").select("item_id")
    positions = theirs.join(tonight, on="item_id", how="left", maintain_order="left")["item_idx"]
    champion = elsa_core.load(folder / "evaluation_model", device)
    return champion.reindex(positions.cast(pl.Int64).fill_null(-1).to_numpy(), n_items)


def _judge(
    run: Run, model: object, users: TestUsers, share: "np.ndarray"
) -> "tuple[list[dict], dict[str, np.ndarray]]":
    """One row a metric with its interval, and the values for each user where a metric has them.

    share (n_items,) is each item's share of the training users.
    """
    import numpy as np

    from elsa_core.evaluate import coverage_with_interval, evaluate, mean_with_interval, popularity_of_lists

    cutoffs, seed = run.config.evaluation.cutoffs, run.config.seed
    n_users, n_items = users.targets.shape
    items = np.concatenate(
        [
            model.recommend(users.fold_in[first : first + SCORING_ROWS], max(cutoffs))[0]
            for first in range(0, n_users, SCORING_ROWS)
        ]
    )
    per_user = evaluate(items, users.targets, cutoffs)
    for k in cutoffs:
        per_user |= popularity_of_lists(items, share, k)
    means = {name: mean_with_interval(values, seed) for name, values in per_user.items()}
    means |= {f"coverage@{k}": coverage_with_interval(items, n_items, k, seed) for k in cutoffs}
    rows = []
    for metric in run.config.evaluation.metric_names():
        name, k = metric.split("@")
        value, low, high = means[metric]
        rows.append({"metric": name, "k": int(k), "value": value, "low": low, "high": high, "n_users": n_users})
    return rows, per_user
