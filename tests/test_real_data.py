"""Online Retail as it came, with the configuration that is shipped for it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.nightly import nightly
from tasks.config import Config, read_config
from tasks.ingest import ingest
from tasks.warehouse import open_run
from tests.test_ingest import stored

ROOT = Path(__file__).parents[1]
RAW = ROOT.parent / "shared" / "data" / "online-retail" / "online_retail_raw.csv.zst"
pytestmark = pytest.mark.skipif(not RAW.exists(), reason=f"the shared data is not there: {RAW.name}")


@pytest.fixture
def retail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    shutil.copyfile(RAW, Path("data") / RAW.name)
    config = read_config(ROOT / "config" / "online-retail.yaml")
    return config.model_copy(update={"warehouse": "warehouse"})


@pytest.mark.usefixtures("without_prefect")
def test_what_is_set_aside_are_the_known_counts(retail: Config) -> None:
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
