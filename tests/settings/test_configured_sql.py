"""SQL in the configuration reads, and nothing else: one SELECT, one expression, the files that it names."""

import re
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from tasks.data.expectations import check_expectations
from tasks.data.ingest import ingest
from tasks.data.validate import validate
from tasks.errors import InputError
from tasks.publish.rules import apply_rules
from tasks.run.database import connect
from tasks.run.run import open_run
from tasks.settings.configured_sql import check_expression, files_in, refused_functions
from tasks.settings.load import read_config
from tests.support.plain_nights import events_of
from tests.support.worlds import config, settings

pytestmark = pytest.mark.usefixtures("without_prefect")
WITH_SIDE_EFFECTS = [
    "nextval('event_file_ids') > 0",
    "setval('event_file_ids', 1) < 0",
    "main.SetVal('event_file_ids', 1) < 0",
    "('event_file_ids').\"nextval\"() > 0",
    "currval('event_file_ids') > 0",
    "list_transform([1], lambda x: setval('event_file_ids', x)) is null",
    "write_log('x') is null",
    "sleep_ms(1000) is null",
    "pg_sleep(1) is null",
    "setseed(0.5) is null",
    "error('x')",
    "try(error('x'))",
    "assert_true(false)",
    "current_query() > ''",
]
CLAUSES_WITH_SIDE_EFFECTS = [
    "from range(setval('event_file_ids', 1))",
    "order by setval('event_file_ids', 1)",
    "limit sleep_ms(1)",
    "group by all having nextval('event_file_ids') > 0",
    "where exists (select max(1) filter (where nextval('event_file_ids') > 0))",
]
NO_QUERIES = [
    "copy (select 1) to 'written'",
    "copy (select 1 as user) to 'written'; select 1 as user",
    "select 1; select 2",
    "select 1) to 'written'; copy (select 1",
    "select 1) as t; copy (select 1) to 'written'; from (select 1",
    "select 1 /*",
    "(select 1",
    "-- nothing",
    "",
    "with a as (copy (select 1) to 'written') from a",
    "with a as (delete from events returning *) from a",
    "select (select 1 from (with a as (update events set value = 1 returning *) from a))",
    "with a as (select 1) insert into events from a",
    "attach 'written' as a",
    "install httpfs",
    "load httpfs",
    "pragma enable_profiling",
    "set threads = 1",
    "reset threads",
    "call force_checkpoint()",
    "from force_checkpoint()",
    "from Enable_Logging(storage = 'file', storage_config = {'path': 'written'})",
    "from query('copy (select 1) to ''written''')",
    "from json_execute_serialized_sql('{}')",
    "export database 'written'",
    "import database 'written'",
    "explain analyze copy (select 1) to 'written'",
    "explain select 1",
    "create table a as select 1",
    "use main",
    "begin",
    "execute a",
    "select $1",
    "select ?",
    "pivot events on user_id",
    *(f"select {called}" for called in WITH_SIDE_EFFECTS),
    *(f"select 5 as user, 7 as movie {clause}" for clause in CLAUSES_WITH_SIDE_EFFECTS),
]
NO_CONDITIONS = [
    "true) or (true",
    "true, 'x', null); copy (select 1) to 'written'; select if(true",
    "true; copy (select 1) to 'written'",
    "(true",
    "true /*",
    "true, true",
    "true as x",
    "true from events",
    "exists (with a as (delete from events returning *) from a)",
    "exists (with a as (copy (select 1) to 'written') from a)",
    "exists (from query('from events'))",
    "select true",
    "not " * 900 + "true",
    "not " * 5000 + "true",
    "$1",
    "-- nothing",
    "",
    *WITH_SIDE_EFFECTS,
]
QUERIES = [
    "select 5 as user, 7 as movie",
    "select 5 as user, 7 as movie;",
    " select 5 as user, 7 as movie ; \n",
    "select 5 as user, 7 as movie -- without an end",
    "/* a */ select 5 as user, 7 as movie -- ;)",
    "with a as (select 5 as user, 7 as movie) from a order by all limit 3",
    "values (5, 7) order by 1",
    "select 5 as user, ';)--' as movie",
]


def of_query(query: str, **columns: str) -> dict:
    """The changed sections of a configuration whose events are the query's rows."""
    columns = {"user_id": "user", "item_id": "movie"} | columns
    source = {"query": query, "events": None, "columns": columns, "items": None}
    return {"source": source, "interactions": {"min_value": None}}


