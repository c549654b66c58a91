"""That a step is at work, and how far it is: a bar in a terminal, lines in the log, a share on Prefect's page."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks.run.logs import LOGGERS
from tasks.run.quoting import visible

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_MESSAGES = 5.0
LEAST_SHARE = 0.01  # a smaller one is not told: DuckDB says 0 or -1 where it does not know


@contextmanager
def working(step: str, share: Callable[[], float] = lambda: 0.0) -> Iterator[Callable[..., None]]:
    """Shows meanwhile that a step is at work: a bar in a terminal, else a line in the log every few seconds.

    Yields what takes the name of the next step and the share of it that is done, 0 to 1, called by whichever thread.
    `share` is asked for that of the first one. Below LEAST_SHARE the seconds are shown alone.
    """
    log, console = _logger(), _terminal()
    at_work = _AtWork(step, share)
    view = _Lines(at_work, log) if console is None else _Bar(at_work, console)
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.wait(view.seconds):
            view.draw()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield at_work.go_on
    finally:
        is_done.set()
        watcher.join()
        view.close()


def _logger() -> logging.Logger | logging.LoggerAdapter:
    """That of the flow or task at work, or, for a command without one, Prefect's own."""
    from prefect import get_run_logger
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger()


class _AtWork:
    """The step that is at work, how far it is, and since when."""

    def __init__(self, step: str, share: Callable[[], float]):
        self._now = visible(step), share, time.monotonic()  # replaced as a whole: another thread reads it

    def go_on(self, step: str, share: float = 0.0) -> None:
        (before, _, since), step = self._now, visible(step)
        self._now = step, lambda: share, since if step == before else time.monotonic()

    def look(self) -> tuple[str, float | None, float]:
        """The step, the share of it that is done where one can tell, and its seconds."""
        step, share, since = self._now
        found = None
        with suppress(Exception):  # of a connection that is closed meanwhile, say: the step goes on
            found = share()
        return step, found if found is not None and found >= LEAST_SHARE else None, time.monotonic() - since


class _Lines:
    """A line in the log now and then."""

    def __init__(self, at_work: _AtWork, log: logging.Logger | logging.LoggerAdapter):
        self.at_work, self.log, self.seconds = at_work, log, SECONDS_BETWEEN_MESSAGES

    def draw(self) -> None:
        step, share, seconds = self.at_work.look()
        self.log.info("%s: %s%.0f s", step, "" if share is None else f"{100 * share:.0f} % after ", seconds)

    def close(self) -> None:
        pass


class _Bar:
    """A bar for the step at work, below the lines that are logged through the same console; gone at the end."""

    seconds = 0.2

    def __init__(self, at_work: _AtWork, console: "Console"):
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        bar = BarColumn(style="bright_black", complete_style="cyan", finished_style="cyan", pulse_style="cyan")
        columns = (SpinnerColumn(style="cyan"), TextColumn("{task.description}", markup=False), bar,
                   TextColumn("{task.fields[done]}"), TimeElapsedColumn())  # fmt: skip
        self.at_work, self.progress = at_work, Progress(*columns, console=console, transient=True, auto_refresh=False)

    def draw(self) -> None:
        step, share, _ = self.at_work.look()
        done: dict[str, Any] = {"total": None, "done": ""}  # a bar that pulses
        if share is not None:
            done = {"total": 1, "completed": share, "done": f"{share:4.0%}"}
        shown = self.progress.tasks[0] if self.progress.tasks else None
        if shown is None or shown.description != step or (shown.total is not None and share is None):
            for bar in self.progress.task_ids:
                self.progress.remove_task(bar)
            self.progress.add_task(step, **done)
            self.progress.start()
        self.progress.update(self.progress.task_ids[0], refresh=True, **done)

    def close(self) -> None:
        self.progress.stop()


def _terminal() -> "Console | None":
    """The console of Prefect's log, if it is a terminal."""
    from prefect.logging.handlers import PrefectConsoleHandler

    handlers = [handler for name in (*LOGGERS, "prefect", None) for handler in logging.getLogger(name).handlers]
    consoles = [handler.console for handler in handlers if isinstance(handler, PrefectConsoleHandler)]
    return next((console for console in consoles if console.is_terminal), None)


def progress_bar(key: str) -> Callable[[float], None]:
    """What takes the share that is done, and shows it on the page of Prefect's task run, if there is one."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.context import TaskRunContext

    if TaskRunContext.get() is None:
        return lambda share: None
    artifact: Any = create_progress_artifact(0.0, key=key, description="Share of the epochs; it can stop early")
    last = time.monotonic()

    def show(share: float) -> None:
        nonlocal last
        if share >= 1 or time.monotonic() - last > SECONDS_BETWEEN_MESSAGES:
            update_progress_artifact(artifact, progress=100 * share)
            last = time.monotonic()

    return show
