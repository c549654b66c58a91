"""Delivered files whose names, headers and contents are written to make DuckDB read or write others."""

import json
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tasks.data.ingest import ingest
from tasks.errors import InputError
from tasks.run.handles import Events
from tasks.run.run import open_run
from tests.support.worlds import config

pytestmark = pytest.mark.usefixtures("without_prefect")
SECRET = "root:x:0:0"
ANYTHING = {"min_value": None}
VIEWS = {
    "view": "create view events as select content as user, 1 as movie from read_text('{secret}')",
    "view of a file": "create view events as select * from '{secret}'",
    "view in the named schema": "create schema store; create table events as select 1 as user, 2 as movie;"
    "create view store.events as select content as user, 1 as movie from read_text('{secret}')",
    "view beside a table": "create schema store; create table store.sold as select 1 as user, 2 as movie;"
    "create view sold as select content as user, 1 as movie from read_text('{secret}')",
    "macro": "create macro events() as table select content as user, 1 as movie from read_text('{secret}')",
    "nothing": "create table other as select 1 as user",
}
ROWS = [(5, 7), (6, 8)]
NAMES = ["a[1]", "a*", "?", "it's", 'say "x"', "x'); copy (select 1) to 'written'; --", "$(touch written)", "a;b",
         "a\nb", "a%20b", "{a,b}", "a\\b", "-rf", "user=9", "ünï \u202e", "~", "a=b=c", "[!a]", "[[]"]  # fmt: skip
HEADERS = ["user\"", "'}, 'x': ('", "user'); copy (select 1) to 'written'; --", "*", "columns(*)", "$1",
           "source_file", "\\", "user \u202e"]  # fmt: skip


@pytest.fixture(autouse=True)
def secret(world: Path) -> Path:
    (world / "secret.csv").write_text(f"user,movie\n{SECRET},1\n")
    (world / "in").mkdir()
    return world / "secret.csv"


def take_in(path: str | list[str], user: str = "user", **source: object) -> tuple[Events, list[tuple]]:
    columns = {"user_id": user, "item_id": "movie"}
    given = {"events": path, "columns": columns, "items": None, **source}
    with open_run(config(source=given, interactions=ANYTHING)) as run:
        handle = ingest.fn(run)
        with duckdb.connect(str(run.warehouse.events)) as connection:
            rows = connection.sql("select user_id, item_id from events order by all").fetchall()
    assert not list(Path().rglob("written*"))
    return handle, rows


@pytest.mark.parametrize("kind", VIEWS)
def test_of_a_database_only_tables_count(kind: str, secret: Path) -> None:
    with duckdb.connect("in/shop.duckdb") as connection:
        connection.execute(VIEWS[kind].format(secret=secret))
    names = {"view in the named schema": "store.events", "view beside a table": "main.sold"}
    with pytest.raises(InputError, match=r"shop.duckdb has no table .*source.table names; its tables: "):
        take_in("in/shop.duckdb", table=names.get(kind, "events"))


def test_a_table_beside_hostile_things_is_read_as_it_is(secret: Path) -> None:
    with duckdb.connect("in/it's [1].duckdb") as connection:
        connection.execute(f"""
            create schema shop; create schema "main.events";
            create table "main.events".events as select 0 as user, 0 as movie;
            create macro try_cast_(x) as (select content from read_text('{secret}'));
            create table events (user bigint, movie bigint default (42), twice as (user * 2));
            insert into events (user, movie) values (5, 7), (6, 8);
            create view shop.events as select content as user, 1 as movie from read_text('{secret}');
            create view v as select * from events union all select 9, 9, length(content) from read_text('{secret}');
            create index i on events (user);
        """)
    assert take_in("in/it's [1].duckdb")[1] == ROWS


def test_a_query_over_a_database_does_not_follow_its_views(secret: Path) -> None:
    with duckdb.connect("in/shop.duckdb") as connection:
        connection.execute(VIEWS["view"].format(secret=secret))
    with pytest.raises(InputError, match=r"source.query cannot be read"):
        take_in(None, query="from read_duckdb('in/shop.duckdb', table_name = 'events')")


@pytest.mark.parametrize("end", ["csv", "jsonl", "json", "parquet"])
def test_names_of_files_are_names_and_nothing_else(end: str, secret: Path) -> None:
    """Beside them lie files that they would match, were they patterns."""
    write = {"csv": "write_csv", "jsonl": "write_ndjson", "json": "write_json", "parquet": "write_parquet"}[end]
    paths = [Path("in") / f"{name}.{end}" for name in NAMES]
    decoys = [Path("in") / f"{name}.{end}" for name in ("a1", "ab", "aX", "b", "1", "z", "user=8")]
    for place, path in enumerate([*paths, *decoys]):
        rows = pl.DataFrame(ROWS, ["user", "movie"], orient="row").with_columns(pl.all() + 100 * place)
        with path.open("wb") as file:
            getattr(rows, write)(file)
    handle, rows = take_in(list(map(str, paths)))
    assert handle.n_rejected == 0
    assert rows == [(user + 100 * n, movie + 100 * n) for n in range(len(NAMES)) for user, movie in ROWS]


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("header", HEADERS)
def test_names_of_columns_are_names_and_nothing_else(header: str, end: str, secret: Path) -> None:
    path, others = Path("in") / f"a.{end}", {f"{header}'; --": ["x", f"from '{secret}'"], "z\"')": ["y", "y"]}
    frame = pl.DataFrame({header: [5, 6], "movie": [7, 8], **others})
    if end == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
    else:
        frame.write_csv(path) if end == "csv" else frame.write_parquet(path)
    assert take_in(str(path), user=header)[1] == ROWS
    with pytest.raises(InputError, match=r"has no column 'nobody'"):
        take_in(str(path), user="nobody")


def test_values_that_look_like_files_or_sql_are_values(secret: Path) -> None:
    values = [str(secret), "secret.csv", "read_text('secret.csv')", "'); copy (select 1) to 'written'; --", "$1",
              "file:///etc/passwd", "../secret.csv", "{0}", "=cmd|' /C calc'!A0"]  # fmt: skip
    frame = pl.DataFrame({"user": values, "movie": [f"i{value}" for value in values]})
    frame.write_csv("in/a.csv")
    frame.write_ndjson("in/b.jsonl")
    frame.write_parquet("in/c.parquet")
    Path("in/linked.csv").symlink_to(Path("in/a.csv").absolute())
    for name in ("a.csv", "b.jsonl", "c.parquet", "linked.csv"):
        assert take_in(f"in/{name}")[1] == sorted((value, f"i{value}") for value in values)
