"""Rows that cannot be used are quarantined with a reason; none is lost, and the order of delivery does not matter."""

import datetime
import itertools
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tasks.data.ingest import ingest
from tasks.data.interactions import build_interactions
from tasks.errors import InputError, ValidationFailed
from tasks.run.run import open_run
from tests.support.ingestion import COLUMNS, stored, take_in
from tests.support.plain_nights import events_of
from tests.support.worlds import config

pytestmark = pytest.mark.usefixtures("without_prefect")
HEADER = "user,movie,rating,at,kind\n"
ANY_SHARE = {"max_share": 1}
LIMITS = {"min_value": 0, "max_value": 5, **ANY_SHARE}
TOMORROW = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)


def rejected() -> list[tuple]:
    return stored("select row_number, reasons from rejected_events order by all")


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        (",2,1,2026-01-01,view", "no user"),
        ("1,,1,2026-01-01,view", "no item"),
        (",,1,2026-01-01,view", "no user; no item"),
        ("1,2,1,,view", "no time"),
        ("1,2,1,yesterday,view", "unreadable time"),
        ("1,2,1,2026-02-30,view", "unreadable time"),
        (f"1,2,1,{TOMORROW:%Y-%m-%d},view", "time in the future"),
        ("1,2,1,9999-12-31,view", "time in the future"),
        ("1,2,1,0001-01-01,view", "time too early"),
        ("1,2,1,1969-12-31,view", "time too early"),
        ("1,2,five,2026-01-01,view", "value is no number"),
        ("1,2,NaN,2026-01-01,view", "value is no number"),
        ("1,2,Infinity,2026-01-01,view", "value is no number"),
        ("1,2,-1,2026-01-01,view", "value out of range"),
        ("1,2,5.5,2026-01-01,view", "value out of range"),
        (",2,9,tomorrow,view", "no user; unreadable time; value out of range"),
        ("1,2,1", "malformed: missing columns"),
        ("1,2,1,2026-01-01,view,more", "malformed: too many columns"),
    ],
)
def test_a_row_that_cannot_be_used_is_quarantined_with_its_reasons(row: str, reasons: str, world: Path) -> None:
    Path("a.csv").write_text(f"{HEADER}7,8,1,2026-01-01,view\n{row}\n9,9,,2026-01-01,\n")
    handle = take_in("a.csv", quarantine=LIMITS)
    assert (handle.n_read, handle.n_events, handle.n_rejected, handle.n_repeated) == (3, 2, 1, 0)
    assert stored("select user_id, item_id, value from events order by all") == [(7, 8, 1.0), (9, 9, None)]
    place = 3 if reasons.startswith("malformed") else 2  # the line with the header, or the row behind it
    assert rejected() == [(place, reasons)]
    assert handle.reasons == dict.fromkeys(reasons.split("; "), 1)
    raw = stored("select raw from rejected_events")[0][0]
    assert all(part in raw for part in row.split(",") if part)


def test_bytes_of_another_encoding_are_quarantined_or_read_as_configured(world: Path) -> None:
    Path("a.csv").write_bytes("user,movie\n1,K\xf6ln\n2,Wien\n".encode("latin-1"))
    columns = {"user_id": "user", "item_id": "movie"}
    take_in("a.csv", columns, quarantine=ANY_SHARE)
    assert rejected() == [(2, "malformed: invalid encoding")]
    take_in("a.csv", columns, csv={"encoding": "latin-1"})
    assert stored("select item_id from events order by all") == [("Köln",), ("Wien",)]
    assert rejected() == []


def test_more_than_the_allowed_share_stops_the_night_and_is_there_to_be_looked_at(world: Path) -> None:
    Path("a.csv").write_text(HEADER + "1,2,1,2026-01-01,view\n" * 9 + ",2,1,2026-01-01,view\n")
    with pytest.raises(ValidationFailed, match=r"1 of 10 rows .* \(no user: 1\), more than .*max_share=0.05"):
        take_in("a.csv")
    assert rejected() == [(10, "no user")]
    assert stored("select count(*) filter (where is_valid) from event_files") == [(0,)]
    assert take_in("a.csv", quarantine={"max_share": 0.1}).n_rejected == 1
    assert rejected() == [(10, "no user")]


