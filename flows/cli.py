"""The command line: run the night, and look at what it published."""

import argparse
import atexit
import os
import select
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TextIO

from flows.engine import run_flow
from tasks.errors import InputError, WarehouseBusy
from tasks.publish import publication
from tasks.read import terminal as published
from tasks.run.damage import begin_to_name
from tasks.run.failures import out_of_memory, out_of_reach
from tasks.run.quoting import visible, visible_lines
from tasks.run.warehouse import Warehouse
from tasks.settings.config import DEMO, Config, find_config, read_config, reference

Command = Callable[[Config, argparse.Namespace], int]
REJECTED = 3
CLOSED_PIPE = 141
ID_WITH_DASH = "an id that begins with a dash stands behind -- and all options, as in: elsa similar -k 5 -- -x5"
TAKE_IDS = ("recommend", "similar", "explain", "forget")
EPILOG = """\
examples:
  elsa init data/*.csv --out my.yaml             a configuration for your own events, to look through
  elsa nightly --config config/movielens.yaml    tonight's run: events in, tables out
  elsa recommend 42                              what user 42 should see next
  elsa similar 318 -k 5                          what is like item 318
  elsa explain 42 318                            why user 42 should see item 318
  elsa score pairs.parquet --out scored.parquet  the model's score for each row's user_id and item_id
  elsa export --format npy --out vectors         item and user vectors for another program
  elsa refresh                                   new events into the tables, with the published model
  elsa runs                                      what happened on which night
  elsa report                                    the newest night's report, in the browser
  elsa nightly --resume RUN                      go on with a run that died
  elsa rollback                                  lead readers back to the tables before these
  elsa forget 42                                 user 42 is removed from everything, and kept out
  elsa withdraw data/2026-11-26.csv              what this file brought counts no more
  elsa ingest --config my.yaml                   only take in new and changed files; then: elsa rejected
  elsa config                                    every configuration key

Each of them but init and config reads the configuration that --config names, or else ELSA_CONFIG (environment).
Anything that speaks DuckDB can read the tables: warehouse/current.duckdb always holds the last published run.

exit codes (of `elsa nightly` and, where they apply, of the others):
  0 published    1 a defect    2 configuration or data cannot be used    3 rejected by the gate
  4 an expectation about the events does not hold    5 another program is using the warehouse
  141 whoever read the output has closed the pipe
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    atexit.register(silence_duckdb_at_exit)
    sys.excepthook = _show_defect
    try:
        try:
            _require_text(sys.argv[1:] if arguments is None else arguments)
            options = _parser().parse_args(arguments)
            return options.run(options)
        except InputError as error:
            say("error:", str(error).replace("\n", "\n  "), file=sys.stderr)  # a name in it may have lines, too
            return error.exit_code
        except Exception as error:
            if (said := out_of_memory(error) or out_of_reach(error)) is None:
                raise
            say(f"error: {said}", file=sys.stderr)
            return InputError.exit_code
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        return _end_of_output()


def _require_text(arguments: Sequence[str]) -> None:
    """Raises InputError where bytes in an argument are not UTF-8, for no id or name in the warehouse has such."""
    for word in arguments:
        if any("\udc80" <= sign <= "\udcff" for sign in word):
            shown = os.fsencode(word).decode(errors="backslashreplace")
            raise InputError(f"the argument '{shown}' is not UTF-8; ids and names are")


def say(*values: object, sep: str = " ", file: TextIO | None = None) -> None:
    """Prints, like `print`; what came from data or names cannot command the terminal."""
    print(visible_lines(sep.join(map(str, values))), file=file)


def _show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's traceback of what nobody has caught, whose message may hold data."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), file=sys.stderr)


def _end_of_output() -> int:
    """Whoever reads the output, such as head, has enough: the shell's exit code for that. Raises any other error."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
    for stream in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if closed:
        return CLOSED_PIPE
    raise


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
    rejected = _command(commands, "rejected", _rejected, "show rows that were quarantined, and why")
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
    forget = _command(commands, "forget", _forget, "remove people from all that is kept, and keep them out")
    forget.add_argument("users", nargs="*", metavar="USER", help="the user's id, as in the events")
    forget.add_argument("--file", type=Path, help="a text file with an id a line; - for standard input")
    withdraw = _command(commands, "withdraw", _withdraw, "take a source file out again, also one that is gone")
    withdraw.add_argument("path", metavar="FILE", help="its path when it was read, or the end of that")
    withdraw.add_argument("--undo", action="store_true", help="let the next run read it again")
    report = _command(commands, "report", _report, "open a run's report, one HTML file, and print its path")
    report.add_argument("run_id", nargs="?", metavar="RUN", help="as elsa runs lists them (default the newest night)")
    explore = _command(commands, "explore", _explore, "serve a page for walking through the published tables")
    explore.add_argument("--port", type=_positive, default=8765, help="where on this machine (default 8765)")
    init = commands.add_parser("init", help="propose a configuration for your own events, from their files' columns")
    init.add_argument("files", nargs="+", metavar="FILES", help="event files, or a glob in quotes")
    init.add_argument("--items", metavar="FILE", help="a file of item metadata: ids, titles, categories")
    init.add_argument("--out", type=Path, default=Path("my.yaml"), metavar="FILE", help="default my.yaml")
    init.set_defaults(run=_init)
    config = commands.add_parser("config", help="list every configuration key: default, unit, range, meaning")
    config.set_defaults(run=_config)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what to do about an id that looks like an option."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        self.given = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        options = tuple(self._option_string_actions)
        is_dash = any(word.startswith("-") and not word.startswith(options) for word in self.given)
        is_missing = is_dash and message.endswith((": user", ": item", ": user, item"))
        is_left = message.startswith("unrecognized arguments: -") and self.given[0] in TAKE_IDS
        super().error(visible(f"{message}; {ID_WITH_DASH}" if is_missing or is_left else message))


