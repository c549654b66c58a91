"""docs/tables.md, made from sql/tables/ and sql/published/; as a program it prints the page."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.publish.definitions import Definition, definition
from tasks.publish.macros import PUBLISHED, write_macros
from tasks.publish.tables import README, TABLES
from tasks.run.database import sql
from tasks.settings.publication import RecommendationSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Types = dict[str, dict[str, str]]
IDS = ("user_id", "item_id", "neighbor_item_id")
HEAD = """# Tables of the published file

Generated from `sql/tables/` and `sql/published/`: `make docs`.

`warehouse/current.duckdb` is a symlink to the published file. The same words are in the file: `from readme`, and
`comment on` every table and column. Names and columns are a contract and change only with a major version;
[`sql/checks/`](../sql/checks) states what else holds. Ids have the type that they have in the source, `BIGINT` or
`VARCHAR`. Rows are sorted by the first column; those that a refresh computed again follow the others.
A large table (`recommendations.max_table_size`) is a Parquet file, and a view of that name reads it.
"""
OF_SOURCE = "| … | as in the metadata | Every other column of the metadata |"


def document() -> str:
    """The Markdown text."""
    tables = [definition(f"tables/{table.name}") for table in (*TABLES, README)]
    published = [definition(f"published/{name}") for name in PUBLISHED]
    views = [one for one in published if one.kind == "view"]
    types = types_of_columns()
    sections = {
        "Tables": [_relation(one, types[one.name]) for one in tables],
        "Views": [_relation(one, types[one.name]) for one in views],
        "Queries: select from them like from a table": _macros(published, "macro table"),
        "Functions: call them in a select": _macros(published, "macro"),
    }
    return "\n".join([HEAD, *("\n".join([f"## {title}\n", *parts]) for title, parts in sections.items())])


def types_of_columns() -> Types:
    """DuckDB's types of the columns of every table and view, which are created without rows."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; attach ':memory:' as warehouse; attach ':memory:' as output")
        connection.execute(f"use warehouse; {sql('drift/history')}; use memory; {sql('inputs')}")
        for table in (*TABLES, README):
            _create(connection, table.name)
        write_macros(connection, RecommendationSettings())
        found = connection.execute(
            "select table_name, column_name, data_type from duckdb_columns() where database_name = 'output'"
        )
        types: Types = {}
        for table_name, column, kind in found.fetchall():
            is_id = column in IDS
            types.setdefault(table_name, {})[column] = "id" if is_id else kind.replace("[1]", "[factors]")
        return types


def _create(connection: "DuckDBPyConnection", table: str) -> None:
    import duckdb

    query = definition(f"tables/{table}").query
    (parsed,) = duckdb.extract_statements(query)
    connection.execute(f"create table output.{table} as {query}", dict.fromkeys(parsed.named_parameters))


def _relation(of: Definition, types: dict[str, str]) -> str:
    rows = [f"| `{column}` | {types[column]} | {_cell(meaning)} |" for column, meaning in of.columns.items()]
    if of.name == "items":
        rows.append(OF_SOURCE)
    table = "\n".join(["| Column | Type | Meaning |", "| --- | --- | --- |", *rows])
    return f"### {of.name}\n\n{of.meaning}. Grain: {of.grain}.\n\n{table}\n"


def _macros(published: list[Definition], kind: str) -> Iterator[str]:
    """A table of them; `k` is by default what run_info says."""
    yield "| Call | Meaning | Example |\n| --- | --- | --- |"
    for of in (one for one in published if one.kind == kind):
        meaning, _, example = of.meaning.partition(": ")
        call = of.name + re.sub(r"\$(\w+)", r"run_info.\1", of.parameters)
        yield f"| `{call}` | {_cell(meaning)} | {f'`{example}`' if example else ''} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(document(), end="")
