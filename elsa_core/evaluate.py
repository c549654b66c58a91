"""Offline metrics, user by user, and what can be said of their means."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from elsa_core.linear import LinearModel

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 100  # resamples drawn at a time, to bound memory
BLOCK_WEIGHTS = 4_000_000  # the same where each user of a resample has a weight


def evaluate(
    items: np.ndarray, targets: sparse.csr_array, cutoffs: list[int], among: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Ranking metrics of recommended `items` (users, k), -1 for no item, against `targets` (users, n_items).

    Each metric is one value a user, (users,) float64, named like 'ndcg@100':
    recall@k    hits / |targets|
    ndcg@k      Σ_hits 1/log2(rank + 1), over the same sum for the best possible list of min(k, |targets|) hits
    hit_rate@k  1 if there is a hit
    A user must have a target, and k must not exceed the lists' length. With `among` (n_items,) bool only the items
    that it marks are hits and targets, and users without such a target have nan.
    """
    n_targets = np.diff(targets.indptr)
    if (n_targets == 0).any():
        raise ValueError(f"{(n_targets == 0).sum()} of {len(n_targets)} users have no target: leave them out")
    if max(cutoffs) > items.shape[1]:
        raise ValueError(f"metrics at {max(cutoffs)} need lists of that length, got {items.shape[1]}")
    hits = is_target(items, targets)
    if among is None:
        return _of_hits(hits, n_targets, cutoffs)
    n_targets = targets.astype(bool).astype(np.int64) @ among.astype(np.int64)
    metrics = _of_hits(hits & among[items], np.maximum(n_targets, 1), cutoffs)
    return {name: np.where(n_targets > 0, values, np.nan) for name, values in metrics.items()}


def _of_hits(hits: np.ndarray, n_targets: np.ndarray, cutoffs: list[int]) -> dict[str, np.ndarray]:
    """The metrics from hits (users, k) bool and each user's number of targets (users,), above 0."""
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


def relative_lift(ours: np.ndarray, theirs: np.ndarray, seed: int) -> tuple[float, float, float]:
    """mean(ours)/mean(theirs) − 1 over the same users, with its paired bootstrap interval: (lift, low, high).

    Where theirs is 0 the lift is infinite if ours is not, and 0 if it is.
    """
    means = _resampled_means(np.stack([ours, theirs]), seed)
    return (float(_lift(ours.mean(), theirs.mean())), *_interval(_lift(*means)))


def simultaneous_changes(
    ours: np.ndarray, theirs: np.ndarray, rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mean(ours)/mean(theirs) − 1 of several series over the same users, with intervals that hold for all of them.

    ours, theirs (users, series); nan in a series leaves the user out of it, and no mean of theirs may be 0. Bootstrap
    max-t (single-step, Romano and Wolf, Econometrica 2005) on the linearised ratio: the upper ends all lie above the
    truth, but with probability `rate`; so do the lower ends below it, however the series depend on one another.
    Returns (change, low, high), each (series,).
    """
    own, other = np.nanmean(ours, axis=0), np.nanmean(theirs, axis=0)
    change = own / other - 1
    errors = _resampled_errors((ours - (1 + change) * theirs) / other, seed)  # (RESAMPLES, series)
    spread = errors.std(axis=0)
    scaled = errors / np.where(spread > 0, spread, 1)
    up, down = (np.quantile((sign * scaled).max(axis=1), 1 - rate) for sign in (-1, 1))
    return change, change - max(down, 0) * spread, change + max(up, 0) * spread


def _resampled_errors(values: np.ndarray, seed: int) -> np.ndarray:
    """Means of RESAMPLES bootstrap draws of users, less the mean: (RESAMPLES, series) from (users, series) with nan.

    A draw is a weight for each user, so that all series' means in a block of draws are one matrix product.
    """
    n_users, n_series = values.shape
    is_in = ~np.isnan(values)
    sums_and_counts = np.hstack([np.where(is_in, values - np.nanmean(values, axis=0), 0), is_in])
    rng, means = np.random.default_rng(seed), []
    n_at_once = max(1, BLOCK_WEIGHTS // n_users)
    for first in range(0, RESAMPLES, n_at_once):
        n_draws = min(n_at_once, RESAMPLES - first)
        places = rng.integers(0, n_users, (n_draws, n_users)) + n_users * np.arange(n_draws)[:, None]
        weights = np.bincount(places.ravel(), minlength=n_draws * n_users).reshape(n_draws, n_users)
        totals = weights.astype(np.float64) @ sums_and_counts
        means.append(totals[:, :n_series] / np.maximum(totals[:, n_series:], 1))
    return np.concatenate(means)


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
