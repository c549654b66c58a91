"""EASE: its closed form, and the nights that run it or measure it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from elsa_core import Ease, fit_ease, load
from tasks.errors import InputError
from tasks.run.manifest import read_manifest
from tests.support.plain_nights import plain_night
from tests.support.small_training import random_interactions, validation_users
from tests.support.worlds import N_USERS, config

Tables = Callable[[str], list[tuple]]
EASE = {"scoring_policy": {"policy_type": "ease", "ease_ridge": [3.0, 30.0]}}


@pytest.fixture(scope="module")
def X() -> sparse.csr_array:
    return random_interactions(200, 30)


def test_each_column_is_the_ridge_regression_on_all_other_items(X: sparse.csr_array) -> None:
    B = fit_ease(X, (2.0,), device="cpu").weights
    gram = (X.T @ X).toarray().astype(np.float64) / np.mean(X.data**2) + 2 * np.eye(30)
    for j in (0, 7, 29):
        others = np.delete(np.arange(30), j)
        np.testing.assert_allclose(
            B[others, j], np.linalg.solve(gram[np.ix_(others, others)], gram[others, j]), atol=1e-4
        )
    assert not np.diag(B).any()


def test_lists_neighbours_and_reasons_come_from_B(X: sparse.csr_array) -> None:
    model = fit_ease(X, (2.0,), device="cpu")
    expected = X @ model.weights
    everything, scores = model.recommend(X, 30, exclude_seen=False)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, everything, axis=1), atol=1e-5)
    unseen, _ = model.recommend(X, 3)
    assert not X.toarray()[np.arange(200)[:, None], unseen].any()
    neighbours, scores = model.similar(np.arange(30), 4)
    np.testing.assert_allclose(scores, np.take_along_axis(model.weights, neighbours, axis=1), atol=1e-6)
    reasons = model.contributions(X, everything[:, 0])
    np.testing.assert_allclose(reasons.sum(axis=1), expected.max(axis=1), atol=1e-5)


def test_the_validation_users_choose_the_ridge(X: sparse.csr_array) -> None:
    ridge = (1e-3, 1.0, 1e5)
    model = fit_ease(X, ridge, validation_users(), k=5, device="cpu")
    assert [entry["ridge"] for entry in model.choices] == list(ridge)
    best = max(model.choices, key=lambda entry: entry["ndcg"])
    np.testing.assert_array_equal(model.weights, fit_ease(X, (best["ridge"],), device="cpu").weights)
    assert model.chosen == best


def test_it_is_saved_and_moved_to_another_item_set(X: sparse.csr_array, tmp_path: Path) -> None:
    model = fit_ease(X, (2.0,), device="cpu")
    model.save(tmp_path)
    loaded = load(tmp_path)
    assert isinstance(loaded, Ease)
    np.testing.assert_array_equal(loaded.weights, model.weights)
    moved = loaded.reindex(np.r_[-1, np.arange(29, 0, -1)], 30).weights
    np.testing.assert_array_equal(moved[1:, 1:], model.weights[:0:-1, :0:-1])
    assert not moved[0].any() and not moved[:, 0].any()


def test_a_night_with_ease_keeps_the_contract_and_has_no_vectors(world: Path, tables: Tables) -> None:
    first = plain_night(config(policy_configs=EASE))
    assert first.status == "published"
    assert tables("select policy_type from run_info") == [("ease",)]
    assert tables("select count(*), count(distinct user_id) from user_topk") == [(10 * N_USERS, N_USERS)]
    assert tables("select count(*) from item_neighbors") == [(5 * 60,)]
    assert tables("select count(*) from item_embeddings union all select count(*) from user_embeddings") == [(0,)] * 2
    assert {model for (model,) in tables("select distinct model from run_metrics")} == {"ease", "popularity"}
    before = tables("from user_topk")
    assert plain_night(config(policy_configs=EASE)).status == "published"
    assert tables("from user_topk") == before


def test_ease_is_refused_for_too_many_items_with_the_memory_it_would_take(world: Path) -> None:
    policy = {"scoring_policy": {"policy_type": "ease", "ease_max_items": 59}}
    with pytest.raises(InputError, match=r"EASE for 60 items takes about 0\.0 GB, and ease_max_items is 59; set"):
        plain_night(config(policy_configs=policy))


def test_the_owner_sees_what_else_could_be_run(world: Path, tables: Tables, logged: list[str]) -> None:
    policy = {"embedding_policy": {"factors": 1, "n_epochs": 1, "batch_size": 64}}
    outcome = plain_night(config(policy_configs=policy))
    ndcg = dict(tables("select model, value from run_metrics where metric = 'ndcg' and k = 10"))
    assert set(ndcg) == {"elsa", "elsa_low_rank", "ease", "popularity"}
    assert ndcg["elsa"] > ndcg["elsa_low_rank"] + 0.05
    assert any("residual:" in line for line in logged)
    stages = read_manifest(Path("warehouse/runs") / outcome.run_id).stages
    train, refit = stages["train"], stages["refit"]
    assert (train["ridge"], train["dropout"]) == (refit["ridge"], refit["dropout"]) != (None, None)
    plain_night(config(policy_configs=policy, evaluation={"ease_up_to": 59}))
    models = tables("select distinct model from run_metrics semi join run_info using (run_id)")
    assert ("ease",) not in models


def test_the_papers_elsa_has_no_residual(world: Path, tables: Tables) -> None:
    policy = {"embedding_policy": {"factors": 8, "n_epochs": 2, "residual_neighbors": 0}}
    outcome = plain_night(config(policy_configs=policy))
    refit = read_manifest(Path("warehouse/runs") / outcome.run_id).stages["refit"]
    assert (refit["ridge"], refit["dropout"]) == (None, None)
    inner, score = tables("""
        select list_inner_product(u.embedding, i.embedding) as inner, t.score
        from user_topk t join user_embeddings u using (user_id) join item_embeddings i using (item_id)
        where t.source = 'personal' limit 1
    """)[0]
    assert inner == pytest.approx(score, abs=1e-4)
