"""What a trained model scores, recommends, finds similar, stores and moves."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import sparse

from elsa_core import Ease, Elsa, LinearModel, Popularity, load

N_ITEMS = 20
UNKNOWN = 6  # the item of the model that training never saw


@pytest.fixture
def model() -> Elsa:
    A = np.random.default_rng(0).standard_normal((N_ITEMS, 5))
    A[UNKNOWN] = 0
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    history = [{"epoch": 0, "loss": None, "ndcg": 0.1, "seconds": 0.25, "users_per_second": None}]
    return Elsa((A / np.where(lengths > 0, lengths, 1)).astype(np.float32), history, best_epoch=0)


@pytest.fixture
def X() -> sparse.csr_array:
    """Weighted; row 0 is empty, row 1 has only the item that the model does not know."""
    rng = np.random.default_rng(1)
    dense = (rng.random((30, N_ITEMS)) < 0.3) * rng.uniform(0.5, 2, (30, N_ITEMS))
    dense[2:, UNKNOWN + 1] = 1
    dense[:2] = 0
    dense[1, UNKNOWN] = 1
    return sparse.csr_array(dense)


def every_score(model: Elsa, X: sparse.csr_array) -> np.ndarray:
    """x (A Aᵀ − I), written down as it reads: (rows, n_items)."""
    A = model.item_embeddings.astype(np.float64)
    return X.toarray() @ (A @ A.T - np.eye(N_ITEMS))


def best_of(scores: np.ndarray, is_candidate: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(np.where(is_candidate, -scores, np.inf), axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(is_candidate, order, axis=1), order, -1)


def assert_lists(ours: tuple[np.ndarray, np.ndarray], scores: np.ndarray, is_candidate: np.ndarray) -> None:
    """`ours` are the best candidates (rows, n_items) by `scores` (rows, n_items)."""
    items = best_of(scores, is_candidate, ours[0].shape[1])
    np.testing.assert_array_equal(ours[0], items)
    expected = np.where(items >= 0, np.take_along_axis(scores, items, axis=1), np.nan)
    np.testing.assert_allclose(ours[1], expected, atol=1e-5)


def padded(scores: np.ndarray, is_candidate: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Both with columns for items that do not exist, up to k."""
    extra = ((0, 0), (0, max(0, k - scores.shape[1])))
    return np.pad(scores, extra), np.pad(is_candidate, extra)


def is_recommendable(X: sparse.csr_array) -> np.ndarray:
    """(rows, n_items): known items, for users who have one."""
    is_known = np.arange(N_ITEMS) != UNKNOWN
    return np.outer((X.toarray()[:, is_known] > 0).any(axis=1), is_known)


def test_embed_is_the_sparse_product(model: Elsa, X: sparse.csr_array) -> None:
    vectors = model.embed(X)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, X.toarray() @ model.item_embeddings, atol=1e-5)


def test_recommend_ranks_unseen_items_by_score(model: Elsa, X: sparse.csr_array) -> None:
    is_unseen = X.toarray() == 0
    assert_lists(model.recommend(X, N_ITEMS), every_score(model, X), is_recommendable(X) & is_unseen)
    assert_lists(model.recommend(X, 4), every_score(model, X), is_recommendable(X) & is_unseen)


def test_recommend_can_rank_all_items(model: Elsa, X: sparse.csr_array) -> None:
    assert_lists(model.recommend(X, N_ITEMS, exclude_seen=False), every_score(model, X), is_recommendable(X))


def test_recommend_leaves_out_pairs_and_items_on_request(model: Elsa, X: sparse.csr_array) -> None:
    listed = sparse.random_array(X.shape, density=0.4, rng=np.random.default_rng(2), format="csr")
    is_listed = listed.toarray() > 0
    listed.data[:] = 0  # what counts is that the pair is stored
    allowed = np.arange(N_ITEMS) % 4 > 0  # the unknown item is among them
    lists = model.recommend(X, 12, also_exclude=listed, allowed=allowed)
    assert_lists(lists, every_score(model, X), is_recommendable(X) & (X.toarray() == 0) & ~is_listed & allowed)
    lists = model.recommend(X, 12, exclude_seen=False, also_exclude=listed)
    assert_lists(lists, every_score(model, X), is_recommendable(X) & ~is_listed)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_a_user_without_a_known_item_is_recommended_nothing(
    model: Elsa, X: sparse.csr_array, exclude_seen: bool
) -> None:
    items, scores = model.recommend(X, 3, exclude_seen=exclude_seen)
    assert (items[:2] == -1).all() and np.isnan(scores[:2]).all()
    assert (items[2:] >= 0).all()


