"""Availability, filters, categories, support and large tables: what may be listed, and when it is gone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy import sparse

from elsa_core import Elsa
from tasks.errors import InputError
from tasks.run.run import open_run
from tests.support.plain_nights import plain_night
from tests.support.published_file import no_rules, random_histories, random_model, write_published
from tests.support.worlds import N_ITEMS, config

Tables = Callable[[str], list[tuple]]
ITEMS = {"path": "data/movies.parquet", "item_id": "movie", "title": "name"}
RULED = ITEMS | {"category": "genre", "is_hidden": "hidden", "available_from": "since", "available_until": "until"}
N = 30


def movies(**columns: pl.Expr) -> None:
    never = pl.lit(None, pl.String)
    given = {"genre": pl.format("genre {}", pl.col("movie") % 4), "hidden": pl.lit("no"), "since": never,
             "until": never, "stock": pl.col("movie")}  # fmt: skip
    pl.read_parquet("data/movies.parquet").with_columns(**given | columns).write_parquet("data/movies.parquet")


def test_a_night_lists_only_what_the_metadata_and_the_filters_allow(world: Path, tables: Tables) -> None:
    is_item = pl.col("movie").eq
    movies(
        hidden=pl.when(is_item(6)).then(pl.lit("yes")).otherwise(pl.lit("no")),
        since=pl.when(is_item(7)).then(pl.lit("2999-01-01")).otherwise(None),
        until=pl.when(is_item(8)).then(pl.lit("2020-01-01T12:00")).otherwise(None),
    )
    rules = {"k": 10, "neighbors": 5, "filters": {"in stock": "stock > 2 -- or nearly"}, "max_per_category": 3,
             "same_category": True, "neighbors_min_users": 2}  # fmt: skip
    assert plain_night(config(source={"items": RULED}, recommendations=rules)).status == "published"
    barred = "(0, 1, 2, 6, 7, 8)"
    for table, column in (
        ("user_topk", "item_id"),
        ("user_spares", "item_id"),
        ("item_neighbors", "neighbor_item_id"),
    ):
        assert (
            tables(f"select count(*), count(*) filter (where {column} in {barred}) > 0 from {table}")[0][1] is False
        )
    assert tables("select count(*) from user_topk") == [(10 * 240,)]
    assert tables("select max(n) from (select count(*) n from user_topk join catalogue using (item_id) "
                  "group by user_id, category)") == [(3,)]  # fmt: skip
    assert tables("""
        select count(*) > 0, count(*) filter (where a.category != b.category) from item_neighbors n
        join catalogue a using (item_id) join catalogue b on b.item_id = n.neighbor_item_id
    """) == [(True, 0)]
    assert (
        tables("""
        select min(n) from (
            select count(distinct x.user_id) n from item_neighbors i
            join user_items x on x.item_id = i.item_id and x.weight > 0
            join user_items y on y.item_id = i.neighbor_item_id and y.weight > 0 and y.user_id = x.user_id
            group by i.item_id, i.neighbor_item_id
        )
    """)[0][0]
        >= 2
    )
    assert tables("select item_id from catalogue except from available_items order by 1") == [
        (n,) for n in (0, 1, 2, 6, 7, 8)
    ]
    assert tables("select count(*) from popular(k := 100)") == [(N_ITEMS - 6,)]
    judged = dict(tables("select model, value from run_metrics where metric = 'ndcg' and k = 10"))
    assert 0 < judged["elsa_capped"] < judged["elsa"]


@pytest.mark.parametrize(
    ("column", "items", "rules", "message"),
    [
        ({}, {"available_until": "end"}, {}, "no column 'end', which source.items.available_until names; it has"),
        ({"until": pl.lit("soon")}, RULED, {}, "available_until: item 0 has 'soon' .* cannot be read as a time"),
        ({"hidden": pl.lit("perhaps")}, RULED, {}, "is_hidden: item 0 has 'perhaps' .* read as true or false"),
        ({}, {}, {"filters": {"new": "yaer > 1990"}}, "filters.new: 'yaer > 1990' does not fit the item metadata"),
        ({}, {}, {"filters": {"new": "'old'"}}, "filters.new: .* does not fit .*Could not convert"),
    ],
)  # fmt: skip
def test_rules_that_do_not_fit_the_metadata_stop_the_night_before_training(
    world: Path, logged: list[str], column: dict, items: dict, rules: dict, message: str
) -> None:
    movies(**column)
    with pytest.raises(InputError, match=message):
        plain_night(config(source={"items": ITEMS | items}, recommendations=rules))
    assert not any("epoch" in line for line in logged)


@pytest.mark.parametrize(
    ("items", "rules", "message"),
    [
        (ITEMS, {"filters": {"x": "stock >"}}, "filters.x: 'stock >' is no SQL condition"),
        (ITEMS, {"filters": {"x": "a > 0; drop table items"}}, "filters.x: .* is no SQL condition"),
        (ITEMS, {"same_category": True}, "same_category needs item metadata.*source.items.category"),
        (ITEMS, {"max_per_category": 3}, "max_per_category needs item metadata.*source.items.category"),
        (None, {"filters": {"x": "stock > 0"}}, "filters needs item metadata.*source.items.path"),
    ],
)
def test_mistakes_are_found_when_the_configuration_is_read(items: dict | None, rules: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(source={"items": items}, recommendations=rules)


def file_with(folder: Path, rules: pl.DataFrame, **changes: dict) -> Path:
    rng = np.random.default_rng(0)
    X = random_histories(20, N, rng)
    return write_published(folder, random_model(N, rng), X, list(range(20)), list(range(N)), rules=rules, **changes)


@pytest.mark.usefixtures("without_prefect")
def test_what_expires_is_gone_at_that_moment_and_a_spare_moves_up(tmp_path: Path) -> None:
    """The clock of the reader is not ours to turn: the items' end is."""
    rules = no_rules(pl.Series("item_id", range(N)))
    later = pl.lit(datetime.now(UTC) + timedelta(hours=1), dtype=pl.Datetime("us", "UTC"))
    source = {"items": RULED}
    changes = {"source": source, "recommendations": {"k": 5, "neighbors": 4, "spare": 3}}
    path = file_with(tmp_path, rules.with_columns(available_until=later), **changes)
    file = path.resolve()
    file.chmod(0o644)
    with duckdb.connect(str(file)) as connection:
        connection.execute("set timezone = 'Asia/Kolkata'")
        user = connection.execute("select min(user_id) from user_spares").fetchall()[0][0]
        before = connection.execute("select item_id from recommend(?)", [user]).fetchall()
        spares = connection.execute(
            "select item_id from user_spares where user_id = ? order by rank", [user]
        ).fetchall()
        assert len(before) == 5 and spares
        assert (
            connection.execute("select item_id from user_topk where user_id = ? order by rank", [user]).fetchall()
            == before
        )
        gone = before[1][0]
        connection.execute("update catalogue set available_until = now() where item_id = ?", [gone])
        after = connection.execute("select rank, item_id from recommend(?)", [user]).fetchall()
        assert after == list(enumerate([item for (item,) in [*before, *spares] if item != gone][:5], start=1))
        (basket,) = before[0]
        for query in ("recommend_for([?], k := 100)", "similar(?)", "popular(k := 100 + 0 * ?)"):
            found = connection.execute(f"select item_id from {query}", [basket]).fetchall()
            assert found and (gone,) not in found, query
        assert connection.execute("select count(*) from user_topk_now where item_id = ?", [gone]).fetchall() == [(0,)]


