"""The list of tables, their SQL files, and docs/tables.md, which is generated from them."""

import re
from pathlib import Path

import duckdb
import pytest

from tasks.publish.definitions import Definition, comment, definition, parse
from tasks.publish.document import document, types_of_columns
from tasks.publish.macros import PUBLISHED
from tasks.publish.tables import README, TABLES

ROOT = Path(__file__).parents[2]
NAMES = [table.name for table in (*TABLES, README)]
SELECT = """-- grain: one row per user
-- why
select user_id, 'a;b -- c' as text -- as it is

from users;

-- What it's about: "users"; all
-- user_id: Whose: the user's
-- text: A text
"""


def test_a_select_is_read_with_its_comments() -> None:
    found = parse("some", SELECT)
    query = "-- grain: one row per user\n-- why\nselect user_id, 'a;b -- c' as text -- as it is\n\nfrom users"
    assert found == Definition(
        "some", query, "table", "", "one row per user", "What it's about: \"users\"; all",
        {"user_id": "Whose: the user's", "text": "A text"},
    )  # fmt: skip
    with duckdb.connect() as connection:
        connection.execute("attach ':memory:' as output; create table output.some (user_id int, text varchar)")
        comment(connection, found)
        rows = connection.execute("select column_name, comment from duckdb_columns() where database_name = 'output'")
        assert dict(rows.fetchall()) == found.columns
        assert connection.execute("select comment from duckdb_tables()").fetchall() == [(found.meaning,)]


@pytest.mark.parametrize(
    ("statement", "kind", "parameters"),
    [
        ("create macro one(a, b := f(1)) as\n    a + b", "macro", "(a, b := f(1))"),
        ('create macro "similar"(a) as table\nselect a', "macro table", "(a)"),
        ("-- grain: one row\ncreate view one as\nselect 1", "view", ""),
    ],
)
def test_views_and_macros_are_told_apart(statement: str, kind: str, parameters: str) -> None:
    found = parse("one", f"{statement};\n\n-- It does something\n")
    assert (found.kind, found.parameters, found.query) == (kind, parameters, statement)


@pytest.mark.parametrize(
    "text",
    ["select 1", "select 1;\n\nselect 2;", "select 1;\n\n-- One\n-- no colon here", "\n\n-- Only a comment"],
    ids=["no comments", "a statement in their place", "a line that is of no column", "no statement"],
)
def test_a_file_of_another_form_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="some: below the statement must be a line '-- meaning', then lines"):
        parse("some", text)


def test_every_file_is_in_the_list_once() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in (ROOT / "sql" / "tables").glob("*.sql"))
    assert sorted(PUBLISHED) == sorted(path.stem for path in (ROOT / "sql" / "published").glob("*.sql"))


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_a_bare_select_with_a_comment_for_each_column_in_their_order(name: str) -> None:
    found = definition(f"tables/{name}")
    (statement,) = duckdb.extract_statements(found.query)
    assert statement.type == duckdb.StatementType.SELECT
    assert found.grain.startswith("one row")
    assert list(found.columns) == list(types_of_columns()[name])


def test_when_an_item_is_available_is_written_once() -> None:
    moments = re.compile(r"[<>]=?\s*(?:\w+\.)?available_(?:from|until)")
    files = {path.name for path in (ROOT / "sql").rglob("*.sql") if moments.search(path.read_text())}
    assert files == {"is_available.sql", "barred.sql"}, "barred.sql counts what each rule bars alone"


def test_the_page_has_every_table_view_and_macro() -> None:
    page = document()
    documented = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    documented |= set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE))
    assert documented == {*NAMES, *PUBLISHED}
