"""The gate: what it compares, in which segments, how sure it is, and what it does about models that are worse."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy import sparse

import elsa_core
import elsa_core.bootstrap
from elsa_core import evaluate, simultaneous_changes
from tasks.errors import InputError
from tasks.model.champion import find_champion
from tasks.model.gate import Comparison, compare
from tasks.model.segments import history_bands, popularity_bands
from tasks.run.handles import COMMON_ITEMS, Champion, Matrix
from tasks.run.run import Run
from tasks.settings.config import Config
from tests.support.plain_nights import plain_night
from tests.support.worlds import community_events, config

N = 400

BY_USERS = Matrix(0, 0, 0, 0, 0, 0, None, "")


def noisy_pair(
    rng: np.random.Generator, loss: float = 0.0, n_series: int = 1, noise: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Users' values of two models that are equal but for chance, and for `loss`: (users, series) each."""
    theirs = rng.beta(2, 2, (N, n_series))
    ours = np.clip(theirs + rng.normal(0, noise, (N, n_series)), 0, 1)
    swap = rng.random(N) < 0.5
    ours, theirs = np.where(swap[:, None], theirs, ours), np.where(swap[:, None], ours, theirs)
    return ours * (1 - loss), theirs


def test_changes_by_hand() -> None:
    # Means 0.3 and 0.2: +50 %. The errors' spread is that of the mean of (ours − 1.5 theirs) / 0.2 over two users,
    # ±0.25: (0.2 − 0.15) / 0.2 = 0.25 and (0.4 − 0.45) / 0.2 = −0.25. A resample's mean is −0.25, 0 or 0.25.
    change, low, high = simultaneous_changes(np.array([[0.2], [0.4]]), np.array([[0.1], [0.3]]), 0.05, seed=0)
    assert (change[0], low[0], high[0]) == pytest.approx((0.5, 0.25, 0.75))


def test_the_same_values_have_no_change_and_no_interval() -> None:
    values = np.random.default_rng(0).random((50, 3))
    for ends in simultaneous_changes(values, values, 0.05, seed=0):
        np.testing.assert_array_equal(ends, 0)


def test_a_series_looks_at_its_own_users_only() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.random((60, 1)), rng.random((60, 1)) + 0.1
    padding = np.full((40, 1), np.nan)
    alone = simultaneous_changes(ours, theirs, 0.05, seed=0)
    padded = simultaneous_changes(np.vstack([ours, padding]), np.vstack([theirs, padding]), 0.05, seed=0)
    assert padded[0] == pytest.approx(alone[0])
    assert padded[2] - padded[1] == pytest.approx(alone[2] - alone[1], rel=0.15)


def test_one_series_has_the_normal_interval_and_many_a_wider_one() -> None:
    ours, theirs = noisy_pair(np.random.default_rng(0), n_series=10)
    _, low, high = simultaneous_changes(ours[:, :1], theirs[:, :1], 0.05, seed=0)
    spread = (
        np.std(ours[:, 0] - theirs[:, 0] * ours[:, 0].mean() / theirs[:, 0].mean()) / theirs[:, 0].mean() / np.sqrt(N)
    )
    assert (high - low)[0] == pytest.approx(2 * 1.645 * spread, rel=0.1)
    _, low, high = simultaneous_changes(ours, theirs, 0.05, seed=0)
    assert (high - low)[0] == pytest.approx(2 * 2.57 * spread, rel=0.1), "Šidák's limit for ten independent series"
    again = simultaneous_changes(
        np.repeat(ours[:, :1], 10, axis=1), np.repeat(theirs[:, :1], 10, axis=1), 0.05, seed=0
    )
    assert (again[2] - again[1])[0] == pytest.approx(2 * 1.645 * spread, rel=0.1), "ten equal series are one"


def test_draws_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = noisy_pair(np.random.default_rng(0))
    at_once = simultaneous_changes(ours, theirs, 0.05, seed=3)
    monkeypatch.setattr(elsa_core.bootstrap, "BLOCK_WEIGHTS", 7 * N)
    np.testing.assert_allclose(simultaneous_changes(ours, theirs, 0.05, seed=3), at_once)


def test_metrics_among_some_items_by_hand() -> None:
    targets = sparse.csr_array(np.array([[0, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 1]]))
    items = np.array([[1, 3, 2], [3, 1, 0], [0, 2, 1]])
    values = evaluate(items, targets, [3], among=np.array([True, True, False, False]))
    # Targets among items 0 and 1: {1}, none, {0, 1}. Hits at rank 1; and at ranks 1 and 3, 1.5 of 1.63093.
    np.testing.assert_allclose(values["recall@3"], [1, np.nan, 1])
    np.testing.assert_allclose(values["ndcg@3"], [1, np.nan, 1.5 / 1.63093], atol=1e-5)