@pytest.mark.usefixtures("without_prefect")
def test_large_tables_are_parquet_files_and_answer_alike_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = no_rules(pl.Series("item_id", range(N)))
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    tables = file_with(tmp_path / "small", rules)
    views = file_with(tmp_path / "large", rules, recommendations={"k": 10, "neighbors": 5, "max_table_size": "0.1KB"})
    monkeypatch.chdir("/")
    large = ["user_topk", "item_neighbors", "user_embeddings", "item_embeddings", "item_residuals", "user_items"]
    with duckdb.connect(str(tables), read_only=True) as inside, duckdb.connect(str(views), read_only=True) as outside:
        found = outside.execute("select view_name from duckdb_views() where not internal").fetchall()
        assert set(large) <= {name for (name,) in found}
        for query in [*(f"from {name}" for name in large), "from recommend(3)", "from similar(4)",
                      "from explain(3, 4)", "from recommend_for([1, 2])", "select score(3, 4)",
                      "from score_pairs('user_topk') order by user_id, rank",
                      "select typeof(embedding) from item_embeddings limit 1"]:  # fmt: skip
            assert outside.execute(query).fetchall() == inside.execute(query).fetchall(), query
        without = outside.execute(WITHOUT_COMMENT).fetchall()
    assert without == []
    for file in (tmp_path / "large").rglob("published/*/*.parquet"):
        assert file.stat().st_mode & 0o222 == 0