def _command(commands: argparse._SubParsersAction, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"YAML configuration (default: what ELSA_CONFIG names, or the demo's {DEMO} where it is there)",
    )
    command.set_defaults(run=partial(_run_configured, run))
    return command


def _run_configured(run: Command, options: argparse.Namespace) -> int:
    """Says first, beside the data that the command prints, which warehouse they are from."""
    begin_to_name()
    config = read_config(find_config(options.config))
    warehouse = Path(config.warehouse).absolute()
    run_id = Warehouse.of(config).current_run_id
    say(f"{warehouse}: {f'published run {run_id}' if run_id else 'nothing published yet'}", file=sys.stderr)
    return run(config, options)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _nightly(config: Config, options: argparse.Namespace) -> int:
    if options.force_publish != bool((options.reason or "").strip()):
        raise InputError('--force-publish and --reason "why" go together: what is forced is recorded with its reason')
    from flows.nightly import nightly

    outcome = run_flow(nightly, config, resume=options.resume, force_reason=options.reason)
    say(f"\nrun {outcome.run_id}: {outcome.status}")
    say("gate:", *outcome.checks, sep="\n  ")
    say(f"\nOn the test users, mean and 95 % interval:\n{published.metrics(config, outcome.run_id)}")
    cutoff = max(config.evaluation.cutoffs)
    say(f"\nWhat else could be run, means at {cutoff}:\n{published.models(config, outcome.run_id)}")
    if outcome.status == "rejected":
        say("\nNothing was published; readers keep the tables they had.")
        return REJECTED
    _print_tables(config)
    return 0


