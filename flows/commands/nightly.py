"""`elsa nightly`, and what it prints after a run."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows import engine
from flows.commands.arguments import ConfigFile, configured
from flows.output import say
from tasks.errors import InputError

if TYPE_CHECKING:
    from tasks.run.handles import Outcome
    from tasks.settings.config import Config

REJECTED = 3


def nightly(
    *,
    resume: Annotated[
        str | None, Parameter(metavar="RUN", help="Continue a run that died, failed or was rejected.")
    ] = None,
    force_publish: Annotated[bool, Parameter(show_default=False, help="Publish even if the gate rejects.")] = False,
    reason: Annotated[
        str | None, Parameter(metavar="TEXT", help="Why; required by --force-publish, recorded.")
    ] = None,
    config: ConfigFile = None,
) -> int:
    """Ingest, validate, train, evaluate, and publish if the gate accepts the model."""
    settings = configured(config)
    if force_publish != bool((reason or "").strip()):
        raise InputError('--force-publish and --reason "why" go together: what is forced is recorded with its reason')
    from flows.nightly import nightly as flow

    outcome = engine.run_flow(flow, settings, resume=resume, force_reason=reason)
    _print_outcome(settings, outcome)
    if outcome.status == "rejected":
        say("\nNothing was published; current.duckdb is unchanged.")
        return REJECTED
    print_tables(settings)
    return 0


def _print_outcome(config: "Config", outcome: "Outcome") -> None:
    from tasks.read import terminal

    say(f"\nrun {outcome.run_id}: {outcome.status}")
    say("gate:", *outcome.checks, sep="\n  ")
    say(f"\nOn the test users, mean and 95 % interval:\n{terminal.metrics(config, outcome.run_id)}")
    cutoff = max(config.evaluation.cutoffs)
    say(f"\nAll models compared, means at {cutoff}:\n{terminal.models(config, outcome.run_id)}")


def print_tables(config: "Config") -> None:
    """Prints where the published tables are, and three queries to paste into a shell, with their output."""
    from tasks.read import terminal

    path = Path(config.warehouse) / "current.duckdb"
    say(f"\nThe tables are in {path}.")
    try:
        queries = terminal.example_queries(config)
    except InputError as error:  # the run is published all the same
        say(f"There are no queries to paste: {error}")
        return
    program, hint = _duckdb()
    file = shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
    say(f"Three queries to paste{hint}:")
    for query in queries:
        say(f"\n{program} -readonly {file} <<'SQL'\n{query.text};\nSQL\n{query.output}")


def _duckdb() -> tuple[str, str]:
    """How to call DuckDB's program here, and how to get it where there is none."""
    program = Path(sys.executable).with_name("duckdb")
    if program.exists():
        return shlex.quote(os.path.relpath(program) if program.is_relative_to(Path.cwd()) else str(program)), ""
    if shutil.which("duckdb"):
        return "duckdb", ""
    return "duckdb", f" (there is no program duckdb here: {shlex.quote(sys.executable)} -m pip install duckdb-cli)"
