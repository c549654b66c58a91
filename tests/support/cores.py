"""One core a worker of xdist: threads of DuckDB, Polars and torch then cost less."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def pin_worker() -> None:
    """Keeps this process, and the threads and processes that it starts, on a core of its own; not without xdist."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def use_all_cores() -> None:
    """For a process that is to run beside its parent."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count()))


@contextmanager
def on_all_cores() -> Iterator[None]:
    """What is started in here may run beside this process."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    own = os.sched_getaffinity(0)
    use_all_cores()
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)