def test_own_conditions_are_reasons_and_overlap(world: Path) -> None:
    Path("a.csv").write_text(HEADER + "1,2,-1,2026-01-01,C1\n1,2,1,2026-01-01,C2\n3,4,1,2026-01-02,view\n")
    conditions = {"cancelled": "kind like 'C%'", "negative": "try_cast(rating as double) < 0"}
    handle = take_in("a.csv", quarantine={"conditions": conditions, **ANY_SHARE})
    assert rejected() == [(1, "cancelled; negative"), (2, "cancelled")]
    assert handle.reasons == {"cancelled": 2, "negative": 1}


def test_a_condition_that_is_no_sql_is_named(world: Path) -> None:
    Path("a.csv").write_text(HEADER)
    with pytest.raises(InputError, match=r"quarantine.conditions.odd: .*nowhere"):
        take_in("a.csv", quarantine={"conditions": {"odd": "nowhere > 1"}})


def test_repeats_count_once_and_a_changed_file_gives_back_what_it_covered(world: Path) -> None:
    Path("a.csv").write_text(HEADER + "1,2,1,2026-01-01,view\n" * 2 + "1,2,1,2026-01-01,buy\n")
    Path("b.csv").write_text(HEADER + "1,2,1,2026-01-01 00:00:00,view\n")
    handle = take_in(["a.csv", "b.csv"])
    assert (handle.n_read, handle.n_events, handle.n_repeated) == (4, 2, 2)
    Path("a.csv").write_text(HEADER + "5,6,1,2026-01-01,view\n")
    take_in(["a.csv", "b.csv"])
    assert stored("select user_id, event_type from events order by all") == [(1, "view"), (5, "view")]


def test_many_events_without_ids_stay_many(world: Path) -> None:
    n = 200_000  # more than one row group of DuckDB
    pl.DataFrame({"user": range(n), "movie": range(n)}).write_parquet("a.parquet")
    columns = {"user_id": "user", "item_id": "movie"}
    handle = take_in("a.parquet", columns)
    assert (handle.n_events, handle.n_repeated) == (n, 0)
    assert stored("select count(distinct user_id) from events") == [(n,)]
    wider = pl.DataFrame({"user": range(n), "movie": range(2**40, 2**40 + n)}, schema_overrides={"user": pl.UInt64})
    wider.write_parquet("b.parquet")
    handle = take_in(["a.parquet", "b.parquet"], columns)
    assert (handle.n_events, handle.n_repeated) == (2 * n, 0)
    assert stored("select count(distinct user_id), count(distinct item_id) from events") == [(n, 2 * n)]


def test_events_with_an_id_are_one_and_the_last_in_time_is_kept(world: Path) -> None:
    header = "id,user,movie,rating,at,kind\n"
    Path("a.csv").write_text(header + "e1,1,2,1,2026-01-02,view\ne2,1,3,1,2026-01-01,view\n,1,2,1,2026-01-02,view\n")
    Path("b.csv").write_text(header + "e1,1,2,4,2026-01-03,view\n,1,2,1,2026-01-02,view\n")
    columns = COLUMNS | {"event_id": "id"}
    for files in (["a.csv", "b.csv"], ["b.csv", "a.csv"]):
        handle = take_in(files, columns)
        assert (handle.n_events, handle.n_repeated) == (3, 2)
        assert stored("select item_id, value from events order by all") == [(2, 1.0), (2, 4.0), (3, 1.0)]