@pytest.mark.parametrize("query", NO_QUERIES)
def test_a_query_that_does_more_than_read_is_refused_with_the_configuration(query: str, tmp_path: Path) -> None:
    items = {"source": {"items": {"query": query, "item_id": "movie", "title": "name"}}}
    for key, changes in {"source.query: ": of_query(query), "source.items.query: ": items}.items():
        path = tmp_path / "my.yaml"
        path.write_text(yaml.safe_dump(settings(**changes)))
        with pytest.raises(InputError) as raised:
            read_config(path)
        assert re.match(rf"{path}, line \d+: {key}", str(raised.value))
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("condition", NO_CONDITIONS)
@pytest.mark.parametrize(("section", "key"), [("quarantine", "conditions"), ("recommendations", "filters")])
def test_what_is_no_single_expression_is_refused_with_the_configuration(
    section: str, key: str, condition: str
) -> None:
    with pytest.raises(ValidationError, match=rf"{key}.odd: .* is no SQL condition"):
        config(**{section: {key: {"odd": condition}}})


@pytest.mark.parametrize("query", [query.replace("events", "{batch}") for query in NO_QUERIES if "{" not in query])
def test_an_expectation_that_does_more_than_read_is_refused_before_anything_runs(query: str) -> None:
    expectation = {"expect": "unexpected_rows_expectation", "unexpected_rows_query": query}
    with pytest.raises(InputError, match=r"validation.expectations\[0\]: .*unexpected_rows_query"):
        check_expectations(config(validation={"expectations": [expectation]}))


@pytest.mark.parametrize("query", QUERIES)
def test_one_select_is_read_however_it_ends(query: str, world: Path) -> None:
    columns = {"user_id": "col0", "item_id": "col1"} if query.startswith("values") else {}
    with open_run(config(**of_query(query, **columns))) as run:
        assert ingest.fn(run).n_events == 1


@pytest.mark.parametrize("called", ["random()", "uuid()", "uuidv4()", "uuidv7()", "gen_random_uuid()"])
def test_chance_is_no_side_effect(called: str) -> None:
    check_expression(f"{called} is not null")


def test_no_macro_hides_a_side_effect_from_us() -> None:
    """But of those that compute, two end with an error where they are called wrongly."""
    named = "select function_name, macro_definition from duckdb_functions() where macro_definition is not null"
    refused = refused_functions()
    calls = {name: set(re.findall(r'(\w+)"?\(', definition)) for name, definition in duckdb.sql(named).fetchall()}
    assert {name for name, called in calls.items() if called & refused} - refused == {
        "json_group_object",
        "histogram_values",
    }


def test_comments_at_the_end_take_nothing_with_them(world: Path) -> None:
    """In conditions, filters, queries for metadata, and expectations."""
    query = "select * from {batch} where value > 9 -- none; )"
    items = {"query": "select movie, name from 'data/movies.parquet' -- all", "item_id": "movie", "title": "name"}
    changed = config(
        source={"items": items},
        quarantine={"conditions": {"low": "rating < 2 -- stars", "none": "rating > 9 --"}, "max_share": 1.0},
        recommendations={"filters": {"some": "item_id > 3 -- )"}},
        validation={"expectations": [{"expect": "unexpected_rows_expectation", "unexpected_rows_query": query}]},
    )
    with open_run(changed) as run:
        handle = ingest.fn(run)
        assert 0 < handle.n_rejected < handle.n_read and set(handle.reasons) == {"low"}
        assert validate.fn(run, events_of(run)).n_warnings == 0
        rules = apply_rules.fn(run, events_of(run))
        assert (rules.n_items, rules.n_barred) == (60, 4)


def test_a_query_reads_the_files_that_stand_in_it(world: Path) -> None:
    (world / "more" / "day=1").mkdir(parents=True)
    for number in range(2):
        pl.DataFrame({"user": [number], "movie": [7]}).write_parquet(f"more/day=1/{number}.parquet")
    pl.DataFrame({"user": [8], "movie": [7]}).write_csv("more/[a].csv")
    with duckdb.connect("more/shop.duckdb") as connection:
        connection.execute("create table sold as select 9 as user, 7 as movie")
    pl.DataFrame({"user": [3], "movie": [7]}).write_parquet("linked.parquet")
    Path("more/day=1/linked.parquet").symlink_to(world / "linked.parquet")
    query = f"""
        select user, movie from read_parquet('more/*/*.parquet')
        union all select user, movie from read_csv('{world}/more/[[]a].csv', delim = ',')
        union all select user, movie from read_parquet(['more/day=1/' || '0.parquet'])
        union all select * from read_duckdb('more/shop.duckdb', table_name = 'sold')
        union all select user, movie from 'data/ratings.parquet' where user = 5 and movie < 10
    """
    with open_run(config(**of_query(query))) as run:
        handle = ingest.fn(run)
        assert handle.n_events == duckdb.sql(query).aggregate("count(distinct (user, movie))").fetchall()[0][0] >= 6


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("from 'a.csv'", ["a.csv"]),
        ("from read_csv(['a.csv', '/b/*/c?.csv'], delim = '/', nullstr = '')", ["a.csv", "/b"]),
        ("from t, (from read_text('file:///x/y')) where 'z' = '/z' and exists (from read_json('/d/' || t.e))",
         ["t", "/x/y", "/d"]),
        ("with a as (from read_blob('*')) from a", [".", "a"]),
        ("select 'x.csv' as a, '/' as b", []),
        ("from range(3)", []),
    ],
)  # fmt: skip
def test_the_files_in_a_query(query: str, expected: list[str], world: Path) -> None:
    assert sorted(files_in(query)) == sorted(str((world / path).resolve()) for path in expected)