def test_a_user_whose_items_cancel_is_recommended_something() -> None:
    model = Elsa(np.array([[1], [-1], [1]], dtype=np.float32), [], best_epoch=0)
    assert model.recommend(sparse.csr_array([[1.0, 1.0, 0.0]]), 1)[0].tolist() == [[2]]


def test_no_rows_give_no_lists(model: Elsa) -> None:
    items, scores = model.recommend(sparse.csr_array((0, N_ITEMS)), 3)
    assert items.shape == scores.shape == (0, 3)


def test_another_number_of_columns_is_refused(model: Elsa) -> None:
    with pytest.raises(ValueError, match="X_rows has shape .*19.*, not .rows, 20."):
        model.recommend(sparse.csr_array((2, N_ITEMS - 1)), 3)


def test_similar_items_are_the_nearest_by_cosine(model: Elsa) -> None:
    item_idx = np.array([3, UNKNOWN, 0, 3])
    cosines = (model.item_embeddings @ model.item_embeddings.T)[item_idx]
    is_candidate = np.arange(N_ITEMS) != item_idx[:, None]
    is_candidate[:, UNKNOWN] = is_candidate[1] = False
    for k in (4, N_ITEMS + 1):
        assert_lists(model.similar(item_idx, k), *padded(cosines, is_candidate, k))


def test_similar_items_among_given_pairs_are_the_same_without_the_item_itself(model: Elsa) -> None:
    """Items 8 and 9 have the vector of item 2, and tie."""
    model.item_embeddings[8:10] = model.item_embeddings[2]
    item_idx, everything = np.array([3, UNKNOWN, 2, 9]), sparse.csr_array(np.ones((4, N_ITEMS)))
    expected, scores = model.similar(item_idx, N_ITEMS)
    found, theirs = model.similar(item_idx, N_ITEMS, among=everything)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(theirs, scores, atol=1e-5)


def test_save_and_load_keep_every_bit(model: Elsa, tmp_path: Path) -> None:
    model.save(tmp_path / "not" / "there" / "yet")
    loaded = load(tmp_path / "not" / "there" / "yet")
    assert loaded.item_embeddings.tobytes() == model.item_embeddings.tobytes()
    assert loaded.item_embeddings.dtype == np.float32
    assert (loaded.history, loaded.best_epoch, loaded.device) == (model.history, model.best_epoch, "cpu")
    np.testing.assert_array_equal(loaded.similar(np.arange(3), 5)[0], model.similar(np.arange(3), 5)[0])


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda A: np.repeat(A, 2, axis=0)[::2]], ids=["F", "slice"])
def test_save_and_load_keep_embeddings_of_any_layout(model: Elsa, tmp_path: Path, layout: Callable) -> None:
    Elsa(layout(model.item_embeddings), [], best_epoch=0).save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).item_embeddings, model.item_embeddings)


def test_reindex_moves_drops_and_leaves_new_items_unknown(model: Elsa) -> None:
    positions = np.full(N_ITEMS, -1)
    positions[[0, 3, 5, 19]] = [4, 0, 6, 1]
    moved = model.reindex(positions, n_items=8)
    np.testing.assert_array_equal(moved.item_embeddings[[4, 0, 6, 1]], model.item_embeddings[[0, 3, 5, 19]])
    assert moved.is_known.tolist() == [True, True, False, False, True, False, True, False]
    assert moved.item_embeddings.dtype == np.float32
    assert (moved.history, moved.best_epoch, moved.device) == (model.history, model.best_epoch, model.device)
    items, _ = moved.recommend(sparse.csr_array(np.ones((1, 8))), 8, exclude_seen=False)
    assert sorted(items[0]) == [-1, -1, -1, -1, 0, 1, 4, 6]


