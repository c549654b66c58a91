"""A warehouse for reports and pages: a published night, one with more events, and a rejected one."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tasks.settings.config import Config
from tests.support.plain_nights import plain_night
from tests.support.worlds import community_events, config, write_world

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
    from flows.nightly import nightly

    write_world(folder)
    data = folder / "data"
    user = pl.when(pl.col("user") == 5).then(pl.lit(ODD_USER)).otherwise(pl.col("user").cast(pl.String))
    events = community_events().with_columns(user=user)
    events.write_parquet(data / "ratings.parquet")
    title = pl.when(pl.col("movie") == 7).then(pl.lit(ODD_TITLE)).otherwise(pl.col("name"))
    movies = pl.read_parquet(data / "movies.parquet").with_columns(name=title)
    movies.write_parquet(data / "movies.parquet")
    source = {
        "events": str(data / "*ratings.parquet"),
        "items": {"path": str(data / "movies.parquet"), "item_id": "movie", "title": "name"},
    }
    own = config(warehouse=str(folder / "warehouse"), source=source, drift={"severity": "warning"})
    rejecting = own.model_copy(update={"gate": own.gate.model_copy(update={"minimums": {"ndcg@10": 1.1}})})
    first = plain_night(own)
    events.head(600).with_columns(user=pl.format("new {}", "user")).write_parquet(data / "more-ratings.parquet")
    second = plain_night(own)
    return Nights(own, rejecting, (first.run_id, second.run_id, nightly(rejecting).run_id))
