"""Source files into events: formats, types, changes, and times."""

import datetime
import gzip
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import polars as pl
import pytest

from tasks.data.ingest import ingest, progress
from tasks.data.validate import validate
from tasks.errors import InputError, ValidationFailed
from tasks.run.handles import Events
from tasks.run.run import open_run
from tests.support.ingestion import COLUMNS, stored, take_in
from tests.support.plain_nights import events_of
from tests.support.worlds import config

pytestmark = pytest.mark.usefixtures("without_prefect")
ROWS = pl.DataFrame({
    "user": [1, 1, 2], "movie": [10, 20, 10], "rating": [5.0, 3.5, 1.0],
    "at": ["2026-01-01T10:00:00", "2026-01-02 11:00:00+01:00", "2026-01-03"], "kind": ["view", "buy", None],
})  # fmt: skip
AT_LEAST_1000 = {"expectations": [{"expect": "expect_table_row_count_to_be_between", "min_value": 1000}]}
EXPECTED = [
    (1, 10, datetime.datetime(2026, 1, 1, 10), 5.0, "view"),
    (1, 20, datetime.datetime(2026, 1, 2, 10), 3.5, "buy"),
    (2, 10, datetime.datetime(2026, 1, 3), 1.0, None),
]
WRITERS: dict[str, Callable[[Path], object]] = {
    "a.csv": lambda path: path.write_text(ROWS.write_csv()),
    "a.tsv": lambda path: path.write_text(ROWS.write_csv(separator="\t")),
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(ROWS.write_csv().encode())),
    "a.csv.zst": lambda path: ROWS.write_csv(path, compression="zstd"),
    "a.jsonl": lambda path: path.write_text(ROWS.write_ndjson()),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(ROWS.write_ndjson().encode())),
    "a.parquet": lambda path: ROWS.write_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_events(name: str, world: Path) -> None:
    WRITERS[name](Path(name))
    assert take_in(name).n_events == 3
    assert stored() == EXPECTED
    assert stored("select distinct typeof(user_id), typeof(item_id) from events") == [("BIGINT", "BIGINT")]


