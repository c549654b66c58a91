"""Text tables in aligned columns: fitted to the width of a terminal, and whole where the output is piped."""

import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from textwrap import indent
from typing import TYPE_CHECKING

from tasks.run.quoting import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHORTENED = ("title", "raw")
SHORTEST = 10
INDENT = "  "  # no line begins with what came from data
DECIMALS = 4
MOST_ROWS = 10_000
GAP = 3  # blanks behind a column, at most
NOTHING = "–"


def width_of_terminal() -> int | None:
    """In characters; None where standard output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def plain_console(width: int) -> "Console":
    """A console that writes text without styles into memory; its boxes suit standard output's encoding."""
    from rich.console import Console

    class Memory(io.StringIO):
        encoding = sys.stdout.encoding

    return Console(file=Memory(), width=width, color_system=None, force_terminal=False, highlight=False)


def written(console: "Console") -> str:
    """What such a console holds, without blanks at the ends of lines."""
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().strip("\n").split("\n"))


def text_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows below the columns' names, numbers to the right, a dash for null; the first MOST_ROWS, and their count.

    In a terminal, the columns SHORTENED end with … where the table is too wide; all others are always whole.
    """
    found = list(rows)
    values = list(zip(*found[:MOST_ROWS], strict=True)) or [() for _ in columns]
    numbers = [_is_number(column) for column in values]
    texts = [_texts(column) for column in values]
    width = width_of_terminal()
    table = _piped(columns, numbers, texts) if width is None else _fitted(columns, numbers, texts, width)
    n_more = len(found) - MOST_ROWS
    return indent(table, INDENT) + (f"\n{INDENT}… and {n_more:,} more" if n_more > 0 else "")


def _piped(columns: Sequence[str], numbers: list[bool], texts: list[list[str]]) -> str:
    """Whole columns, two blanks apart."""
    padded = [_padded([name, *column], kind) for name, kind, column in zip(columns, numbers, texts, strict=True)]
    return "\n".join("  ".join(row).rstrip() for row in zip(*padded, strict=True))


def _padded(column: list[str], is_number: bool) -> list[str]:
    """Texts of one width in a terminal's cells, of which some signs take two or none."""
    from rich.cells import cell_len

    widths = [len(text) if text.isascii() else cell_len(text) for text in column]
    widest = max(widths)
    blanks = [" " * (widest - width) for width in widths]
    return [gap + text if is_number else text + gap for text, gap in zip(column, blanks, strict=True)]


def _fitted(columns: Sequence[str], numbers: list[bool], texts: list[list[str]], width: int) -> str:
    """A table of rich's, which wraps no line and shortens the columns SHORTENED."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    narrowest = sum(GAP + _add_column(table, *one) for one in zip(columns, numbers, texts, strict=True))
    for row in zip(*texts, strict=True):
        table.add_row(*(Text(text, no_wrap=True, overflow="ellipsis") for text in row))
    console = plain_console(max(width - len(INDENT), narrowest))
    console.print(table, soft_wrap=True)
    return written(console)


def _add_column(table: "Table", name: str, is_number: bool, texts: list[str]) -> int:
    """Adds it, and returns how narrow it may become."""
    from rich.cells import cell_len

    is_whole = name not in SHORTENED
    width = max(map(cell_len, [name, *texts]))
    width = width if is_whole else min(width, SHORTEST)
    table.add_column(name, justify="right" if is_number else "left", no_wrap=is_whole, min_width=width)
    return width


def _is_number(column: Sequence[object]) -> bool:
    return any(value is not None for value in column) and all(
        value is None or isinstance(value, int | float) for value in column
    )


def _texts(column: Sequence[object]) -> list[str]:
    """One line a value; all floats with as many decimals, DECIMALS at most, as one of them needs."""
    floats = [f"{value:.{DECIMALS}f}".rstrip("0") for value in column if isinstance(value, float)]
    decimals = max((len(text.partition(".")[2]) for text in floats), default=0)
    return [
        NOTHING if value is None else f"{value:.{decimals}f}" if isinstance(value, float) else visible(value)
        for value in column
    ]
