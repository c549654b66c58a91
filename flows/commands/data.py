"""Commands about the source data and the configuration: forget, withdraw, init, config."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows import engine
from flows.commands.arguments import ConfigFile, User, configured, file_or_dash
from flows.output import say
from tasks.errors import InputError

if TYPE_CHECKING:
    from tasks.settings.config import Config


def forget(
    *users: User,
    file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            converter=file_or_dash,
            allow_leading_hyphen=True,
            help="A text file of ids, one a line; - reads standard input.",
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Remove users from all stored data, and drop later events of theirs."""
    settings = configured(config)
    from tasks.data.removal.forget import forget as forget_users

    ids = [*users, *(_lines(file) if file else [])]
    if not ids:
        raise InputError("who is to be forgotten? Name users, or a file of ids with --file")
    forgotten = forget_users(settings, ids)
    people = f"{forgotten.n_people:,} {'person' if forgotten.n_people == 1 else 'people'}"
    n_unknown = forgotten.n_people - forgotten.n_known
    say(
        f"{people} forgotten{f', {n_unknown:,} of them without an event' if n_unknown else ''}: "
        f"{forgotten.n_events:,} events and {forgotten.n_rejected:,} quarantined rows removed, from lists and "
        "matrices, too; later events of theirs will be dropped"
    )
    _republish(settings, "forget", people)
    if forgotten.damaged:
        raise InputError(f"damaged files may hold more of them; remove: {', '.join(forgotten.damaged)}")


def withdraw(
    file: Annotated[str, Parameter(help="Its path when it was read, or the end of that path.")],
    /,
    *,
    undo: Annotated[bool, Parameter(show_default=False, help="Let the next run read the file again.")] = False,
    config: ConfigFile = None,
) -> None:
    """Remove a source file's rows, also if the file is gone, and do not read it again."""
    settings = configured(config)
    from tasks.data.removal import withdraw as removal

    if undo:
        say(f"{removal.undo(settings, file)} is read again by the next run, if it still exists")
        return
    gone = removal.withdraw(settings, file)
    say(
        f"{', '.join(gone.paths)} is withdrawn: {gone.n_used:,} rows and {gone.n_rejected:,} quarantined rows "
        "removed; these contents are not read again"
    )
    _republish(settings, "withdraw", gone.paths[0])


def init(
    files: Annotated[list[str], Parameter(help="Event files, or a glob in quotes.")],
    /,
    *,
    items: Annotated[str | None, Parameter(metavar="FILE", help="Item metadata: ids, titles, categories.")] = None,
    out: Annotated[Path, Parameter(metavar="FILE", help="The configuration file to write.")] = Path("my.yaml"),
) -> None:
    """Propose a configuration for your own events, from their files' columns."""
    from tasks.data.sources.propose import propose, write

    proposal = propose(files, items, out)
    write(proposal, out)
    say(*proposal.found, sep="\n")
    name = shlex.quote(str(out))
    left = f"Replace TODO for {', '.join(proposal.missing)}" if proposal.missing else "Review it"
    say(f"\n{out} is written. {left}; then ingest the events, look at quarantined rows, and start a nightly run:")
    say(*(f"  elsa {command} --config {name}" for command in ("ingest", "rejected", "nightly")), sep="\n")


def config() -> None:
    """List every configuration key: default, unit, range, meaning."""
    from tasks.settings.reference import reference

    for path, default, unit, limits, description in reference():
        say(f"{path}\n    {description}\n    default {default}; {limits}{f'; {unit}' if unit else ''}")


def _lines(path: Path) -> list[str]:
    """The lines of a text file, or of standard input, that are not empty; they end with LF or CR LF alone."""
    try:
        text = (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--file {path} cannot be read: {error}") from None
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]


def _republish(config: "Config", kind: str, why: str) -> None:
    """Publishes tables without what was removed, where any are published."""
    from tasks.run.warehouse import Warehouse

    if Warehouse.of(config).current_run_id is None:
        say("Nothing is published yet.")
        return
    from flows.refresh import republish

    try:
        say(f"\npublished run {engine.run_flow(republish, config, kind, why)}")
    except InputError as error:
        raise type(error)(f"the removal is done, but no new tables were published: {error}") from None