def test_nothing_else_reads_a_file(world: Path) -> None:
    """Neither conditions, filters nor expectations, nor a query what it does not name."""
    (world / "secret.txt").write_text("secret")
    read = f"(select content from read_text('{world}/secret.txt'))"
    for changes in (
        {"quarantine": {"conditions": {"odd": f"{read} = 'x'"}}},
        {"recommendations": {"filters": {"odd": f"name != {read}"}}},
        of_query(f"select 1 as user, content as movie from read_text(upper('{world}/SECRET.') || 'txt')"),
    ):
        with pytest.raises(InputError, match=r"Cannot access file .*txt"), open_run(config(**changes)) as run:
            ingest.fn(run)
    in_parts = config(**of_query("select 1 as user, content as movie from read_text('sec' || 'ret.txt')"))
    said = "source.query cannot be read: .*a query reads those that it names as text"
    with pytest.raises(InputError, match=said), open_run(in_parts) as run:
        ingest.fn(run)
    query = f"select * from {{batch}} where {read} = 'secret'"
    expectation = {"expect": "unexpected_rows_expectation", "unexpected_rows_query": query}
    with open_run(config(validation={"expectations": [expectation]})) as run:
        ingest.fn(run)
        with pytest.raises(InputError, match=r"could not be evaluated.*secret\.txt"):
            validate.fn(run, events_of(run))


@pytest.mark.parametrize(
    "statement",
    [
        "from read_text('secret.txt')",
        "from glob('*')",
        "copy (select 1) to 'written'",
        "attach 'written.duckdb' as a",
        "export database 'written'",
        "install httpfs",
        "load httpfs",
        "create persistent secret s (type s3)",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "set autoinstall_known_extensions = true",
        "set lock_configuration = false",
        "set allowed_configs = ['threads']",
        "reset memory_limit",
        "set enable_profiling = 'json'",
        "call enable_logging(storage = 'file', storage_config = {'path': 'written'})",
    ],
)
def test_a_connection_reaches_its_warehouse_only_and_stays_so(statement: str, world: Path) -> None:
    (world / "secret.txt").write_text("secret")
    with connect(":memory:", config()) as connection, pytest.raises(duckdb.Error, match=r"disabled|locked"):
        connection.execute(statement).fetchall()
    assert not list(world.glob("written*"))


def test_connections_that_share_a_file_share_what_is_closed(world: Path) -> None:
    path = world / "warehouse" / "a.duckdb"
    path.parent.mkdir()
    with connect(path, config()) as one, connect(path, config()) as other:
        for connection in (one, other):
            assert connection.sql("select current_setting('timezone')").fetchall() == [("UTC",)]
            with pytest.raises(duckdb.PermissionException):
                connection.execute("from read_text('data/*')")


@pytest.mark.filterwarnings("ignore:.*deprecated as of GX Core")
@pytest.mark.parametrize(
    "arguments",
    [
        {"row_condition": 'col("value") > 3"); copy (select 1) to \'written\'; --'},
        {"row_condition": 'col("x\\"); copy (select 1) to \'written\'; --") > 3'},
        {"row_condition": "1); copy (select 1) to 'written'; --", "condition_parser": "pandas"},
        {"column": "value\") from events; copy (select 1) to 'written'; --"},
        {"value_set": ["'); copy (select 1) to 'written'; --"]},
    ],
)
def test_arguments_of_expectations_are_no_sql(arguments: dict, world: Path) -> None:
    expectation = {"expect": "expect_column_values_to_be_in_set", "column": "value", "value_set": [7.5]} | arguments
    changed = config(validation={"expectations": [expectation]})
    with pytest.raises(InputError, match="expect_column_values_to_be_in_set"):
        check_expectations(changed)
        with open_run(changed) as run:
            ingest.fn(run)
            validate.fn(run, events_of(run))
    assert not list(world.rglob("written*"))
