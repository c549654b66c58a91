"""S: what it solves, that it does not depend on how it is computed, and that the model uses all of B."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

import elsa_core.cooccurrence
import elsa_core.linear
import elsa_core.residual
import elsa_core.ridge
import elsa_core.sparse_product
from elsa_core import Elsa, ResidualConfig, ResidualError, fit, fit_residual, load
from tests.support.small_training import LargestTensor, config, random_interactions, validation_users

one_choice = ResidualConfig(neighbors=6, ridge=(0.5,), dropout=(0.2,), k=5)


def user_weights(X: sparse.csr_array) -> np.ndarray:
    weights = X.astype(bool).sum(axis=1) ** -0.5
    return weights / weights.mean()


def dense_B(model: Elsa) -> np.ndarray:
    A = model.item_embeddings.astype(np.float64)
    B = model.scale * (A @ A.T - np.diag((A * A).sum(axis=1)))
    return B if model.residual is None else B + model.residual.toarray()


@pytest.fixture(scope="module")
def X() -> sparse.csr_array:
    return random_interactions(200, 30)


@pytest.fixture(scope="module")
def alone(X: sparse.csr_array) -> Elsa:
    return fit(X, config)


@pytest.fixture(scope="module")
def model(X: sparse.csr_array, alone: Elsa) -> Elsa:
    return fit_residual(X, alone, one_choice)


def test_without_factors_and_with_all_neighbors_it_is_ease() -> None:
    chosen = np.random.default_rng(0).permuted(np.tile(np.arange(12) < 3, (300, 1)), axis=1)  # three items a user,
    X = sparse.csr_array(chosen.astype(np.float32))  # so that all weights are 1; and every pair of items occurs
    S = fit_residual(X, Elsa(np.zeros((12, 0), np.float32), [], 0), ResidualConfig(11, (2.0,), (0.0,)))
    inverse = np.linalg.inv((X.T @ X).toarray().astype(np.float64) + 2 * np.eye(12))
    ease = inverse / -np.diag(inverse)
    np.fill_diagonal(ease, 0)
    assert S.scale == 0
    np.testing.assert_allclose(S.residual.toarray(), ease, atol=1e-4)


def test_c_is_the_least_squares_scale_of_the_low_rank_part(X: sparse.csr_array, alone: Elsa, model: Elsa) -> None:
    A, x, w = alone.item_embeddings.astype(np.float64), X.toarray().astype(np.float64), user_weights(X)
    x_hat = x @ A @ A.T - x
    best = np.linalg.lstsq((np.sqrt(w)[:, None] * x_hat).reshape(-1, 1), (np.sqrt(w)[:, None] * x).ravel())[0][0]
    assert model.scale == pytest.approx(best, rel=1e-4)


def test_each_column_solves_its_ridge_regression_on_its_candidates(X: sparse.csr_array, model: Elsa) -> None:
    x, w = X.toarray().astype(np.float64), user_weights(X)
    x /= np.sqrt(np.mean(x[x > 0] ** 2))
    A = model.item_embeddings.astype(np.float64)
    P = x.T @ (w[:, None] * x)
    penalty = 0.5 + 0.2 / 0.8 * np.diag(P)
    left_over = x - model.scale * (x @ A @ A.T - x)
    R = x.T @ (w[:, None] * left_over)
    strength = np.where((P > 0) & ~np.eye(30, dtype=bool), np.abs(R) / np.sqrt(np.diag(P) + penalty)[:, None], -1)
    S = model.residual.toarray()
    for j in range(30):
        candidates = np.argsort(-strength[:, j])[:6]
        candidates = candidates[strength[candidates, j] >= 0]
        gram = P[np.ix_(candidates, candidates)] + np.diag(penalty[candidates])
        expected = np.zeros(30)
        expected[candidates] = np.linalg.solve(gram, R[candidates, j])
        np.testing.assert_allclose(S[:, j], expected, atol=2e-4)


def test_items_without_partners_have_empty_columns(alone: Elsa) -> None:
    dense = random_interactions(200, 30).toarray()
    dense[:, [4, 17]] = 0
    dense[0] = np.eye(30)[17]  # all that this user has, and nobody else has it
    S = fit_residual(sparse.csr_array(dense), alone, one_choice).residual.toarray()
    assert not S[:, [4, 17]].any() and not S[[4, 17]].any()
    assert S.any(axis=0).sum() == 28


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kept", [0, 2**27])
def test_blocks_and_threads_do_not_change_it(
    X: sparse.csr_array, alone: Elsa, model: Elsa, kept: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsa_core.cooccurrence, "P_KEPT", kept)
    monkeypatch.setattr(elsa_core.ridge, "BUFFER", 70)
    monkeypatch.setattr(elsa_core.cooccurrence, "ROW_BLOCK", 70)
    monkeypatch.setattr(elsa_core.ridge, "PAIR_BLOCK", 70)
    monkeypatch.setattr(elsa_core.ridge, "GRAM_BLOCK", 7 * 36)
    monkeypatch.setattr(elsa_core.sparse_product, "USER_BLOCK", 60)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    again = fit_residual(X, alone, one_choice)
    torch.set_num_threads(before)
    assert (again.residual != 0).nnz == (model.residual != 0).nnz
    np.testing.assert_allclose(again.residual.toarray(), model.residual.toarray(), atol=1e-4)


@pytest.mark.parametrize("kept", [0, 2**27])
def test_no_array_is_items_by_items(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n_items = 1500
    monkeypatch.setattr(elsa_core.cooccurrence, "P_KEPT", kept)
    monkeypatch.setattr(elsa_core.ridge, "BUFFER", 100_000)
    wide = random_interactions(300, n_items)
    low_rank = fit(wide, replace(config, n_epochs=1))
    monkeypatch.setattr(elsa_core.cooccurrence, "ROW_BLOCK", 100_000)
    monkeypatch.setattr(elsa_core.ridge, "PAIR_BLOCK", 100_000)
    monkeypatch.setattr(elsa_core.ridge, "GRAM_BLOCK", 100_000)
    with LargestTensor() as largest:
        fit_residual(wide, low_rank, ResidualConfig(8, (0.5,), (0.2,)))
    assert largest.numel <= 120_000 < n_items**2 / 15


def test_items_without_partners_may_fill_a_block(
    X: sparse.csr_array, alone: Elsa, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = X.toarray()
    dense[:, [4, 29]] = 0
    monkeypatch.setattr(elsa_core.ridge, "GRAM_BLOCK", 36)  # one column at a time
    S = fit_residual(sparse.csr_array(dense), alone, one_choice).residual.toarray()
    assert not S[:, [4, 29]].any() and S.any(axis=0).sum() == 28


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_weights_does_not_matter(
    X: sparse.csr_array, alone: Elsa, model: Elsa, scale: float
) -> None:
    scaled = fit_residual(X * np.float32(scale), alone, one_choice)
    assert scaled.scale == pytest.approx(model.scale, rel=1e-4)
    np.testing.assert_allclose(scaled.residual.toarray(), model.residual.toarray(), atol=1e-4)


def test_users_without_two_items_do_not_count_and_the_callers_matrix_stays_as_it_is(
    X: sparse.csr_array, alone: Elsa, model: Elsa
) -> None:
    more = np.vstack([X.toarray(), np.zeros((100, 30)), np.tile(np.eye(30)[7] * 2, (500, 1))]).astype(np.float32)
    more = sparse.csr_array(more)
    before = more.copy()
    again = fit_residual(more, alone, one_choice)
    assert again.scale == pytest.approx(model.scale, rel=1e-5)
    np.testing.assert_allclose(again.residual.toarray(), model.residual.toarray(), atol=1e-5)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(more, part), getattr(before, part))
    with pytest.raises(ResidualError, match="no user has two interactions"):
        fit_residual(sparse.csr_array(np.eye(30, dtype=np.float32)), alone, one_choice)


def test_without_factors_the_lists_come_from_the_residual(X: sparse.csr_array) -> None:
    model = fit_residual(X, Elsa(np.zeros((30, 0), np.float32), [], 0), one_choice)
    items, _ = model.recommend(X[:5], 5)
    assert (items >= 0).all()


def test_validation_chooses_and_says_by_how_much(X: sparse.csr_array, alone: Elsa) -> None:
    tried = ResidualConfig(neighbors=6, ridge=(0.5, 1e6), dropout=(0.2, 0.5), k=5)
    model = fit_residual(X, alone, tried, validation_users())
    assert [(entry["ridge"], entry["dropout"]) for entry in model.choices] == [
        (None, None), (0.5, 0.2), (0.5, 0.5), (1e6, 0.2), (1e6, 0.5),
    ]  # fmt: skip
    best = max(model.choices, key=lambda entry: entry["ndcg"])
    expected = alone
    if best["ridge"] is not None:
        expected = fit_residual(X, alone, replace(tried, ridge=(best["ridge"],), dropout=(best["dropout"],)))
    fold_in, _ = validation_users()
    np.testing.assert_array_equal(model.recommend(fold_in, 5)[0], expected.recommend(fold_in, 5)[0])


def test_it_is_left_out_where_validation_says_that_it_does_not_help(
    X: sparse.csr_array, alone: Elsa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsa_core.residual, "validation_ndcg", lambda model, *_: float(model.residual is None))
    model = fit_residual(X, alone, one_choice, validation_users())
    assert (model.residual, model.scale) == (None, 1.0)
    assert [entry["ndcg"] for entry in model.choices] == [1.0, 0.0]


def test_lists_and_neighbours_come_from_the_whole_of_B(
    X: sparse.csr_array, model: Elsa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsa_core.linear, "BLOCK_SCORES", 64 * 30)
    B, x = dense_B(model), X.toarray()
    expected = x @ B
    everything, scores = model.recommend(X, 30, exclude_seen=False)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, everything, axis=1), atol=1e-4)
    assert (np.sort(everything) == np.arange(30)).all()
    expected[x > 0] = -np.inf
    unseen, scores = model.recommend(X, 5)
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :5], atol=1e-4)
    assert np.isinf(np.take_along_axis(expected, unseen, axis=1)).sum() == 0
    neighbours, scores = model.similar(np.arange(30), 5)
    assert (neighbours != np.arange(30)[:, None]).all()
    np.testing.assert_allclose(scores, np.take_along_axis(B, neighbours, axis=1), atol=1e-5)


@pytest.mark.parametrize("has_residual", [True, False])
def test_contributions_add_up_to_the_scores(
    X: sparse.csr_array, alone: Elsa, model: Elsa, has_residual: bool
) -> None:
    explained = model if has_residual else alone
    items, scores = explained.recommend(X, 1, exclude_seen=False)
    parts = explained.contributions(X, items[:, 0])
    np.testing.assert_allclose(parts.sum(axis=1), scores[:, 0], atol=1e-4)
    np.testing.assert_array_equal(parts.indices, X.indices)
    user, place = 3, X.indptr[3]
    expected = X.data[place] * dense_B(explained)[X.indices[place], items[user, 0]]
    assert parts.data[place] == pytest.approx(expected, abs=1e-5)


def test_save_load_and_another_item_set_keep_the_residual(model: Elsa, X: sparse.csr_array, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = load(tmp_path)
    np.testing.assert_array_equal(dense_B(loaded), dense_B(model))
    assert loaded.choices == model.choices
    positions = np.r_[-1, np.arange(29, 0, -1)]  # item 0 is gone, the others in reverse; place 0 is new
    moved = dense_B(loaded.reindex(positions, 30))
    np.testing.assert_allclose(moved[1:, 1:], dense_B(model)[:0:-1, :0:-1], atol=1e-7)
    assert not moved[0].any() and not moved[:, 0].any()


@pytest.mark.parametrize("changes", [{"neighbors": 0}, {"neighbors": 30}, {"ridge": (0.0,)}, {"dropout": (1.0,)}])
def test_what_cannot_be_solved_is_refused(X: sparse.csr_array, alone: Elsa, changes: dict) -> None:
    with pytest.raises(ValueError, match="neighbors must lie between 1 and 29, each ridge above 0, each dropout"):
        fit_residual(X, alone, replace(one_choice, **changes))


def test_a_ridge_too_small_for_float32_is_told() -> None:
    X = sparse.csr_array(np.tile(np.float32([1, 1, 1, 0]), (50_000, 1)))
    with pytest.raises(ValueError, match="a ridge is too small"):
        fit_residual(X, Elsa(np.zeros((4, 0), np.float32), [], 0), ResidualConfig(2, (1e-9,), (0.0,)))


def test_progress_is_reported(X: sparse.csr_array, alone: Elsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsa_core.ridge, "GRAM_BLOCK", 15 * 36)
    seen: list[tuple[str, float]] = []
    fit_residual(X, alone, one_choice, on_progress=lambda *progress: seen.append(progress))
    assert seen == [
        *(("shared users", part / 16) for part in range(1, 17)),
        ("candidates", 1.0),
        ("solve", 0.5),
        ("solve", 1.0),
    ]


def test_users_count_by_the_inverse_root_of_their_size(X: sparse.csr_array) -> None:
    np.testing.assert_allclose(elsa_core.residual.user_weights(X), user_weights(X), rtol=1e-6)
