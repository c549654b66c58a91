"""Names, text and parts of queries inside SQL; text for a terminal."""

import re
import unicodedata

PLAIN = re.compile(r"[\w .,:/@+='-]*")
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, directions and zero widths, halves of pairs, ends of lines
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters, to Unicode, that show nothing


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def typeable(text: str) -> str:
    """A literal for a query that people paste: whatever the text is, a shell or a terminal finds nothing in it."""
    is_plain = PLAIN.fullmatch(text) and visible(text) == text
    return literal(text) if is_plain else f"decode(unhex('{text.encode().hex()}'))"


def visible(value: object) -> str:
    """The value as one line of text, with what a terminal would obey or not show written as escapes such as \\x1b."""
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign) in UNSEEN or sign in FILLERS else sign
        for sign in str(value)
    )


def visible_lines(text: str) -> str:
    """The same of each line."""
    return "\n".join(map(visible, text.split("\n")))


def fill(query: str, **parts: str) -> str:
    """The query without its comment lines and with SQL in the place of each $name.

    Other $names stay: they are parameters, which DuckDB asks for. Raises ValueError for a part without a place.
    """
    query = "\n".join(line for line in query.splitlines() if not line.startswith("--"))
    found = set(re.findall(r"\$(\w+)", query))
    if unused := set(parts) - found:
        raise ValueError(f"the query has no place for {', '.join(sorted(unused))}: {query[:200]}")
    return re.sub(r"\$(\w+)", lambda place: parts.get(place[1], place[0]), query)
