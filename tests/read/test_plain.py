"""Text tables: whole where piped, fitted to a terminal, and never in command of it."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tasks.read import plain
from tasks.read.plain import text_table
from tasks.run.quoting import visible

COLUMNS = ["rank", "item_id", "title", "score"]
LONG = "a long title " * 20
ROWS = [
    (1, "x" * 60, LONG.strip(), 0.5),
    (10, "日本語 😀", "[bold]short[/bold] :smile:", 12.25),
    (100, "", None, None),
]


def lines_of(table: str) -> list[str]:
    return [line[2:] for line in table.split("\n")]


def test_a_piped_table_is_whole_and_has_no_lines_drawn() -> None:
    header, *rows = lines_of(text_table(COLUMNS, ROWS))
    assert header.split() == COLUMNS
    assert rows[0] == f"   1  {'x' * 60}  {LONG.strip()}   0.50"
    assert rows[1].startswith("  10  日本語 😀") and "[bold]short[/bold] :smile:" in rows[1]
    assert rows[1].endswith("12.25") and rows[2].split() == ["100", "–", "–"]
    assert len({cell_len(line) for line in rows[:2]}) == 1, "numbers end below one another"


@pytest.mark.parametrize("width", [20, 80, 100, 200, 1000])
def test_in_a_terminal_titles_are_shortened_and_ids_are_not(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "width_of_terminal", lambda: width)
    header, rule, *rows = lines_of(text_table(COLUMNS, ROWS))
    assert header.split() == COLUMNS and set(rule) == {"─"}
    assert "x" * 60 in rows[0] and "12.25" in rows[1]
    assert ("…" in rows[0]) == (width < 400)
    assert cell_len(rule) <= max(width - 2, sum([4, 60, plain.SHORTEST, 5]) + 4 * 3)


def test_many_rows_are_written_at_once_and_no_more_than_most(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(i, f"item {i} é", "a title", i / 7) for i in range(25_000)]
    with monkeypatch.context() as patch:
        patch.setattr(plain, "_fitted", lambda *_: pytest.fail("rich takes seconds for so many rows"))
        shown = text_table(COLUMNS, rows).split("\n")
    assert len(shown) == 1 + plain.MOST_ROWS + 1
    assert shown[-2].split()[:2] == ["9999", "item"] and shown[-1] == "  … and 15,000 more"
    monkeypatch.setattr(plain, "MOST_ROWS", 2)
    monkeypatch.setattr(plain, "width_of_terminal", lambda: 80)
    assert text_table(["a"], [(1,), (2,), (3,)]).split("\n")[2:] == ["  1", "  2", "  … and 1 more"]
    assert "more" not in text_table(["a"], [(1,), (2,)])


def test_columns_without_a_number_begin_below_their_names() -> None:
    assert text_table(["a", "b"], []) == "  a  b"
    assert text_table(["name", "count"], [(None, 5), ("x", None)]).split("\n")[1:] == [
        "  –         5",
        "  x         –",
    ]
    assert text_table(["nothing"], [(None,)]) == "  nothing\n  –"


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.integers()), min_size=1, max_size=4))
def test_whatever_is_in_the_data_stays_on_its_line(rows: list[tuple[str, str, int]]) -> None:
    shown = text_table(["item_id", "title", "rank"], rows).split("\n")
    assert len(shown) == 1 + len(rows)
    for line, row in zip(shown[1:], rows, strict=True):
        assert line.startswith("  ") and visible(line) == line
        assert line.endswith(str(row[2])) and visible(row[0]).rstrip() in line and visible(row[1]).rstrip() in line


def test_floats_have_the_decimals_that_one_of_them_needs() -> None:
    assert text_table(["x"], [(0.5,), (0.61220002174377441,), (-1.0,)]).split() == [
        "x",
        "0.5000",
        "0.6122",
        "-1.0000",
    ]
    assert text_table(["x"], [(1.0,), (2.0,)]).split() == ["x", "1", "2"]
    assert text_table(["x"], [(float("nan"),), (float("inf"),)]).split() == ["x", "nan", "inf"]


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "╭"), ("latin-1", "+")])
def test_boxes_suit_the_encoding_and_colours_are_never_asked_for(encoding: str, expected: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "FORCE_COLOR": "1", "COLUMNS": "60"}
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "import sys; from flows.cli import main; sys.exit(main(['runs', '--help']))"]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, stdout=slave, env=environment, cwd=root, check=False).returncode == 0
    os.close(slave)
    shown = os.read(master, 65536).decode(encoding).replace("\r\n", "\n")
    os.close(master)
    assert shown.startswith("Usage: elsa runs") and expected in shown and "\x1b" not in shown
    assert max(map(len, shown.split("\n"))) == 60
