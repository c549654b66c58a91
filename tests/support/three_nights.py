"""A warehouse for reports and pages: a published night, one with more events, and a rejected one."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tasks.settings.config import Config
from tests.support.plain_nights import plain_night
from tests.support.worlds import community_events, config, copy_world, write_world

ODD_USER, ODD_TITLE = '<b>five</b> & "co"', "<script>alert(7)</script>"


@dataclass(frozen=True)
class Nights:
    """Published; published with more events; rejected. A user's id and a title are odd."""

    config: Config
    rejecting: Config
    run_ids: tuple[str, str, str]

    @property
    def warehouse(self) -> Path:
        return Path(self.config.warehouse)

    def folder(self, place: int) -> Path:
        return self.warehouse / "runs" / self.run_ids[place]


def make_three_nights(folder: Path) -> Nights:
    write_world(folder)
    data = folder / "data"
    user = pl.when(pl.col("user") == 5).then(pl.lit(ODD_USER)).otherwise(pl.col("user").cast(pl.String))
    events = community_events().with_columns(user=user)
    events.write_parquet(data / "ratings.parquet")
    title = pl.when(pl.col("movie") == 7).then(pl.lit(ODD_TITLE)).otherwise(pl.col("name"))
    movies = pl.read_parquet(data / "movies.parquet").with_columns(name=title)
    movies.write_parquet(data / "movies.parquet")
    own, rejecting = configs_in(folder)
    first = plain_night(own, has_report=True)
    events.head(600).with_columns(user=pl.format("new {}", "user")).write_parquet(data / "more-ratings.parquet")
    second, third = (plain_night(night, has_report=True) for night in (own, rejecting))
    return Nights(own, rejecting, (first.run_id, second.run_id, third.run_id))


def copy_three_nights(made: Nights, folder: Path) -> Nights:
    copy_world(made.warehouse.parent, folder)
    return Nights(*configs_in(folder), made.run_ids)


def configs_in(folder: Path) -> tuple[Config, Config]:
    """That of the small world, drift being a warning; and one that no model passes."""
    data = folder / "data"
    source = {
        "events": str(data / "*ratings.parquet"),
        "items": {"path": str(data / "movies.parquet"), "item_id": "movie", "title": "name"},
    }
    own = config(warehouse=str(folder / "warehouse"), source=source, drift={"severity": "warning"})
    return own, own.model_copy(update={"gate": own.gate.model_copy(update={"minimums": {"ndcg@10": 1.1}})})
