"""The flows' own order of stages without Prefect's engine around them: a small night takes a second."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, Task
from prefect.logging import disable_run_logger
from prefect.states import State

import flows.nightly
import flows.refresh
import tasks.report.report
from tasks.report.charts import Picture
from tasks.run.handles import Events, Outcome
from tasks.run.index import list_runs
from tasks.run.manifest import read_manifest
from tasks.run.run import Run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config


def as_function(task: Task, *arguments: Any, return_state: bool = False, **named: Any) -> Any:
    with suppress(Exception) if return_state else nullcontext():
        return task.fn(*arguments, **named)


def plain_flow(
    flow: Flow, *arguments: Any, has_report: bool = False, return_state: bool = False, **named: Any
) -> Any:
    """What the flow returns, or its state. It writes a report only if asked to: that is a fifth of a night's time."""
    with pytest.MonkeyPatch.context() as patch, disable_run_logger():
        patch.setattr(Task, "__call__", as_function)
        if not has_report:
            patch.setattr(tasks.report.report, "write_report", lambda run, return_state: None)
        found = flow.fn(*arguments, **named)
        return found.data if isinstance(found, State) and not return_state else found


def plain_night(
    config: Config, resume: str | None = None, force_reason: str | None = None, **options: bool
) -> Outcome:
    return plain_flow(flows.nightly.nightly, config, resume=resume, force_reason=force_reason, **options)


def plain_refresh(config: Config, **options: bool) -> str:
    return plain_flow(flows.refresh.refresh, config, **options)


def plain_republish(config: Config, kind: str, why: str) -> str:
    return plain_flow(flows.refresh.republish, config, kind, why)


def stages_of_last_run(config: Config) -> list[str]:
    return list(list_runs(Warehouse(Path(config.warehouse).absolute()))[-1].stages)


def events_of(run: Run) -> Events:
    """The handle of the events that the run has taken in."""
    return Events(**read_manifest(run.files.folder).stages["ingest"])


def undrawn(name: str, title: str, words: str, draw: Callable) -> Picture:
    return Picture(f"<svg><title>{title}</title></svg>", words)
