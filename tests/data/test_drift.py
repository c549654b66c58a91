"""Nights whose new events are unlike those of earlier nights: known by a band, and only then."""

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prefect.logging import disable_run_logger

from flows.data import validate_alone
from tasks.data.drift import SHARES, watch_drift
from tasks.data.ingest import ingest
from tasks.data.validate import validate
from tasks.errors import InputError, ValidationFailed
from tasks.run.handles import Drift
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.run import open_run
from tasks.settings.config import Config
from tests.support.ingestion import stored
from tests.support.plain_nights import events_of
from tests.support.worlds import config

pytestmark = pytest.mark.usefixtures("without_prefect")
N_NIGHTS = 8


def settings(**drift: object) -> Config:
    source = {
        "events": "night/*.parquet", "columns": {"user_id": "user", "item_id": "item"},
        "items": {"path": "items.parquet", "item_id": "item", "title": "item"},
    }  # fmt: skip
    return config(source=source, interactions={"min_value": None}, drift={"min_nights": 5, "width": 6.0, **drift})


def deliver(number: int, rows: list[tuple[int, int]]) -> None:
    Path("night").mkdir(exist_ok=True)
    frame = pl.DataFrame(rows, schema={"user": pl.Int64, "item": pl.Int64}, orient="row")
    frame.write_parquet(f"night/{number}.parquet")


def usual(number: int, n: int = 400, n_items: int = 40) -> list[tuple[int, int]]:
    """About n events of 60 users that are new every night."""
    rng = np.random.default_rng(number)
    n += int(rng.integers(-20, 20))
    users = 1000 * number + rng.integers(0, 60, n)
    return list(zip(users.tolist(), rng.integers(0, n_items, n).tolist(), strict=True))


def night(config: Config) -> Drift:
    with open_run(config) as run:
        ingest.fn(run)
        return watch_drift.fn(run, events_of(run))


def earlier_nights(n: int = N_NIGHTS, **drift: object) -> None:
    items = pl.DataFrame({"item": range(80), "genre": ["drama", "comedy"] * 40})
    items.write_parquet("items.parquet")
    for number in range(n):
        deliver(number, usual(number))
        night(settings(**drift))


def history(columns: str = "metric", where: str = "not passed") -> list[tuple]:
    return stored(f"select {columns} from drift_history where {where} order by run_id, metric")


ODD_NIGHTS = {
    "events": usual(8, 800),
    "active_users": [(user % 7, item) for user, item in usual(8)],
    "active_items": [(user, item % 20) for user, item in usual(8)],
    "share_of_new_users": [(user - 1000, item) for user, item in usual(8)],
    "share_of_new_items": [(user, item + 1000 * (item % 9 == 0)) for user, item in usual(8)],
    "events_per_user": [(user + 60 * place, item) for place, (user, item) in enumerate(usual(8))],
    "gini": [(user, item if place % 3 else 7) for place, (user, item) in enumerate(usual(8))],
    "psi": [(user, item - item % 2) for user, item in usual(8)],
}


