"""What a run leaves for whoever looks at it later: a structured log, and the memory that its stages took."""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tasks.run.quoting import visible_lines

SECONDS_BETWEEN_SAMPLES = 0.02
LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def show_lines(record: logging.LogRecord) -> bool:
    """Names and values from data, which a message holds, cannot command the terminal that shows the log."""
    if (message := record.getMessage()) != (shown := visible_lines(message)):
        record.msg, record.args = shown, ()
    return True


class JsonLines(logging.Handler):
    """Appends each record to a file, one JSON object a line: at, run_id, level, stage, message."""

    def __init__(self, path: Path, run_id: str):
        super().__init__()
        self.file, self.run_id = path.open("a", encoding="utf-8", errors="backslashreplace"), run_id

    def emit(self, record: logging.LogRecord) -> None:
        trace = "\n" + logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "run_id": self.run_id,
            "level": record.levelname,
            "stage": getattr(record, "task_name", None),
            "message": record.getMessage() + trace,
        }
        with suppress(OSError, ValueError):  # a full disk ends the night at its own file, not at a line about it
            self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.file.flush()

    def close(self) -> None:
        with suppress(OSError):
            self.file.close()
        super().close()


@contextmanager
def log_to(path: Path, run_id: str) -> Iterator[None]:
    """Whatever the flow and its tasks log meanwhile is written to the file, too, and the trace of what ends them."""
    handler = JsonLines(path, run_id)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).addFilter(show_lines)
    try:
        yield
    except Exception as error:
        told = {"created": time.time(), "levelname": "ERROR", "msg": repr(error), "exc_info": sys.exc_info()}
        handler.emit(logging.makeLogRecord(told))
        raise
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        handler.close()


def name_flow_run(run_id: str) -> str | None:
    """Gives Prefect's flow run, if there is one, the name of the run, and returns its id."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, name=run_id)
    context.flow_run.name = run_id  # for the lines that are logged from now on
    return str(context.flow_run.id)


class PeakMemory:
    """The most memory that this process held since it was last asked, while the `with` block runs.

    A thread samples what is held. The kernel's own record, which /usr/bin/time and others read, is never reset; where
    it rose meanwhile, it is the answer, for it misses nothing.
    """

    def __enter__(self) -> Self:
        self._recorded, self._sampled = recorded_peak_bytes(), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak memory", daemon=True)
        if self._recorded is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._recorded is not None:
            self._thread.join()

    def take(self) -> int | None:
        """In bytes, and begins anew; None where the system does not tell."""
        before, self._recorded = self._recorded, recorded_peak_bytes()
        sampled, self._sampled = max(self._sampled, held_bytes()), 0
        if before is None or self._recorded > before:
            return self._recorded
        return min(sampled, self._recorded)

    def _sample(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_SAMPLES):
            if (held := held_bytes()) > self._sampled:  # never what was there before a `take`
                self._sampled = held


def held_bytes() -> int:
    """The memory that this process holds now; 0 where the system does not tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def recorded_peak_bytes() -> int | None:
    """The kernel's record of the most memory that this process has held; None where the system does not tell."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    return None
