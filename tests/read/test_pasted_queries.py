"""Ids and names from outside command neither the shell that a printed query is pasted into, nor the terminal."""

import json
import logging
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from flows.cli import main
from flows.commands.nightly import print_tables
from tasks.read import terminal as published
from tasks.run.lock import locked
from tasks.run.logs import log_to
from tasks.run.progress import _AtWork
from tasks.run.quoting import visible, visible_lines
from tests.support.published_file import random_histories, random_model, write_published
from tests.support.worlds import config, settings

pytestmark = pytest.mark.usefixtures("without_prefect")
HOSTILE = [
    "z\nSQL\ntouch written; cat <<'SQL'",
    "z\r\nSQL\r\ntouch written; cat <<'SQL'\r\n",
    "\nSQL",
    "SQL",
    "'; copy (select 1) to 'written'; select '",
    "'\n;\n.shell touch written\nselect '",
    "\n.shell touch written\n",
    "$(touch written)",
    "`touch written`",
    "\"; touch written; \"",
    "\\'; touch written; \\",
    "!touch written",
    "a\x1b[201~\ntouch written\n\x1b[200~",
    "\x1b]0;title\x07\x1b[2J\x9b31m\x08\x7f\x0b",
    "\x03\x04\x1a\n\x15touch written\n",
    "abc\u202ecba\u2066x\u2069\u200b\u200e\ufeff\u2028touch written\u2029\u0085\u3164\u00ad",
    "-- '; $user_id $item_id ?",
    "a\tb",
    " ",
    "O'Brien",
    "Ünï ćode, 27.5 / x=y",
    "日本語 😀 👩‍👩‍👧 שלום",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published warehouse in which all users and items are hostile."""
    from prefect.logging import disable_run_logger

    folder, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(0)
    ids, n = sorted(HOSTILE), len(HOSTILE)
    users = ["", *ids, "\U0010fffd"]  # the first has nothing, and the last everything
    with pytest.MonkeyPatch.context() as patch, disable_run_logger():
        patch.chdir(folder)
        made = write_published(folder, random_model(n, rng), random_histories(n + 2, n, rng), users, ids)
        (folder / "warehouse" / "current.duckdb").symlink_to(made.rename(made.with_suffix("")))
    (folder / "my.yaml").write_text(yaml.safe_dump(settings()))
    return folder


@pytest.fixture
def shop(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.setenv("ELSA_CONFIG", "my.yaml")
    return made


def commands_in(text: str) -> list[str]:
    return re.findall(r"^(\S+ -readonly .*?<<'SQL'\n.*?\nSQL)$", text, re.MULTILINE | re.DOTALL)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")] for line in table.splitlines() if line.startswith("│")]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_is_printed_for_pasting_runs_the_query_and_nothing_else(
    hostile: str, shop: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(published, "first_row", lambda *_: (hostile,))
    expected = [query.output for query in published.example_queries(config())]
    print_tables(config())
    shown = capfd.readouterr().out
    assert visible_lines(shown) == shown
    commands, before = commands_in(shown), sorted(shop.rglob("*"))
    assert len(commands) == 3
    place = HOSTILE.index(hostile) % 2  # as a user's id, or as an item's
    done = subprocess.run(["sh"], input=commands[place], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(cells(expected[place])) > 2
    assert cells(visible_lines(done.stdout)) == cells(visible_lines(expected[place]))
    assert sorted(shop.rglob("*")) == before


@pytest.mark.parametrize("hostile", [text for text in HOSTILE if visible(text) != text])
def test_the_terminal_shows_what_it_would_obey(hostile: str, shop: Path, capfd: pytest.CaptureFixture) -> None:
    shown = visible(hostile)
    for command, code in ((["recommend", "--", hostile], 0), (["similar", "--", hostile], 0),
                          (["explain", "--", hostile, hostile], 0), (["recommend", "--", f"no {hostile}"], 2),
                          (["similar", "--", f"no {hostile}"], 2), (["explain", "--", hostile, f"no {hostile}"], 2),
                          (["publish", f"no {hostile}"], 2),
                          (["rollback", f"no {hostile}"], 2), (["runs", "--config", f"no {hostile}"], 2),
                          (["score", f"no {hostile}", "--out", "x"], 2)):  # fmt: skip
        assert main(command) == code, command
        printed = "".join(capfd.readouterr())
        assert visible_lines(printed) == printed
        assert not re.search("^(touch|SQL)", printed, re.MULTILINE)
        if command[0] == "explain":
            assert shown in printed
    assert main(["recommend", "5", f"more {hostile}"]) == 2
    printed = capfd.readouterr().err
    assert f"more {shown}" in printed and visible_lines(printed) == printed


def test_logs_bars_and_locks_show_it_too(world: Path, capfd: pytest.CaptureFixture) -> None:
    hostile = "".join(map(chr, [*range(10), *range(11, 32), *range(127, 160)])) + "\u202e\u200b\ufeff\u2066\udc80"
    record = logging.makeLogRecord({"msg": "read %s:\n%s rows", "args": (hostile, 5)})
    with log_to(world / "log.jsonl", "run"):
        assert all(logging.getLogger(f"prefect.{name}_runs").filter(record) for name in ("flow", "task"))
    assert record.getMessage() == f"read {visible(hostile)}:\n5 rows"
    at_work = _AtWork(f"reading {hostile}", lambda: 0.0)
    at_work.go_on(f"looking at {hostile}")
    assert at_work.look()[0] == f"looking at {visible(hostile)}"
    (world / "lock").write_text(json.dumps({"owner": f"me{hostile}", "started_at": "2026-01-01T00:00:00+00:00"}))
    with locked(world / "lock"):
        pass
    printed = "".join(capfd.readouterr())
    assert "me" in printed and visible_lines(printed) == printed


def test_letters_of_all_languages_stay_as_they_are() -> None:
    for text in ('O\'Brien \\ "x"', "Ünï ćode", "日本語 😀", "שלום", "नमस्ते", "a\xa0b", "e\u0301"):
        assert visible(text) == text
    assert visible("a\nb\x1b\u202e") == r"a\nb\x1b\u202e"
    assert visible_lines("a\nb\x1b") == "a\nb\\x1b"
    assert visible_lines("".join(map(chr, range(0x110000)))).encode() and visible(5) == "5"
