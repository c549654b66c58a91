"""Nights and refreshes whose rules leave nothing, or too little: found before training, or published as they are."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from flows.commands.nightly import print_tables
from tasks.errors import InputError
from tasks.read.terminal import example_queries
from tasks.report.report import find_report
from tasks.settings.config import Config
from tests.support.plain_nights import plain_night, plain_refresh, stages_of_last_run
from tests.support.worlds import N_ITEMS, community_events, config

Tables = Callable[[str], list[tuple]]
ITEMS = {"path": "data/movies.parquet", "item_id": "movie", "title": "name"}
RULED = ITEMS | {"is_hidden": "hidden", "available_from": "since", "available_until": "until"}
QUICK = {
    "policy_configs": {"embedding_policy": {"factors": 4, "n_epochs": 1, "strategy": "default"}},
    "gate": {"min_lift_over_popularity": -1.0},
    "validation": {"expectations": []},
}


def ruled(**changes: dict) -> Config:
    return config(**QUICK | {"source": {"items": RULED}} | changes)


def movies(**columns: pl.Expr) -> None:
    given = {"hidden": pl.lit(False), "since": pl.lit("2020-01-01"), "until": pl.lit(None, pl.String),
             "stock": pl.lit(0), "genre": pl.format("genre {}", "movie")}  # fmt: skip
    pl.read_parquet("data/movies.parquet").with_columns(**given | columns).write_parquet("data/movies.parquet")


IN_STOCK = {"filters": {"in stock": "stock > 0", "any": "item_id >= 0 -- all"}}
NOTHING_LEFT = {
    "no stock": ({}, IN_STOCK, "60 do not satisfy recommendations.filters.in stock: 'stock > 0'"),
    "stock is not known": ({"stock": pl.lit(None, pl.Int64)}, IN_STOCK, "60 do not satisfy .*in stock"),
    "expired": ({"until": pl.lit("2021-01-01")}, {}, "60 are not available any more by source.items.available_until"),
    "to come": ({"since": pl.lit("2999-01-01")}, {}, "60 are not available yet by source.items.available_from"),
    "hidden": ({"hidden": pl.lit(True)}, {}, "60 are hidden by source.items.is_hidden"),
    "strangers": ({"movie": pl.col("movie") + 1000, "stock": pl.lit(1)}, IN_STOCK, "60 have no row in source.items"),
    "half each": (
        {"hidden": pl.col("movie") < 30, "stock": (pl.col("movie") < 30).cast(pl.Int64)},
        IN_STOCK,
        r"30 are hidden by source.items.is_hidden\n  30 do not satisfy recommendations.filters.in stock",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_rules_that_leave_no_item_end_before_training_and_are_named(name: str, world: Path) -> None:
    columns, rules, reason = NOTHING_LEFT[name]
    movies(**columns)
    own = ruled(recommendations={"k": 10, "neighbors": 5, **rules})
    with pytest.raises(InputError, match=reason) as raised:
        plain_night(own)
    assert raised.value.exit_code == 2 and "filters.any" not in str(raised.value)
    assert stages_of_last_run(own)[-1] == "matrix"


def test_users_who_have_seen_all_there_is_end_the_night_before_training(world: Path) -> None:
    pairs = [(user, item, 5.0, 1_600_000_000 + 60 * item) for user in range(40) for item in range(5)]
    pl.DataFrame(pairs, ["user", "movie", "rating", "at"], orient="row").write_parquet("data/ratings.parquet")
    movies()
    with pytest.raises(InputError, match="each of the 40 users has seen all 5 items that may be recommended"):
        plain_night(ruled())
    assert stages_of_last_run(ruled())[-1] == "matrix"


def test_users_who_have_seen_all_that_may_be_recommended_end_the_night_too(world: Path) -> None:
    ratings = pl.read_parquet("data/ratings.parquet")
    everybody = ratings.unique("user").with_columns(movie=pl.lit(0, pl.Int64), rating=pl.lit(5.0))
    pl.concat([ratings.filter(pl.col("movie") > 0), everybody]).write_parquet("data/ratings.parquet")
    movies(stock=(pl.col("movie") == 0).cast(pl.Int64))
    with pytest.raises(InputError, match="seen all 1 items .*recommendations.filters"):
        plain_night(ruled(recommendations=IN_STOCK | {"k": 10, "neighbors": 5}))


@pytest.mark.usefixtures("without_prefect")
def test_items_that_expire_while_the_model_is_trained_are_found_when_the_lists_are_made(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.nightly

    movies(until=pl.lit("2021-01-01"))
    monkeypatch.setattr(flows.nightly, "check_candidates", lambda *_: None)  # a moment ago they were there
    with pytest.raises(InputError, match="60 are not available any more"):
        plain_night(ruled())
    assert not list(Path("warehouse").glob("published/*"))


def test_a_refresh_after_everything_has_expired_leaves_readers_what_they_have(world: Path, tables: Tables) -> None:
    movies()
    run_id = plain_night(ruled()).run_id
    movies(until=pl.lit("2021-01-01"))
    with pytest.raises(InputError, match="60 are not available any more by source.items.available_until"):
        plain_refresh(ruled())
    assert tables("select run_id from run_info") == [(run_id,)]


def test_a_refresh_whose_events_have_none_of_the_models_items_asks_for_a_night(world: Path) -> None:
    movies()
    plain_night(ruled())
    ratings = pl.read_parquet("data/ratings.parquet")
    ratings.with_columns(movie=pl.col("movie") + 1000).write_parquet("data/ratings.parquet")
    with pytest.raises(InputError, match="knows none of the 60 items .* elsa nightly"):
        plain_refresh(ruled())


NO_NEIGHBOURS = {
    "support": {"neighbors_min_users": 1000},
    "categories of one item": {"same_category": True},
}


@pytest.mark.parametrize("name", NO_NEIGHBOURS)
def test_a_night_without_neighbours_publishes_and_can_be_read(
    name: str, world: Path, tables: Tables, capsys: pytest.CaptureFixture
) -> None:
    movies()
    items = RULED | {"category": "genre"}
    own = ruled(source={"items": items}, recommendations={"k": 10, "neighbors": 5, **NO_NEIGHBOURS[name]})
    assert plain_night(own).status == "published"
    assert tables("select n_items_without_neighbors, n_items from run_info") == [(N_ITEMS, N_ITEMS)]
    assert tables("from item_neighbors") == tables("from similar(3)") == []
    assert tables("select count(*) from recommend(5)") == [(10,)]
    print_tables(own)
    assert "item_neighbors" in capsys.readouterr().out
    assert "No item has neighbours." in find_report(own, None).read_text()
    plain_refresh(own)
    assert tables("select count(*) from item_neighbors") == [(0,)]


def test_where_only_some_items_have_neighbours_the_example_shows_one_of_them(world: Path) -> None:
    popular = pl.read_parquet("data/ratings.parquet").group_by("movie").len().sort("len", "movie")["movie"][-1]
    movies(genre=pl.when(movie=popular).then(pl.lit("alone")).otherwise(pl.lit("all")))
    items = RULED | {"category": "genre"}
    own = ruled(source={"items": items}, recommendations={"k": 10, "neighbors": 5, "same_category": True})
    plain_night(own)
    assert all("0 rows" not in query.output for query in example_queries(own))


def test_lists_of_popular_items_only_are_published_and_shown(world: Path, tables: Tables) -> None:
    """All users with a history have all known items that may be recommended: the others get what is popular."""
    ratings = pl.read_parquet("data/ratings.parquet")
    everybody = ratings.unique("user").filter(pl.col("user") > 0)
    more = [everybody.with_columns(movie=pl.lit(item, pl.Int64), rating=pl.lit(5.0)) for item in (0, 3)]
    pl.concat([ratings.filter(~pl.col("movie").is_in([0, 3])), *more]).write_parquet("data/ratings.parquet")
    movies(stock=pl.col("movie").is_in([0, 3]).cast(pl.Int64))
    own = ruled(recommendations=IN_STOCK | {"k": 10, "neighbors": 5})
    assert plain_night(own).status == "published"
    assert tables("select distinct user_id, source from user_topk") == [(0, "popular")]
    assert "popular" in example_queries(own)[0].output
    assert "All lists hold popular items only." in find_report(own, None).read_text()


def test_lists_longer_than_the_catalogue_hold_all_of_it(world: Path, tables: Tables) -> None:
    movies()
    own = ruled(recommendations={"k": 5000, "neighbors": 5000})
    assert plain_night(own).status == "published"
    seen = community_events().filter(user=5)["movie"].n_unique()
    assert tables("select count(*) from user_topk where user_id = 5") == [(N_ITEMS - seen,)]
    assert tables("select count(*) from item_neighbors where item_id = 5") == [(N_ITEMS - 1,)]
