"""Source files into events: formats, types, changes, and times."""

import datetime
import gzip
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tasks.errors import InputError
from tasks.ingest import ingest
from tasks.stages import Events
from tasks.warehouse import open_run
from tests.conftest import config

pytestmark = pytest.mark.usefixtures("without_prefect")
ROWS = pl.DataFrame({
    "user": [1, 1, 2], "movie": [10, 20, 10], "rating": [5.0, 3.5, 1.0],
    "at": ["2026-01-01T10:00:00", "2026-01-02 11:00:00+01:00", "2026-01-03"], "kind": ["view", "buy", None],
})  # fmt: skip
COLUMNS = {"user_id": "user", "item_id": "movie", "timestamp": "at", "value": "rating", "event_type": "kind"}
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


def take_in(events: str | list[str], columns: dict | None = None, items: dict | None = None) -> Events:
    source = {"events": events, "columns": COLUMNS if columns is None else columns, "items": items}
    with open_run(config(source=source, interactions={"min_value": None})) as run:
        return ingest.fn(run)


def stored(
    query: str = "select user_id, item_id, timestamp, value, event_type from events order by all",
) -> list[tuple]:
    with duckdb.connect("warehouse/events.duckdb", read_only=True) as connection:
        return connection.execute(query).fetchall()


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
    assert (handle.n_files, handle.n_new, handle.n_events) == (2, 0, 6)


def test_a_changed_file_takes_the_place_of_the_old_one(world: Path) -> None:
    WRITERS["a.csv"](Path("a.csv"))
    first = take_in("a.csv")
    assert take_in("a.csv") == Events(3, 0, 1, first.digest)
    Path("a.csv").write_text(ROWS.head(2).write_csv())
    second = take_in("a.csv")
    assert (second.n_events, second.n_new) == (2, 2)
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
    Path("c.csv").write_text("user,movie,rating,at,kind\n1,2,x,2026-01-01,view\n")
    with pytest.raises(InputError, match="c.csv: 1 rows have no readable value"):
        take_in(["b.jsonl", "c.csv"])
    assert stored() == EXPECTED


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