def test_popularity_recommends_by_users_with_ties_by_index_and_without_seen() -> None:
    X = sparse.csr_array(np.array([[0.1, 9, 0, 0, 0], [0.1, 9, 3, 0, 0], [0.1, 0, 3, 0, 0], [0, 0, 0, 0, 1]]))
    popularity = Popularity.fit(X)
    assert popularity.n_users_of.tolist() == [3, 2, 2, 0, 1]
    assert popularity.share.tolist() == [3 / 4, 2 / 4, 2 / 4, 0.5 / 4, 1 / 4]
    rows = sparse.csr_array(np.array([[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]))
    items, scores = popularity.recommend(rows, 4)
    assert items.tolist() == [[0, 1, 2, 4], [1, 2, 4, 3], [4, 3, -1, -1]]
    np.testing.assert_array_equal(scores, [[3, 2, 2, 1], [2, 2, 1, 0], [1, 0, np.nan, np.nan]])
    stored_zero = sparse.csr_array((np.zeros(1), np.array([1]), np.array([0, 1, 1, 1])), rows.shape)
    assert popularity.recommend(rows, 2, also_exclude=stored_zero)[0].tolist() == [[0, 2], [1, 2], [4, 3]]


@pytest.mark.parametrize("kind", [{}, {"model": "elsa"}])
def test_a_model_saved_by_an_earlier_version_loads(kind: dict[str, str], model: Elsa, tmp_path: Path) -> None:
    save_file({"item_embeddings": model.item_embeddings}, tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text(json.dumps(kind | {"history": model.history, "best_epoch": 0}))
    loaded = load(tmp_path)
    assert isinstance(loaded, Elsa)
    assert loaded.item_embeddings.tobytes() == model.item_embeddings.tobytes()
    assert (loaded.history, loaded.scale, loaded.n_residuals, loaded.choices) == (model.history, 1.0, 0, [])


def test_an_ease_saved_by_an_earlier_version_loads(tmp_path: Path) -> None:
    B = np.float32([[0, 0.5], [0.25, 0]])
    save_file({"weights": B}, tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text('{"model": "ease", "choices": [{"ridge": 2.0}]}')
    loaded = load(tmp_path)
    assert isinstance(loaded, Ease) and loaded.chosen == {"ridge": 2.0}
    np.testing.assert_array_equal(loaded.weights, B)


def residual(n_items: int) -> sparse.csr_array:
    S = np.random.default_rng(0).standard_normal((n_items, n_items)).astype(np.float32)
    np.fill_diagonal(S, 0)
    return sparse.csr_array(S)


@pytest.mark.parametrize("kind", ["low rank", "with residual", "ease"])
def test_every_linear_model_answers_without_being_asked_its_class(
    kind: str, model: Elsa, X: sparse.csr_array
) -> None:
    n_items, S = len(model.item_embeddings), residual(len(model.item_embeddings))
    asked: LinearModel = {
        "low rank": model,
        "with residual": replace(model, scale=0.5, residual=S),
        "ease": Ease(S.toarray(), []),
    }[kind]
    A = asked.item_embeddings
    assert asked.factors == A.shape[1] == {"ease": 0}.get(kind, model.factors)
    assert (asked.scale > 0) == (asked.factors > 0) and asked.best_epoch == 0
    stored = np.vstack([asked.residual_rows(slice(0, 2)).toarray(), asked.residual_rows(slice(2, n_items)).toarray()])
    assert asked.n_residuals == {"low rank": 0, "with residual": S.nnz, "ease": n_items**2}[kind]
    assert stored.dtype == np.float32 and np.count_nonzero(stored) == {"low rank": 0}.get(kind, S.nnz)
    row, item = np.divmod(np.arange(X.shape[0] * n_items), n_items)
    expected = X @ (asked.scale * (A @ A.T - np.eye(n_items)) + stored)
    np.testing.assert_allclose(asked.score(X, row, item), expected.ravel(), atol=1e-4)
    assert asked.embed(X).shape == (X.shape[0], asked.factors)


def test_without_residual_is_the_papers_model(model: Elsa) -> None:
    alone = replace(model, scale=0.5, residual=residual(len(model.item_embeddings))).without_residual()
    assert alone is not None and (alone.scale, alone.residual) == (1.0, None)
    assert model.without_residual() is None
    assert Ease(np.zeros((2, 2), np.float32), []).without_residual() is None
