"""A run's structured log, and its name on Prefect's pages."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tasks.run.quoting import visible_lines

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