@pytest.fixture(scope="module")
def eight_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which eight usual nights have been; kept.duckdb are its events."""
    folder = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch, disable_run_logger():
        patch.chdir(folder)
        earlier_nights(category="genre")
    shutil.copy(folder / "warehouse" / "events.duckdb", folder / "kept.duckdb")
    return folder


@pytest.fixture
def ninth_night(eight_nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(eight_nights)
    shutil.copy("kept.duckdb", "warehouse/events.duckdb")


@pytest.mark.parametrize("metric", ODD_NIGHTS)
def test_an_odd_night_is_refused_and_says_what_was_expected(metric: str, ninth_night: None) -> None:
    deliver(8, ODD_NIGHTS[metric])
    with pytest.raises(ValidationFailed) as raised:
        night(settings(category="genre"))
    words = str(raised.value)
    odd = words.partition("\nNothing was trained")[0]
    assert re.search(rf"(: |\n  ){metric} ", odd) and "expected" in odd and " to " in odd
    assert "8 earlier nights" in words and "drift.severity: warning" in words
    assert (metric,) in history()
    assert stored("select count(*) from event_files where not is_valid") == [(1,)]


def test_usual_nights_pass_and_the_band_is_recorded(ninth_night: None) -> None:
    deliver(8, usual(8))
    assert night(settings(category="genre")).n_nights == N_NIGHTS
    assert history() == []
    last = "run_id = (select max(run_id) from drift_history)"
    assert [metric for (metric,) in history(where=last)] == sorted(ODD_NIGHTS)
    for metric, expected, low, high, n_nights in history("metric, expected, low, high, n_nights", last):
        before = np.array([value for (value,) in history("observed", f"metric = '{metric}' and not ({last})")], float)
        before = before[~np.isnan(before)]
        middle = np.median(before)
        spread = 1.4826 * np.median(abs(before - middle))
        least = 1 if metric == "events_per_user" else 0
        most = 1 if metric in SHARES and metric != "psi" else np.inf
        half = 6 * max(spread, 0.05 * middle, 0.01 if metric in SHARES else 0)
        assert (expected, high, n_nights) == pytest.approx((middle, min(most, middle + half), len(before)))
        assert low == pytest.approx(0 if metric == "psi" else max(least, middle - half))


def test_nights_that_vary_have_wide_bands(world: Path) -> None:
    pl.DataFrame({"item": range(80)}).write_parquet("items.parquet")
    for number in range(8):
        deliver(number, usual(number, 300 + 40 * number))
        night(settings())
    deliver(8, usual(8, 1000))
    assert night(settings()).n_nights == 8
    assert stored("select count(*) filter (where not is_accepted) from events") == [(0,)]


def test_with_few_nights_nothing_is_judged(world: Path) -> None:
    earlier_nights(4)
    deliver(4, usual(4, 4000))
    assert night(settings()).n_nights == 4
    deliver(5, usual(5, 40))
    with pytest.raises(ValidationFailed):
        night(settings(width=0.5))


def test_a_night_let_through_once_is_known_to_later_ones_and_a_refused_one_is_not(ninth_night: None) -> None:
    deliver(8, usual(8, 800))
    with pytest.raises(ValidationFailed):
        night(settings())
    nights = "select count(distinct run_id) filter (where is_accepted), count(distinct run_id) from drift_history"
    assert stored(nights) == [(N_NIGHTS, N_NIGHTS + 1)]
    with pytest.raises(ValidationFailed):
        night(settings())  # it has the same new events
    handle = night(settings(severity="warning"))
    assert handle.n_nights == N_NIGHTS and any(words.startswith("events ") for words in handle.warnings)
    assert stored("select count(*) from event_files where is_valid") == [(N_NIGHTS + 1,)]
    assert stored(nights) == [(N_NIGHTS + 1, N_NIGHTS + 3)]


def test_a_run_that_goes_on_keeps_what_it_had_recorded(world: Path) -> None:
    earlier_nights(1, category="genre")
    deliver(1, usual(1))
    config = settings(category="genre")
    with open_run(config) as run:
        ingest.fn(run)
        first = watch_drift.fn(run, events_of(run))
        recorded = pl.read_parquet(run.files.folder / "drift.parquet")
        manifest = read_manifest(run.files.folder)
        del manifest.inputs["drift"], manifest.stages["drift"]  # as if it had died right after
        write_manifest(run.files.folder, manifest)
        again = watch_drift.fn(run, events_of(run))
        assert (first.n_new_events, again.n_new_events) == (len(set(usual(1))), 0)
        assert pl.read_parquet(run.files.folder / "drift.parquet").equals(recorded) and len(recorded) == len(
            ODD_NIGHTS
        )


def test_a_refused_run_that_goes_on_is_recorded_once(ninth_night: None) -> None:
    deliver(8, usual(8, 800))
    with pytest.raises(ValidationFailed), open_run(settings(category="genre")) as run:
        ingest.fn(run)
        watch_drift.fn(run, events_of(run))
    with open_run(settings(category="genre", severity="warning"), run.run_id) as run:
        ingest.fn(run)
        watch_drift.fn(run, events_of(run))
    of_run = f"run_id = '{run.run_id}'"
    assert history("metric, is_accepted", of_run) == [(metric, True) for metric in sorted(ODD_NIGHTS)]
    counts = f"select count(*), count(distinct category) from drift_categories where {of_run}"
    assert stored(counts) == [(2, 2)]


def test_the_window_forgets(world: Path) -> None:
    earlier_nights(3)
    for number in range(3, 9):
        deliver(number, usual(number, 4000))
        night(settings(severity="warning", window=5))
    deliver(9, usual(9, 4000))
    assert night(settings(window=5)).n_nights == 5


def test_what_is_delivered_again_is_not_new(world: Path) -> None:
    earlier_nights(3)
    Path("night/again.parquet").write_bytes(Path("night/1.parquet").read_bytes())
    assert night(settings()).n_new_events == 0
    deliver(1, usual(1) + usual(99))
    assert night(settings()).n_new_events == len(set(usual(99)))
    assert night(settings()).n_new_events == 0


def test_an_event_that_differs_in_any_column_is_new(world: Path) -> None:
    columns = {"user_id": "user", "item_id": "item", "timestamp": "at", "value": "n", "event_type": "kind"}
    rows = ["1,1,2026-01-01,1,a", "2,1,2026-01-01,1,a", "1,2,2026-01-01,1,a", "1,1,2026-01-02,1,a",
            "1,1,2026-01-01,2,a", "1,1,2026-01-01,1,b", "1,1,2026-01-01,1,", "1,1,2026-01-01,,a"]  # fmt: skip
    found = []
    for n in range(1, len(rows) + 1):
        Path("a.csv").write_text("user,item,at,n,kind\n" + "\n".join(rows[:n]))
        source = {"events": "a.csv", "columns": columns, "items": None}
        found.append(night(config(source=source, interactions={"min_value": None})).n_new_events)
    assert found == [1] * len(rows)


def test_events_with_an_id_are_known_by_it(world: Path) -> None:
    columns = {"user_id": "user", "item_id": "item", "event_id": "id"}
    found = []
    for name, rows in {"a": "x,1,1\ny,1,1\n", "b": "y,1,2\nz,1,1\n"}.items():
        Path(f"{name}.csv").write_text(f"id,user,item\n{rows}")
        source = {"events": f"{name}.csv", "columns": columns, "items": None}
        found.append(night(config(source=source, interactions={"min_value": None})).n_new_events)
    assert found == [2, 1]


def test_a_growing_file_has_only_its_new_rows_judged_also_after_a_refused_night(world: Path) -> None:
    pl.DataFrame({"item": range(80)}).write_parquet("items.parquet")
    rows: list[tuple[int, int]] = []
    for number in range(7):
        rows += usual(number)
        deliver(0, rows)
        night(settings())
    deliver(0, rows + usual(7, 2000))
    with pytest.raises(ValidationFailed):
        night(settings())
    assert stored("select count(*), bool_and(is_accepted) from events") == [(len(set(rows)), True)], "as before"
    deliver(0, rows + usual(8))
    assert night(settings()).n_new_events == len(set(usual(8)))
    assert stored("select count(*) from event_files") == [(1,)]


def test_a_refused_version_of_a_file_leaves_the_accepted_one(world: Path) -> None:
    earlier_nights(1)
    before = stored()
    Path("night/0.parquet").write_bytes(b"")
    frame = pl.DataFrame({"user": [None] * 5 + [3], "item": range(6)}, schema={"user": pl.Int64, "item": pl.Int64})
    frame.write_parquet("night/0.parquet")
    with pytest.raises(ValidationFailed, match="5 of 6 rows"):
        night(settings())
    assert stored() == before and stored("select count(*) from rejected_events") == [(5,)]
    Path("night/0.parquet").unlink()
    deliver(1, usual(1))
    night(settings())
    assert set(before) < set(stored())


def test_what_a_refresh_had_checked_outlives_a_delivery_that_fails(world: Path) -> None:
    pl.DataFrame({"item": range(80)}).write_parquet("items.parquet")
    at_most = {"expectations": [{"expect": "expect_table_row_count_to_be_between", "max_value": 500}]}
    for number in range(2):
        deliver(0, usual(number))
        shutil.move("night/0.parquet", f"night/{number}.parquet")
        with open_run(settings().model_copy(update={"validation": config(validation=at_most).validation})) as run:
            ingest.fn(run, retry_rejected=False)
            if number == 0:
                validate.fn(run, events_of(run))
            else:
                with pytest.raises(ValidationFailed):
                    validate.fn(run, events_of(run))
        Path(f"night/{number}.parquet").unlink()
    assert stored("select count(*) from events") == [(len(set(usual(0))),)]
    deliver(2, usual(2, 50))
    night(settings())
    assert stored("select count(*) from events") == [(len(set(usual(0) + usual(2, 50))),)]


def test_a_refresh_leaves_out_what_a_night_refused(ninth_night: None) -> None:
    deliver(8, usual(8, 800))
    before = stored("select count(*) from events")
    with pytest.raises(ValidationFailed):
        night(settings())
    with open_run(settings()) as run:
        assert ingest.fn(run, retry_rejected=False).n_new_files == 0
        validate.fn(run, events_of(run))
    assert stored("select count(*) from events") == before
    with pytest.raises(ValidationFailed):
        night(settings())  # a night tries it again
    Path("night/8.parquet").unlink()
    with open_run(settings()) as run:
        ingest.fn(run)
        validate.fn(run, events_of(run))
        watch_drift.fn(run, events_of(run))
    assert stored("select count(*) from events") == before, "a night goes on without a file that was withdrawn"


def test_a_run_that_goes_on_with_further_events_is_recorded_once(world: Path) -> None:
    earlier_nights(2)
    deliver(2, usual(2))
    with open_run(settings()) as run:
        ingest.fn(run)
        watch_drift.fn(run, events_of(run))
    deliver(3, usual(3))
    with open_run(settings(), run.run_id) as run:
        ingest.fn(run)
        assert watch_drift.fn(run, events_of(run)).n_nights == 2, "itself is no earlier night"
    assert stored("select count(*) - count(distinct (run_id, metric)) from drift_history") == [(0,)]


def test_the_first_night_has_no_index_of_stability(world: Path) -> None:
    earlier_nights(2, category="genre")
    assert [value is None for (value,) in history("observed", "metric = 'psi'")] == [True, False]


def test_more_nights_than_the_window_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="min_nights is 7, but the window holds 3"):
        settings(window=3, min_nights=7)


def test_an_unknown_category_names_the_columns_there_are(world: Path) -> None:
    deliver(0, usual(0))
    pl.DataFrame({"item": range(80)}).write_parquet("items.parquet")
    with pytest.raises(InputError, match="no column 'genre', which drift.category names; it has item_id, title"):
        night(settings(category="genre"))


def test_gini_of_known_distributions(world: Path) -> None:
    pl.DataFrame({"item": range(80)}).write_parquet("items.parquet")
    deliver(0, [(user, item) for item in range(4) for user in range(3)])
    night(settings())
    deliver(1, [(1000 + user, 0) for user in range(97)] + [(2000 + item, item) for item in (1, 2, 3)])
    night(settings())
    assert [value for (value,) in history("round(observed, 6)", "metric = 'gini'")] == [0.0, 0.72]


@pytest.mark.usefixtures("without_engine")
def test_validating_alone_accepts_what_was_ingested_alone(world: Path) -> None:
    deliver(0, usual(0))
    pl.DataFrame({"item": range(80)}).write_parquet("items.parquet")
    with open_run(settings()) as run:
        ingest.fn(run)
    assert stored("select distinct is_accepted from events") == [(False,)]
    validate_alone(settings())
    assert stored("select distinct is_accepted from events") == [(True,)]
