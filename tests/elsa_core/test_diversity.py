"""Caps per category, scores of pairs and neighbours among given pairs, beside plain references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from elsa_core import Capped, Elsa, Popularity
from tests.support.published_file import random_ease, random_histories, random_model, weights_of, without_residual


def plain_cap(ranking: list[int], category: np.ndarray, cap: int, k: int) -> list[int]:
    kept: list[int] = []
    for item in ranking:
        if item < 0 or len(kept) == k:
            break
        if category[item] < 0 or sum(category[other] == category[item] for other in kept) < cap:
            kept.append(item)
    return kept + [-1] * (k - len(kept))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32))
def test_a_capped_list_is_the_long_list_without_what_is_too_many(cap: int, k: int, n_kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, X = random_model(40, rng), random_histories(15, 40, rng)
    category = rng.integers(-1, n_kinds, 40)
    whole, whole_scores = model.recommend(X, 40)
    items, scores = Capped(model, category, cap).recommend(X, k)
    for row in range(len(items)):
        assert items[row].tolist() == plain_cap(whole[row].tolist(), category, cap, k)
        places = [whole[row].tolist().index(item) for item in items[row] if item >= 0]
        np.testing.assert_allclose(scores[row][: len(places)], whole_scores[row][places], atol=1e-5)
        assert np.isnan(scores[row][len(places) :]).all()


def test_no_rows_have_lists_of_no_rows() -> None:
    rng = np.random.default_rng(0)
    model, X, category = random_model(40, rng), random_histories(15, 40, rng), rng.integers(0, 3, 40)
    items, scores = Capped(model, category, 2).recommend(X[:0], 6)
    assert items.shape == scores.shape == (0, 6)
    assert (items.dtype, scores.dtype) == (np.int64, np.float32)


def test_long_lists_are_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    model, X, category = random_model(40, rng), random_histories(15, 40, rng), rng.integers(0, 3, 40)
    whole = Capped(model, category, 2).recommend(X, 6)
    monkeypatch.setattr("elsa_core.diversity.PLACES", 30)
    items, scores = Capped(model, category, 2).recommend(X, 6)
    np.testing.assert_array_equal(items, whole[0])
    np.testing.assert_allclose(scores, whole[1], atol=1e-5)


@pytest.mark.parametrize("make", [random_model, without_residual, random_ease])
def test_scores_of_pairs_are_those_of_x_B(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elsa_core.linear.PAIRS", 7)
    rng = np.random.default_rng(1)
    model, X = make(30, rng), random_histories(20, 30, rng)
    row, item = rng.integers(0, 20, 100), rng.integers(0, 30, 100)
    expected = X.toarray().astype(np.float64) @ weights_of(model)
    np.testing.assert_allclose(model.score(X, row, item), expected[row, item], atol=1e-5)
    assert model.score(X, row[:0], item[:0]).shape == (0,)


def test_neighbours_among_given_pairs_are_the_best_of_them() -> None:
    rng = np.random.default_rng(2)
    model = random_model(30, rng)
    among = sparse.random_array((30, 30), density=0.2, format="csr", rng=rng)
    allowed = rng.random(30) < 0.7
    items, scores = model.similar(np.arange(30), 4, allowed=allowed, among=among)
    stored = (among.toarray() != 0) & allowed & ~np.eye(30, dtype=bool)
    B = np.where(stored, weights_of(model), -np.inf)
    order = np.argsort(-B, axis=1, kind="stable")[:, :4]
    best = np.take_along_axis(B, order, axis=1)
    np.testing.assert_array_equal(items, np.where(np.isfinite(best), order, -1))
    np.testing.assert_allclose(scores[items >= 0], best[np.isfinite(best)], atol=1e-5)
    assert np.isnan(scores[items < 0]).all()


def test_items_that_training_never_saw_are_nobodys_neighbours() -> None:
    A = np.eye(4, dtype=np.float32)
    A[3] = 0
    model = Elsa(A, [], 0)
    items, _ = model.similar(np.arange(4), 4, among=sparse.csr_array(np.ones((4, 4))))
    assert not (items[:3] == 3).any() and (items[3] == -1).all()


def test_popular_items_can_be_kept_to_the_allowed() -> None:
    X = sparse.csr_array(np.array([[1, 1, 0], [1, 0, 1], [1, 0, 1]], dtype=np.float32))
    items, _ = Popularity.fit(X).recommend(sparse.csr_array((1, 3)), 3, allowed=np.array([False, True, True]))
    assert items.tolist() == [[2, 1, -1]]