def test_globs_and_lists_take_each_file_once(world: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        WRITERS[name](Path(name))
    assert take_in("a.*").n_files == 2
    handle = take_in(["a.csv", "a.*"])
    assert (handle.n_files, handle.n_new_files, handle.n_events, handle.n_repeated) == (2, 0, 3, 3)


def test_a_changed_file_takes_the_place_of_the_old_one(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    first = take_in("a.csv")
    assert first == Events(3, 3, 0, 0, {}, 1, 1, first.digest)
    assert take_in("a.csv") == replace(first, n_new_files=0)
    Path("a.csv").write_text(ROWS.head(2).write_csv())
    second = take_in("a.csv")
    assert (second.n_events, second.n_read, second.n_new_files) == (2, 2, 1)
    assert stored() == EXPECTED[:2]


def test_a_changed_column_mapping_reads_the_file_anew(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    take_in("a.csv")
    take_in("a.csv", {**COLUMNS, "value": None})
    assert stored("select distinct value from events") == [(None,)]


def test_a_refused_file_leaves_the_events_as_they_were(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    take_in("a.csv")
    WRITERS["a.jsonl"](Path("b.jsonl"))
    Path("c.csv").write_text("user,item\n1,2\n")
    with pytest.raises(InputError, match="c.csv has no column 'movie'"):
        take_in(["b.jsonl", "c.csv"])
    assert stored() == EXPECTED
    assert stored("select count(*) from event_files") == [(1,)]


def test_files_that_did_not_pass_validation_are_forgotten_when_they_are_replaced(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    take_in("a.csv")
    WRITERS["a.jsonl"](Path("bad.jsonl"))
    refused_by_validation({"events": ["a.csv", "bad.jsonl"], "columns": COLUMNS, "items": None})
    assert stored("select count(*) from event_files") == [(2,)], "there to be looked at"
    assert take_in("a.csv").n_read == 3
    assert stored() == EXPECTED


def refused_by_validation(source: dict) -> None:
    refused = config(source=source, interactions={"min_value": None}, validation=AT_LEAST_1000)
    with open_run(refused) as run:
        ingest.fn(run)
        with pytest.raises(ValidationFailed, match="row_count_to_be_between.min_value=1000.: "):
            validate.fn(run, events_of(run))


def test_files_that_nobody_has_judged_yet_stay(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    Path("b.csv").write_text(ROWS.head(1).with_columns(user=pl.lit(77)).write_csv())
    for name in ("a.csv", "b.csv"):
        with open_run(config(source={"events": name, "columns": COLUMNS, "items": None})) as run:
            ingest.fn(run)
    assert stored("select count(*), count(is_valid) from event_files") == [(2, 0)]
    assert stored("select count(*) from events") == [(4,)]


def test_a_file_is_the_same_however_its_path_is_spelled(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    take_in("a.csv")
    assert take_in("./data/../a.csv").n_events == 3
    assert take_in(str(world / "a.csv")).n_events == 3


def test_brackets_in_a_name_are_no_pattern(world: Path) -> None:
    WRITERS["a.csv"](Path("x[1].csv"))
    Path("x1.csv").write_text(ROWS.head(1).write_csv())
    assert take_in("x[1].csv").n_events == 3


def test_a_file_without_rows_decides_no_type(world: Path) -> None:
    Path("a.csv").write_text("user,movie\n1,1\n")
    Path("b.csv").write_text("user,movie\n")
    take_in(["a.csv", "b.csv"], {"user_id": "user", "item_id": "movie"})
    Path("c.csv").write_text("user,movie\n")
    take_in(["a.csv", "c.csv"], {"user_id": "user", "item_id": "movie"})
    assert stored("select user_id, item_id from events") == [(1, 1)]


def test_text_ids_in_jsonl_stay_text_whatever_they_look_like(world: Path) -> None:
    ids = ["123e4567-e89b-12d3-a456-426614174000", "2020-01-01", "42"]
    Path("a.jsonl").write_text("".join(f'{{"user": "{name}", "movie": 1}}\n' for name in ids))
    take_in("a.jsonl", {"user_id": "user", "item_id": "movie"})
    assert stored("select user_id from events order by all") == sorted((name,) for name in ids)


def test_integer_ids_widen_when_larger_ones_come(world: Path) -> None:
    ROWS.with_columns(pl.col("user").cast(pl.Int32)).write_parquet("a.parquet")
    take_in("a.parquet")
    ROWS.head(1).with_columns(user=pl.lit(2**40)).write_parquet("b.parquet")
    take_in(["a.parquet", "b.parquet"])
    assert stored("select max(user_id), any_value(typeof(user_id)) from events") == [(2**40, "BIGINT")]


def test_dates_as_numbers_are_dates_and_small_numbers_are_no_times(world: Path) -> None:
    Path("a.csv").write_text("user,movie,at\n1,2,20260131\n")
    columns = {"user_id": "user", "item_id": "movie", "timestamp": "at"}
    take_in("a.csv", columns)
    assert stored("select timestamp from events") == [(datetime.datetime(2026, 1, 31),)]
    Path("b.csv").write_text("user,movie,at\n1,2,2026\n")
    with pytest.raises(ValidationFailed, match="unreadable time: 1"):
        take_in("b.csv", columns)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(pl.Int32, "INTEGER"), (pl.Int64, "BIGINT"), (pl.UInt16, "USMALLINT"), (pl.String, "VARCHAR")],
)
def test_ids_keep_their_type(kind: pl.DataType, expected: str, world: Path) -> None:
    ROWS.with_columns(pl.col("user").cast(kind)).write_parquet("a.parquet")
    take_in("a.parquet")
    assert stored("select distinct typeof(user_id) from events") == [(expected,)]


def test_ids_with_leading_zeros_stay_text(world: Path) -> None:
    Path("a.csv").write_text("user,movie\n007,1\n8,2\n")
    take_in("a.csv", {"user_id": "user", "item_id": "movie"})
    assert stored("select user_id, item_id from events order by all") == [("007", 1), ("8", 2)]


def test_one_file_with_text_ids_makes_all_ids_text(world: Path) -> None:
    Path("a.csv").write_text("user,movie\n1,1\n")
    Path("b.csv").write_text("user,movie\nanna,2\n")
    take_in(["a.csv", "b.csv"], {"user_id": "user", "item_id": "movie"})
    assert stored("select user_id, item_id from events order by all") == [("1", 1), ("anna", 2)]


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_unix_epochs_are_told_apart_by_their_size(factor: int, world: Path) -> None:
    frame = pl.DataFrame({"user": [1], "movie": [2], "at": [1_260_759_144 * factor]})
    frame.write_parquet("a.parquet")
    frame.write_csv("b.csv")
    columns = {"user_id": "user", "item_id": "movie", "timestamp": "at"}
    take_in(["a.parquet", "b.csv"], columns)
    assert stored("select distinct timestamp from events") == [(datetime.datetime(2009, 12, 14, 2, 52, 24),)]


def test_quarantined_rows_do_not_decide_the_type_of_ids(world: Path) -> None:
    header = "user,movie,at\n"
    columns = {"user_id": "user", "item_id": "movie", "timestamp": "at"}
    Path("a.csv").write_text(f"{header}1,2,2026-01-01\n{header}3,4,2026-01-02\n")
    for name in ("a.csv", "b.csv"):  # into a new warehouse, and into one of integers
        shutil.copy("a.csv", "b.csv")
        assert take_in(name, columns, quarantine={"max_share": 1}).n_rejected == (1 if name == "a.csv" else 2)
        assert stored("select distinct typeof(user_id), typeof(item_id) from events") == [("BIGINT", "BIGINT")]
    assert stored("select distinct reasons from rejected_events") == [
        ("user is no integer; item is no integer; unreadable time",)
    ]


def test_unsigned_ids_stay_integers(world: Path) -> None:
    for name, kind in (("a.parquet", pl.Int64), ("b.parquet", pl.UInt64)):
        pl.DataFrame({"user": [5], "movie": [7]}, schema={"user": kind, "movie": kind}).write_parquet(name)
    columns = {"user_id": "user", "item_id": "movie"}
    take_in("a.parquet", columns)
    take_in("b.parquet", columns)
    assert stored("select user_id, typeof(user_id) from events") == [(5, "BIGINT")]
    large = pl.DataFrame({"user": [2**63], "movie": [7]}, schema={"user": pl.UInt64, "movie": pl.UInt64})
    large.write_parquet("c.parquet")
    with pytest.raises(ValidationFailed, match="user is no integer: 1"):
        take_in("c.parquet", columns)


def test_ids_of_metadata_are_tidied_like_those_of_events(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("a.csv").write_text("user,movie\n1,85123a \n1,v1.0\n")
    Path("m.csv").write_text("movie,name\n85123A,Lamp\nV1.0,Version\n")
    ids = {"trim": True, "lowercase": True, "strip_decimal": True}
    columns = {"user_id": "user", "item_id": "movie"}
    take_in("a.csv", columns, {"path": "m.csv", "item_id": "movie", "title": "name"}, ids=ids)
    assert stored("select item_id, title from events join items using (item_id) order by all") == [
        ("85123a", "Lamp"), ("v1.0", "Version"),
    ]  # fmt: skip


def test_metadata_keeps_every_column(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    Path("m.csv").write_text("movie,name,year\n10,Ten,1979\n99,Ninety-nine,2000\n")
    take_in("a.csv", items={"path": "m.csv", "item_id": "movie", "title": "name"})
    assert stored("from items order by item_id") == [(10, "Ten", 1979), (99, "Ninety-nine", 2000)]


def test_metadata_without_its_columns_is_refused(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    Path("m.csv").write_text("movie,label\n10,Ten\n")
    with pytest.raises(
        InputError, match="m.csv has no column 'name', which source.items.title names; it has movie, label"
    ):
        take_in("a.csv", items={"path": "m.csv", "item_id": "movie", "title": "name"})


def test_jsonl_numbers_that_turn_fractional_late_are_not_rounded(world: Path) -> None:
    rows = [f'{{"user": {n}, "movie": 1, "rating": {3.5 if n == 24_999 else 4}}}\n' for n in range(25_000)]
    Path("a.jsonl").write_text("".join(rows))
    take_in("a.jsonl", {"user_id": "user", "item_id": "movie", "value": "rating"})
    assert stored("select min(value), max(value) from events") == [(3.5, 4.0)]


def test_a_time_that_is_no_number_is_counted(world: Path) -> None:
    pl.DataFrame({"user": [1, 2], "movie": [1, 1], "at": [1.6e9, float("nan")]}).write_parquet("a.parquet")
    with pytest.raises(ValidationFailed, match="1 of 2 rows .*unreadable time: 1"):
        take_in("a.parquet", {"user_id": "user", "item_id": "movie", "timestamp": "at"})


def test_id_types_of_forgotten_files_are_forgotten(world: Path) -> None:
    Path("wrong.csv").write_text("user,movie\nanna,1\n")
    columns = {"user_id": "user", "item_id": "movie"}
    refused_by_validation({"events": "wrong.csv", "columns": columns, "items": None})
    Path("right.csv").write_text("user,movie\n1,1\n")
    take_in("right.csv", columns)
    assert stored("select user_id from events") == [(1,)]


def test_progress_of_a_long_statement_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("tasks.run.progress.SECONDS_BETWEEN_MESSAGES", 0.02)
    log = SimpleNamespace(info=lambda words, *parts: said.append(words % parts))
    monkeypatch.setattr("prefect.get_run_logger", lambda: log)
    with duckdb.connect() as connection, progress(connection, "reading a.csv"):
        connection.execute("create table a as select range, hash(range) from range(20_000_000) order by all")
    assert len(said) > 1 and all(re.fullmatch(r"reading a.csv: (\d+ % after )?\d+ s", words) for words in said)
    assert any("%" in words for words in said) and not any(" 0 %" in words for words in said)
    assert said[-1] != said[0]


def test_a_corrupt_warehouse_is_not_taken_for_a_busy_one(world: Path) -> None:
    (world / "warehouse").mkdir()
    (world / "warehouse" / "events.duckdb").write_bytes(b"DUCK or not" * 10_000)
    WRITERS["a.csv"](Path("a.csv"))
    with pytest.raises(InputError, match="events.duckdb cannot be opened") as raised:
        take_in("a.csv")
    assert raised.value.exit_code == 2
