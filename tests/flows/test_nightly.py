"""Whole nights in the small world: published, rejected, repeated."""

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from flows.nightly import nightly
from tasks.run.handles import Outcome
from tasks.run.index import list_runs
from tasks.run.manifest import read_manifest
from tasks.run.warehouse import Warehouse
from tests.support.plain_nights import plain_night
from tests.support.published_state import snapshot
from tests.support.worlds import N_ITEMS, N_USERS, community_events, config

COLD = {"embedding_policy": {"factors": 8, "n_epochs": 5, "batch_size": 64, "warm_start": False}}
Tables = Callable[[str], list[tuple]]


@pytest.mark.usefixtures("prefect_server")
def test_the_engine_runs_it_under_the_name_of_the_run(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    from prefect.client.orchestration import get_client

    outcome = nightly(config())
    for words in ("rows", "expectations hold", "epoch 1, loss", "validation nDCG", "users/s", "contract checks hold"):
        assert words in caplog.text
    folder = world / "warehouse" / "runs" / outcome.run_id
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(read_manifest(folder).flow_run_id).name == outcome.run_id
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {line["run_id"] for line in log} == {outcome.run_id}
    assert any(line["stage"] == "train" and "epoch 1, loss" in line["message"] for line in log)
    nightly(config())
    assert len((folder / "log.jsonl").read_text().splitlines()) == len(log), "another run has a log of its own"


def test_publishes_tables_that_keep_the_contract(first_night: Outcome, tables: Tables) -> None:
    assert first_night.status == "published"
    assert tables("select run_id, n_events, n_users, n_items, k from run_info") == [
        (first_night.run_id, community_events().height, N_USERS, N_ITEMS, 10)
    ]
    assert tables("select count(*), count(distinct user_id) from user_topk") == [(10 * N_USERS, N_USERS)]
    assert tables("select count(*) from item_neighbors") == [(5 * N_ITEMS,)]
    assert tables("select typeof(user_id), typeof(item_id) from user_topk limit 1") == [("BIGINT", "BIGINT")]
    assert tables("select distinct typeof(embedding) from item_embeddings") == [("FLOAT[8]",)]
    assert tables("select distinct typeof(embedding) from user_embeddings") == [("FLOAT[8]",)]
    assert tables("select title, genre from items where item_id = 7") == [("Film 7", "drama")]
    assert {name for (name,) in tables("select table_name from duckdb_tables()")} == {
        "user_topk", "item_neighbors", "popular_items", "item_embeddings", "user_embeddings", "item_residuals",
        "user_items", "items", "run_info", "run_metrics", "gate_checks", "validation_results", "drift", "run_stages",
        "user_spares", "catalogue", "readme",
    }  # fmt: skip


def test_recommends_what_the_community_likes_and_nothing_seen(world: Path, tables: Tables) -> None:
    plain_night(config(recommendations={"k": 40, "neighbors": 5}))  # long enough to reach what was seen and rated low
    events = community_events()
    listed = pl.DataFrame(tables("select user_id, item_id, rank, source from user_topk"), orient="row",
                          schema=["user", "movie", "rank", "source"])  # fmt: skip
    seen = listed.join(events, on=["user", "movie"], how="semi")
    assert seen.is_empty(), "items rated low are seen, too"
    first = listed.filter((pl.col("rank") <= 3) & (pl.col("user") > 1))
    assert (first["user"] % 3 == first["movie"] % 3).mean() > 0.9
    neighbours = tables("select avg((item_id % 3 = neighbor_item_id % 3)::int) from item_neighbors where rank <= 3")
    assert neighbours[0][0] > 0.9


def test_scores_can_be_rebuilt_from_the_tables(world: Path, tables: Tables) -> None:
    one_factor = {"factors": 1, "n_epochs": 1, "strategy": "default"}  # so few that the residual helps
    plain_night(config(policy_configs={"embedding_policy": one_factor}, gate={"min_lift_over_popularity": -1.0}))
    assert tables("select count(*) > 0 from item_residuals") == [(True,)]
    assert tables("""
        with sparse as (
            select t.user_id, t.item_id, sum(u.weight * r.weight) as score
            from user_topk t
            join user_items u using (user_id)
            join item_residuals r on r.item_id = u.item_id and r.neighbor_item_id = t.item_id
            group by all
        )
        select count(*) > 2000,
               max(abs(t.score - scale * array_inner_product(u.embedding, i.embedding) - coalesce(s.score, 0))) < 1e-4
        from user_topk t join user_embeddings u using (user_id) join item_embeddings i on i.item_id = t.item_id
        cross join run_info
        left join sparse s on s.user_id = t.user_id and s.item_id = t.item_id
        where t.source = 'personal'
    """) == [(True, True)]


@pytest.mark.usefixtures("first_night")
def test_users_without_a_history_that_counts_get_popular_items(tables: Tables) -> None:
    assert tables("select user_id from user_topk where source = 'popular' group by all order by all") == [(0,), (1,)]
    expected = tables("""
        select item_id from popular_items
        where item_id not in (select item_id from user_items where user_id = 0) order by rank limit 10
    """)
    assert tables("select item_id from user_topk where user_id = 0 order by rank") == expected
    assert tables("select max(weight) from user_items where user_id in (0, 1)") == [(0.0,)]


@pytest.mark.usefixtures("prefect_server")
def test_a_rejected_night_leaves_the_published_tables_byte_for_byte(world: Path, first_night: Outcome) -> None:
    before = snapshot(world / "warehouse")
    state = nightly(config(gate={"minimums": {"ndcg@10": 1.1}}), return_state=True)
    assert (state.name, state.is_completed()) == ("Rejected", True)
    assert "ndcg@10" in state.message and "at least 1.1" in state.message
    assert snapshot(world / "warehouse") == before
    runs = list_runs(Warehouse(world / "warehouse"))
    assert [run.status for run in runs] == ["published", "rejected"]
    assert runs[0].run_id == first_night.run_id
    assert "at least 1.1" in runs[1].reasons[0]


def test_a_run_leaves_what_its_stages_took(first_night: Outcome, tables: Tables) -> None:
    first = first_night
    second = plain_night(config())
    stages = [row[0] for row in tables(f"select stage from run_stages where run_id = '{first.run_id}'")]
    before_training = ["ingest", "validate", "drift", "rules", "interactions", "holdout", "matrix"]
    assert stages == [*before_training, "train", "evaluate", "gate", "refit", "materialize", "publish"]
    assert tables(f"select count(*) from run_stages where run_id = '{second.run_id}'") == [(11,)]
    assert tables("select min(seconds) >= 0, min(peak_bytes) > 1e7 from run_stages") == [(True, True)]
    rows = tables("select any_value(rows) from run_stages where stage = 'ingest' group by run_id")
    assert rows == [(community_events().height,)] * 2


def test_the_tables_tell_what_was_validated_and_how_the_events_drift(first_night: Outcome, tables: Tables) -> None:
    events = community_events().with_columns(pl.col("user") + 1000).head(200)
    events.write_parquet("data/more.parquet")
    second = plain_night(config(source={"events": "data/*ratings.parquet"}))
    third = plain_night(config(source={"events": ["data/ratings.parquet", "data/more.parquet"]}))
    rows = tables("select run_id, observed, expected, n_nights from drift where metric = 'events' order by run_id")
    assert rows == [(first_night.run_id, community_events().height, None, 0),
                    (third.run_id, 200.0, None, 1)]  # fmt: skip
    assert second.run_id not in dict(tables("select distinct run_id, 1 from drift")), "it brought no new events"
    found = tables("select rule, passed, severity from validation_results join run_info using (run_id)")
    assert ("events_are_unique()", True, "blocking") in found and ("drift of events", True, "blocking") in found


@pytest.mark.parametrize("changes", [{}, {"policy_configs": COLD}], ids=["warm", "cold"])
def test_the_same_night_again_changes_nothing(
    world: Path, request: pytest.FixtureRequest, tables: Tables, changes: dict
) -> None:
    names = [
        "user_topk",
        "item_neighbors",
        "popular_items",
        "item_embeddings",
        "user_embeddings",
        "user_items",
        "items",
    ]
    plain_night(config(**changes)) if changes else request.getfixturevalue("first_night")
    before = {name: tables(f"from {name}") for name in names}
    plain_night(config(**changes))
    assert {name: tables(f"from {name}") for name in names} == before
    with duckdb.connect(str(world / "warehouse" / "events.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from events").fetchall() == [(community_events().height,)]


@pytest.mark.usefixtures("first_night")
def test_a_run_is_compared_with_the_published_model_on_the_same_users(tables: Tables) -> None:
    plain_night(config())
    rows = dict(
        tables("""
        select model, value from run_metrics semi join run_info using (run_id) where metric = 'ndcg' and k = 10
    """)
    )
    assert rows["champion"] == rows["elsa"], "the same data and seed give the same model"
    assert rows["elsa"] > 2 * rows["popularity"]
    check = tables("""
        select value, low, high, passed from gate_checks semi join run_info using (run_id)
        where name like 'no loss%' and segment = 'all'
    """)
    assert check == [(0.0, 0.0, 0.0, True)]


@pytest.mark.usefixtures("first_night")
def test_a_worse_model_than_the_published_one_is_rejected() -> None:
    worse = {"embedding_policy": {"factors": 1, "n_epochs": 1, "strategy": "default", "residual_neighbors": 0}}
    outcome = plain_night(config(policy_configs=worse, gate={"min_lift_over_popularity": -1.0}))
    assert outcome.status == "rejected"
    assert ": worse" in outcome.reasons[0]


@pytest.mark.usefixtures("first_night")
def test_a_champion_that_held_out_other_users_is_not_compared(tables: Tables) -> None:
    assert plain_night(config(holdout={"salt": "other"})).status == "published"
    assert tables("select verdict like '%held out other users%' from gate_checks semi join run_info using (run_id) "
                  "where name like 'no loss%'") == [(True,)]  # fmt: skip
    assert tables("select count(*) from run_metrics where model = 'champion'") == [(0,)]


@pytest.mark.usefixtures("first_night")
def test_new_and_gone_items_do_not_disturb_the_comparison(tables: Tables) -> None:
    renamed = community_events().with_columns(movie=pl.when(pl.col("movie") >= 57).then(pl.col("movie") + 100)
                                              .otherwise(pl.col("movie")))  # fmt: skip
    renamed.write_parquet("data/ratings.parquet")
    assert plain_night(config()).status == "published"
    assert tables("select count(*) from user_topk where item_id between 57 and 59") == [(0,)]
    assert tables("select count(*) from item_embeddings where item_id > 100") == [(3,)], "new items are trained"
    assert tables("select count(*) from run_metrics where model = 'champion'")[0][0] > 0


def test_ids_may_be_text_and_there_may_be_no_times_values_or_metadata(world: Path, tables: Tables) -> None:
    liked = community_events().filter(pl.col("rating") > 4)
    liked.select(user_id=pl.format("Zoë '{}'", "user"), item_id=pl.format("{};drop table", "movie")).write_csv(
        "data/text.csv"
    )
    source = {"events": "data/text.csv", "columns": {}, "items": None}
    assert plain_night(config(source=source, interactions={"min_value": None})).status == "published"
    assert tables("select count(*) from user_topk where user_id = 'Zoë ''5'''") == [(10,)]
    assert tables("select title from items limit 1") == [(None,)]


def test_both_dialect_sections_work(world: Path) -> None:
    policy = {"policy_type": "elsa", "factors": 8, "n_epochs": 2, "strategy": "default"}
    for sections in (("scoring_policy",), ("scoring_policy", "embedding_policy")):
        assert plain_night(config(policy_configs=dict.fromkeys(sections, policy))).status == "published"


def test_a_warm_night_starts_from_the_published_models(world: Path, first_night: Outcome, logged: list[str]) -> None:
    of_first = read_manifest(world / "warehouse" / "runs" / first_night.run_id).stages
    assert {of_first[name]["started_from"] for name in ("train", "refit")} == {None}
    more = pl.concat([community_events(), community_events().with_columns(pl.col("user") + 1000).head(200)])
    more.write_parquet("data/ratings.parquet")
    warm = plain_night(config())
    log = "\n".join(logged)
    assert f"starting from the evaluation_model of run {first_night.run_id}" in log
    assert f"starting from the model of run {first_night.run_id}" in log
    stages = read_manifest(world / "warehouse" / "runs" / warm.run_id).stages
    assert {stages[name]["started_from"] for name in ("train", "refit")} == {first_night.run_id}
    logged.clear()
    plain_night(config(policy_configs=COLD))
    assert "\n".join(logged).count("starting from the spectrum") == 2


@pytest.mark.usefixtures("first_night")
def test_models_that_saw_the_test_users_are_no_start(logged: list[str]) -> None:
    plain_night(config(holdout={"salt": "other"}))
    assert "\n".join(logged).count("starting from the spectrum") == 2