def test_ids_are_tidied_as_configured(world: Path) -> None:
    Path("a.csv").write_text("user,movie\n17850.0, 85123a\n17850,85123A \n")
    columns = {"user_id": "user", "item_id": "movie"}
    handle = take_in("a.csv", columns, ids={"trim": True, "lowercase": True, "strip_decimal": True})
    assert stored("select user_id, item_id from events") == [(17850, "85123a")]
    assert (handle.n_events, handle.n_repeated) == (1, 1)


def test_fractional_numbers_are_ids_if_configured(world: Path) -> None:
    pl.DataFrame({"user": [1.0, None], "movie": [2, 3]}).write_parquet("a.parquet")
    columns = {"user_id": "user", "item_id": "movie"}
    take_in("a.parquet", columns, ids={"strip_decimal": True}, quarantine=ANY_SHARE)
    assert stored("select user_id, typeof(user_id) from events") == [(1, "BIGINT")]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_naive_times_are_read_in_the_configured_zone(name: str, world: Path) -> None:
    frame = pl.DataFrame({"user": [1, 1], "movie": [2, 3], "at": [datetime.datetime(2026, m, 1, 12) for m in (1, 7)]})
    frame.write_csv(name) if name.endswith("csv") else frame.write_parquet(name)
    take_in(name, {"user_id": "user", "item_id": "movie", "timestamp": "at"}, timezone="Europe/Prague")
    assert stored("select hour(timestamp) from events order by timestamp") == [(11,), (10,)]


def test_a_table_of_a_database_and_a_query_are_sources(world: Path) -> None:
    with duckdb.connect("shop.duckdb") as connection:
        connection.execute("create table sales as select 1 as user, 2 as movie, 3.5 as rating")
    columns = {"user_id": "user", "item_id": "movie", "value": "rating"}
    take_in("shop.duckdb", columns, table="sales")
    assert stored("select user_id, item_id, value from events") == [(1, 2, 3.5)]
    query = "select 1 as user, range as movie, 1 as rating from range(3)"
    with open_run(config(source={"query": query, "events": None, "columns": columns, "items": None},
                         interactions={"min_value": None}, warehouse="other")) as run:  # fmt: skip
        assert ingest.fn(run).n_events == 3
        assert ingest.fn(run).n_events == 3


def test_a_csv_file_in_another_dialect_is_read_as_configured(world: Path) -> None:
    Path("a.csv").write_text("user;movie\n1;'a;b'\n")
    take_in("a.csv", {"user_id": "user", "item_id": "movie"}, csv={"delimiter": ";", "quote": "'"})
    assert stored("select user_id, item_id from events") == [(1, "a;b")]


def test_the_order_of_delivery_and_repeats_do_not_matter(world: Path) -> None:
    """Byte-identical interactions from the same files in every order, at once or one a night, some twice."""
    rows = [f"{user},{item},1,2026-01-{1 + user * item % 28:02},view\n" for user in range(9) for item in range(8)]
    for name, part in (("a", rows[:30]), ("b", rows[20:50]), ("c", rows[45:])):
        Path(f"{name}.csv").write_text(HEADER + "".join(part))
    digests = set()
    deliveries = [[list(order)] for order in itertools.permutations(("a.csv", "b.csv", "c.csv"))]
    deliveries += [[[name] for name in order] for order in itertools.permutations(("a.csv", "b.csv", "c.csv"))]
    deliveries += [[["c.csv"], ["a.csv", "c.csv"], ["b.csv"], ["a.csv"]]]
    for number, nights in enumerate(deliveries):
        for files in nights:
            changes = {
                "source": {"events": files, "columns": COLUMNS, "items": None},
                "interactions": {"min_value": None},
                "warehouse": f"warehouse_{number}",
            }
            with open_run(config(**changes)) as run:
                ingest.fn(run)
                digest = build_interactions.fn(run, events_of(run)).digest
            with duckdb.connect(str(run.warehouse.events)) as connection:
                connection.execute("update event_files set is_valid = true")
        digests.add(digest)
    assert len(digests) == 1
