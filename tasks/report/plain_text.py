"""Data in alerts and on Prefect's pages: text that mentions nobody, links nowhere, loads nothing, and is short."""

import re
from itertools import product

INVISIBLE = [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200B, 0x2010),
             *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF]  # fmt: skip
LOOK_ALIKES = dict.fromkeys(INVISIBLE, "\N{REPLACEMENT CHARACTER}") | str.maketrans("<>@`[]\t\r", "‹›＠'()  ")
WWW = ("".join(signs) for signs in product("wW", repeat=3))
REPLACED = {"://": ": //"} | {f"{one}.": f"{one} ." for one in WWW}
METRIC = re.compile(r"(?<![\w.+＠-])([a-z_]+)＠([0-9]+)(?=\.?(?:[\s,:;)]|$))")  # ndcg@10, but no address


def plain(text: str, length: int = 300) -> str:
    """The text in one line that is the same in Markdown, in HTML and in a chat."""
    line = text.translate(LOOK_ALIKES).replace("\n", " ")
    for part, other in REPLACED.items():
        line = line.replace(part, other)
    line = METRIC.sub(r"\1@\2", line)
    return line if len(line) <= length else f"{line[: length - 1]}…"


def plain_in_template(expression: str) -> str:
    """The Jinja expression of a text as `plain` makes it, but with its lines, its length, and ＠ in metrics, too."""
    calls = "".join(f".replace({part!r}, {other!r})" for part, other in REPLACED.items())
    return f"({expression}).translate({LOOK_ALIKES}){calls}"
