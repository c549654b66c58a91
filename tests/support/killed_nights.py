"""Nights in processes of their own, which can be killed before any step that lasts."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import tasks.report.charts
from tasks.errors import InputError
from tests.support.plain_nights import undrawn
from tests.support.worlds import config

WORKERS = multiprocessing.get_context("forkserver")
HEAVY = ["torch._dynamo", "great_expectations.expectations", "duckdb_sqlalchemy", "pyarrow.parquet", "polars"]
WORKERS.set_forkserver_preload(["flows.nightly", "elsa_core", *HEAVY])  # a night then starts in no time
LASTING = ("replace", "rename", "symlink_to", "chmod", "unlink")  # what changes the warehouse for others, at once


def night(folder: Path, kill_at: int | None = None, resume: str | None = None) -> None:
    """A whole night, its tasks called without Prefect's engine; dies before the kill_at-th lasting step."""
    import torch
    from prefect import Task
    from prefect.logging import disable_run_logger

    from flows.nightly import nightly

    os.chdir(folder)
    torch.set_num_threads(1)
    tasks.report.charts._picture = undrawn
    Task.__call__ = lambda task, *arguments, return_state=False, **named: task.fn(*arguments, **named)
    steps: list[str] = []
    for name in LASTING:
        setattr(Path, name, counted(getattr(Path, name), steps, kill_at))
    with open("night.log", "a") as log, contextlib.redirect_stderr(log), disable_run_logger():
        Path("ready").touch()
        try:
            nightly.fn(config(), resume=resume)
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(1)
    Path("steps.json").write_text(json.dumps(steps))


def counted(method: Callable, steps: list[str], kill_at: int | None) -> Callable:
    def step(path: Path, *arguments, **options):
        if "warehouse" in path.parts:
            steps.append(f"{method.__name__} {path.name}")
            if len(steps) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return method(path, *arguments, **options)

    return step
