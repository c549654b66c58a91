"""Output: text without control characters, tracebacks of defects, closed pipes."""

import os
import select
import sys
import traceback
from types import TracebackType
from typing import TextIO

from tasks.run.quoting import visible_lines

CLOSED_PIPE = 141


def say(*values: object, sep: str = " ", file: TextIO | None = None) -> None:
    """Prints, like `print`, with control characters of data and names as escapes."""
    print(visible_lines(sep.join(map(str, values))), file=file)


def show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints Python's traceback of an error that nothing has caught; its message may hold data."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), file=sys.stderr)


def end_of_output() -> int:
    """The shell's exit code for a closed pipe, such as that of head. Raises the current error if none is closed."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
    for stream in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if closed:
        return CLOSED_PIPE
    raise


def silence_duckdb_at_exit() -> None:
    """Keeps DuckDB 2.0 from listing, at the interpreter's very end, objects that others still held."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
