"""Between two nights: exactly what a full materialisation would give, computed for those who did something new."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import yaml

import tasks.publish.incremental
import tasks.publish.materialize
import tasks.publish.tables
from elsa_core import Elsa
from flows.cli import main
from flows.refresh import refresh
from tasks.errors import InputError
from tasks.publish.contract import ContractBroken
from tasks.report.report import find_report
from tasks.run.handles import Outcome
from tasks.run.index import list_runs
from tasks.run.lock import locked
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.warehouse import Warehouse
from tests.support.plain_nights import plain_night, plain_refresh
from tests.support.published_state import by_duckdb_1_5, digest_of_tables
from tests.support.worlds import N_ITEMS, N_USERS, community_events, config, copy_world, make_world

Tables = Callable[[str], list[tuple]]
FEW_FACTORS = {"embedding_policy": {"factors": 4, "n_epochs": 2, "strategy": "default"}}
SETTINGS = {"policy_configs": FEW_FACTORS, "gate": {"min_lift_over_popularity": -1.0}}


@pytest.fixture(scope="module")
def made_night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    return make_world(tmp_path_factory.mktemp("night"), config(**settings()))


@pytest.fixture
def night(world: Path, made_night: tuple[Path, Outcome]) -> Outcome:
    """The night of config(**settings()), published in `world`."""
    folder, outcome = made_night
    copy_world(folder, world)
    return outcome


def add(events: pl.DataFrame, name: str = "more") -> None:
    events.write_parquet(f"data/{name}_ratings.parquet")


def settings(**changes: dict) -> dict:
    return SETTINGS | {"source": {"events": "data/*ratings.parquet"}} | changes


def unseen(user: int) -> int:
    events = community_events()
    return min(set(range(N_ITEMS)) - set(events.filter(pl.col("user") == user)["movie"]))


def new_events() -> pl.DataFrame:
    """Three users rate another film, and two new ones come, one of whom has rated a film that nobody knows."""
    rows = [(5, unseen(5), 5.0), (6, unseen(6), 5.0), (7, unseen(7), 1.0), (9001, 4, 5.0), (9001, 7, 5.0),
            (9002, 500, 5.0), (9002, 10, 5.0)]  # fmt: skip
    return pl.DataFrame([(*row, 1_700_000_000) for row in rows], schema=community_events().schema, orient="row")


def published_digest() -> str:
    return digest_of_tables(config(), Path("warehouse/current.duckdb"))


def refreshed_in_full(monkeypatch: pytest.MonkeyPatch, **changes: dict) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(tasks.publish.materialize, "reuse_earlier", lambda *_: None)
        plain_refresh(config(**settings(**changes)))
    return published_digest()


def test_a_refresh_gives_what_a_full_materialisation_gives(
    world: Path,
    night: Outcome,
    tables: Tables,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = tables("from user_topk where user_id = 5 order by rank")
    add(new_events())
    plain_refresh(config(**settings()), has_report=True)
    log = "\n".join(logged)
    assert f"of {N_USERS + 2} users have something new" in log
    n_computed = int(log.split(f" of {N_USERS + 2} users have something new")[0].split()[-1])
    assert n_computed == 7, "three with something new, two new ones, and two with popular items only"
    report = Path("warehouse/runs", Warehouse(Path("warehouse")).current_run_id, "report.html").read_text()
    assert f"Tables rebuilt with the model of run {night.run_id}; nothing was trained or judged." in report
    assert f"The report of run {night.run_id} has those of the model" in report and "Drift was not judged" in report
    assert "Training loss" not in report and "passed every check" not in report
    assert find_report(config(**settings()), None).parent.name == night.run_id, "the night is what one asks for"
    partly = published_digest()
    assert refreshed_in_full(monkeypatch) == partly
    assert tables("from user_topk where user_id = 5 order by rank") != before
    assert tables(f"select count(*) from user_topk where user_id = 5 and item_id != {unseen(5)}") == [(10,)]
    assert tables("select count(*) from user_topk where user_id = 9001 and source = 'personal'") == [(10,)]
    assert tables("select count(*) from item_neighbors where 500 in (item_id, neighbor_item_id)") == [(0,)]
    run_id = Warehouse(world / "warehouse").current_run_id
    assert run_id != night.run_id
    assert tables("select run_id, model_run_id from run_info") == [(run_id, night.run_id)]
    assert "epoch" not in log, "nothing is trained"


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize(
    "changes",
    [
        {"recommendations": {"k": 7, "neighbors": 5}},
        {"recommendations": {"k": 10, "neighbors": 5, "filters": {"not these": "item_id % 7 != 0"}}},
    ],
    ids=["another k", "a filter"],
)
def test_other_rules_rebuild_everything(changes: dict, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    add(new_events())
    plain_refresh(config(**settings(**changes)))
    assert "users have something new" not in "\n".join(logged)
    partly = published_digest()
    assert refreshed_in_full(monkeypatch, **changes) == partly


@pytest.mark.parametrize(
    "rules", [{"k": 100}, {"k": 10, "max_per_category": 5}], ids=["beyond the catalogue", "cut short by a cap"]
)
def test_a_new_item_lengthens_lists_that_were_short(
    rules: dict, world: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    movies = pl.read_parquet("data/movies.parquet")
    new = movies.head(1).with_columns(movie=pl.lit(500, pl.Int64), genre=pl.lit("comedy"))
    pl.concat([movies, new]).write_parquet("data/movies.parquet")
    items = {"path": "data/movies.parquet", "item_id": "movie", "title": "name", "category": "genre"}
    changes = {"source": {"events": "data/*ratings.parquet", "items": items}, "recommendations": rules}
    plain_night(config(**settings(**changes)))
    before = tables("select count(*) from user_topk")[0][0]
    add(new_events())
    plain_refresh(config(**settings(**changes)))
    assert tables("select count(*) from user_topk")[0][0] > before + N_USERS - 10
    assert tables("select count(distinct user_id) from user_topk where item_id = 500")[0][0] > N_USERS - 10
    partly = published_digest()
    assert refreshed_in_full(monkeypatch, **changes) == partly


@pytest.mark.usefixtures("night")
def test_a_model_that_lost_items_is_not_what_the_next_night_goes_on_with(tables: Tables) -> None:
    known = "select count(distinct item_id) from user_topk where source = 'personal'"
    whole, short = community_events(), community_events().filter(pl.col("movie") < 40)
    assert tables(known) == [(N_ITEMS,)]
    short.write_parquet("data/ratings.parquet")
    plain_refresh(config(**settings()))
    whole.write_parquet("data/ratings.parquet")
    plain_refresh(config(**settings()))
    assert tables(known) == [(40,)]
    assert plain_night(config(**settings())).status == "published"
    assert tables(known) == [(N_ITEMS,)]


@pytest.mark.usefixtures("night")
def test_a_night_after_an_idle_refresh_changes_nothing(logged: list[str]) -> None:
    before = published_digest()
    plain_refresh(config(**settings()))
    assert plain_night(config(**settings())).status == "published"
    assert "nothing has changed since run" in "\n".join(logged)
    assert published_digest() == before


def test_an_item_that_leaves_the_candidates_rebuilds_everything(world: Path, tables: Tables) -> None:
    items = {"path": "data/movies.parquet", "item_id": "movie", "title": "name", "is_hidden": "gone"}
    movies = pl.read_parquet("data/movies.parquet")
    movies.with_columns(gone=False).write_parquet("data/movies.parquet")
    hidden = settings(source={"events": "data/*ratings.parquet", "items": items})
    plain_night(config(**hidden))
    movies.with_columns(gone=pl.col("movie") == 6).write_parquet("data/movies.parquet")
    plain_refresh(config(**hidden))
    assert tables("select count(*) from user_topk where item_id = 6") == [(0,)]
    assert tables("select count(*) from user_topk") == [(10 * N_USERS,)]


@pytest.mark.usefixtures("prefect_server")
def test_where_another_run_is_under_way_it_is_skipped(night: Outcome) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(config(**settings()).model_dump(exclude_defaults=True)))
    with locked(Path("warehouse/lock")):
        state = refresh(config(**settings()), return_state=True)
        assert main(["refresh", "--config", "my.yaml"]) == 5
    assert (state.is_completed(), state.name) == (True, "Skipped")
    assert str(Path("warehouse").absolute()) in state.message
    assert (
        Warehouse(Path("warehouse")).current_run_id == night.run_id
        and len(list_runs(Warehouse(Path("warehouse")))) == 1
    )


@pytest.mark.usefixtures("night")
def test_who_is_gone_leaves_nothing_behind(
    tables: Tables, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    community_events().filter(pl.col("user") != 5).write_parquet("data/ratings.parquet")
    plain_refresh(config(**settings()))
    assert f"of {N_USERS - 1} users have something new" in "\n".join(logged)
    for table in ("user_topk", "user_spares", "user_items", "user_embeddings"):
        assert tables(f"select count(*) from {table} where user_id = 5") == [(0,)]
    partly = published_digest()
    assert refreshed_in_full(monkeypatch) == partly


def test_broken_rows_of_a_refresh_are_not_published(night: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    add(new_events())
    honest = Elsa.recommend
    with monkeypatch.context() as patch:
        forgetful = lambda self, X, k, also_exclude=None, allowed=None: honest(self, X, k, exclude_seen=False)  # noqa: E731
        patch.setattr(Elsa, "recommend", forgetful)
        with pytest.raises(ContractBroken, match=r"no_seen_item: \d+ rows, e.g. \[\((5|6|7|9001|9002), "):
            plain_refresh(config(**settings()))
    assert Warehouse(Path("warehouse")).current_run_id == night.run_id
    assert [path.stem for path in Path("warehouse/published").iterdir()] == [night.run_id]


@pytest.mark.parametrize("max_table_size", ["50GB", "20KB"], ids=["in the file", "partly beside it"])
def test_a_refresh_with_spares_shared_users_and_text_ids(
    max_table_size: str,
    world: Path,
    tables: Tables,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = community_events().with_columns(user=pl.format("u{}", "user"))
    events.write_parquet("data/ratings.parquet")
    movies = pl.read_parquet("data/movies.parquet").with_columns(until=pl.lit("2999-01-01").str.to_datetime())
    movies.write_parquet("data/movies.parquet")
    items = {"path": "data/movies.parquet", "item_id": "movie", "title": "name", "available_until": "until"}
    changes = {
        "source": {"events": "data/*ratings.parquet", "items": items},
        "recommendations": {
            "k": 10,
            "neighbors": 5,
            "spare": 3,
            "neighbors_min_users": 2,
            "max_table_size": max_table_size,
        },
    }
    plain_night(config(**settings(**changes)))
    assert tables("select count(*) from user_spares where user_id = 'u6'") == [(3,)]
    rows = [("u5", 500, 5.0), ("u6", unseen(6), 5.0), ("another", 4, 5.0), ("another", 7, 5.0)]
    add(pl.DataFrame([(*row, 1_700_000_000) for row in rows], schema=events.schema, orient="row"))
    plain_refresh(config(**settings(**changes)))
    assert "of 241 users have something new" in "\n".join(logged)
    beside = tables("select view_name from duckdb_views() where view_name in ('user_topk', 'user_embeddings')")
    assert beside == ([] if max_table_size == "50GB" else [("user_topk",)])
    assert tables("select count(*) from user_items where user_id = 'u5' and item_id = 500") == [(1,)]
    assert tables("select count(*) from user_spares where user_id = 'another'") == [(3,)]
    partly = published_digest()
    assert refreshed_in_full(monkeypatch, **changes) == partly


@pytest.mark.usefixtures("night")
def test_a_file_of_an_older_version_rebuilds_everything(logged: list[str]) -> None:
    published = Path("warehouse/current.duckdb").resolve()
    published.chmod(0o644)
    with duckdb.connect(str(published)) as connection:
        connection.execute("alter table run_info drop column n_refreshes")
    folder = Path("warehouse/runs") / published.stem  # whose version recorded no digests either
    manifest = read_manifest(folder)
    manifest.published = {}
    write_manifest(folder, manifest)
    plain_refresh(config(**settings()))
    assert "have something new" not in "\n".join(logged)
    assert published_digest()


@pytest.mark.parametrize("broken", ["user_topk", "user_items", "user_embeddings"])
def test_rows_that_should_have_gone_are_noticed(broken: str, night: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = community_events().filter(pl.col("user") != 9)
    gone.write_parquet("data/ratings.parquet")
    add(new_events())
    monkeypatch.setitem(tasks.publish.tables.RENEWED, broken, "false")
    with pytest.raises(ContractBroken):
        plain_refresh(config(**settings()))
    assert [path.name for path in Path("warehouse/published").iterdir()] == [f"{night.run_id}.duckdb"]


def test_a_copy_that_fails_is_removed(night: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(tasks.publish.incremental, "_keep", fails)
    with pytest.raises(RuntimeError, match="in the middle"):
        plain_refresh(config(**settings()))
    assert [path.name for path in Path("warehouse/published").iterdir()] == [f"{night.run_id}.duckdb"]


@pytest.mark.usefixtures("night")
def test_tables_of_other_software_are_rebuilt(logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    add(new_events())
    monkeypatch.setattr(tasks.publish.incremental, "versions", lambda: {"torch": "another"})
    plain_refresh(config(**settings()))
    assert "have something new" not in "\n".join(logged)


def test_the_digest_is_also_of_tables_beside_the_file(world: Path, tables: Tables) -> None:
    large = {"recommendations": {"k": 10, "neighbors": 5, "max_table_size": "0.1KB"}}
    plain_night(config(**settings(**large)))
    before = published_digest()
    [path] = Path("warehouse/published").glob("*/user_topk.parquet")
    path.chmod(0o644)
    pl.read_parquet(path).with_columns(pl.col("score") + 1).write_parquet(path)
    assert published_digest() != before


def test_large_tables_of_a_refresh_are_parquet_files_too(
    world: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"recommendations": {"k": 10, "neighbors": 5, "max_table_size": "0.1KB"}}
    views = "select list(view_name order by view_name) from duckdb_views() where not internal"
    plain_night(config(**settings(**large)))
    [(of_night,)] = tables(views)
    assert {"user_topk", "user_items", "user_embeddings", "item_neighbors", "item_embeddings"} <= set(of_night)
    plain_refresh(config(**settings(**large)))
    assert tables(views) == [(of_night,)], "nobody's vector is computed"
    add(new_events())
    plain_refresh(config(**settings(**large)))
    assert tables(views) == [(of_night,)]
    partly = published_digest()
    assert refreshed_in_full(monkeypatch, **large) == partly


@pytest.mark.usefixtures("night")
def test_one_refresh_after_another_and_then_a_night(
    world: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        users = rng.integers(0, N_USERS, 5)
        rows = [(int(user), int(rng.integers(0, 60)), 5.0, 1_700_000_000 + number) for user in users]
        add(pl.DataFrame(rows, schema=community_events().schema, orient="row"), f"more{number}")
        plain_refresh(config(**settings()))
    partly = published_digest()
    assert tables("select n_refreshes from run_info") == [(3,)]
    assert by_duckdb_1_5(Path("warehouse/current.duckdb"), "select count(*) from user_topk") == f"{10 * N_USERS}"
    assert refreshed_in_full(monkeypatch) == partly
    assert tables("select n_refreshes from run_info") == [(0,)]
    assert plain_night(config(**settings())).status == "published"
    with duckdb.connect("warehouse/current.duckdb", read_only=True) as connection:
        rows = connection.execute("select observed from drift where metric = 'events' order by run_id").fetchall()
    assert len(rows) == 2 and 5 <= rows[1][0] <= 15, "the night judges all that came since the last one"
    assert [run.status for run in list_runs(Warehouse(world / "warehouse"))] == ["published"] * 6


def test_without_a_published_model_it_is_refused(world: Path) -> None:
    with pytest.raises(InputError, match="has no published model yet; make one with: elsa nightly"):
        plain_refresh(config(**settings()))


@pytest.mark.usefixtures("night")
def test_with_another_holdout_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"holdout has changed since run .* run: elsa nightly"):
        plain_refresh(config(**settings(holdout={"salt": "other"})))
