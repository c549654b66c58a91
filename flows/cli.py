"""The command line: run the night, and look at what it published."""

import argparse
import atexit
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import history, published
from tasks.config import Config, read_config, reference
from tasks.errors import InputError, WarehouseBusy

if TYPE_CHECKING:
    from prefect import Flow

REJECTED = 3
EPILOG = """\
examples:
  elsa nightly --config config/movielens.yaml    tonight's run: events in, tables out
  elsa recommend 42                              what user 42 should see next
  elsa similar 318 -k 5                          what is like item 318
  elsa explain 42 318                            why user 42 should see item 318
  elsa score pairs.parquet --out scored.parquet  the model's score for each row's user_id and item_id
  elsa export --format npy --out vectors         item and user vectors for another program
  elsa refresh                                   new events into the tables, with the published model
  elsa runs                                      what happened on which night
  elsa report                                    the newest run's report, in the browser
  elsa nightly --resume RUN                      go on with a run that died
  elsa rollback                                  lead readers back to the tables before these
  elsa ingest --config my.yaml                   only take in new and changed files; then: elsa rejected
  elsa config                                    every configuration key

Anything that speaks DuckDB can read the tables: warehouse/current.duckdb always holds the last published run.

exit codes of `elsa nightly`:
  0 published    1 a defect    2 configuration or data cannot be used    3 rejected by the gate
  4 an expectation about the events does not hold    5 another program is using the warehouse
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    atexit.register(silence_duckdb_at_exit)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="elsa",
        description="Nightly recommendations with ELSA: events in, DuckDB tables out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    nightly = _command(
        commands,
        "nightly",
        _nightly,
        "run the night: ingest, validate, train, evaluate, and publish if the gate lets it pass",
    )
    nightly.add_argument("--resume", metavar="RUN", help="go on with a run that died, failed or was rejected")
    nightly.add_argument("--force-publish", action="store_true", help="publish even what the gate rejects")
    nightly.add_argument("--reason", help="why; needed with --force-publish, and recorded")
    _command(commands, "refresh", _refresh, "new events in, tables made anew with the published model; no training")
    _command(commands, "ingest", _ingest, "take in new and changed source files, and nothing else")
    _command(commands, "validate", _validate, "check the expectations about the events, and nothing else")
    rejected = _command(commands, "rejected", _rejected, "show rows that were set aside, and why")
    recommend = _command(commands, "recommend", _recommend, "show a user's published list")
    recommend.add_argument("user", help="the user's id, as in the events")
    similar = _command(commands, "similar", _similar, "show an item's published neighbours")
    similar.add_argument("item", help="the item's id, as in the events")
    explain = _command(commands, "explain", _explain, "show which items of a user's history make an item's score")
    explain.add_argument("user", help="the user's id, as in the events")
    explain.add_argument("item", help="the item's id, as in the events")
    score = _command(commands, "score", _score, "score the pairs of a Parquet file with columns user_id and item_id")
    score.add_argument("pairs", type=Path, help="the Parquet file; its other columns and its order are kept")
    score.add_argument("--out", type=Path, required=True, metavar="FILE", help="the Parquet file to write")
    export = _command(commands, "export", _export, "write item and user vectors with their ids into a folder")
    export.add_argument("--format", choices=("parquet", "npy", "safetensors"), default="parquet")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    for command in (recommend, similar, explain, rejected):
        command.add_argument("-k", type=_positive, default=10, metavar="N", help="how many rows (default 10)")
    _command(commands, "runs", _runs, "list all runs and how they ended")
    rollback = _command(commands, "rollback", _rollback, "lead readers back to an earlier run's tables")
    rollback.add_argument("run_id", nargs="?", metavar="RUN", help="which; without it, the one before the current")
    publish = _command(commands, "publish", _publish, "publish an earlier run that has passed the gate, again")
    publish.add_argument("run_id", metavar="RUN", help="which; elsa runs lists them")
    for command in (rollback, publish):
        command.add_argument("--reason", help="why, for the record")
    report = _command(commands, "report", _report, "open a run's report, one HTML file, and print its path")
    report.add_argument("run_id", nargs="?", metavar="RUN", help="as elsa runs lists them (default the newest)")
    explore = _command(commands, "explore", _explore, "serve a page for walking through the published tables")
    explore.add_argument("--port", type=_positive, default=8765, help="where on this machine (default 8765)")
    config = commands.add_parser("config", help="list every configuration key: default, unit, range, meaning")
    config.set_defaults(run=_config)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, run: object, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument(
        "--config",
        type=Path,
        default=Path("config/movielens.yaml"),
        metavar="FILE",
        help="YAML configuration (default config/movielens.yaml, the demo)",
    )
    command.set_defaults(run=run)
    return command


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _nightly(options: argparse.Namespace) -> int:
    if options.force_publish != bool((options.reason or "").strip()):
        raise InputError('--force-publish and --reason "why" go together: what is forced is recorded with its reason')
    config = read_config(options.config)
    from flows.nightly import nightly

    outcome = _run_flow(nightly, config, resume=options.resume, force_reason=options.reason)
    print(f"\nrun {outcome.run_id}: {outcome.status}")
    print("gate:", *outcome.checks, sep="\n  ")
    print(f"\nOn the test users, mean and 95 % interval:\n{published.metrics(config, outcome.run_id)}")
    cutoff = max(config.evaluation.cutoffs)
    print(f"\nWhat else could be run, means at {cutoff}:\n{published.models(config, outcome.run_id)}")
    if outcome.status == "rejected":
        print("\nNothing was published; readers keep the tables they had.")
        return REJECTED
    _print_tables(config)
    return 0


def _run_flow(flow: "Flow", *parameters: object, **named: object) -> Any:
    """Runs a flow; where no Prefect server is configured, on a temporary one that has time to start."""
    from prefect import settings

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    defaults = {
        settings.PREFECT_SERVER_ANALYTICS_ENABLED: False,
        settings.PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,  # 20 s are too few on a small machine
    }
    with settings.temporary_settings(set_defaults=defaults):
        return flow(*parameters, **named)


def _without_traceback(record: logging.LogRecord) -> bool:
    """What a person can put right is shown once, by `main`, as a message; a defect keeps its traceback."""
    if record.exc_info and isinstance(record.exc_info[1], InputError):
        record.exc_info = record.exc_text = None
    return True


def silence_duckdb_at_exit() -> None:
    """Keeps DuckDB 2.0 from listing, at the interpreter's very end, objects that others still held."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _print_tables(config: Config) -> None:
    path = Path(config.warehouse) / "current.duckdb"
    program = ".venv/bin/duckdb" if Path(".venv/bin/duckdb").exists() else "duckdb"
    print(f"\nThe tables are in {path}. Three queries to paste:")
    for query in published.example_queries(config):
        print(f"\n{program} -readonly '{path}' <<'SQL'\n{query.text};\nSQL\n{query.output}")


