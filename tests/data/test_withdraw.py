"""Files that are withdrawn: what they brought counts no more, and does not come back."""

from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from flows.cli import main
from tasks.data.removal.withdraw import undo, withdraw
from tasks.errors import InputError, RunUnderWay
from tasks.run.index import list_runs
from tasks.run.lock import locked
from tasks.run.publications import publications
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config
from tests.support.plain_nights import plain_night, plain_refresh, plain_republish
from tests.support.published_state import digest_of_tables
from tests.support.worlds import community_events, config, settings

SOURCE = {"events": "data/*ratings.parquet"}
SETTINGS = {"quarantine": {"max_share": 0.5}, "gate": {"min_lift_over_popularity": -1.0}}


def town(**source: object) -> Config:
    return config(source=SOURCE | source, **SETTINGS)


@pytest.fixture
def night(world: Path, without_prefect: None) -> Config:
    """A night of two files, of which the second brings film 59 to everybody, a row twice, and one without a time."""
    rows = [(user, 59, 5.0, 1_700_000_000) for user in range(100)]
    rows += [(7, 3, 5.0, None)]
    wrong = pl.DataFrame(rows, schema=community_events().schema, orient="row")
    pl.concat([wrong, community_events().head(1)]).write_parquet("data/wrong_ratings.parquet")
    plain_night(town())
    return town()


def n_events() -> int:
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        return connection.execute("select count(*) from events").fetchone()[0]


def test_a_file_that_was_archived_is_withdrawn_and_does_not_come_back(night: Config, logged: list[str]) -> None:
    Path("archive").mkdir()
    Path("data/wrong_ratings.parquet").rename("archive/wrong_ratings.parquet")
    gone = withdraw(night, "wrong_ratings.parquet")
    assert gone.paths == (str(Path("data/wrong_ratings.parquet").absolute()),)
    assert (gone.n_used, gone.n_rejected) == (101, 1)
    assert n_events() == community_events().unique().height, "what another file brought, too, stays"
    run_id = plain_republish(night, "withdraw", gone.paths[0])
    assert publications(Warehouse(Path("warehouse")))[-1].reason == gone.paths[0]
    assert Warehouse(Path("warehouse")).current_run_id == run_id
    ours = digest_of_tables(night, Path("warehouse/current.duckdb"))

    Path("archive/wrong_ratings.parquet").rename("data/renamed_ratings.parquet")
    plain_refresh(night)
    assert any("renamed_ratings.parquet is not read: what it holds was withdrawn" in line for line in logged)
    assert digest_of_tables(night, Path("warehouse/current.duckdb")) == ours
    plain_refresh(town(timezone="Europe/Prague"))
    assert n_events() == community_events().unique().height, "nor with other settings, with which files are read anew"


def test_what_was_read_twice_goes_wholly(night: Config) -> None:
    """Moved inside what source.events names, a file is read again under its new path."""
    Path("data/archive_ratings.parquet").write_bytes(Path("data/wrong_ratings.parquet").read_bytes())
    Path("data/wrong_ratings.parquet").unlink()
    plain_refresh(night)
    gone = withdraw(night, "wrong_ratings.parquet")
    assert [Path(path).name for path in gone.paths] == ["wrong_ratings.parquet", "archive_ratings.parquet"]
    assert n_events() == community_events().unique().height
    plain_refresh(night)
    assert n_events() == community_events().unique().height


def test_the_corrected_file_is_read_and_an_error_can_be_undone(night: Config) -> None:
    withdraw(night, "data/wrong_ratings.parquet")
    plain_refresh(night)
    assert n_events() == community_events().unique().height
    assert undo(night, "data/wrong_ratings.parquet") == str(Path("data/wrong_ratings.parquet").absolute())
    plain_refresh(night)
    assert n_events() == community_events().unique().height + 100
    withdraw(night, "wrong_ratings.parquet")
    more = pl.DataFrame([(7, 3, 5.0, 1_700_000_000)], schema=community_events().schema, orient="row")
    more.write_parquet("data/wrong_ratings.parquet")
    plain_refresh(night)
    assert n_events() == community_events().unique().height + 1


def test_what_is_meant_must_be_clear(night: Config) -> None:
    with pytest.raises(InputError, match=r"no file 'wrong\.parquet' was read; of 2, the nearest: .*wrong_ratings"):
        withdraw(night, "wrong.parquet")
    with pytest.raises(InputError, match="no file .* was withdrawn; of 0, the nearest: none"):
        undo(night, "wrong_ratings.parquet")
    with pytest.raises(InputError, match="is run by every nightly run"):
        withdraw(night, "source.query")
    with locked(Path("warehouse/lock")), pytest.raises(RunUnderWay):
        withdraw(night, "wrong_ratings.parquet")
    Path("data/deeper").mkdir()
    Path("data/deeper/wrong_ratings.parquet").write_bytes(Path("data/ratings.parquet").read_bytes())
    plain_refresh(town(events=["data/*ratings.parquet", "data/deeper"]))
    with pytest.raises(InputError, match="2 files end with"):
        withdraw(night, "wrong_ratings.parquet")


@pytest.mark.usefixtures("without_engine")
def test_the_only_file_at_the_terminal(world: Path, first_night: object, capsys: pytest.CaptureFixture) -> None:
    Path("my.yaml").write_text(yaml.safe_dump(settings()))
    before = Warehouse(Path("warehouse")).current_run_id
    assert main(["withdraw", "nothing.csv", "--config", "my.yaml"]) == 2
    assert main(["withdraw", "ratings.parquet", "--config", "my.yaml"]) == 2
    said = capsys.readouterr()
    assert "is withdrawn: " in said.out
    assert "the removal is done, but no new tables were published: warehouse holds no events any more" in said.err
    assert (
        Warehouse(Path("warehouse")).current_run_id == before
        and list_runs(Warehouse(Path("warehouse")))[-1].status == "failed"
    )
    assert main(["withdraw", "ratings.parquet", "--undo", "--config", "my.yaml"]) == 0
    assert main(["refresh", "--config", "my.yaml"]) == 0
