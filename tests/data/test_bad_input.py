"""What a person can get wrong: one clear message each, and nothing published changes."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest
import torch
import yaml

from flows.cli import main
from tasks.run.index import list_runs
from tasks.run.run import open_run
from tasks.run.warehouse import Warehouse
from tests.support.published_state import snapshot
from tests.support.worlds import community_events, config, settings

pytestmark = pytest.mark.usefixtures("without_engine")


def elsa_nightly(capfd: pytest.CaptureFixture, changes: dict) -> tuple[int, str]:
    """The exit code and the last word of `elsa nightly` with a changed configuration."""
    Path("bad.yaml").write_text(yaml.safe_dump(settings(**changes), allow_unicode=True))
    code = main(["nightly", "--config", "bad.yaml"])
    return code, capfd.readouterr().err.split("error: ")[-1]


def empty_file() -> dict:
    Path("data/empty.csv").touch()
    return {"source": {"events": "data/empty.csv"}}


def header_only() -> dict:
    Path("data/header.csv").write_text("user,movie,at,rating\n")
    return {"source": {"events": "data/header.csv"}, "warehouse": "fresh"}


def not_parquet() -> dict:
    Path("data/broken.parquet").write_text("PAR1 this is no Parquet")
    return {"source": {"events": "data/broken.parquet"}}


def bad_time() -> dict:
    Path("data/times.csv").write_text("user,movie,at,rating\n1,2,yesterday,5\n1,3,2026-01-01,5\n")
    return {"source": {"events": "data/times.csv"}}


def bad_number() -> dict:
    Path("data/numbers.csv").write_text("user,movie,at,rating\n1,2,2026-01-01,five\n1,3,2026-01-01,NaN\n")
    return {"source": {"events": "data/numbers.csv"}}


def text_ids_in_a_warehouse_of_numbers() -> dict:
    Path("data/text.csv").write_text("user,movie,at,rating\nanna,2,2026-01-01,5\n")
    return {"source": {"events": "data/text.csv"}}


def fractional_ids() -> dict:
    events = community_events().with_columns(pl.col("user").cast(pl.Float64))
    events.write_parquet("data/fractions.parquet")
    return {"source": {"events": "data/fractions.parquet"}}


def missing_user() -> dict:
    has_user = pl.col("movie") % 5 != 3
    events = community_events().with_columns(user=pl.when(has_user).then("user"))
    events.write_parquet("data/ratings.parquet")
    return {}


def items_twice() -> dict:
    pl.DataFrame({"movie": [1, 1], "name": ["a", "b"]}).write_parquet("data/twice.parquet")
    return {"source": {"items": {"path": "data/twice.parquet", "item_id": "movie", "title": "name"}}}


def valid_events() -> int:
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        query = "select count(*) from events join event_files using (file_id) where is_valid"
        return connection.execute(query).fetchall()[0][0]


COLUMNS = {"user_id": "user", "item_id": "movie", "timestamp": "at", "value": "rating"}
ROW_COUNT = "expect_table_row_count_to_be_between"
CASES = {
    "no such file": (
        lambda: {"source": {"events": "data/nowhere.parquet"}},
        2, ["source.events", "no such file", "data/nowhere.parquet"],
    ),
    "empty file": (empty_file, 2, ["data/empty.csv", "is empty"]),
    "header only": (header_only, 2, ["data/header.csv", "no rows"]),
    "not what its name says": (not_parquet, 2, ["data/broken.parquet", "cannot be read"]),
    "a folder with other files": (
        lambda: {"source": {"events": "data"}}, 2, ["data/movies.parquet has no column 'user'", "movie, name, genre"],
    ),
    "missing column": (
        lambda: {"source": {"columns": {**COLUMNS, "user_id": "customer"}}},
        2, ["ratings.parquet has no column 'customer'", "source.columns.user_id", "user, movie, rating, at"],
    ),
    "unreadable time": (bad_time, 4, ["1 of 2 rows", "unreadable time: 1", "max_share=0.05", "elsa rejected"]),
    "unreadable number": (bad_number, 4, ["2 of 2 rows", "value is no number: 2"]),
    "text ids among numbers": (text_ids_in_a_warehouse_of_numbers, 4, ["user is no integer: 1", "ids.user_type"]),
    "fractional ids": (fractional_ids, 2, ["data/fractions.parquet", "user_id is of type DOUBLE"]),
    "metadata with an item twice": (items_twice, 2, ["data/twice.parquet", "one row an item"]),
    "all users filtered out": (
        lambda: {"interactions": {"min_value": 6.0}},
        2, ["no interactions are left", "interactions.min_value=6.0", "lower these limits"],
    ),
    "support too high": (
        lambda: {"interactions": {"min_user_interactions": 99}},
        2, ["no interactions are left", "min_user_interactions=99"],
    ),
    "more factors than items": (
        lambda: {"policy_configs": {"embedding_policy": {"factors": 61}}},
        2, ["factors is 61", "only 60 items", "set factors to 60 or less"],
    ),
    "nobody to test": (lambda: {"holdout": {"test_share": 1e-9}}, 2, ["none to test", "holdout.test_share"]),
    "missing user ids": (missing_user, 4, ["cannot be used", "no user: "]),
    "too few events": (
        lambda: {"validation": {"expectations": [{"expect": ROW_COUNT, "min_value": 10_000_000}]}},
        4, ["1 of 2 expectations", f"{ROW_COUNT}(min_value=10000000): {community_events().height:,}"],
    ),
    "value out of range": (
        lambda: {"quarantine": {"max_value": 4.0}},
        4, ["cannot be used", "value out of range: "],
    ),
}  # fmt: skip


@pytest.mark.usefixtures("first_night")
@pytest.mark.parametrize("case", CASES)
def test_is_refused_and_changes_nothing_published(case: str, world: Path, capfd: pytest.CaptureFixture) -> None:
    capfd.readouterr()
    before = snapshot(world / "warehouse")
    n_events = valid_events()
    make, code, expected = CASES[case]
    found_code, message = elsa_nightly(capfd, make())
    assert found_code == code, message
    for words in expected:
        assert words in message
    assert "Traceback" not in message
    assert snapshot(world / "warehouse") == before
    assert not list(world.glob("*/published/*.unfinished"))
    if code == 2:
        assert valid_events() == n_events


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_where_there_is_none_is_refused_before_anything_runs(world: Path, capfd: pytest.CaptureFixture) -> None:
    code, message = elsa_nightly(capfd, {"policy_configs": {"embedding_policy": {"device": "cuda"}}})
    assert (code, "'cuda'" in message, "use 'auto' or 'cpu'" in message) == (2, True, True)
    assert not (world / "warehouse").exists()


def test_an_unknown_key_is_refused_before_anything_runs(world: Path, capfd: pytest.CaptureFixture) -> None:
    code, message = elsa_nightly(capfd, {"interactions": {"min_valeu": 4}})
    assert code == 2
    line = Path("bad.yaml").read_text().splitlines().index("  min_valeu: 4") + 1
    assert f"bad.yaml, line {line}: interactions.min_valeu: unknown key; did you mean 'min_value'?" in message
    assert not (world / "warehouse").exists()


def test_a_warehouse_in_use_is_left_alone(world: Path, capfd: pytest.CaptureFixture) -> None:
    with open_run(config()):
        code, message = elsa_nightly(capfd, {})
    assert (code, f"pid {os.getpid()}" in message) == (5, True)
    assert len(list_runs(Warehouse(world / "warehouse"))) == 1


@pytest.mark.usefixtures("first_night")
def test_events_open_in_another_program_are_left_alone(world: Path, capfd: pytest.CaptureFixture) -> None:
    before = snapshot(world / "warehouse")
    script = "import duckdb, sys; c = duckdb.connect('warehouse/events.duckdb'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        code, message = elsa_nightly(capfd, {})
        other.communicate()
    assert (code, "events.duckdb" in message) == (5, True)
    assert snapshot(world / "warehouse") == before


def test_a_plain_file_in_the_place_of_the_symlink_is_not_overwritten(
    world: Path, capfd: pytest.CaptureFixture
) -> None:
    Path("warehouse").mkdir()
    Path("warehouse/current.duckdb").write_text("mine")
    code, message = elsa_nightly(capfd, {})
    assert (code, "current.duckdb" in message) == (2, True)
    assert Path("warehouse/current.duckdb").read_text() == "mine"


def test_a_run_that_failed_says_so_and_one_that_was_killed_has_died(world: Path) -> None:
    with pytest.raises(RuntimeError), open_run(config()):
        raise RuntimeError("out of luck")
    script = (
        "import os\nfrom tests.support.worlds import config\nfrom tasks.run.run import open_run\n"
        "with open_run(config()):\n    os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    runs = list_runs(Warehouse(world / "warehouse"))
    assert [run.status for run in runs] == ["failed", "died"]
    assert runs[0].reasons == ["RuntimeError: out of luck"]