def _refresh(options: argparse.Namespace) -> int:
    from flows.refresh import refresh

    state = _run_flow(refresh, read_config(options.config), return_state=True)
    if state.name == "Skipped":
        raise WarehouseBusy(state.message)
    print(f"\npublished run {state.result()}")
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from flows.data import ingest_alone

    events = _run_flow(ingest_alone, read_config(options.config))
    print(
        f"\nof {events.n_read:,} rows, tonight's and earlier ones: {events.n_events:,} events, "
        f"{events.n_repeated:,} repeated, {events.n_rejected:,} set aside"
    )
    return 0


def _validate(options: argparse.Namespace) -> int:
    from flows.data import validate_alone

    validated = _run_flow(validate_alone, read_config(options.config))
    print(f"\n{validated.n_expectations - validated.n_warnings} of {validated.n_expectations} expectations hold")
    return 0


def _rejected(options: argparse.Namespace) -> int:
    print(published.rejected(read_config(options.config), options.k))
    return 0


def _recommend(options: argparse.Namespace) -> int:
    print(published.recommend(read_config(options.config), options.user, options.k))
    return 0


def _similar(options: argparse.Namespace) -> int:
    print(published.similar(read_config(options.config), options.item, options.k))
    return 0


def _explain(options: argparse.Namespace) -> int:
    print(published.explain(read_config(options.config), options.user, options.item, options.k))
    return 0


def _score(options: argparse.Namespace) -> int:
    from flows.tables import score

    scored = _run_flow(score, read_config(options.config), options.pairs, options.out)
    n_unknown = scored.n_pairs - scored.n_scored
    print(f"\n{scored.n_pairs:,} pairs in {scored.path}; {n_unknown:,} of them name someone or something unknown")
    return 0


def _export(options: argparse.Namespace) -> int:
    from flows.tables import export

    done = _run_flow(export, read_config(options.config), options.format, options.out)
    print(f"\n{done.n_items:,} item and {done.n_users:,} user vectors in {done.path}")
    return 0


def _runs(options: argparse.Namespace) -> int:
    print(published.runs(read_config(options.config)))
    return 0


def _rollback(options: argparse.Namespace) -> int:
    to, back_from = history.roll_back(read_config(options.config), options.run_id, options.reason)
    print(f"readers get run {to} again, no longer {back_from}")
    return 0


def _publish(options: argparse.Namespace) -> int:
    back_from = history.publish_again(read_config(options.config), options.run_id, options.reason)
    print(f"readers get run {options.run_id}, no longer {back_from}")
    return 0


def _report(options: argparse.Namespace) -> int:
    import webbrowser

    from tasks.report import find_report

    path = find_report(read_config(options.config), options.run_id)
    print(path)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("darwin", "win32"):
        webbrowser.open(path.as_uri())
    return 0


def _explore(options: argparse.Namespace) -> int:
    from flows.explore import serve

    serve(read_config(options.config), options.port)
    return 0


def _config(options: argparse.Namespace) -> int:
    for path, default, unit, limits, description in reference():
        print(f"{path}\n    {description}\n    default {default}; {limits}{f'; {unit}' if unit else ''}")
    return 0