@pytest.mark.usefixtures("without_prefect")
def test_a_tables_size_is_that_of_its_own_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((N, 100)).astype(np.float32)
    model = Elsa(A / np.linalg.norm(A, axis=1, keepdims=True), [], 0)
    path = write_published(
        tmp_path, model, random_histories(N, N, rng), list(range(N)), list(range(N)),
        recommendations={"k": 10, "neighbors": 5, "max_table_size": "11KB"},
    )  # fmt: skip
    with duckdb.connect(str(path), read_only=True) as connection:
        views = connection.execute("select view_name from duckdb_views() where not internal").fetchall()
    assert {name for (name,) in views if name.endswith(("embeddings", "topk", "items", "neighbors"))} == {
        "available_items", "item_embeddings", "user_embeddings",
    }  # fmt: skip


WITHOUT_COMMENT = """
    select table_name, column_name from duckdb_columns() where not internal and comment is null
    union all select 'table', table_name from duckdb_tables() where not internal and comment is null
    union all select 'view', view_name from duckdb_views() where not internal and comment is null
    union all select 'macro', function_name from duckdb_functions() where not internal and comment is null
"""


@pytest.mark.usefixtures("without_prefect")
def test_everything_says_what_it_is(tmp_path: Path) -> None:
    path = file_with(tmp_path, no_rules(pl.Series("item_id", range(N))))
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute(WITHOUT_COMMENT).fetchall() == []
        found = dict(connection.execute("select name, has from readme").fetchall())
        assert found["recommend"] == "of_user, k"
        assert found["user_topk"] == "user_id, rank, item_id, score, source"
        assert connection.execute("select count(*) from readme where meaning is null").fetchall() == [(0,)]


@pytest.mark.usefixtures("without_prefect")
def test_pairs_without_support_are_no_neighbours_and_the_lonely_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = sparse.csr_array(
        np.kron(np.eye(4), np.ones((3, 3))).astype(np.float32)
    )  # four groups of three users and items
    X = sparse.csr_array(sparse.block_array([[X, None], [None, np.ones((1, 2), dtype=np.float32)]]))
    path = write_published(
        tmp_path, random_model(14, rng), X, list(range(13)), list(range(14)),
        recommendations={"k": 5, "neighbors": 5, "neighbors_min_users": 2},
    )  # fmt: skip
    with duckdb.connect(str(path), read_only=True) as connection:
        pairs = connection.execute("select item_id, neighbor_item_id from item_neighbors").fetchall()
        assert sorted(pairs) == [(i, j) for i in range(12) for j in range(12) if i != j and i // 3 == j // 3]
        assert connection.execute("select n_items_without_neighbors from run_info").fetchall() == [(2,)]
        assert connection.execute("select item_id from catalogue where n_neighbors = 0").fetchall() == [(12,), (13,)]


def test_parquet_files_of_a_night_that_died_are_removed_and_those_of_a_published_one_stay(world: Path) -> None:
    for run_id in ("died", "published"):
        (world / "warehouse" / "published" / run_id).mkdir(parents=True)
        (world / "warehouse" / "published" / run_id / "user_topk.parquet").touch()
    (world / "warehouse" / "published" / "published.duckdb").touch()
    with open_run(config()):
        assert sorted(path.name for path in (world / "warehouse" / "published").iterdir()) == [
            "published", "published.duckdb",
        ]  # fmt: skip
