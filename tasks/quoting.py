"""Names, text and parts of queries inside SQL."""

import re


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def fill(query: str, **parts: str) -> str:
    """The query without its comment lines and with SQL in the place of each $name, which it must have."""
    query = "\n".join(line for line in query.splitlines() if not line.startswith("--"))
    for name, part in parts.items():
        query, n_places = re.subn(rf"\${name}\b", lambda _, part=part: part, query)
        assert n_places, f"the query has no ${name}"
    return query
