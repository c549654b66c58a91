"""Worlds of a few items and users: a night ends published, rejected, or with a message, never with a defect."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

import elsa_core
from tasks.errors import InputError
from tasks.model.gate import _lift
from tasks.run.handles import Evaluation
from tasks.run.run import Run
from tasks.settings.config import Config
from tests.support.plain_nights import plain_night
from tests.support.worlds import config

Pairs = list[tuple[int, int]]


def crossed(users: range, items: range) -> Pairs:
    return [(user, item) for user in users for item in items]


def drawn(n_users: int, n_items: int, n_each: int) -> Pairs:
    rng = np.random.default_rng(0)
    return [(user, int(item)) for user in range(n_users) for item in rng.choice(n_items, n_each, replace=False)]


ALONE = [(1000, 99)]  # a user of another item, so that not everybody has everything
WORLDS = {
    "two items that all have": crossed(range(40), range(2)) + ALONE,
    "two items, nobody without": crossed(range(40), range(2)),
    "two items, two without": [*crossed(range(40), range(2)), (41, 0), (42, 1)],
    "one item": crossed(range(40), range(1)),
    "one user": crossed(range(1), range(5)),
    "three users": crossed(range(3), range(4)),
    "identical items": crossed(range(40), range(6)) + ALONE,
    "two kinds of user": crossed(range(30), range(3)) + crossed(range(30, 60), range(3, 6)),
    "pairs": [(user, 2 * (user % 5) + place) for user in range(60) for place in range(2)],
    "one item each": [(user, user) for user in range(40)],
    "one item each but a few": [(user, user) for user in range(40)] + [(user, 0) for user in range(1, 20)],
    "a star": [(user, item) for user in range(40) for item in (0, 1 + user)],
    "three items": drawn(60, 3, 2),
    "everybody but one item": drawn(60, 4, 3),
    "many users, few items": drawn(300, 5, 2),
    "few users, many items": drawn(12, 200, 20),
}
ELSA = {"n_epochs": 2, "batch_size": 16, "residual_ridge": [1.0], "residual_dropout": [0.0, 0.5]}
EASE = {"scoring_policy": {"policy_type": "ease", "ease_ridge": [1.0]}}
NIGHTS = {  # the policy's factors, 0 for EASE, and how it ends: published, or words of the message
    "two items that all have": (2, "published"),
    "two items, nobody without": (2, "each of the 40 users has seen all 2 items"),
    "two items, two without": (2, "published"),
    "one item": (1, "none to train on"),
    "one user": (1, "there is none to"),
    "one item each but a few": (40, "published"),
    "identical items": (6, "published"),
    "everybody but one item": (0, "published"),
    "few users, many items": (2, "published"),
}


def matrix(pairs: Pairs) -> sparse.csr_array:
    users, items = (np.unique([pair[side] for pair in pairs], return_inverse=True)[1] for side in (0, 1))
    return sparse.csr_array((np.ones(len(pairs), dtype=np.float32), (users, items)))


def split(X: sparse.csr_array) -> tuple[sparse.csr_array, sparse.csr_array]:
    """The last item of each user who has two is a target."""
    X = X[np.flatnonzero(np.diff(X.indptr) > 1)]
    is_last = np.zeros(X.nnz, dtype=np.float32)
    is_last[X.indptr[1:] - 1] = 1
    targets, fold_in = (
        sparse.csr_array((data, X.indices, X.indptr), X.shape, copy=True) for data in (is_last, 1 - is_last)
    )
    targets.eliminate_zeros()
    fold_in.eliminate_zeros()
    return fold_in, targets


@pytest.mark.parametrize("factors", [1, 2, "all"])
@pytest.mark.parametrize("world", WORLDS)
def test_models_of_tiny_worlds_have_finite_scores(world: str, factors: int | str) -> None:
    X = matrix(WORLDS[world])
    n_items = X.shape[1]
    factors = n_items if factors == "all" else min(factors, n_items)
    train = elsa_core.TrainConfig(factors=factors, n_epochs=2, batch_size=16, k=10)
    parts = elsa_core.ResidualConfig(min(100, n_items - 1), (1.0, 1e-3), (0.0, 0.5), 10)
    validation = split(X)
    try:
        low_rank = elsa_core.fit(X, train, validation)
        models = [
            low_rank,
            elsa_core.fit_residual(X, low_rank, parts, validation),
            elsa_core.fit_residual(X, low_rank, parts),
        ]
        models.append(elsa_core.fit_ease(X, (1.0,), validation))
    except (elsa_core.TrainingError, elsa_core.ResidualError) as error:
        assert "one item" in world or world == "one item each", error
        return
    for model in models:
        items, scores = model.recommend(X, n_items + 3)
        assert np.isfinite(scores[items >= 0]).all() and (items >= 0).sum() <= X.shape[0] * n_items - X.nnz
        assert np.isfinite(model.similar(np.arange(n_items), 3)[1]).any()


def test_a_low_rank_part_that_says_nothing_leaves_all_to_the_residual() -> None:
    """Two orthogonal vectors for two items: A Aᵀ − I is 0, and no share of it comes near anything."""
    X = matrix(WORLDS["two items that all have"])[:, :2]
    model = elsa_core.Elsa(np.eye(2, dtype=np.float32), [], 0)
    fitted = elsa_core.fit_residual(X, model, elsa_core.ResidualConfig(1, (1.0,), (0.0,)))
    P = (X.T @ sparse.diags_array(np.ones(X.shape[0])) @ X).toarray()
    assert fitted.scale == 0
    assert fitted.residual[0, 1] == pytest.approx(P[0, 1] / (P[0, 0] + 1), rel=1e-5)


def tiny(pairs: Pairs, policy: dict, **changes: dict) -> Config:
    Path("data").mkdir(exist_ok=True)
    events = pl.DataFrame(pairs, schema={"user": pl.Int64, "item": pl.Int64}, orient="row")
    events.with_columns(at=1_700_000_000 + 60 * pl.int_range(pl.len())).write_parquet("data/events.parquet")
    source = {"events": "data/events.parquet", "items": None,
              "columns": {"user_id": "user", "item_id": "item", "timestamp": "at"}}  # fmt: skip
    return config(
        source=source, policy_configs=policy, validation={"expectations": []},
        interactions={"min_value": None, "min_user_interactions": 1},
        holdout={"test_share": 0.3, "validation_share": 0.3}, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("world", NIGHTS)
def test_a_night_in_a_tiny_world_has_an_honest_end(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    factors, end = NIGHTS[world]
    policy = {"embedding_policy": ELSA | {"factors": factors}} if factors else EASE
    own = tiny(WORLDS[world], policy, gate={"min_lift_over_popularity": -1.0})
    if end != "published":
        with pytest.raises(InputError, match=end):
            plain_night(own)
        return
    outcome = plain_night(own)
    assert outcome.status in ("published", "rejected")
    assert "inf" not in " ".join(outcome.checks) and "nan" not in " ".join(outcome.checks)


def test_a_lift_over_next_to_nothing_is_told_in_times_and_without_infinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(config(warehouse=str(tmp_path)), "run")
    run.files.folder.mkdir(parents=True)
    own, nothing = np.full(50, 0.5), np.zeros(50)
    little = np.where(np.arange(50) == 0, 0.1, 0)
    for theirs, value, words in ((nothing, None, "unbounded"), (little, 249, "250 times"), (own / 2, 1, "+100.0%")):
        np.savez(run.files.folder / "per_user.npz", **{"elsa/ndcg@10": own, "popularity/ndcg@10": theirs})
        check = _lift(run, Evaluation("", "per_user.npz", 50, {}, None, "", {}))
        assert check.value == pytest.approx(value) and check.passed and words in check.verdict
        assert "inf" not in check.verdict
