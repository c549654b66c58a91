"""Commands that read the published tables and the model behind them."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows import engine
from flows.commands.arguments import ConfigFile, Item, Rows, User, as_port, configured
from flows.output import say


def recommend(user: User, /, *, k: Rows = 10, config: ConfigFile = None) -> None:
    """Show a user's published list."""
    settings = configured(config)
    from tasks.read import terminal

    say(terminal.recommend(settings, user, k))


def similar(item: Item, /, *, k: Rows = 10, config: ConfigFile = None) -> None:
    """Show an item's published neighbours."""
    settings = configured(config)
    from tasks.read import terminal

    say(terminal.similar(settings, item, k))


def explain(user: User, item: Item, /, *, k: Rows = 10, config: ConfigFile = None) -> None:
    """Show which items of a user's history contribute to an item's score."""
    settings = configured(config)
    from tasks.read import terminal

    say(terminal.explain(settings, user, item, k))


def rejected(*, k: Rows = 10, config: ConfigFile = None) -> None:
    """Show quarantined rows, and why they were quarantined."""
    settings = configured(config)
    from tasks.read import terminal

    say(terminal.rejected(settings, k))


def score(
    pairs: Annotated[Path, Parameter(help="A Parquet file; its other columns and its order are kept.")],
    /,
    *,
    out: Annotated[Path, Parameter(metavar="FILE", help="The Parquet file to write.")],
    config: ConfigFile = None,
) -> None:
    """Score the pairs of a Parquet file with columns user_id and item_id."""
    settings = configured(config)
    from tasks.read.score import check_pairs

    check_pairs(settings, pairs, out)
    from flows.tables import score as flow

    scored = engine.run_flow(flow, settings, pairs, out)
    n_unknown = scored.n_pairs - scored.n_scored
    say(f"\n{scored.n_pairs:,} pairs in {scored.path}; {n_unknown:,} of them with an unknown user or item")


def export(
    *,
    format: Annotated[Literal["parquet", "npy", "safetensors"], Parameter(help="The files' format.")] = "parquet",
    out: Annotated[Path, Parameter(metavar="FOLDER", help="The folder to create.")],
    config: ConfigFile = None,
) -> None:
    """Write item and user vectors with their ids into a folder."""
    settings = configured(config)
    from tasks.read.export import check_export

    check_export(settings, out)
    from flows.tables import export as flow

    done = engine.run_flow(flow, settings, format, out)
    say(f"\n{done.n_items:,} item and {done.n_users:,} user vectors in {done.path}")


def explore(
    *,
    port: Annotated[int, Parameter(metavar="N", converter=as_port, help="Port on this machine.")] = 8765,
    config: ConfigFile = None,
) -> None:
    """Serve a page for browsing the published tables, on this machine only."""
    settings = configured(config)
    from flows.explore import serve

    serve(settings, port)
