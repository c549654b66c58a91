"""Whoever watches a step sees it move: a bar in a terminal, lines in a log, and neither in the other's way."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.run import progress
from tasks.run.progress import working

ROOT = Path(__file__).parents[2]
STEPS = """
import logging, sys, time
from pathlib import Path
import prefect
from prefect.logging.configuration import setup_logging
setup_logging()
names = {"flow_run_name": "night", "flow_name": "nightly"}
log = logging.LoggerAdapter(logging.getLogger("prefect.flow_runs"), names)
prefect.get_run_logger = lambda: log
from tasks.run.logs import log_to
from tasks.run.progress import working
with log_to(Path(sys.argv[1]), "run"):
    with working("model") as show:
        for done in range(1, 21):
            show("user_topk", done / 20)
            if done % 5 == 0:
                log.info(f"line {done} of the log, which is so long that it would not fit beside a bar " + 60 * "=")
            time.sleep(0.05)
        show("run_info")
        time.sleep(0.3)
    if "fail" in sys.argv:
        with working("one that fails"):
            time.sleep(0.3)
            raise ValueError("odd")
    log.info("the end")
"""
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_steps(folder: Path, *arguments: str, in_terminal: bool) -> tuple[str, list[dict]]:
    """What somebody at a terminal, or a file, is shown; and log.jsonl."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm-256color"}
    environment |= {"PREFECT_LOGGING_TO_API_ENABLED": "false"}
    command = [sys.executable, "-c", STEPS, str(folder / "log.jsonl"), *arguments]
    if not in_terminal:
        shown = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True).stderr
    else:
        ours, theirs = pty.openpty()
        with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            shown = _drain(ours)
            process.wait()
    return shown, [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def _drain(terminal: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode()
        parts.append(part)


def test_a_bar_names_the_table_and_moves_and_tears_no_line(tmp_path: Path) -> None:
    shown, log = run_steps(tmp_path, in_terminal=True)
    words = CONTROLS.sub("", shown)
    shares = [int(share) for share in re.findall(r"user_topk\W.*?(\d+)%", words)]
    assert len(set(shares)) >= 4 and shares == sorted(shares)
    assert re.search(r"run_info\W.*0:00:0", words), "one without a share is at work, too"
    messages = [record["message"] for record in log]
    assert len(messages) == 5 and all("line" in message for message in messages[:4])
    lines = re.split(r"[\r\n]+", words)
    for message in messages:
        whole = re.compile(rf"[\d:.]+ \| INFO +\| .*{message} *")
        assert len([line for line in lines if whole.fullmatch(line)]) == 1, message
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0, "the cursor is back"


def test_a_step_that_fails_gives_the_terminal_back(tmp_path: Path) -> None:
    shown, log = run_steps(tmp_path, "fail", in_terminal=True)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2
    assert "one that fails" in shown and log[-1]["message"].startswith("ValueError('odd')")


def test_what_is_no_terminal_gets_lines_only(tmp_path: Path) -> None:
    shown, log = run_steps(tmp_path, in_terminal=False)
    assert "\x1b" not in shown and "\r" not in shown
    assert [record["message"] for record in log] == [line.split(" - ")[-1] for line in shown.splitlines()]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_MESSAGES", 0.05)
    monkeypatch.setattr("prefect.get_run_logger", lambda: logging.getLogger("night"))
    caplog.set_level(logging.INFO, "night")
    return caplog


def test_lines_name_the_step_its_share_and_its_seconds(said: pytest.LogCaptureFixture) -> None:
    with working("merging", lambda: -0.01) as show:
        time.sleep(0.2)
        show("user_topk", 0.25)
        time.sleep(0.2)
    words = list(dict.fromkeys(record.getMessage() for record in said.records))
    assert words == ["merging: 0 s", "user_topk: 25 % after 0 s"]


def test_a_step_that_is_over_is_silent(said: pytest.LogCaptureFixture) -> None:
    with working("merging"):
        pass
    time.sleep(0.2)
    assert not said.records
