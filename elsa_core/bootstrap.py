"""What can be said of the mean of a metric over users: bootstrap intervals, paired comparisons."""

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 100  # resamples drawn at a time, to bound memory
BLOCK_WEIGHTS = 4_000_000  # the same where each user of a resample has a weight


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
        return float(is_offered[:-1].sum() / n_items)

    draws = (np.unique(rng.integers(0, len(top), len(top))) for _ in range(RESAMPLES // 10))
    spread = float(np.std([coverage(top[users]) for users in draws]))
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
