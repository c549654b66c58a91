"""Offline metrics, user by user, and what can be said of their means."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from elsa_core.linear import LinearModel

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 100  # resamples drawn at a time, to bound memory


def evaluate(items: np.ndarray, targets: sparse.csr_array, cutoffs: list[int]) -> dict[str, np.ndarray]:
    """Ranking metrics of recommended `items` (users, k), -1 for no item, against `targets` (users, n_items).

    Each metric is one value a user, (users,) float64, named like 'ndcg@100':
    recall@k    hits / |targets|
    ndcg@k      Σ_hits 1/log2(rank + 1), over the same sum for the best possible list of min(k, |targets|) hits
    hit_rate@k  1 if there is a hit
    A user must have a target, and k must not exceed the lists' length.
    """
    n_targets = np.diff(targets.indptr)
    if (n_targets == 0).any():
        raise ValueError(f"{(n_targets == 0).sum()} of {len(n_targets)} users have no target: leave them out")
    if max(cutoffs) > items.shape[1]:
        raise ValueError(f"metrics at {max(cutoffs)} need lists of that length, got {items.shape[1]}")
    hits = is_target(items, targets)
    discount = 1 / np.log2(np.arange(2, max(cutoffs) + 2))
    ideal = np.cumsum(discount)
    metrics = {}
    for k in cutoffs:
        top = hits[:, :k]
        metrics[f"recall@{k}"] = top.sum(axis=1) / n_targets
        metrics[f"ndcg@{k}"] = (top @ discount[:k]) / ideal[np.minimum(k, n_targets) - 1]
        metrics[f"hit_rate@{k}"] = top.any(axis=1).astype(float)
    return metrics


def validation_ndcg(model: "LinearModel", validation: tuple[sparse.csr_array, sparse.csr_array], k: int) -> float:
    """Mean nDCG@k of the model's lists for (fold_in, targets), both (users, n_items)."""
    fold_in, targets = validation
    return float(evaluate(model.recommend(fold_in, k)[0], targets, [k])[f"ndcg@{k}"].mean())


def is_target(items: np.ndarray, targets: sparse.csr_array) -> np.ndarray:
    """(users, k) bool: which recommended items are among the user's targets."""
    n_users, n_items = targets.shape
    rows = np.repeat(np.arange(n_users), np.diff(targets.indptr))
    wanted = rows * n_items + targets.indices
    offered = np.arange(n_users)[:, None] * n_items + items
    return np.isin(offered, wanted) & (items >= 0)


def popularity_of_lists(items: np.ndarray, share: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """What kind of items each list holds, one value a user (users,), nan for an empty list.

    share (n_items,) is the share of users who have the item, above 0.
    popularity@k  mean share
    novelty@k     mean of −log2(share), in bits
    """
    top = items[:, :k]
    is_item = top >= 0
    length = np.where(is_item.any(axis=1), is_item.sum(axis=1), np.nan)
    return {
        f"novelty@{k}": np.where(is_item, -np.log2(share)[top], 0).sum(axis=1) / length,
        f"popularity@{k}": np.where(is_item, share[top], 0).sum(axis=1) / length,
    }


def mean_with_interval(values: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean over users (users,) and its bootstrap percentile interval at LEVEL: (mean, low, high)."""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return np.nan, np.nan, np.nan
    return (float(values.mean()), *_interval(_resampled_means(values, seed)[0]))


def coverage_with_interval(items: np.ndarray, n_items: int, k: int, seed: int) -> tuple[float, float, float]:
    """Share of the catalogue in at least one user's first k, with a normal interval of the bootstrap's spread.

    A resample holds fewer distinct users, so its coverage lies below the estimate: percentiles would miss it.
    """
    top = items[:, :k]
    rng = np.random.default_rng(seed)

    def coverage(lists: np.ndarray) -> float:
        is_offered = np.zeros(n_items + 1, dtype=bool)  # -1 marks the extra last place
        is_offered[lists.ravel()] = True
        return is_offered[:-1].sum() / n_items

    spread = np.std([coverage(top[np.unique(rng.integers(0, len(top), len(top)))]) for _ in range(RESAMPLES // 10)])
    value = coverage(top)
    return value, max(0.0, value - 1.96 * spread), min(1.0, value + 1.96 * spread)


def paired_difference(ours: np.ndarray, theirs: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean of ours − theirs over the same users (users,), with its bootstrap interval: (mean, low, high)."""
    return mean_with_interval(ours - theirs, seed)


def relative_lift(ours: np.ndarray, theirs: np.ndarray, seed: int) -> tuple[float, float, float]:
    """mean(ours)/mean(theirs) − 1 over the same users, with its paired bootstrap interval: (lift, low, high).

    Where theirs is 0 the lift is infinite if ours is not, and 0 if it is.
    """
    means = _resampled_means(np.stack([ours, theirs]), seed)
    return (float(_lift(ours.mean(), theirs.mean())), *_interval(_lift(*means)))


def _lift(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(theirs > 0, ours / theirs - 1, np.where(ours > 0, np.inf, 0.0))


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """Means of RESAMPLES bootstrap draws of users: (series, RESAMPLES) from values (series, users)."""
    values = np.atleast_2d(values)
    rng = np.random.default_rng(seed)
    n_users = values.shape[1]
    draws = [values[:, rng.integers(0, n_users, (BLOCK, n_users))].mean(axis=2) for _ in range(RESAMPLES // BLOCK)]
    return np.concatenate(draws, axis=1)


def _interval(means: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return float(low), float(high)
