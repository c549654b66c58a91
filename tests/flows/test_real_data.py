"""Real data: Online Retail as it came, with the configuration shipped for it; a year of decklists night by night."""

import random
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from flows.nightly import nightly
from tasks.data.ingest import ingest
from tasks.data.interactions import build_interactions
from tasks.run.run import open_run
from tasks.settings.config import Config
from tasks.settings.load import read_config
from tests.support.ingestion import stored
from tests.support.worlds import config as config_with

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
RAW = SHARED / "online-retail" / "online_retail_raw.csv.zst"
DECKS = SHARED / "mtg-decklists" / "events.parquet"
pytestmark = pytest.mark.skipif(not RAW.exists() or not DECKS.exists(), reason="the shared data is not there")


@pytest.fixture
def retail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    shutil.copyfile(RAW, Path("data") / RAW.name)
    config = read_config(ROOT / "config" / "online-retail.yaml")
    return config.model_copy(update={"warehouse": "warehouse"})


@pytest.mark.usefixtures("without_prefect")
def test_the_counts_of_quarantined_rows_are_known(retail: Config) -> None:
    with open_run(retail) as run:
        handle = ingest.fn(run)
    known = {"no user": 135_080, "negative quantity": 10_624, "cancelled": 9_288, "no price": 2_517}
    assert {reason: handle.reasons[reason] for reason in known} == known
    assert handle.n_read == 541_909 == handle.n_events + handle.n_repeated + handle.n_rejected
    assert stored("select count(*) from rejected_events where reasons != 'no product'") == [(541_909 - 397_884,)]
    assert stored("select distinct typeof(user_id) from events") == [("BIGINT",)]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_night_publishes_sensible_neighbours(retail: Config, tables: Callable[[str], list[tuple]]) -> None:
    assert nightly(retail).status == "published"
    neighbours = tables("""
        select title from item_neighbors join items on items.item_id = neighbor_item_id
        where item_neighbors.item_id = '22697' and rank <= 3
    """)
    assert sum("REGENCY" in title for (title,) in neighbours) == 3, "the other regency teacups go with the green one"


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The last twelve months of the decklists, a file each."""
    folder = tmp_path_factory.mktemp("months")
    events = pl.scan_parquet(DECKS).filter(pl.col("timestamp") >= datetime(2025, 9, 1)).collect()
    files = []
    for (month,), rows in events.group_by(pl.col("timestamp").dt.strftime("%Y-%m"), maintain_order=True):
        files.append(folder / f"{month}.parquet")
        rows.write_parquet(files[-1])
    assert len(files) == 12
    return sorted(files)


def replay(nights: list[list[Path]], warehouse: Path) -> tuple[str, int]:
    """Delivers some files a night, and returns the digest of the interactions and the number of files taken in."""
    columns = {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp", "value": "count"}
    for files in nights:
        source = {"events": [str(file) for file in files], "columns": columns, "items": None}
        config = config_with(source=source, warehouse=str(warehouse), interactions={"min_value": None})
        with open_run(config) as run:
            handle = ingest.fn(run)
    with open_run(config) as run:
        return build_interactions.fn(run, handle).digest, handle.n_files


@pytest.mark.slow
@pytest.mark.usefixtures("without_prefect")
def test_a_year_gives_the_same_interactions_in_any_order(months: list[Path], tmp_path: Path) -> None:
    in_order = [[month] for month in months]
    shuffled = random.Random(0).sample(in_order, len(in_order))
    again = tmp_path / "again.parquet"
    shutil.copy(months[3], again)
    with_repeats = [*in_order[:6], [months[2], months[6]], [again], *in_order[7:], [months[0], months[11]]]
    expected = replay([months], tmp_path / "at once")
    assert expected[1] == 12
    assert replay(in_order, tmp_path / "in order") == expected
    assert replay(shuffled, tmp_path / "shuffled") == expected
    assert replay(with_repeats, tmp_path / "repeats") == (expected[0], 13)
