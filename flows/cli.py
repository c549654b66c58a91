"""The command line `elsa`: which commands there are, how they are parsed, and how errors end them."""

import atexit
import os
import sys
from collections.abc import Sequence
from inspect import BoundArguments

from cyclopts import (
    App,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from flows.commands.data import config, forget, init, withdraw
from flows.commands.nightly import nightly
from flows.commands.runs import ingest, publish, refresh, report, rollback, runs, validate
from flows.commands.tables import explain, explore, export, recommend, rejected, score, similar
from flows.output import end_of_output, say, show_defect, silence_duckdb_at_exit
from tasks.errors import InputError
from tasks.run.quoting import visible

ID_WITH_DASH = "an id that begins with a dash goes after all options and --, as in: elsa similar -k 5 -- -x5"
WIDTH_OF_HELP = 100
TAKE_IDS = ("recommend", "similar", "explain", "forget")
EPILOG = """\
Examples:
  elsa init data/*.csv --out my.yaml             propose a configuration for your own events
  elsa nightly --config config/movielens.yaml    the nightly run: events in, tables out
  elsa recommend 42                              what user 42 should see next
  elsa similar 318 -k 5                          items similar to item 318
  elsa explain 42 318                            why user 42 should see item 318
  elsa score pairs.parquet --out scored.parquet  the model's score for each row's user_id and item_id
  elsa export --format npy --out vectors         item and user vectors for another program
  elsa refresh                                   new events into the tables, with the published model
  elsa runs                                      all runs, and how they ended
  elsa report                                    the newest nightly run's report, in the browser
  elsa nightly --resume RUN                      continue a run that died
  elsa rollback                                  switch current.duckdb back to the previous tables
  elsa forget 42                                 remove user 42 from all stored data, and drop later events
  elsa withdraw data/2026-11-26.csv              remove this file's rows
  elsa ingest --config my.yaml                   only ingest new and changed files; then: elsa rejected
  elsa config                                    every configuration key

All commands but init and config read the configuration that --config names, or else ELSA_CONFIG (environment).
Any program that reads DuckDB can read the tables: warehouse/current.duckdb is always the last published run.

Exit codes (of `elsa nightly` and, where they apply, of the others):
  0 published    1 a defect    2 arguments, configuration or data cannot be used    3 rejected by the gate
  4 an expectation about the events does not hold    5 another program is using the warehouse
  141 the reader of the output has closed the pipe"""
COMMANDS = {
    "Runs": (nightly, refresh, ingest, validate, runs, report, rollback, publish),
    "Published tables": (recommend, similar, explain, score, export, explore),
    "Data": (init, config, rejected, forget, withdraw),
}
USAGE = {  # where cyclopts does not say that an argument may be repeated, or names it ARGS
    init: "Usage: elsa init [OPTIONS] FILES...",
    forget: "Usage: elsa forget [OPTIONS] [USERS...]",
    report: "Usage: elsa report [OPTIONS] [RUN]",
    rollback: "Usage: elsa rollback [OPTIONS] [RUN]",
}

app = App(
    name="elsa",
    help="Nightly recommendations with ELSA: events in, DuckDB tables out.",
    help_format="plaintext",
    version_flags=[],
    default_parameter=Parameter(negative=(), allow_repeating=True),
)
for title, commands in COMMANDS.items():
    group = Group.create_ordered(title)
    for place, command in enumerate(commands):
        app.command(command, group=group, sort_key=place, usage=USAGE.get(command))
app["--help"].show = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    atexit.register(silence_duckdb_at_exit)
    sys.excepthook = show_defect
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        except InputError as error:
            say("error:", str(error).replace("\n", "\n  "), file=sys.stderr)  # a name in it may have lines, too
            return error.exit_code
        except Exception as error:
            if (said := _of_the_machine(error)) is None:
                raise
            say(f"error: {said}", file=sys.stderr)
            return InputError.exit_code
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        return end_of_output()


def _run(arguments: list[str]) -> int:
    _require_text(arguments)
    try:
        command, bound, _ = app.parse_args(arguments or ["?"], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise InputError(_usage_error(error, arguments)) from None
    if command == app.help_print:
        say(_help(bound))
        return 0
    return command(*bound.args, **bound.kwargs) or 0


def _require_text(arguments: Sequence[str]) -> None:
    """Raises InputError where bytes in an argument are not UTF-8, for no id or name in the warehouse has such."""
    for word in arguments:
        if any("\udc80" <= sign <= "\udcff" for sign in word):
            shown = os.fsencode(word).decode(errors="backslashreplace")
            raise InputError(f"the argument '{shown}' is not UTF-8; ids and names are")


def _usage_error(error: CycloptsError, arguments: list[str]) -> str:
    """One line: what is wrong with the arguments, and where to read about them."""
    name = " ".join(("elsa", *(error.command_chain or ())))
    said = _what_is_wrong(error, arguments)
    if isinstance(error, UnknownOptionError) and arguments[0] in TAKE_IDS and "Did you mean" not in said:
        said += f" If this is an id: {ID_WITH_DASH}."
    ending = "" if said.endswith("?") else "."
    return visible(f"{said.rstrip('.')}{ending} See: {name} --help")


def _what_is_wrong(error: CycloptsError, arguments: list[str]) -> str:
    if not arguments:
        return "a command is missing"
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected arguments: {' '.join(error.unused_tokens or ())}"
    if isinstance(error, UnknownCommandError):
        names = [command.__name__ for commands in COMMANDS.values() for command in commands]
        return f"{str(error).split(' Available commands: ')[0]} Commands: {', '.join(names)}"
    if isinstance(error, MissingArgumentError) and error.argument and not error.keyword:
        return f"{error.argument.name} is missing"
    return str(error)


def _help(bound: BoundArguments) -> str:
    from tasks.read.plain import plain_console, width_of_terminal, written

    bound.arguments["console"] = plain_console(min(width_of_terminal() or WIDTH_OF_HELP, WIDTH_OF_HELP))
    app.help_print(*bound.args, **bound.kwargs)
    return written(bound.arguments["console"]) + ("" if bound.arguments["tokens"] else f"\n\n{EPILOG}")


def _of_the_machine(error: Exception) -> str | None:
    """What to say of an error that the machine caused: memory, or a file that cannot be reached; None of another."""
    from tasks.run.failures import out_of_memory, out_of_reach

    return out_of_memory(error) or out_of_reach(error)