def test_bands_by_hand() -> None:
    fold_in = sparse.csr_array(np.tril(np.ones((6, 6)), k=-1))  # users with 0 to 5 items
    bands = history_bands(fold_in, [2, 4])
    assert [np.flatnonzero(band).tolist() for band in bands] == [[0, 1, 2], [3, 4], [5]]
    # Shares .5, .3, .1, .1, before each .0, .5, .8, .9
    bands = popularity_bands(np.array([1, 5, 3, 1]), [0.5, 0.8])
    assert [np.flatnonzero(band).tolist() for band in bands] == [[1], [2], [0, 3]]
    assert history_bands(fold_in, []) == popularity_bands(np.ones(3), []) == []


def judged(ours: np.ndarray, theirs: np.ndarray, seed: int, **rules) -> bool:
    """Whether a pair (users, series) passes, the first series being the whole."""
    settings = config(gate=rules).model_copy(update={"seed": seed})
    limits = [settings.gate.max_loss] + [settings.gate.segments.max_loss] * (ours.shape[1] - 1)
    names = ["all", *(f"segment {place}" for place in range(1, ours.shape[1]))]
    pairs = [Comparison("no loss", *parts) for parts in zip(names, ours.T, theirs.T, limits, strict=True)]
    return all(check.passed for check in compare(Run(settings, "night"), pairs))


def test_equal_models_are_rejected_no_more_often_than_configured() -> None:
    rejected = 0
    for night in range(200):
        ours, theirs = noisy_pair(np.random.default_rng(night), n_series=8)
        rejected += not judged(ours, theirs, night, max_loss=0.0, false_alarm_rate=0.1, segments={"max_loss": 0.0})
    assert 0.03 * 200 < rejected <= 0.15 * 200, "0.1 is asked for, and 200 nights tell it to within 0.05"


def test_a_model_against_itself_is_never_rejected() -> None:
    values = np.random.default_rng(0).random((N, 5))
    assert all(judged(values, values, seed, max_loss=0.0, undecided="reject") for seed in range(200))


def test_a_model_made_worse_is_rejected() -> None:
    rejected = [
        not judged(*noisy_pair(np.random.default_rng(night), loss=0.03, noise=0.05), night) for night in range(50)
    ]
    assert sum(rejected) >= 45


def test_who_is_undecided_passes_or_is_rejected_as_configured() -> None:
    ours, theirs = (values[:60] for values in noisy_pair(np.random.default_rng(0)))
    _, low, high = simultaneous_changes(ours, theirs, 0.05, seed=0)
    assert low < -0.01 < high
    assert judged(ours, theirs, 0) and not judged(ours, theirs, 0, undecided="reject")


def test_small_segments_are_reported_and_do_not_decide() -> None:
    values = np.random.default_rng(0).random(N)
    bad = np.where(np.arange(N) < 30, values / 2, np.nan), np.where(np.arange(N) < 30, values, np.nan)
    ours, theirs = np.column_stack([values, bad[0]]), np.column_stack([values, bad[1]])
    assert judged(ours, theirs, 0)
    assert not judged(ours, theirs, 0, segments={"min_users": 30})


