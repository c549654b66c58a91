"""Arguments that several commands take, and the configuration that --config names."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, Token

from flows.output import say

if TYPE_CHECKING:
    from tasks.settings.config import Config

MAX_PORT = 65535


def positive(kind: type, tokens: Sequence[Token]) -> int:
    """Converts a decimal number from 1 on. Raises ValueError, which cyclopts shows with the option's name."""
    text = tokens[0].value
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def as_port(kind: type, tokens: Sequence[Token]) -> int:
    """Converts the number of a TCP port. Raises ValueError as `positive` does."""
    if (number := positive(kind, tokens)) > MAX_PORT:
        raise ValueError(f"{number} is not a port: they end with {MAX_PORT}")
    return number


def file_or_dash(_: type, tokens: Sequence[Token]) -> Path:
    """Converts a path, or - for standard input. Raises ValueError for what may be the next option."""
    text = tokens[0].value
    if text.startswith("-") and text != "-":
        raise ValueError(f"{text!r} begins with a dash; for a file of this name give ./{text}")
    return Path(text)


ConfigFile = Annotated[
    Path | None,
    Parameter(
        metavar="FILE",
        help="YAML configuration. If not given, the file that ELSA_CONFIG names, "
        "or the demo's config/movielens.yaml where it exists.",
    ),
]
User = Annotated[str, Parameter(help="The user's id, as in the events.")]
Item = Annotated[str, Parameter(help="The item's id, as in the events.")]
Rows = Annotated[int, Parameter(name="-k", metavar="N", converter=positive, help="How many rows.")]
Reason = Annotated[str | None, Parameter(metavar="TEXT", help="Why; kept in the record of publications.")]


def configured(path: Path | None) -> "Config":
    """Reads the configuration, and says on standard error which warehouse and run the command's output is from."""
    from tasks.run.damage import begin_to_name
    from tasks.run.warehouse import Warehouse
    from tasks.settings.load import find_config, read_config

    begin_to_name()
    config = read_config(find_config(path))
    warehouse = Path(config.warehouse).absolute()
    run_id = Warehouse.of(config).current_run_id
    say(f"{warehouse}: {f'published run {run_id}' if run_id else 'nothing published yet'}", file=sys.stderr)
    return config
