"""Which events count, and who is held out: each rule on a handful of rows."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from tasks.data.holdout import hold_out
from tasks.data.ingest import ingest
from tasks.data.interactions import build_interactions
from tasks.data.matrix import build_matrix
from tasks.errors import InputError
from tasks.run.run import Run, open_run
from tests.support.plain_nights import events_of
from tests.support.worlds import community_events, config

pytestmark = pytest.mark.usefixtures("without_prefect")
COLUMNS = {"user_id": "user", "item_id": "item", "timestamp": "at", "value": "value", "event_type": "kind"}


def interactions_of(rows: list[tuple], **rules: object) -> list[tuple]:
    """(user, item, weight) of events (user, item, at, value, kind) under the given rules."""
    schema = {"user": pl.Int64, "item": pl.String, "at": pl.Int64, "value": pl.Float64, "kind": pl.String}
    events = pl.DataFrame(rows, schema=schema, orient="row")
    events.with_columns(pl.col("at") + 1_600_000_000).write_parquet("events.parquet")
    changed = config(source={"events": "events.parquet", "columns": COLUMNS, "items": None},
                     interactions={"min_value": None, "min_user_interactions": 1, **rules})  # fmt: skip
    with open_run(changed) as run:
        ingest.fn(run)
        handle = build_interactions.fn(run, events_of(run))
        found = pl.read_parquet(run.files.folder / handle.path)
    assert handle.n_counting == (found["weight"] > 0).sum()
    return found.select("user_id", "item_id", "weight").rows()


def test_values_count_from_the_threshold_on_and_the_rest_was_seen(world: Path) -> None:
    rows = [(1, "a", 1, 4.0, None), (1, "b", 2, 3.9, None), (1, "c", 3, None, None)]
    assert interactions_of(rows, min_value=4.0) == [(1, "a", 1.0), (1, "b", 0.0), (1, "c", 0.0)]


def test_the_strongest_event_of_a_pair_decides(world: Path) -> None:
    rows = [
        (1, "a", 1, None, "view"),
        (1, "a", 2, None, "buy"),
        (1, "b", 3, None, "view"),
        (2, "a", 4, None, "share"),
    ]
    expected = [(1, "a", 3.0), (1, "b", 0.5), (2, "a", 0.0)]
    assert interactions_of(rows, event_values={"view": 0.5, "buy": 3.0}) == expected
    assert interactions_of(rows, event_values=["buy"]) == [(1, "a", 1.0), (1, "b", 0.0), (2, "a", 0.0)]


DAY = 86_400


def test_weights_halve_with_age_beside_the_newest_event_and_the_freshest_event_of_a_pair_can_win(world: Path) -> None:
    rows = [(1, "a", 0, None, "buy"), (1, "b", 10 * DAY, None, "buy"), (1, "c", 0, None, "view"),
            (1, "c", 10 * DAY, None, "view"), (2, "a", 20 * DAY, None, "buy"), (2, "d", 5, None, "no")]  # fmt: skip
    found = interactions_of(rows, event_values={"view": 1.0, "buy": 4.0}, half_life_days=10)
    assert found == [(1, "a", 1.0), (1, "b", 2.0), (1, "c", 0.5), (2, "a", 4.0), (2, "d", 0.0)]


def test_however_old_an_event_it_still_counts(world: Path) -> None:
    rows = [(1, "a", -1_500_000_000, None, None), (1, "b", 0, None, None)]
    assert interactions_of(rows, half_life_days=0.01) == [(1, "a", 2.0**-20), (1, "b", 1.0)]


def test_binarized_weights_are_one_or_zero(world: Path) -> None:
    rows = [(1, "a", 1, None, "view"), (1, "b", 1, None, "buy"), (1, "c", 1, None, "share")]
    found = interactions_of(rows, event_values={"view": 0.5, "buy": 3.0}, binarize=True)
    assert found == [(1, "a", 1.0), (1, "b", 1.0), (1, "c", 0.0)]


def test_of_a_user_with_too_many_items_the_latest_count(world: Path) -> None:
    rows = [(1, "a", 9, None, None), (1, "b", 2, None, None), (1, "c", 3, None, None), (1, "b", 8, None, None),
            (2, "c", 1, None, None), (2, "a", 1, None, None)]  # fmt: skip
    expected = [(1, "a", 1.0), (1, "b", 1.0), (1, "c", 0.0), (2, "a", 1.0), (2, "c", 1.0)]
    assert interactions_of(rows, max_user_interactions=2) == expected
    assert interactions_of(rows, max_user_interactions=1)[-2:] == [(2, "a", 1.0), (2, "c", 0.0)], "equal: by item"


@pytest.mark.parametrize(("cap", "n_capped"), [(None, 0), (2, 238), (9, 238), (10, 0)])
def test_users_that_the_cap_hits_are_counted(cap: int | None, n_capped: int, world: Path) -> None:
    with open_run(config(interactions={"max_user_interactions": cap})) as run:
        ingest.fn(run)
        assert build_interactions.fn(run, events_of(run)).n_capped_users == n_capped


def test_minimum_supports_hold_at_once(world: Path) -> None:
    # b has two users, but user 2 has only b left once c, which one user has, is gone; then b has one user too
    rows = [(1, "a", 1, None, None), (3, "a", 1, None, None), (1, "d", 1, None, None), (3, "d", 1, None, None),
            (1, "b", 2, None, None), (2, "b", 2, None, None), (2, "c", 3, None, None)]  # fmt: skip
    expected = [
        (1, "a", 1.0),
        (1, "b", 0.0),
        (1, "d", 1.0),
        (2, "b", 0.0),
        (2, "c", 0.0),
        (3, "a", 1.0),
        (3, "d", 1.0),
    ]
    assert interactions_of(rows, min_user_interactions=2, min_item_interactions=2) == expected


@pytest.mark.parametrize(("min_value", "is_warned"), [(4.9, True), (1.0, False)])
def test_few_pairs_that_count_are_a_warning_with_the_keys(
    min_value: float, is_warned: bool, world: Path, logged: list[str]
) -> None:
    interactions_of([(1, str(item), 1, 5.0 if item == 0 else 4.0, None) for item in range(20)], min_value=min_value)
    warned = [line for line in logged if line.startswith("only 1 of 20 pairs")]
    assert bool(warned) is is_warned
    assert all("interactions.min_value=4.9" in line and "min_user_interactions=1" in line for line in warned)


def test_repeats_make_one_row(world: Path) -> None:
    assert interactions_of([(1, "a", 1, None, None)] * 3 + [(1, "b", 1, None, None)]) == [
        (1, "a", 1.0),
        (1, "b", 1.0),
    ]


def matrices(run: Run) -> tuple[dict[str, sparse.csr_array], pl.DataFrame, pl.DataFrame]:
    ingest.fn(run)
    interactions = build_interactions.fn(run, events_of(run))
    build_matrix.fn(run, interactions, hold_out.fn(run, events_of(run), interactions, is_judged=True))
    names = [
        "interactions",
        "seen",
        "train",
        "test_fold_in",
        "test_targets",
        "validation_fold_in",
        "validation_targets",
    ]
    loaded = {name: sparse.load_npz(run.files.folder / f"{name}.npz") for name in names}
    return (
        loaded,
        pl.read_parquet(run.files.folder / "users.parquet"),
        pl.read_parquet(run.files.folder / "items.parquet"),
    )


def test_matrices_hold_what_the_events_say(world: Path) -> None:
    with open_run(config()) as run:
        found, users, items = matrices(run)
    events = community_events().unique(["user", "movie"])
    expected = {(user, item) for user, item, rating, _ in events.rows() if rating >= 4 and user != 1}
    X = found["interactions"].tocoo()
    pairs = zip(users["user_id"].to_numpy()[X.row], items["item_id"].to_numpy()[X.col], strict=True)
    assert {(int(user), int(item)) for user, item in pairs} == expected
    assert found["seen"].nnz == events.height and set(found["seen"].data) == {1}


def test_held_out_users_are_split_by_time_and_never_trained_on(world: Path) -> None:
    with open_run(config()) as run:
        found, users, items = matrices(run)
    at = {(user, item): time for user, item, _, time in community_events().rows()}
    assert found["train"].shape[0] == (users["split"] == "train").sum()
    for split in ("validation", "test"):
        rows = users.filter((pl.col("split") == split) & (pl.col("n_targets") > 0))
        fold_in, targets = found[f"{split}_fold_in"], found[f"{split}_targets"]
        whole = found["interactions"][rows["user_idx"].to_numpy()]
        assert (abs(fold_in + targets - whole)).nnz == 0
        for place, user in enumerate(rows["user_id"]):
            shown, hidden = (
                [at[user, items["item_id"][int(column)]] for column in part[[place]].indices]
                for part in (fold_in, targets)
            )
            assert len(hidden) == 2, "a fifth of 10"
            assert max(shown) < min(hidden)


def test_the_same_users_are_held_out_every_night(world: Path) -> None:
    with open_run(config()) as run:
        before = matrices(run)[1]
    events = community_events()
    more = events.with_columns(user=pl.col("user") + 10_000)
    pl.concat([events, more, events.head(50).with_columns(movie=pl.col("movie") + 60)]).write_parquet(
        "data/ratings.parquet"
    )
    with open_run(config()) as run:
        after = matrices(run)[1]
    both = before.join(after, on="user_id")
    assert both.height == before.height
    assert (both["split"] == both["split_right"]).all()
    assert set(both["split"]) == {"train", "validation", "test"}
    with open_run(config(holdout={"salt": "other"})) as run:
        assert (matrices(run)[1]["split"] != after["split"]).any()


def test_of_many_held_out_users_the_same_few_are_ranked_and_none_is_trained_on(world: Path) -> None:
    def rows_of(users: pl.DataFrame, fold_in: sparse.csr_array, X: sparse.csr_array, split: str) -> set[int]:
        """Whose rows these are, told by what they hold and what they hide together with it."""
        held_out = users.filter(split=split)
        own = {X[[row]].indices.tobytes(): user for row, user in held_out.select("user_idx", "user_id").rows()}
        return {own[fold_in[[row]].indices.tobytes()] for row in range(fold_in.shape[0])}

    ranked = []
    for changes in ({}, {"evaluation": {"max_users": 20}}):
        with open_run(config(**changes)) as run:
            found, users, _ = matrices(run)
        whole = {split: found[f"{split}_fold_in"] + found[f"{split}_targets"] for split in ("validation", "test")}
        for matrix in whole.values():
            matrix.sort_indices()
        ranked.append({split: rows_of(users, whole[split], found["interactions"], split) for split in whole})
        assert found["train"].shape[0] == (users["split"] == "train").sum()
    for split in ("validation", "test"):
        assert len(ranked[0][split]) > 20 == len(ranked[1][split])
        position = dict(users.select("user_id", "position").rows())
        first = sorted(ranked[0][split], key=position.__getitem__)[:20]
        assert ranked[1][split] == set(first), "so that more users move only the last ones out"


def test_without_times_targets_are_a_draw_that_repeats(world: Path) -> None:
    source = {"columns": {"user_id": "user", "item_id": "movie", "value": "rating"}}
    drawn = []
    for _ in range(2):
        with open_run(config(source=source)) as run:
            drawn.append(matrices(run)[0]["test_targets"])
    assert (drawn[0] != drawn[1]).nnz == 0
    assert np.diff(drawn[0].indptr).tolist() == [2] * drawn[0].shape[0]
    assert len(set(drawn[0].indices)) > 20, "not the same items for everyone"


def test_nobody_to_train_on_is_said(world: Path) -> None:
    source = {"columns": {"user_id": "at", "item_id": "movie", "value": "rating"}}
    with (
        open_run(config(source=source, interactions={"min_user_interactions": 1})) as run,
        pytest.raises(InputError, match="none to train on who has two interactions"),
    ):
        matrices(run)
