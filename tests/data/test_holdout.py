"""What is hidden from the evaluation models, by time: beside a plain reference, and what a champion may have seen."""

from datetime import UTC, datetime
from functools import cache
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
from tasks.run.handles import Holdout, Matrix, Outcome
from tasks.run.manifest import Manifest, read_manifest
from tasks.run.run import Run, open_run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tests.support.plain_nights import events_of, plain_night, plain_refresh
from tests.support.worlds import config, copy_world, write_world

pytestmark = pytest.mark.usefixtures("without_prefect")
DAY, N_DAYS, WINDOW, N_USERS, N_ITEMS = 86_400, 100, 20, 500, 40
NEWEST = 1_600_000_000 + N_DAYS * DAY
ANYTHING_PASSES = {"min_lift_over_popularity": -1.0, "max_loss": 0.99}
START = (NEWEST // DAY - WINDOW) * DAY  # at midnight


@cache
def events_of_a_season() -> pl.DataFrame:
    """Users who come and go, like the items of their own half, and give some of them a low rating."""
    rng = np.random.default_rng(3)
    rows = [(0, 0, 5.0, NEWEST), (2, 39, 5.0, START), (2, 37, 5.0, START - 1)]  # no other events of these
    for user in range(N_USERS):
        own = np.arange(user % 2, N_ITEMS, 2)
        for item in rng.choice(own, 12, replace=False):
            for at in rng.integers(0, N_DAYS * DAY, rng.integers(1, 3)):
                rows.append((user, int(item), float(rng.choice([5.0, 5.0, 1.0])), 1_600_000_000 + int(at)))
    return pl.DataFrame(rows, schema=["user", "movie", "rating", "at"], orient="row")


def by_time(**changes: dict) -> Config:
    rules = {"min_user_interactions": 2, "min_item_interactions": 1}
    return config(**{"holdout": {"by": "time", "days": WINDOW}, "interactions": rules} | changes)


@pytest.fixture
def season(world: Path) -> Path:
    events_of_a_season().write_parquet("data/ratings.parquet")
    return world


def held_out(run: Run) -> tuple[Holdout, Matrix]:
    ingest.fn(run)
    interactions = build_interactions.fn(run, events_of(run))
    holdout = hold_out.fn(run, events_of(run), interactions, is_judged=True)
    return holdout, build_matrix.fn(run, interactions, holdout)


def pairs_of(X: sparse.csr_array, rows: list[int], items: list[int]) -> dict[int, set[int]]:
    """The items of each user, by the users whose rows these are."""
    return {user: {items[column] for column in X[[place]].indices} for place, user in enumerate(rows)}


def test_known_is_what_was_before_the_window_and_hidden_what_is_new_in_it(season: Path) -> None:
    with open_run(by_time()) as run:
        holdout, matrix = held_out(run)
        users, items = run.files.users.read(), run.files.items.read()["item_id"].to_list()
        known = {
            split: pairs_of(run.files.fold_in(split).read(), _ranked(users, split), items)
            for split in ("validation", "test")
        }
        hidden = {split: pairs_of(run.files.targets(split).read(), _ranked(users, split), items) for split in known}
        trained = pairs_of(run.files.train.read(), users["user_id"].to_list(), items)
    assert holdout.window_start == matrix.window_start == datetime.fromtimestamp(START, UTC).isoformat()[:19]
    seen: dict[int, set[int]] = {user: set() for user in users["user_id"]}
    liked, new = ({user: set() for user in seen} for _ in range(2))
    for user, item, rating, at in events_of_a_season().sort("at").rows():
        if at < START:
            seen[user].add(item)
            if rating >= 4:
                liked[user].add(item)
        elif rating >= 4 and item not in seen[user]:
            new[user].add(item)
    asked = {user for user in seen if liked[user] and new[user]}
    assert trained == liked
    assert asked == known["validation"].keys() | known["test"].keys() and len(asked) > 100
    assert not known["validation"].keys() & known["test"].keys()
    for split, of_split in known.items():
        assert of_split == {user: liked[user] for user in of_split}
        assert hidden[split] == {user: new[user] for user in of_split}


def _ranked(users: pl.DataFrame, split: str) -> list[int]:
    return users.filter(pl.col("split") == split, pl.col("n_targets") > 0)["user_id"].to_list()


def test_minimum_supports_count_what_was_before_the_window(season: Path) -> None:
    rare = {"interactions": {"min_user_interactions": 5, "min_item_interactions": 1}}
    with open_run(by_time(**rare)) as run:
        held_out(run)
        is_trained_on = run.files.users.read()["is_trained_on"].to_numpy()
        sizes = np.diff(run.files.train.read().indptr)
        now = np.diff(run.files.weights.read().indptr)
    assert min(sizes) >= 5 and (now[~is_trained_on] >= 5).any()


def test_a_user_stays_on_its_side(season: Path) -> None:
    sides = []
    for days in (WINDOW, WINDOW + 15):
        with open_run(by_time(holdout={"by": "time", "days": days})) as run:
            held_out(run)
            users = run.files.users.read()
        sides.append({split: set(_ranked(users, split)) for split in ("validation", "test")})
    assert not sides[0]["test"] & sides[1]["validation"] and not sides[0]["validation"] & sides[1]["test"]
    assert sides[0] != sides[1]


@pytest.mark.parametrize("change", ["moved to another item", "removed"])
def test_what_test_users_do_in_the_window_changes_no_weight_of_the_evaluation_model(
    change: str, season: Path, first_of_a_season: Outcome
) -> None:
    files = Warehouse.of(by_time()).files(first_of_a_season.run_id)
    users = _ranked(files.users.read(), "test")
    in_window = pl.col("user").is_in(users) & (pl.col("at") >= START) & (pl.col("at") < NEWEST)
    events = events_of_a_season()
    other = events.with_columns(movie=pl.when(in_window).then((pl.col("movie") + 2) % N_ITEMS).otherwise("movie"))
    fewer = events.filter(~(in_window & (pl.col("movie") < 10)))
    (fewer if change == "removed" else other).write_parquet("data/ratings.parquet")
    again = plain_night(by_time(warehouse="another", gate=ANYTHING_PASSES))
    assert again.status == "published"
    others = Warehouse.of(by_time(warehouse="another")).files(again.run_id)
    assert others.evaluation_model.digest() == files.evaluation_model.digest()
    assert others.model.digest() != files.model.digest(), "the published one learns from everything"


@pytest.fixture(scope="module")
def made_season(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A world with a first night by time in it."""
    folder = tmp_path_factory.mktemp("season")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_world(folder)
        events_of_a_season().write_parquet("data/ratings.parquet")
        night = plain_night(by_time(gate=ANYTHING_PASSES))
    assert night.status == "published"
    return folder, night


@pytest.fixture
def first_of_a_season(season: Path, made_season: tuple[Path, Outcome]) -> Outcome:
    folder, night = made_season
    copy_world(folder, season)
    return night


def test_the_next_night_is_compared_on_users_whose_window_neither_model_has_seen(
    season: Path, first_of_a_season: Outcome
) -> None:
    _add_days(5)
    second = manifest_of(plain_night(by_time(gate=ANYTHING_PASSES)))
    assert second.stages["evaluate"]["champion"] == first_of_a_season.run_id
    assert second.stages["train"]["window_start"] > manifest_of(first_of_a_season).stages["train"]["window_start"]


def test_a_refresh_keeps_the_window_of_the_model_that_it_takes_over(season: Path, first_of_a_season: Outcome) -> None:
    _add_days(5)
    refreshed = read_manifest(Warehouse.of(by_time()).run_folder(plain_refresh(by_time())))
    window = manifest_of(first_of_a_season).stages["train"]["window_start"]
    assert refreshed.stages["train"]["window_start"] == window
    assert refreshed.stages["matrix"]["window_start"] is None, "it judges nothing"
    longer = {"by": "time", "days": WINDOW + 10}
    after = manifest_of(plain_night(by_time(holdout=longer, gate=ANYTHING_PASSES)))
    assert after.stages["evaluate"]["champion"] is None, "the model that was taken over knows what is hidden now"


@pytest.mark.parametrize(
    ("holdout", "why"),
    [
        ({"by": "users"}, "was judged by time, and this one is by users"),
        ({"by": "time", "days": WINDOW + 20}, "has learned from events of the days that this one hides"),
        ({"by": "time", "days": WINDOW, "salt": "other"}, "held out other users"),
        ({"by": "time", "days": WINDOW - 5}, None),
        ({"by": "time", "days": WINDOW, "target_share": 0.3}, None),
        ({"by": "auto", "days": WINDOW - 2}, None),
    ],
)
def test_a_champion_that_may_have_seen_the_answers_is_refused(
    holdout: dict, why: str | None, season: Path, first_of_a_season: Outcome
) -> None:
    second = manifest_of(plain_night(by_time(holdout=holdout, gate=ANYTHING_PASSES)))
    said, compared = second.stages["evaluate"]["why_no_champion"], second.stages["evaluate"]["champion"]
    if why is None:
        assert compared == first_of_a_season.run_id
    else:
        assert compared is None and said == f"the published run {first_of_a_season.run_id} {why}"
        assert second.stages["train"]["started_from"] is None, "a warm start would know the answers, too"


@pytest.mark.parametrize(
    ("times", "days", "window", "reason"),
    [
        ("as they are", WINDOW, True, "time: from 2020-12-02 on, 20 days before the newest event's, there are "),
        ("as they are", 1, False, "users: from 2020-12-21 on, 1 days before the newest event's, there are "),
        (
            "as they are",
            200,
            False,
            "users: from 2020-06-05 on, 200 days before the newest event's, there are 0 ",
        ),
        ("as they are", 70, False, "users: from 2020-10-13 on, 70 days"),
        ("none", WINDOW, False, "users: no event has a time"),
    ],
)
def test_auto_takes_time_where_there_are_users_enough(
    times: str, days: float, window: bool, reason: str, season: Path
) -> None:
    given = by_time(holdout={"by": "auto", "days": days})
    if times == "none":
        given = Config.model_validate(given.model_dump(mode="json") | {"source": without_times(given)})
    with open_run(given) as run:
        holdout, _ = held_out(run)
    assert holdout.reason.startswith(reason) and (holdout.window_start is not None) is window
    if times == "none":
        with pytest.raises(InputError, match="holdout.by is time, but no event has a time; set it to auto or users"):
            forced = given.model_dump(mode="json") | {"holdout": {"by": "time"}, "warehouse": "another"}
            with open_run(Config.model_validate(forced)) as run:
                held_out(run)


def without_times(given: Config) -> dict:
    source = given.model_dump(mode="json")["source"]
    return source | {"columns": source["columns"] | {"timestamp": None}}


def test_time_that_is_asked_for_with_nobody_in_the_window_is_an_error(season: Path) -> None:
    with (
        open_run(by_time(holdout={"by": "time", "days": 200})) as run,
        pytest.raises(InputError, match=r"holdout.by is time, but from .* there are 0 users .*change holdout.days"),
    ):
        held_out(run)


def test_items_that_are_new_in_the_window_are_targets_that_nobody_can_reach(season: Path) -> None:
    new = pl.DataFrame(
        [(user, 1_000, 5.0, NEWEST - DAY) for user in range(200)], schema=events_of_a_season().schema, orient="row"
    )
    pl.concat([events_of_a_season(), new]).write_parquet("data/ratings.parquet")
    night = manifest_of(plain_night(by_time(gate=ANYTHING_PASSES)))
    files = Warehouse.of(by_time()).files(night.run_id)
    column = files.items.read()["item_id"].to_list().index(1_000)
    assert (files.targets("test").read().indices == column).any()
    assert not files.evaluation_model.read("cpu").is_known[column] and files.model.read("cpu").is_known[column]


def _add_days(days: int) -> None:
    later = events_of_a_season().sample(200, seed=1).with_columns(at=pl.lit(NEWEST + days * DAY))
    pl.concat([events_of_a_season(), later.with_columns(pl.col("at").cast(pl.Int64))]).write_parquet(
        "data/ratings.parquet"
    )


def manifest_of(night: Outcome) -> Manifest:
    return read_manifest(Warehouse.of(by_time()).run_folder(night.run_id))
