"""Names, text and parts of queries inside SQL."""

import re


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def fill(query: str, **parts: str) -> str:
    """The query without its comment lines and with SQL in the place of each $name, which it must have."""
    query = "\n".join(line for line in query.splitlines() if not line.startswith("--"))
    found = set(re.findall(r"\$(\w+)", query))
    assert found >= set(parts), f"the query has no {set(parts) - found}"
    return re.sub(r"\$(\w+)", lambda place: parts.get(place[1], place[0]), query)