def silence_duckdb_at_exit() -> None:
    """Keeps DuckDB 2.0 from listing, at the interpreter's very end, objects that others still held."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _print_tables(config: Config) -> None:
    path = Path(config.warehouse) / "current.duckdb"
    say(f"\nThe tables are in {path}.")
    try:
        queries = published.example_queries(config)
    except InputError as error:  # the night is published all the same
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


def _refresh(config: Config, options: argparse.Namespace) -> int:
    from flows.refresh import refresh

    state = run_flow(refresh, config, return_state=True)
    if state.name == "Skipped":
        raise WarehouseBusy(state.message)
    say(f"\npublished run {state.result()}")
    return 0


def _ingest(config: Config, options: argparse.Namespace) -> int:
    from flows.data import ingest_alone

    events = run_flow(ingest_alone, config)
    say(
        f"\nof {events.n_read:,} rows, tonight's and earlier ones: {events.n_events:,} events, "
        f"{events.n_repeated:,} repeated, {events.n_rejected:,} quarantined"
    )
    return 0


def _validate(config: Config, options: argparse.Namespace) -> int:
    from flows.data import validate_alone

    validated = run_flow(validate_alone, config)
    say(f"\n{validated.n_expectations - validated.n_warnings} of {validated.n_expectations} expectations hold")
    return 0


def _rejected(config: Config, options: argparse.Namespace) -> int:
    say(published.rejected(config, options.k))
    return 0


def _recommend(config: Config, options: argparse.Namespace) -> int:
    say(published.recommend(config, options.user, options.k))
    return 0


def _similar(config: Config, options: argparse.Namespace) -> int:
    say(published.similar(config, options.item, options.k))
    return 0


def _explain(config: Config, options: argparse.Namespace) -> int:
    say(published.explain(config, options.user, options.item, options.k))
    return 0


def _score(config: Config, options: argparse.Namespace) -> int:
    from tasks.read.score import check_pairs

    check_pairs(config, options.pairs, options.out)
    from flows.tables import score

    scored = run_flow(score, config, options.pairs, options.out)
    n_unknown = scored.n_pairs - scored.n_scored
    say(f"\n{scored.n_pairs:,} pairs in {scored.path}; {n_unknown:,} of them name someone or something unknown")
    return 0


def _export(config: Config, options: argparse.Namespace) -> int:
    from tasks.read.export import check_export

    check_export(config, options.out)
    from flows.tables import export

    done = run_flow(export, config, options.format, options.out)
    say(f"\n{done.n_items:,} item and {done.n_users:,} user vectors in {done.path}")
    return 0


def _runs(config: Config, options: argparse.Namespace) -> int:
    say(published.runs(config))
    return 0


def _rollback(config: Config, options: argparse.Namespace) -> int:
    to, back_from = publication.roll_back(config, options.run_id, options.reason)
    say(f"readers get run {to} again, no longer {back_from}")
    return 0


def _publish(config: Config, options: argparse.Namespace) -> int:
    back_from = publication.publish_again(config, options.run_id, options.reason)
    say(f"readers get run {options.run_id}, no longer {back_from}")
    return 0


def _forget(config: Config, options: argparse.Namespace) -> int:
    from tasks.data.removal.forget import forget

    ids = options.users + (_lines(options.file) if options.file else [])
    if not ids:
        raise InputError("who is to be forgotten? Name users, or a file of ids with --file")
    forgotten = forget(config, ids)
    n_unknown = forgotten.n_people - forgotten.n_known
    say(
        f"{_people(forgotten.n_people)} forgotten{f', {n_unknown:,} of them without an event' if n_unknown else ''}: "
        f"{forgotten.n_events:,} events and {forgotten.n_rejected:,} quarantined rows are removed, from lists and "
        "matrices, too; later deliveries of theirs are kept out"
    )
    done = _republish(config, "forget", _people(forgotten.n_people))
    if forgotten.damaged:
        raise InputError(f"damaged files may hold more of them; remove: {', '.join(forgotten.damaged)}")
    return done


def _people(n: int) -> str:
    return f"{n:,} {'person' if n == 1 else 'people'}"


def _lines(path: Path) -> list[str]:
    """The lines of a text file, or of standard input, that are not empty; they end with LF or CR LF alone."""
    try:
        text = (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--file {path} cannot be read: {error}") from None
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]


def _withdraw(config: Config, options: argparse.Namespace) -> int:
    from tasks.data.removal import withdraw

    if options.undo:
        say(f"{withdraw.undo(config, options.path)} is read again by the next run, where it still is")
        return 0
    gone = withdraw.withdraw(config, options.path)
    say(
        f"{', '.join(gone.paths)} is withdrawn: {gone.n_used:,} rows and {gone.n_rejected:,} quarantined ones; "
        "the contents are not read again"
    )
    return _republish(config, "withdraw", gone.paths[0])


def _republish(config: Config, kind: str, why: str) -> int:
    """New tables for readers, if they have some."""
    if Warehouse.of(config).current_run_id is None:
        say("Nothing is published yet.")
        return 0
    from flows.refresh import republish

    try:
        say(f"\npublished run {run_flow(republish, config, kind, why)}")
    except InputError as error:
        raise type(error)(f"that is done, but readers get no new tables: {error}") from None
    return 0


def _report(config: Config, options: argparse.Namespace) -> int:
    import webbrowser

    from tasks.report.report import find_report

    path = find_report(config, options.run_id)
    say(path)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("darwin", "win32"):
        webbrowser.open(path.as_uri())
    return 0


def _explore(config: Config, options: argparse.Namespace) -> int:
    from flows.explore import serve

    serve(config, options.port)
    return 0


def _init(options: argparse.Namespace) -> int:
    from tasks.data.sources.propose import propose, write

    proposal = propose(options.files, options.items, options.out)
    write(proposal, options.out)
    say(*proposal.found, sep="\n")
    out = shlex.quote(str(options.out))
    left = f"Replace TODO for {', '.join(proposal.missing)}" if proposal.missing else "Look through it"
    say(f"\n{options.out} is made. {left}; then take the events in, look at them, and run the night:")
    say(*(f"  elsa {name} --config {out}" for name in ("ingest", "rejected", "nightly")), sep="\n")
    return 0


def _config(options: argparse.Namespace) -> int:
    for path, default, unit, limits, description in reference():
        say(f"{path}\n    {description}\n    default {default}; {limits}{f'; {unit}' if unit else ''}")
    return 0
