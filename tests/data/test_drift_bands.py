"""What drift judges: bands within what is possible, from enough nights on; new events only, and no backfill."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger

from tasks.data.drift import watch_drift
from tasks.data.ingest import ingest
from tasks.errors import ValidationFailed
from tasks.report.facts import collect_facts
from tasks.report.report import _write
from tasks.run.handles import Drift
from tasks.run.run import open_run
from tasks.settings.config import Config
from tests.support.ingestion import stored
from tests.support.plain_nights import events_of
from tests.support.worlds import config, copy_world

pytestmark = pytest.mark.usefixtures("without_prefect")
START = datetime(2026, 1, 1, tzinfo=UTC)
Rows = list[str]


def settings(timezone: str = "UTC", quarantine: dict | None = None, **drift: object) -> Config:
    columns = {"user_id": "user", "item_id": "item", "timestamp": "at", "value": "n"}
    source = {"events": "night/*.csv", "columns": columns, "items": None, "timezone": timezone}
    rules = {"min_nights": 2, "severity": "blocking", **drift}
    return config(source=source, interactions={"min_value": None}, quarantine=quarantine or {}, drift=rules)


def day(number: int, n: int = 100, n_users: int = 50) -> Rows:
    at = START + timedelta(days=number)
    times = [f"{at + timedelta(seconds=place):%Y-%m-%d %H:%M:%S}" for place in range(n)]
    return [f"{1000 * number + place % n_users},{place % 7},{times[place]},{place % 5}" for place in range(n)]


def deliver(name: int | str, rows: Rows) -> None:
    Path("night").mkdir(exist_ok=True)
    Path(f"night/{name}.csv").write_text("user,item,at,n\n" + "".join(f"{row}\n" for row in rows))


def night(own: Config) -> Drift:
    with open_run(own) as run:
        ingest.fn(run)
        return watch_drift.fn(run, events_of(run))


@pytest.fixture(scope="module")
def made_three_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch, disable_run_logger():
        patch.chdir(folder)
        for number in range(3):
            deliver(number, day(number))
            night(settings())
    return folder


@pytest.fixture
def three_nights(made_three_nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy_world(made_three_nights, tmp_path)


def last_bands() -> dict[str, tuple]:
    rows = stored(
        "select metric, low, high from drift_history where run_id = (select max(run_id) from drift_history)"
    )
    return {metric: (low, high) for metric, low, high in rows}


def test_bands_lie_within_what_is_possible(three_nights: None) -> None:
    deliver(3, day(3))
    night(settings(width=1000.0))
    for metric, (low, high) in last_bands().items():
        least = 1 if metric == "events_per_user" else 0
        most = 1 if metric in ("gini", "share_of_new_users", "share_of_new_items") else 1e9
        assert least <= low <= high <= most, metric


def test_with_too_few_nights_there_is_no_band_and_report_and_log_say_so(
    three_nights: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.data.drift.get_run_logger", lambda: logging.getLogger("drift"))
    for min_nights, is_judged in ((5, False), (3, True)):
        caplog.clear()
        deliver(10 + min_nights, day(10 + min_nights, 5000))
        with (
            caplog.at_level(logging.INFO, "drift"),
            open_run(settings(min_nights=min_nights, severity="warning")) as run,
        ):
            ingest.fn(run)
            drift = watch_drift.fn(run, events_of(run))
        page = _write(run, collect_facts(run)).read_text()
        assert bool(drift.warnings) is is_judged
        assert ("expected" in caplog.text) is is_judged and ("drift is judged from" in caplog.text) is not is_judged
        assert ("not judged yet" in page) is not is_judged and ("✗ warning" in page) is is_judged
        assert ("Outside their bands" in page) is is_judged
        assert all((low is None) is not is_judged for low, _ in last_bands().values())


def test_rows_that_are_read_again_under_other_settings_are_not_new(three_nights: None) -> None:
    for own in (
        settings(quarantine={"min_value": 0}),
        settings(quarantine={"min_value": 1, "max_share": 0.5}),
        settings(quarantine={"conditions": {"odd": "item = 'x'"}}),
        settings(),
        settings(timezone="Europe/Prague"),
    ):
        assert night(own).n_new_events == 0
    assert stored("select count(*), bool_and(is_accepted) from events") == [(300, True)]


def test_a_growing_file_brings_its_new_rows_only_whatever_the_settings(three_nights: None) -> None:
    deliver(2, day(2) + day(3))
    assert night(settings(quarantine={"min_value": 0})).n_new_events == 100
    deliver(4, day(4))
    assert night(settings()).n_new_events == 100


def test_a_refused_night_that_changed_the_settings_leaves_new_what_is_new(three_nights: None) -> None:
    deliver(3, day(3, 5000))
    for _ in range(2):
        with pytest.raises(ValidationFailed, match="5,000 new events"):
            night(settings(quarantine={"min_value": 0}))


def test_a_backfill_is_accepted_and_not_judged(three_nights: None) -> None:
    deliver(3, day(3))
    deliver("archive", [row for number in range(-400, -20) for row in day(number)])
    drift = night(settings())
    assert (drift.n_new_events, drift.n_backfill) == (100, 38_000)
    assert stored("select observed from drift_history where metric = 'events'") == [(100.0,)] * 4
    assert stored("select count(*), bool_and(is_accepted) from events") == [(38_400, True)]


def test_a_backfill_alone_is_no_night_of_the_history(three_nights: None, logged: list[str]) -> None:
    deliver("archive", day(-100, 5000))
    drift = night(settings())
    assert [line for line in logged if "judged" in line] == [
        "no new events but a backfill, if any: drift is not judged",
        "5,000 new events are more than drift.backfill_days=7 days older than the newest accepted one: a backfill, "
        "which is not judged",
    ]
    assert (drift.n_new_events, drift.n_backfill) == (0, 5000)
    assert stored("select count(distinct run_id) from drift_history") == [(3,)]


def test_late_events_and_all_of_the_first_night_are_judged(three_nights: None) -> None:
    deliver("late", day(-4, 5000))
    with pytest.raises(ValidationFailed, match="5,000 new events"):
        night(settings())
    with pytest.raises(ValidationFailed, match="5,000 new events"):
        deliver("late", day(-100, 5000))
        night(settings(backfill_days=None))
    first = stored("select observed from drift_history where metric = 'events' order by run_id limit 1")
    assert first == [(100.0,)]
