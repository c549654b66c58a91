"""Records that cannot be used: how that shows, and who is told. A damaged one is left out and named, no more."""

import sys
from pathlib import Path

from pydantic import ValidationError

from tasks.run.quoting import visible

LOST = (OSError, ValueError, RecursionError)  # how a record that cannot be used shows itself
_named: set[str] = set()  # in this command


def in_words(error: Exception) -> str:
    """What is wrong with a record, in a line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    if isinstance(error, OSError):
        return str(error.strerror)
    return str(error).splitlines()[0]


def name_damaged(path: Path, words: str) -> None:
    """Names a damaged file once a command: in the run's log, or where there is no run, on standard error."""
    line = f"{path} is damaged: {words}"
    if line in _named:
        return
    _named.add(line)
    if "prefect.context" in sys.modules:
        from prefect import get_run_logger
        from prefect.context import FlowRunContext, TaskRunContext

        if FlowRunContext.get() or TaskRunContext.get():
            get_run_logger().warning(line)
            return
    print(f"warning: {visible(line)}", file=sys.stderr)


def begin_to_name() -> None:
    """A command begins: what is damaged is named in it, once."""
    _named.clear()
