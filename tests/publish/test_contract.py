"""The output tables' contract: each check of sql/checks/ notices when its promise is broken."""

import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tasks.publish.contract import ContractBroken, check_contract
from tasks.publish.document import types_of_columns
from tasks.run.handles import Outcome
from tasks.run.run import Run
from tests.support.plain_nights import plain_night
from tests.support.published_state import by_duckdb_1_5
from tests.support.worlds import config

pytestmark = pytest.mark.usefixtures("without_prefect")
CHECK_FILES = list((Path(__file__).parents[2] / "sql" / "checks").rglob("*.sql"))
CHECKS = sorted(path.stem for path in CHECK_FILES)

SABOTAGE = {
    "categories_are_capped": """
        update catalogue set category = 'one';
        update run_info set config = json_merge_patch(config, '{"recommendations": {"max_per_category": 9}}')
    """,
    "embeddings_are_unit_length": "update item_embeddings set embedding = [0, 0, 0, 0, 0, 0, 0, 2] where item_id = 3",
    "embeddings_have_one_width": """
        create table wider as
            select user_id, array_concat(embedding, [0::float])::float[9] as embedding from user_embeddings;
        drop table user_embeddings;
        alter table wider rename to user_embeddings
    """,
    "one_run_id": "update validation_results set run_id = 'another'",
    "every_user_is_there": "delete from user_topk where user_id = 5; delete from user_items where user_id = 5",
    "ids_resolve": "update item_neighbors set neighbor_item_id = 999 where item_id = 3 and rank = 5",
    "lists_are_complete": "delete from user_topk where user_id = 5 and rank = 10",
    "no_item_next_to_itself": "update item_neighbors set neighbor_item_id = 3 where item_id = 3 and rank = 5",
    "no_item_twice": """
        update user_topk set item_id = (select item_id from user_topk where user_id = 5 and rank = 1)
        where user_id = 5 and rank = 2
    """,
    "neighbors_are_counted": "update catalogue set n_neighbors = 4 where item_id = 3",
    "no_unavailable_item": "update catalogue set available_until = '2020-01-01' where item_id = 3",
    "spares_follow": "insert into user_spares select 5, 12, 0, 0.5, 'popular'",
    "nobody_twice": "insert into user_items select user_id, item_id, weight from user_items where user_id = 5",
    "nothing_of_nobody": """
        insert into user_embeddings select 1000, embedding from user_embeddings where user_id = 5
    """,
    "no_seen_item": """
        update user_topk set item_id = (select min(item_id) from user_items where user_id = 5 and weight = 0)
        where user_id = 5 and rank = 2
    """,
    "popular_items_are_whole": "delete from popular_items where rank = 4",
    "personal_comes_first": "update user_topk set source = 'popular' where user_id = 5 and rank = 2",
    "ranks_have_no_gaps": "update user_topk set rank = 11 where user_id = 5 and rank = 10",
    "neighbors_are_complete": "delete from item_neighbors where item_id = 3 and rank = 5",
    "tables_are_sorted": """
        create table unsorted as select * from user_items order by item_id, user_id;
        drop table user_items;
        alter table unsorted rename to user_items
    """,
    "scores_descend": "update user_topk set score = 'nan' where user_id = 5 and rank = 2",
    "tables_are_not_empty": "delete from item_neighbors",
}


@pytest.fixture
def published(made_first_night: tuple[Path, Outcome]) -> Path:
    """One published file to copy and spoil."""
    folder, _ = made_first_night
    return folder / "warehouse" / "current.duckdb"


def test_every_check_is_tried() -> None:
    assert sorted(SABOTAGE) == CHECKS


def test_an_untouched_file_passes(published: Path) -> None:
    check_contract(Run(config(), "run"), published)


@pytest.mark.parametrize("check", CHECKS)
def test_a_broken_promise_is_noticed(check: str, published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    shutil.copyfile(published, copy)
    with duckdb.connect(str(copy)) as connection:
        connection.execute(SABOTAGE[check])
    with pytest.raises(ContractBroken, match=rf"\b{check}: \d+ rows, e.g."):
        check_contract(Run(config(), "run"), copy)


@pytest.mark.parametrize("check", sorted(path.stem for path in CHECK_FILES if path.parent.name == "users"))
def test_a_refresh_looks_at_the_users_whose_rows_are_new(check: str, published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    shutil.copyfile(published, copy)
    with duckdb.connect(str(copy)) as connection:
        connection.execute("update run_info set n_refreshes = 1")
        connection.execute(SABOTAGE[check])
    with pytest.raises(ContractBroken, match=rf"\b{check}: \d+ rows, e.g."):
        check_contract(Run(config(), "run"), copy, pa.table({"user_id": [4, 5, 1000]}))
    if check != "categories_are_capped":
        check_contract(Run(config(), "run"), copy, pa.table({"user_id": [4, 6]}))


def test_tables_that_break_the_contract_are_never_published(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elsa_core import Elsa

    honest = Elsa.recommend
    monkeypatch.setattr(
        Elsa,
        "recommend",
        lambda self, X, k, also_exclude=None, allowed=None: honest(self, X, k, exclude_seen=also_exclude is None),
    )
    with pytest.raises(ContractBroken, match="no_seen_item"):
        plain_night(config())
    assert not (world / "warehouse" / "current.duckdb").exists()
    assert list((world / "warehouse" / "published").iterdir()) == []


def test_columns_and_types_are_those_that_the_documentation_promises(published: Path) -> None:
    """Its test says that docs/tables.md has the columns and types of `types_of_columns`."""
    with duckdb.connect(str(published), read_only=True) as connection:
        rows = connection.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal "
            "order by table_name, column_index"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        is_id = column in ("user_id", "item_id", "neighbor_item_id")
        found.setdefault(table, {})[column] = "id" if is_id else kind.replace("FLOAT[8]", "FLOAT[factors]")
    of_source = found["items"].pop("genre")
    assert of_source == "VARCHAR"
    promised = types_of_columns()
    assert found == promised
    assert {table: list(columns) for table, columns in found.items()} == {
        table: list(columns) for table, columns in promised.items()
    }


def test_published_files_cannot_be_written_to(published: Path) -> None:
    assert published.resolve().stat().st_mode & 0o222 == 0


def test_views_can_be_read_from_a_file_attached_beside_another(published: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"attach '{published}' as tables (read_only)")
        counts = "select (select count(*) from tables.available_items), (select count(*) from tables.user_topk_now)"
        assert connection.execute(counts).fetchall() == [(60, 2400)]


def test_files_can_be_read_by_duckdb_1_5(published: Path) -> None:
    assert (
        by_duckdb_1_5(published, "select count(*) from user_topk_now join available_items using (item_id)") == "2400"
    )
    assert by_duckdb_1_5(published, "select count(*) from user_topk join items using (item_id)") == "2400"
