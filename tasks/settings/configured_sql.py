"""SQL that the configuration gives: one SELECT or one expression that reads and never writes; the files it names."""

import glob
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import Statement

MAKING_ROWS = re.compile(
    r"read_\w+|parquet_\w+|sniff_csv|glob|range|generate_series|unnest|repeat|repeat_row|json_each|json_tree"
)
CHANCE = {"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid"}
MACROS_WITH_SIDE_EFFECTS = {"pg_sleep", "assert_true"}


def check_select(query: str) -> None:
    """Raises ValueError unless it is one SELECT that only reads."""
    _require_select(query)
    _require_reading(f"from {in_parentheses(query)}")


def check_query(query: str | None) -> None:
    """The same for the key `query` of a section, which may be unset."""
    try:
        if query is not None:
            check_select(query)
    except ValueError as error:
        raise ValueError(f"query: {error}") from None


def check_conditions(name: str, conditions: dict[str, str]) -> None:
    """Raises ValueError unless each condition of the key `name` is a SQL expression that only reads."""
    for reason, condition in conditions.items():
        try:
            check_expression(condition)
        except ValueError as error:
            raise ValueError(f"{name}.{reason}: {condition!r} is no SQL condition: {error}") from None


def check_expression(expression: str) -> None:
    """Raises ValueError unless it is one expression that only reads."""
    import duckdb

    try:
        duckdb.SQLExpression(expression)
    except duckdb.Error as error:
        raise ValueError(_first_line(error)) from None
    _require_reading(f"select {in_parentheses(expression)}")


@cache
def refused_functions() -> set[str]:
    """Scalar functions that do more than compute a value, such as setval, or stop the query, such as error."""
    import duckdb

    marked = "select distinct function_name from duckdb_functions() where has_side_effects"
    with duckdb.cursor() as connection:
        names = {name for (name,) in connection.execute(marked).fetchall()}
    return names - CHANCE | MACROS_WITH_SIDE_EFFECTS


def in_parentheses(given: str) -> str:
    """A query or an expression as a part of ours: a comment at its end takes nothing of what follows with it."""
    return f"({given.strip().rstrip(';')}\n)"


def files_in(query: str) -> list[str]:
    """The absolute paths that a query names in its text: files, folders of its globs, and links in these."""
    named = []
    for node in _nodes(_parsed(query)):
        if node.get("type") == "BASE_TABLE":
            named.append(node["table_name"])
        elif node.get("type") == "TABLE_FUNCTION":
            texts = (inner.get("literal") for inner in _nodes(node["function"]["arguments"][:1]))
            named += [text["text"] for text in texts if text and text["kind"] == "STRING"]
    paths = [os.path.abspath(os.path.expanduser(one.removeprefix("file://"))) for one in named if one]
    return [path for one in paths for path in (_found_by(one) if glob.has_magic(one) else [one])]


def _found_by(pattern: str) -> list[str]:
    """The folder that a glob looks into, and what it finds there that lies elsewhere."""
    found = glob.iglob(pattern, recursive=True)
    links = [path for path in found if os.path.realpath(path) != path]
    return [os.path.dirname(re.split(r"[*?[]", pattern)[0]), *links]


def _require_reading(query: str) -> None:
    """Raises ValueError unless the query is one SELECT that only reads, and leaves nothing to be filled in."""
    if _require_select(query).named_parameters:
        raise ValueError("it has a parameter, $ or ?, for which there is no value")
    for node in _nodes(_parsed(query)):
        kind = str(node.get("type"))
        if kind.endswith("_QUERY_NODE"):
            raise ValueError(f"it may only read, but has {kind.removesuffix('_QUERY_NODE')}")
        if kind == "TABLE_FUNCTION" and not MAKING_ROWS.fullmatch(node["function"]["function_name"].lower()):
            raise ValueError(f"{node['function']['function_name']}() may not be called here")
        if str(name := node.get("function_name")).lower() in refused_functions():
            raise ValueError(f"{name}() has side effects and may not be called here")


def _require_select(query: str) -> "Statement":
    import duckdb

    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise ValueError(_first_line(error)) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements)
        raise ValueError(f"it must be one select, but is {kinds or 'empty'}")
    return statements[0]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _parsed(query: str) -> dict:
    """DuckDB's tree of a SELECT. Raises ValueError where there is none."""
    import duckdb

    with duckdb.cursor() as connection:
        text = connection.execute("select json_serialize_sql($query)", {"query": query}).fetchall()[0][0]
    try:
        tree = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if tree["error"]:
        raise ValueError(tree["error_message"])
    return tree


def _nodes(tree: dict | list) -> Iterator[dict]:
    """Every object in a tree, however deep."""
    left: list = [tree]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one
