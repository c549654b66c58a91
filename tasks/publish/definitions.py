"""A file of sql/tables/ or sql/published/: one statement, and below it what the table, view or macro means."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.run.database import sql
from tasks.run.quoting import identifier, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CREATED = re.compile(r'^create (?P<kind>macro|view) "?\w+"?(?P<parameters>\(.*\))? as(?P<rows> table)?', re.MULTILINE)


@dataclass(frozen=True)
class Definition:
    """What such a file says.

    query    the select of a table, or the statement that creates a view or macro
    kind     table, view, macro (it returns a value) or macro table (it returns rows), as COMMENT ON knows them
    grain    what one row is, from the header; "" where there is none
    meaning  of the whole, one sentence
    columns  what each column means, in their order
    """

    name: str
    query: str
    kind: str
    parameters: str
    grain: str
    meaning: str
    columns: dict[str, str]


def definition(file: str) -> Definition:
    """Of the file sql/<file>.sql."""
    return parse(file.rpartition("/")[2], sql(file))


def parse(name: str, text: str) -> Definition:
    """Raises ValueError where the lines below the statement are not a sentence, then one line 'column: text' each."""
    query, _, block = text.rstrip().rpartition("\n\n")
    meaning, *lines = block.splitlines()
    columns = [re.fullmatch(r"-- (\w+): (.+)", line) for line in lines]
    if not query or not meaning.startswith("-- ") or None in columns:
        raise ValueError(f"{name}: below the statement must be a line '-- meaning', then lines '-- column: meaning'")
    created = CREATED.search(query)
    grain = re.search(r"^-- grain: (.+)$", query, re.MULTILINE)
    return Definition(
        name,
        query.rstrip(";"),
        "table" if created is None else created["kind"] + (created["rows"] or ""),
        "" if created is None else created["parameters"] or "",
        grain[1] if grain else "",
        meaning.removeprefix("-- "),
        {found[1]: found[2] for found in columns if found},
    )


def comment(connection: "DuckDBPyConnection", of: Definition, kind: str | None = None) -> None:
    """Writes what it means into the file attached as `output`; `kind` is view for a table in a Parquet file."""
    name = f"output.{identifier(of.name)}"
    connection.execute(f"comment on {kind or of.kind} {name} is {literal(of.meaning)}")
    for column, meaning in of.columns.items():
        connection.execute(f"comment on column {name}.{identifier(column)} is {literal(meaning)}")
