"""Offline metrics of recommended lists, user by user."""

import numpy as np
from scipy import sparse

from elsa_core.linear import Recommender

Validation = tuple[sparse.csr_array, sparse.csr_array]  # (fold_in, targets), both (users, n_items)


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


def validation_ndcg(model: Recommender, validation: Validation, k: int) -> float:
    """Mean nDCG@k of the model's lists for the validation users."""
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