@pytest.mark.parametrize("seed", range(4))
def test_a_model_trained_on_shuffled_item_ids_never_publishes(
    seed: int, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = elsa_core.fit

    def shuffled(X: sparse.csr_array, *arguments, **options):
        return honest(X[:, np.random.default_rng(seed).permutation(X.shape[1])], *arguments, **options)

    monkeypatch.setattr(elsa_core, "fit", shuffled)
    policy = {"embedding_policy": {"factors": 8, "n_epochs": 3, "residual_neighbors": 0, "strategy": "default"}}
    outcome = plain_night(config(policy_configs=policy))
    assert outcome.status == "rejected" and "vs. popularity" in outcome.reasons[0]
    assert not (world / "warehouse" / "current.duckdb").exists()


CHECKS = "select {} from gate_checks semi join run_info using (run_id) where {}"


def test_segments_by_history_popularity_and_column_are_judged(world: Path, tables) -> None:
    movies = pl.read_parquet("data/movies.parquet")
    movies = movies.with_columns(genre=pl.when(pl.col("movie") < 58).then(pl.format("genre {}", pl.col("movie") % 3)))
    movies.write_parquet("data/movies.parquet")
    segments = {
        "history": [8],
        "popularity": [0.5],
        "column": "genre",
        "min_users": 2,
        "minimums": {"history:1-8": 0.01},
    }
    gate = {"segments": segments}
    plain_night(config(gate=gate))
    assert tables(CHECKS.format("segment, threshold, passed", "name = 'floor'")) == [("history:1-8", 0.0, True)]
    plain_night(config(gate=gate))
    found = dict(tables(CHECKS.format("segment, n_users", "name like 'no loss%'")))
    assert set(found) == {"all", "history:1-8", "history:>8", "popularity:0%-50%", "popularity:50%-100%",
                          "genre:genre 0", "genre:genre 1", "genre:genre 2", "genre: all others"}  # fmt: skip
    assert found["history:1-8"] + found["history:>8"] == found["all"]
    high_floor = {"segments": segments | {"minimums": {"history:1-8": 0.99}}}
    outcome = plain_night(config(gate=high_floor))
    assert outcome.status == "rejected" and "history:1-8" in outcome.reasons[0] and "vs. floor" in outcome.reasons[0]


def test_a_column_that_is_not_there_is_said(world: Path) -> None:
    said = "no column 'gerne', which gate.segments.column names; it has item_id, title, genre"
    with pytest.raises(InputError, match=said):
        plain_night(config(gate={"segments": {"column": "gerne"}}))


@pytest.mark.usefixtures("first_night")
def test_new_items_are_judged_apart_and_their_share_is_reported(tables) -> None:
    renamed = pl.col("movie") + pl.when(pl.col("movie") >= 57).then(100).otherwise(0)
    community_events().with_columns(movie=renamed).write_parquet("data/ratings.parquet")
    plain_night(config())
    ((verdict,),) = tables(CHECKS.format("verdict", "name = 'unknown targets'"))
    assert "0.00% by elsa and " in verdict and "and 0.00% by champion" not in verdict
    both = dict(
        tables(CHECKS.format("segment, value", f"name like 'no loss%' and segment in ('all', '{COMMON_ITEMS}')"))
    )
    assert set(both) == {"all", COMMON_ITEMS} and both["all"] != both[COMMON_ITEMS]


@pytest.mark.usefixtures("first_night")
@pytest.mark.parametrize(
    ("changes", "compared"),
    [
        ({"recommendations": {"k": 7, "neighbors": 5}}, True),
        ({"evaluation": {"cutoffs": [3, 7]}}, True),
        ({"interactions": {"min_value": 3.0, "min_user_interactions": 2}}, False),
        ({"holdout": {"test_share": 0.3, "validation_share": 0.2}}, False),
    ],
    ids=["k", "cutoffs", "filters", "holdout"],
)
def test_what_becomes_of_the_comparison_when_the_configuration_changes(changes: dict, compared: bool, tables) -> None:
    assert plain_night(config(**changes)).status == "published"
    ((value, verdict),) = tables(CHECKS.format("value, verdict", "name like 'no loss%' and segment = 'all'"))
    assert (value is not None) == compared
    assert compared or "other events counted" in verdict or "held out other users" in verdict


def test_other_weights_of_event_types_are_another_task_wherever_they_are_configured(world: Path) -> None:
    kinds = community_events().with_columns(kind=pl.lit("buy"))
    kinds.write_parquet("data/ratings.parquet")
    columns = {"user_id": "user", "item_id": "movie", "timestamp": "at", "event_type": "kind"}
    policy = {"factors": 8, "n_epochs": 1, "batch_size": 64}

    def weighted(of_policy: dict | list | None, of_interactions: dict | None = None) -> Config:
        return config(
            source={"columns": columns},
            interactions={"min_value": None, "event_values": of_interactions},
            policy_configs={"embedding_policy": policy | {"event_values": of_policy}},
            gate={"min_lift_over_popularity": -1.0},
        )

    night = plain_night(weighted(["buy"]))
    same = Run(weighted(None, {"buy": 1.0}), "another", replaces=night.run_id)
    assert find_champion(same, BY_USERS) == Champion(night.run_id)
    other = Run(weighted({"buy": 1.0, "view": 0.5}), "another", replaces=night.run_id)
    assert find_champion(other, BY_USERS).why_not_comparable.endswith("interactions.event_values has changed")


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ({"history": [5, 5]}, "upper ends must ascend"),
        ({"popularity": [0.5, 1.0]}, "between 0 and 1"),
        (
            {"minimums": {"history:1-6": 0.1}},
            "there is no segment 'history:1-6'; there are history:1-5, history:6-20",
        ),
        ({"minimums": {"genre:drama": 0.1}}, "there is no segment"),
        ({"minimums": {"history:1-5": 0.0}}, "must lie above 0"),
        ({"minimums": {"history:1-5": 0.1}}, None),
        ({"column": "genre", "minimums": {"genre:drama": 0.1}}, None),
    ],
)
def test_segments_are_checked(segments: dict, message: str | None) -> None:
    if message is None:
        assert asdict(Comparison("floor", "x", 0, 0, 0)) and config(gate={"segments": segments})
    else:
        with pytest.raises(ValidationError, match=message):
            config(gate={"segments": segments})
