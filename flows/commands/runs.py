"""Commands about runs other than the nightly one: refresh, ingest, validate, history, rollback, report."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from flows import engine
from flows.commands.arguments import ConfigFile, Reason, configured
from flows.output import say
from tasks.errors import WarehouseBusy


def refresh(*, config: ConfigFile = None) -> None:
    """Ingest new events and rebuild the tables with the published model, without training."""
    settings = configured(config)
    from flows.refresh import refresh as flow

    state = engine.run_flow(flow, settings, return_state=True)
    if state.name == "Skipped":
        raise WarehouseBusy(state.message)
    say(f"\npublished run {state.result()}")


def ingest(*, config: ConfigFile = None) -> None:
    """Ingest new and changed source files, and nothing else."""
    settings = configured(config)
    from flows.data import ingest_alone

    events = engine.run_flow(ingest_alone, settings)
    say(
        f"\nof {events.n_read:,} rows in all source files so far: {events.n_events:,} events, "
        f"{events.n_repeated:,} repeated, {events.n_rejected:,} quarantined"
    )


def validate(*, config: ConfigFile = None) -> None:
    """Check the expectations about the events, and nothing else."""
    settings = configured(config)
    from flows.data import validate_alone

    validated = engine.run_flow(validate_alone, settings)
    say(f"\n{validated.n_expectations - validated.n_warnings} of {validated.n_expectations} expectations hold")


def runs(*, config: ConfigFile = None) -> None:
    """List all runs, newest first, and how they ended."""
    settings = configured(config)
    from tasks.read import terminal

    say(terminal.runs(settings))


def rollback(
    run: Annotated[str | None, Parameter(help="If not given, the run published before the current one.")] = None,
    /,
    *,
    reason: Reason = None,
    config: ConfigFile = None,
) -> None:
    """Switch current.duckdb back to the tables of an earlier run."""
    settings = configured(config)
    from tasks.publish import publication

    to, left = publication.roll_back(settings, run, reason)
    say(f"current.duckdb switched to run {to}, from {left}")


def publish(
    run: Annotated[str, Parameter(help="See elsa runs.")],
    /,
    *,
    reason: Reason = None,
    config: ConfigFile = None,
) -> None:
    """Publish an earlier run again; it must have passed the gate."""
    settings = configured(config)
    from tasks.publish import publication

    left = publication.publish_again(settings, run, reason)
    say(f"current.duckdb switched to run {run}, from {left}")


def report(
    run: Annotated[str | None, Parameter(help="See elsa runs. If not given, the newest nightly run.")] = None,
    /,
    *,
    config: ConfigFile = None,
) -> None:
    """Open a run's report, one HTML file, in the browser, and print its path."""
    settings = configured(config)
    import webbrowser

    from tasks.report.report import find_report

    path = find_report(settings, run)
    say(path)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("darwin", "win32"):
        webbrowser.open(path.as_uri())
