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
from tasks.run.handles import Outcome
from tasks.run.warehouse import list_runs
from tasks.settings.config import Config


class Plain:
    """A task as the function that it is."""

    def __init__(self, task: Task):
        self.function = task.fn

    def with_options(self, **_: Any) -> "Plain":
        return self

    def __call__(self, *arguments: Any, return_state: bool = False, **named: Any) -> Any:
        with suppress(Exception) if return_state else nullcontext():
            return self.function(*arguments, **named)


def plain_flow(flow: Flow, *arguments: Any, **named: Any) -> Any:
    """What the flow returns."""
    modules = (flows.nightly, flows.refresh, tasks.report.report)
    with pytest.MonkeyPatch.context() as patch, disable_run_logger():
        for module in modules:
            for name, found in list(vars(module).items()):
                if isinstance(found, Task):
                    patch.setattr(module, name, Plain(found))
        found = flow.fn(*arguments, **named)
        return found.data if isinstance(found, State) else found


def plain_night(config: Config, resume: str | None = None, force_reason: str | None = None) -> Outcome:
    return plain_flow(flows.nightly.nightly, config, resume=resume, force_reason=force_reason)


def plain_refresh(config: Config) -> str:
    return plain_flow(flows.refresh.refresh, config)


def plain_republish(config: Config, kind: str, why: str) -> str:
    return plain_flow(flows.refresh.republish, config, kind, why)


def stages_of_last_run(config: Config) -> list[str]:
    return list(list_runs(Path(config.warehouse).absolute())[-1]["stages"])


def undrawn(name: str, title: str, words: str, draw: Callable) -> Picture:
    return Picture(f"<svg><title>{title}</title></svg>", words)
