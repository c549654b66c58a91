"""The metrics by hand, their bounds, and what is said of their means."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from elsa_core import evaluate, relative_lift
from elsa_core.bootstrap import coverage_with_interval, mean_with_interval
from elsa_core.metrics import popularity_of_lists

hypothesis_settings = settings(deadline=None, max_examples=50)
seeds = st.integers(0, 2**32 - 1)


def test_metrics_of_three_users_by_hand() -> None:
    targets = sparse.csr_array(np.array([[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], [2, 1, 5, 1, 0, 0]]))
    items = np.array([[3, 1, 0], [0, 1, 2], [0, 4, 2]])
    # A hit at rank 1, 2, 3 counts 1, 1/log2(3) = 0.63093, 1/log2(4) = 0.5; the best lists 1, 1.63093, 2.13093.
    # User 0, targets 1 2: a hit at rank 2.      nDCG@2 = @3 = .63093 / 1.63093 = .38685   recall 1/2
    # User 1, target 5: no hit.                  nDCG 0                                    recall 0
    # User 2, targets 0 1 2 3: ranks 1 and 3.    nDCG@2 = 1 / 1.63093 = .61315             recall@2 1/4
    #                                            nDCG@3 = 1.5 / 2.13093 = .70392           recall@3 2/4
    metrics = evaluate(items, targets, [1, 2, 3])
    expected = {
        "recall@1": [0, 0, 1 / 4],
        "recall@2": [1 / 2, 0, 1 / 4],
        "recall@3": [1 / 2, 0, 2 / 4],
        "ndcg@1": [0, 0, 1],
        "ndcg@2": [0.38685, 0, 0.61315],
        "ndcg@3": [0.38685, 0, 0.70392],
        "hit_rate@1": [0, 0, 1],
        "hit_rate@2": [1, 0, 1],
        "hit_rate@3": [1, 0, 1],
    }
    assert metrics.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], values, atol=5e-6, err_msg=name)
        assert metrics[name].dtype == np.float64


def test_no_item_is_no_hit_even_beside_the_last_item_of_the_user_before() -> None:
    targets = sparse.csr_array(np.array([[0, 1], [1, 0]]))
    metrics = evaluate(np.array([[-1, -1], [-1, 0]]), targets, [2])
    assert metrics["hit_rate@2"].tolist() == [0, 1]
    assert metrics["ndcg@2"] == pytest.approx([0, 1 / np.log2(3)])


def users(n_users: int, n_items: int, seed: int) -> tuple[np.ndarray, sparse.csr_array]:
    """Lists of all items in any order, some cut short by -1; one target a user or more."""
    rng = np.random.default_rng(seed)
    items = rng.permuted(np.tile(np.arange(n_items), (n_users, 1)), axis=1)
    items[np.arange(n_items) >= rng.integers(0, n_items + 1, (n_users, 1))] = -1
    is_target = rng.random((n_users, n_items)) < 0.3
    is_target[np.arange(n_users), rng.integers(0, n_items, n_users)] = True
    return items, sparse.csr_array(is_target)


sizes = {"n_users": st.integers(1, 6), "n_items": st.integers(1, 9), "seed": seeds}


@hypothesis_settings
@given(**sizes)
def test_metrics_lie_between_zero_and_one_and_only_grow_for_recall(n_users: int, n_items: int, seed: int) -> None:
    metrics = evaluate(*users(n_users, n_items, seed), list(range(1, n_items + 1)))
    assert len(metrics) == 3 * n_items
    for values in metrics.values():
        assert values.shape == (n_users,) and (values >= 0).all() and (values <= 1 + 1e-12).all()
    for name in ("recall", "hit_rate"):
        for k, further in pairwise(range(1, n_items + 1)):
            assert (metrics[f"{name}@{k}"] <= metrics[f"{name}@{further}"]).all()


@hypothesis_settings
@given(**sizes)
def test_a_perfect_list_scores_one(n_users: int, n_items: int, seed: int) -> None:
    _, targets = users(n_users, n_items, seed)
    is_target = targets.toarray()
    best_first = np.argsort(~is_target, axis=1, kind="stable")
    n_targets = is_target.sum(axis=1)
    for k in range(1, n_items + 1):
        metrics = evaluate(best_first[:, :k], targets, [k])
        np.testing.assert_allclose(metrics[f"ndcg@{k}"], 1)
        np.testing.assert_allclose(metrics[f"recall@{k}"], np.minimum(1, k / n_targets))
        np.testing.assert_array_equal(metrics[f"hit_rate@{k}"], 1)


def test_users_without_a_target_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 users have no target"):
        evaluate(np.zeros((2, 1), dtype=int), sparse.csr_array(np.array([[1, 0], [0, 0]])), [1])


def test_lists_shorter_than_the_cutoff_are_refused() -> None:
    with pytest.raises(ValueError, match="metrics at 5 need lists of that length, got 2"):
        evaluate(np.zeros((1, 2), dtype=int), sparse.csr_array(np.array([[1, 0]])), [1, 5])


def test_novelty_and_popularity_by_hand() -> None:
    # Shares 1/2, 1/4, 1/8, 1 are 1, 2, 3, 0 bits.
    share = np.array([0.5, 0.25, 0.125, 1])
    kinds = popularity_of_lists(np.array([[0, 1, 3], [2, -1, -1], [-1, -1, -1]]), share, 2)
    assert set(kinds) == {"novelty@2", "popularity@2"}
    np.testing.assert_allclose(kinds["novelty@2"], [1.5, 3, np.nan])
    np.testing.assert_allclose(kinds["popularity@2"], [0.375, 0.125, np.nan])


@pytest.mark.parametrize(("k", "coverage"), [(1, 2 / 5), (2, 3 / 5)])
def test_coverage_by_hand_lies_in_its_interval(k: int, coverage: float) -> None:
    items = np.array([[0, 1, 4], [2, -1, -1], [0, 2, 4]])  # 4 lies beyond k
    value, low, high = coverage_with_interval(items, n_items=5, k=k, seed=0)
    assert value == coverage
    assert 0 <= low < value < high <= 1
    assert coverage_with_interval(items, n_items=5, k=k, seed=0) == (value, low, high)


def test_coverage_that_every_user_gives_has_no_spread() -> None:
    assert coverage_with_interval(np.tile([0, 1], (9, 1)), n_items=2, k=2, seed=0) == (1, 1, 1)


@hypothesis_settings
@given(values=st.lists(st.floats(0, 1, width=16), min_size=1, max_size=40), seed=seeds)
def test_an_interval_contains_its_mean_and_repeats_for_its_seed(values: list[float], seed: int) -> None:
    mean, low, high = mean_with_interval(np.array(values), seed)
    assert mean == pytest.approx(sum(values) / len(values))
    assert min(values) - 1e-12 <= low <= mean + 1e-12 and mean - 1e-12 <= high <= max(values) + 1e-12
    assert mean_with_interval(np.array(values), seed) == (mean, low, high)


def test_an_interval_depends_on_its_seed() -> None:
    values = np.random.default_rng(0).random(50)
    assert mean_with_interval(values, seed=0) != mean_with_interval(values, seed=1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
def test_the_interval_of_a_constant_is_a_point(value: float) -> None:
    mean, low, high = mean_with_interval(np.full(1000, value), seed=0)
    assert low == mean == high == pytest.approx(value)


def test_a_mean_leaves_out_users_without_a_value() -> None:
    assert mean_with_interval(np.array([np.nan, 0.5, np.nan]), seed=0) == (0.5, 0.5, 0.5)
    assert np.isnan(mean_with_interval(np.array([np.nan]), seed=0)).all()


def test_the_width_of_an_interval_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(0).random(2000)
    _, low, high = mean_with_interval(values, seed=0)
    normal_width = 2 * 1.96 * values.std() / np.sqrt(2000)  # a 90 % interval would be 16 % narrower
    assert high - low == pytest.approx(normal_width, rel=0.1)


def test_a_relative_lift_by_hand() -> None:
    # Means 0.3 and 0.2: +50 %. Resamples hold the first user twice (+100 %), the second twice (+33 %), or both.
    assert relative_lift(np.array([0.2, 0.4]), np.array([0.1, 0.3]), seed=0) == pytest.approx((0.5, 1 / 3, 1))


def test_a_relative_lift_that_all_users_share_is_a_point() -> None:
    theirs = np.random.default_rng(0).random(200)
    assert relative_lift(2 * theirs, theirs, seed=0) == (1, 1, 1)
    assert relative_lift(np.full(99, 0.4), np.full(99, 0.3), seed=0) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_a_relative_lift_over_nothing_is_infinite_or_none() -> None:
    nothing = np.zeros(3)
    assert relative_lift(nothing, nothing, seed=0) == (0, 0, 0)
    assert relative_lift(np.full(3, 0.1), nothing, seed=0) == (np.inf, np.inf, np.inf)
    assert relative_lift(nothing, np.full(3, 0.1), seed=0) == (-1, -1, -1)
    # Of two users one has nothing to compare with: where a resample holds that one only, the lift is infinite.
    assert relative_lift(np.array([0.2, 0.2]), np.array([0.0, 0.2]), seed=0) == pytest.approx((1, 0, np.inf))
