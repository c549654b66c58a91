"""Files as others deliver them, in every format: folders, nested values, numbers, times, quotes, encodings."""

import datetime
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tasks.data.sources.files import COMPRESSED, READERS
from tasks.errors import InputError, ValidationFailed
from tasks.settings.source import SourceSettings
from tests.support.ingestion import stored, take_in

pytestmark = pytest.mark.usefixtures("without_prefect")
IDS = {"user_id": "user", "item_id": "movie"}
TIMED = {**IDS, "timestamp": "at"}
ANY_SHARE = {"max_share": 1}
FORMATS = ("csv", "jsonl", "json", "parquet")
ITEMS = {"item_id": "movie", "title": "name"}


def write(frame: pl.DataFrame, path: str | Path) -> None:
    """Writes a frame in the format that the path's end names; .json is one array."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            frame.write_csv(path)
        case ".jsonl":
            frame.write_ndjson(path)
        case ".json":
            frame.write_json(path)
        case _:
            frame.write_parquet(path)


def rejected() -> list[tuple]:
    return stored("select row_number, reasons from rejected_events order by all")


# folders


@pytest.mark.parametrize("end", FORMATS)
def test_a_folders_name_never_replaces_a_column(end: str, world: Path) -> None:
    write(pl.DataFrame({"user": range(60), "movie": range(60)}), f"user=7/movie=1/a.{end}")
    take_in(f"user=7/movie=1/a.{end}", IDS)
    assert stored("select count(distinct user_id), count(distinct item_id) from events") == [(60, 60)]


@pytest.mark.parametrize("end", FORMATS)
def test_a_folders_name_is_a_column_that_the_file_lacks_and_the_configuration_names(end: str, world: Path) -> None:
    for user in (7, 8):
        write(pl.DataFrame({"movie": [1, 2]}), f"events/user={user}/kind=a%20b/other=1/a.{end}")
    columns = {**IDS, "event_type": "kind"}
    take_in(f"events/*/*/*/a.{end}", columns)
    assert stored("select user_id, item_id, event_type from events order by all") == [
        (user, movie, "a b") for user in (7, 8) for movie in (1, 2)
    ]
    with pytest.raises(InputError, match="has no column 'nothing'"):
        take_in(f"events/*/*/*/a.{end}", {**IDS, "value": "nothing"})


def test_metadata_keeps_its_own_columns_too(world: Path) -> None:
    write(pl.DataFrame({"user": [1], "movie": [1]}), "a.parquet")
    write(pl.DataFrame({"movie": [1, 2], "name": ["a", "b"]}), "movie=7/name=x/m.parquet")
    take_in("a.parquet", IDS, {"path": "movie=7/name=x/m.parquet", **ITEMS})
    assert stored("from items order by all") == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("place", ["events", "events/", "events/**", "events/**/*.*", "events/*/*"])
def test_a_folder_means_the_files_in_it_and_markers_are_passed_over(place: str, world: Path) -> None:
    for number, end in enumerate(FORMATS):
        write(pl.DataFrame({"user": [number], "movie": [1]}), f"events/day={number}/part-0.{end}")
        Path(f"events/day={number}/_SUCCESS").touch()
        Path(f"events/day={number}/.part-0.{end}.crc").write_bytes(b"crc")
    assert take_in(place, IDS).n_events == len(FORMATS)


def test_a_folder_of_other_things_is_said(world: Path) -> None:
    Path("events").mkdir()
    Path("events/notes.docx").write_text("no events")
    with pytest.raises(InputError, match="the folder events holds no file of a known format"):
        take_in("events", IDS)


def test_a_table_is_named_with_its_schema_and_a_view_is_none(world: Path) -> None:
    Path("secret.txt").write_text("secret")
    with duckdb.connect("shop.duckdb") as connection:
        connection.execute("create schema a; create table a.events as select 1 as user, 2 as movie")
        connection.execute("create view events as select content as user, 1 as movie from read_text('secret.txt')")
    take_in("shop.duckdb", IDS, table="a.events")
    assert stored("select user_id, item_id from events") == [(1, 2)]
    with pytest.raises(InputError, match="shop.duckdb has no table 'views', .* its tables: a.events"):
        take_in("shop.duckdb", IDS, table="views")
    take_in("shop.duckdb", IDS, table="events")
    assert stored("select user_id from events") == [(1,)], "the table, not the view of that name"


def test_links_to_folders_and_names_in_capitals_are_followed(world: Path) -> None:
    write(pl.DataFrame({"user": [1], "movie": [2]}), "elsewhere/a.csv")
    write(pl.DataFrame({"user": [2], "movie": [2]}), "events/b.csv")
    Path("events/day").symlink_to("../elsewhere")
    Path("events/C.CSV.GZ").write_bytes(gzip.compress(b"user,movie\n3,2\n"))
    assert take_in("events", IDS).n_events == 3


def test_conditions_see_folders_names_and_the_table(world: Path) -> None:
    write(pl.DataFrame({"user": [1, 2], "movie": [2, 3]}), "country=CZ/a.parquet")
    conditions = {"abroad": "country != 'CZ'", "two": "source_file.user = 2"}
    take_in("country=CZ/a.parquet", IDS, quarantine={"conditions": conditions, **ANY_SHARE})
    assert rejected() == [(2, "two")]


def test_a_query_may_end_as_sql_does(world: Path) -> None:
    take_in(None, IDS, query="select 1 as user, [2, 3] as movie;")
    assert stored("select item_id from events order by all") == [(2,), (3,)]


def test_a_key_may_look_like_a_placeholder(world: Path) -> None:
    Path("a.jsonl").write_text('{"user": 1, "movie": 2, "$objects": 3, "$path": "x", "a\'b": 1}\n')
    assert take_in("a.jsonl", IDS).n_events == 1


# nested values


@pytest.mark.parametrize("end", ["jsonl", "json", "parquet"])
def test_a_list_of_items_is_an_event_each(end: str, world: Path) -> None:
    frame = pl.DataFrame({"user": [1, 2, 3], "movie": [[19, 25], [], None], "id": ["x", "y", "z"]})
    write(frame, f"a.{end}")
    handle = take_in(f"a.{end}", {**IDS, "event_id": "id"}, quarantine=ANY_SHARE)
    assert stored("select user_id, item_id from events order by all") == [(1, 19), (1, 25)]
    assert [reason for _, reason in rejected()] == ["no item", "no item"]
    assert (handle.n_read, handle.n_events, handle.n_rejected) == (4, 2, 2)


def test_lists_of_text_and_of_mixed_values_are_items_too(world: Path) -> None:
    Path("a.jsonl").write_text('{"user": "u", "movie": ["a", 1, 2.5]}\n{"user": "u", "movie": [null]}\n')
    take_in("a.jsonl", IDS, quarantine=ANY_SHARE)
    assert stored("select item_id from events order by all") == [("1",), ("2.5",), ("a",)]


@pytest.mark.parametrize(
    ("end", "name", "value"),
    [
        ("jsonl", "movie", {"id": 19}),
        ("json", "movie", {"id": 19}),
        ("parquet", "movie", {"id": 19}),
        ("jsonl", "user", [1, 2]),
        ("parquet", "user", [1, 2]),
        ("parquet", "user", ["a"]),
        ("jsonl", "movie", [{"id": 19}]),
        ("jsonl", "movie", True),
    ],
)
def test_nested_values_are_no_ids(end: str, name: str, value: object, world: Path) -> None:
    row = {"user": 1, "movie": 2, name: value}
    if end == "parquet":
        pl.DataFrame([row]).write_parquet("a.parquet")
    else:
        Path(f"a.{end}").write_text(json.dumps([row] if end == "json" else row))
    with pytest.raises(InputError, match=rf"a\.{end}: its {name.replace('movie', 'item')}_id is of type "):
        take_in(f"a.{end}", IDS)


def test_a_nested_value_among_ids_is_quarantined(world: Path) -> None:
    Path("a.jsonl").write_text('{"user": 1, "movie": 2}\n{"user": 1, "movie": {"id": 19}}\n{"user": 3, "movie": 4}\n')
    take_in("a.jsonl", IDS, quarantine=ANY_SHARE)
    assert rejected() == [(2, "item is a list or an object")]
    assert stored("select user_id, item_id from events order by all") == [(1, 2), (3, 4)]


@pytest.mark.parametrize("value", [{"id": 19}, [19], True])
def test_nested_values_are_no_ids_of_metadata(value: object, world: Path) -> None:
    write(pl.DataFrame({"user": [1], "movie": ["a"]}), "a.csv")
    Path("m.jsonl").write_text(json.dumps({"movie": value, "name": "a"}))
    with pytest.raises(InputError, match=r"m\.jsonl: its movie is of type "):
        take_in("a.csv", IDS, {"path": "m.jsonl", **ITEMS})


# numbers


@pytest.mark.parametrize("end", ["csv", "jsonl", "json", "parquet"])
def test_an_id_with_a_decimal_point_and_without_is_an_error_or_one(end: str, world: Path) -> None:
    if end == "parquet":
        pl.DataFrame({"user": ["13", "13.0"], "movie": [1, 2]}).write_parquet("a.parquet")
    else:
        text = {"csv": "user,movie\n13,1\n13.0,2\n", "jsonl": '{"user":13,"movie":1}\n{"user":13.0,"movie":2}\n',
                "json": '[{"user":13,"movie":1},{"user":13.0,"movie":2}]'}[end]  # fmt: skip
        Path(f"a.{end}").write_text(text)
    with pytest.raises(InputError, match=r"user_id: .*'13\.0' and '13', .*source\.ids\.strip_decimal"):
        take_in(f"a.{end}", IDS)
    take_in(f"a.{end}", IDS, ids={"strip_decimal": False})
    assert stored("select count(distinct user_id) from events") == [(2,)]
    take_in(f"a.{end}", IDS, ids={"strip_decimal": True})
    assert stored("select distinct cast(user_id as varchar) from events") == [("13",)]


def test_the_same_holds_between_files_and_nights(world: Path) -> None:
    Path("a.csv").write_text("user,movie\n13,1\nanna,1\n")
    Path("b.csv").write_text("user,movie\n13.0,1\n")
    take_in("a.csv", IDS)
    with pytest.raises(InputError, match="strip_decimal"):
        take_in(["a.csv", "b.csv"], IDS)
    assert stored("select count(*) from event_files") == [(1,)]


@pytest.mark.parametrize("given", ["4.00638E+12", "1e+16", "-2.5E+10"])
def test_rounded_numbers_are_no_ids(given: str, world: Path) -> None:
    Path("a.csv").write_text(f"user,movie\n1,{given}\n2,{given}\n3,4006381333931\n")
    take_in("a.csv", IDS, quarantine=ANY_SHARE)
    assert rejected() == [(1, "item is a rounded number"), (2, "item is a rounded number")]
    assert stored("select item_id from events") == [(4006381333931,)]


def test_numbers_that_stand_for_several_integers_are_no_ids(world: Path) -> None:
    pl.DataFrame({"user": [1.0, 2.0**53 + 2, float("nan")], "movie": [1, 2, 3]}).write_parquet("a.parquet")
    take_in("a.parquet", IDS, quarantine=ANY_SHARE, ids={"strip_decimal": True})
    assert rejected() == [(2, "user is a rounded number"), (3, "no user")]
    assert stored("select cast(user_id as varchar) from events") == [("1",)]


@pytest.mark.parametrize("given", ["1E5", "12e34567", "85E12", "1.5", "e+10"])
def test_ids_that_only_look_like_numbers_stay(given: str, world: Path) -> None:
    Path("a.csv").write_text(f"user,movie\n1,{given}\n2,b\n")
    assert take_in("a.csv", IDS).n_events == 2
    assert (given,) in stored("select item_id from events")


def test_an_integer_written_with_decimals_says_so_in_a_warehouse_of_integers(world: Path) -> None:
    Path("a.csv").write_text("user,movie\n13,1\n14,1\n")
    Path("b.jsonl").write_text('{"user": 13.0, "movie": 1}\n')
    take_in("a.csv", IDS)
    with pytest.raises(ValidationFailed, match=r"user has decimals: 1.*source\.ids\.strip_decimal"):
        take_in(["a.csv", "b.jsonl"], IDS)
    assert take_in(["a.csv", "b.jsonl"], IDS, ids={"strip_decimal": True}).n_repeated == 1


@pytest.mark.parametrize("end", ["csv", "jsonl"])
def test_events_whose_ids_were_rounded_are_not_one(end: str, world: Path) -> None:
    if end == "csv":
        Path("a.csv").write_text("id,user,movie\n" + "".join(f"4.00638E+12,{user},1\n" for user in range(5)))
    else:
        rows = (f'{{"id": {2**70 + 1000 * user}, "user": {user}, "movie": 1}}\n' for user in range(5))
        Path("a.jsonl").write_text("".join(rows))
    handle = take_in(f"a.{end}", {**IDS, "event_id": "id"}, quarantine=ANY_SHARE)
    assert handle.n_repeated == 0 and handle.n_events == (0 if end == "csv" else 5)


def test_an_integer_that_fits_no_warehouse_keeps_no_other_out(world: Path) -> None:
    for name, kind, user in (("a", pl.Int32, 1), ("b", pl.Int64, 2**40), ("c", pl.UInt64, 10**19)):
        pl.DataFrame({"user": [user], "movie": [1]}, schema_overrides={"user": kind}).write_parquet(f"{name}.parquet")
    take_in("a.parquet", IDS)
    take_in(["a.parquet", "b.parquet", "c.parquet"], IDS, quarantine=ANY_SHARE)
    assert stored("select user_id from events order by all") == [(1,), (2**40,)]


# times


NUMERIC_TIMES = {
    202403231400: "2024-03-23 14:00:00",
    20240323140059: "2024-03-23 14:00:59",
    20240323140059123: "2024-03-23 14:00:59.123",
    20240323: "2024-03-23 00:00:00",
    1711202400: "2024-03-23 14:00:00",
    1711202400123: "2024-03-23 14:00:00.123",
    946684800000: "2000-01-01 00:00:00",
}


@pytest.mark.parametrize("end", FORMATS)
def test_numbers_are_read_as_the_dates_that_they_are(end: str, world: Path) -> None:
    movies = range(len(NUMERIC_TIMES))
    write(pl.DataFrame({"user": [1] * len(movies), "movie": movies, "at": list(NUMERIC_TIMES)}), f"a.{end}")
    take_in(f"a.{end}", TIMED)
    assert [at for (at,) in stored("select timestamp from events order by item_id")] == [
        datetime.datetime.fromisoformat(expected) for expected in NUMERIC_TIMES.values()
    ]


def test_a_number_that_is_nearly_a_date_is_unreadable(world: Path) -> None:
    Path("a.csv").write_text("user,movie,at\n1,2,202413451400\n1,3,20240230\n1,4,20241323140000\n")
    take_in("a.csv", TIMED, quarantine=ANY_SHARE)
    assert rejected() == [(place, "unreadable time") for place in (1, 2, 3)]


@pytest.mark.parametrize(
    ("written", "form", "expected"),
    [
        ("23/04/2024 17:06", "%d/%m/%Y %H:%M", "2024-04-23 17:06"),
        ("03/04/2024", "%d/%m/%Y", "2024-04-03 00:00"),
        ("04/23/2024 05:06 PM", ["%Y-%m-%d", "%m/%d/%Y %I:%M %p"], "2024-04-23 17:06"),
        ("23.04.24", "%d.%m.%y", "2024-04-23 00:00"),
        ("23/04/2024 19:06 +0200", "%d/%m/%Y %H:%M %z", "2024-04-23 17:06"),
    ],
)
def test_times_are_read_as_the_configuration_says(written: str, form: str | list, expected: str, world: Path) -> None:
    for user, end in enumerate(FORMATS):
        write(pl.DataFrame({"user": [user] * 2, "movie": [2, 2], "at": [written, "?"]}), f"events/a.{end}")
    take_in("events", {**TIMED, "timestamp_format": form}, quarantine=ANY_SHARE)
    at = datetime.datetime.fromisoformat(expected)
    found = stored("select user_id, timestamp from events order by all")
    assert found == [(user, at) for user in range(len(FORMATS))]
    assert rejected() == [(2, "unreadable time")] * len(FORMATS)


def test_without_a_format_ambiguous_times_are_unreadable_and_the_key_is_named(world: Path) -> None:
    Path("a.csv").write_text("user,movie,at\n1,2,03/04/2024\n")
    with pytest.raises(ValidationFailed, match=r"unreadable time: 1.*source\.columns\.timestamp_format"):
        take_in("a.csv", TIMED)


def test_numbers_and_typed_times_have_a_format_too(world: Path) -> None:
    pl.DataFrame({"user": [1], "movie": [2], "at": [23042024]}).write_parquet("a.parquet")
    pl.DataFrame({"user": [1], "movie": [3], "at": [datetime.date(2024, 4, 23)]}).write_parquet("b.parquet")
    take_in(["a.parquet", "b.parquet"], {**TIMED, "timestamp_format": "%d%m%Y"})
    assert stored("select distinct timestamp from events") == [(datetime.datetime(2024, 4, 23),)]


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_infinite_times_are_unreadable(end: str, world: Path) -> None:
    at = "if(i < 2, timestamp '2026-01-01', timestamp '-infinity') as at"
    query = f"select i as user, i as movie, {at} from range(3) t(i)"
    if end == "parquet":
        duckdb.sql(query).write_parquet("a.parquet")
    else:
        frame = pl.DataFrame({"user": [0, 1, 2], "movie": [0, 1, 2], "at": ["2026-01-01", "2026-01-01", "infinity"]})
        write(frame, f"a.{end}")
    take_in(f"a.{end}", TIMED, quarantine=ANY_SHARE)
    assert rejected() == [(3, "unreadable time")]


@pytest.mark.parametrize(("year", "is_warned"), [(1970, True), (2001, True), (2020, False)])
def test_times_that_all_lie_decades_back_are_a_warning(
    year: int, is_warned: bool, world: Path, logged: list[str]
) -> None:
    write(pl.DataFrame({"user": [1], "movie": [2], "at": [datetime.datetime(year, 1, 20)]}), "a.parquet")
    take_in("a.parquet", TIMED)
    assert any("all times lie between" in line and "a.parquet" in line for line in logged) is is_warned


# lines


OPEN_QUOTES = ['2,3,2026-01-02,"open', '2,3,2026-01-02,"open"ed', '"2,3,2026-01-02,open', '2,"3,2026,"x,y']


@pytest.mark.parametrize("bad", OPEN_QUOTES)
@pytest.mark.parametrize("n_after", [1, 5000])
def test_a_quote_that_nobody_closes_costs_its_own_line_only(bad: str, n_after: int, world: Path) -> None:
    good = [f"{n},{n % 9},2026-01-01,fine" for n in range(2 * n_after)]
    Path("a.csv").write_text("\n".join(["user,movie,at,note", *good[:n_after], bad, *good[n_after:]]) + "\n")
    handle = take_in("a.csv", TIMED, quarantine=ANY_SHARE)
    assert (handle.n_events, handle.n_rejected, handle.n_read) == (2 * n_after, 1, 2 * n_after + 1)
    ((place, reason, raw),) = stored("select row_number, reasons, raw from rejected_events")
    assert (place, raw) == (n_after + 2, bad) and reason.startswith("malformed: ") and "unquoted value" in reason


def test_several_open_quotes_and_a_value_of_several_lines_among_them(world: Path) -> None:
    lines = ["user,movie,note", '1,1,"open', '2,2,"two', 'lines, here"', "3,3,fine", '4,4,"open again', "5,5,"]
    lines.append('6,6,""')
    Path("a.csv").write_text("\r\n".join(lines) + "\r\n")
    take_in("a.csv", IDS, quarantine=ANY_SHARE)
    assert stored("select user_id from events order by all") == [(2,), (3,), (5,), (6,)]
    assert stored("select row_number, raw from rejected_events order by all") == [
        (2, '1,1,"open'), (6, '4,4,"open again'),
    ]  # fmt: skip


@pytest.mark.parametrize("ends", ["\r\n\n\n\n", "\n\r\n\n\n", "\n\n\n\r\n"])
def test_lines_that_end_in_several_ways(ends: str, world: Path) -> None:
    lines = ["user,movie", "1,2", "3,a\rb", '4,"c\nd"']
    rows = zip(lines, ends.splitlines(keepends=True), strict=True)
    Path("a.csv").write_bytes("".join(line + end for line, end in rows).encode())
    take_in("a.csv", IDS)
    assert stored("select user_id, item_id from events order by all") == [(1, "2"), (3, "a b"), (4, "c\nd")]


def test_a_quote_that_would_swallow_more_than_a_buffer_loses_nothing(world: Path) -> None:
    n = 400_000
    rows = [f"{user},{user % 7},{'x' * 20}" for user in range(n)]
    rows[1000] = '1000,6,"open'
    Path("a.csv").write_text("user,movie,note\n" + "\n".join(rows) + "\n")
    handle = take_in("a.csv", IDS)
    assert (handle.n_events, handle.n_rejected, handle.n_read) == (n - 1, 1, n)


@pytest.mark.parametrize(
    "bad", ['{"user": 5, "mov', "[1, 2]", '"text"', "no JSON", '{"user": 5}}', '{"user": 1,"movie": 2}{"user": 3}']
)
def test_a_line_that_is_no_object_costs_itself_only(bad: str, world: Path) -> None:
    good = '{"user": 1, "movie": 2}\n'
    Path("a.jsonl").write_text(good + bad + "\n\n" + good.replace("1", "3"))
    handle = take_in("a.jsonl", IDS, quarantine=ANY_SHARE)
    assert (handle.n_events, handle.n_rejected, handle.n_read) == (2, 1, 3)
    assert stored("select row_number, reasons, raw from rejected_events") == [(2, "malformed: no JSON object", bad)]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("bad", ["", '9,"open\n'])
def test_values_of_several_lines_that_look_like_rows_stay_whole(encoding: str, bad: str, world: Path) -> None:
    rows = '1,"first\nsecond, with comma\n""third"", too"\n2,5" pipe\n3,x\n'
    Path("a.csv").write_bytes(f"user,movie\n{bad}{rows}".encode(encoding))
    handle = take_in("a.csv", IDS, csv={"encoding": encoding}, quarantine=ANY_SHARE)
    assert stored("select user_id, item_id from events order by all") == [
        (1, 'first\nsecond, with comma\n"third", too'), (2, '5" pipe'), (3, "x"),
    ]  # fmt: skip
    assert handle.n_rejected == bool(bad)


def test_many_values_of_several_lines_are_read_by_one_thread(world: Path) -> None:
    n = 200_000
    rows = (f'{user},{user % 9},"line one\n{user},7,fake\n""x""\n\n9,9,9"' for user in range(n))
    Path("a.csv").write_text("user,movie,note\n" + "\n".join(rows) + "\n")
    handle = take_in("a.csv", IDS)
    assert (handle.n_events, handle.n_rejected) == (n, 0)
    assert stored("select count(distinct user_id), max(item_id) from events") == [(n, 8)]


def test_quotes_may_be_escaped_by_a_backslash(world: Path) -> None:
    Path("a.csv").write_text('user,movie,note\n1,2,"say \\"hi\\""\n3,4,"a, \\\\ b"\n')
    assert take_in("a.csv", IDS).n_events == 2


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_carriage_returns_may_end_lines(encoding: str, world: Path) -> None:
    Path("a.csv").write_bytes("user,movie\r1,2\r3,4\r".encode(encoding))
    assert take_in("a.csv", IDS, csv={"encoding": encoding}).n_events == 2


@pytest.mark.parametrize(
    ("header", "csv"),
    [
        ('\n\nuser,movie,"no\nte"', {}),
        (" user , movie,note", {}),
        ('"user"||"movie"||"note"', {"delimiter": "||"}),
        ("user;movie;note", {"delimiter": ";"}),
    ],
)
@pytest.mark.parametrize("bad", [False, True])
def test_headers_as_people_write_them(header: str, csv: dict, bad: bool, world: Path) -> None:
    delimiter = csv.get("delimiter", ",")
    rows = [delimiter.join(("1", "2", "x")), *([f'7{delimiter}8{delimiter}"open'] * bad), delimiter.join("345")]
    Path("a.csv").write_text("\n".join([header, *rows]) + "\n")
    take_in("a.csv", IDS, csv=csv, quarantine=ANY_SHARE)
    assert stored("select user_id, item_id from events order by all") == [(1, 2), (3, 4)]
    assert [place for place, _ in rejected()] == [header.count("\n") + 3] * bad


def test_lines_of_json_may_end_in_several_ways(world: Path) -> None:
    Path("a.jsonl").write_bytes(b'{"user":1,"movie":2}\r\n{"user":2,"movie":2}\n{"user":3,"movie":2}\r\n')
    assert take_in("a.jsonl", IDS).n_events == 3


def test_elements_of_an_array_that_are_no_objects_are_counted(world: Path) -> None:
    Path("a.json").write_text('[{"user":1,"movie":2}, null, 5, "x", [1], {"user":3,"movie":4}]')
    handle = take_in("a.json", IDS, quarantine=ANY_SHARE)
    assert (handle.n_read, handle.n_events, handle.n_rejected) == (6, 2, 4)
    assert [place for place, _ in rejected()] == [2, 3, 4, 5]


def test_a_line_of_another_encoding_costs_itself_only_in_jsonl_too(world: Path) -> None:
    Path("a.jsonl").write_bytes('{"user": "Köln", "movie": 2}\n{"user": "Wien", "movie": 2}\n'.encode("latin-1"))
    assert take_in("a.jsonl", IDS, quarantine=ANY_SHARE).n_rejected == 1
    assert stored("select user_id from events") == [("Wien",)]


def test_lines_of_metadata_that_are_no_rows_are_left_out_and_named(world: Path, logged: list[str]) -> None:
    write(pl.DataFrame({"user": [1, 2], "movie": [10, 30]}), "a.csv")
    Path("m.csv").write_text('movie,name,colour\n10,Pot,black\n20,Kettle, red, new\n30,"Pan\n40,Cup,white\n')
    take_in("a.csv", IDS, {"path": "m.csv", **ITEMS})
    assert stored("select item_id, colour from items order by all") == [(10, "black"), (40, "white")]
    assert any("m.csv: 2 lines are left out, e.g. line 3" in line and "Kettle" in line for line in logged)
    Path("m.jsonl").write_text('{"movie": 10, "name": "Pot"}\n{"movie": 20, "na\n')
    take_in("a.csv", IDS, {"path": "m.jsonl", **ITEMS})
    assert stored("select item_id, title from items") == [(10, "Pot")]


# columns


ODD_VALUES = ["02-08-1990", "31/12/1990", "12:30", "not a date", None, [1], {"a": [1, "b"]}, 10**30]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_columns_that_nobody_mapped_do_no_harm_in_json(value: object, world: Path) -> None:
    rows = [{"user": 1, "movie": 2, "birthday": "1990-01-01"}, {"user": 2, "movie": 2, "birthday": value}]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("b.json").write_text(json.dumps(rows))
    assert take_in(["a.jsonl", "b.json"], IDS).n_events == 2


@pytest.mark.parametrize("text", ["", "\n", "[]", "{}", "[1, 2]", "null", "[[]]"])
def test_json_without_an_object_is_said(text: str, world: Path) -> None:
    Path("a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json|no user|no JSON object"):
        take_in("a.json", IDS)


def test_columns_that_nobody_mapped_do_no_harm_in_other_formats(world: Path) -> None:
    duckdb.sql("select 1 as user, 2 as movie, interval 1 day as a, 'x'::blob as b, map {1: 2} as c, uuid() as d, "
               "{'source_file': 1} as source_file, 5 as row_number").write_parquet("a.parquet")  # fmt: skip
    Path("b.csv").write_text("user,movie,x,x,,User,source_file\n3,4,1,2,3,4,5\n,4,1,2,3,4,5\n")
    handle = take_in(["a.parquet", "b.csv"], IDS, quarantine=ANY_SHARE)
    assert (handle.n_events, handle.n_rejected) == (2, 1)
    assert stored("select raw from rejected_events")[0][0].startswith('{"user":null,"movie":"4"')


def test_keys_that_differ_in_case_are_one_the_named_one(world: Path) -> None:
    Path("a.jsonl").write_text('{"User": 9, "user": 1, "movie": 2}\n')
    take_in("a.jsonl", IDS)
    assert stored("select user_id from events") == [(1,)]


MARKERS = ["NULL", "null", "NaN", "None", "\\N", ""]


@pytest.mark.parametrize("end", FORMATS)
def test_what_stands_for_nothing_is_no_user_and_does_not_decide_the_type(end: str, world: Path) -> None:
    n, day = len(MARKERS), "2026-01-01"
    users, movies = ["1", *MARKERS, *["3"] * n], ["1", *["2"] * n, *MARKERS]
    write(pl.DataFrame({"user": users, "movie": movies, "at": [day, *MARKERS, *[day] * n]}), f"a.{end}")
    take_in(f"a.{end}", TIMED, quarantine=ANY_SHARE)
    assert [reasons for _, reasons in rejected()] == ["no user; no time"] * n + ["no item"] * n
    assert stored("select user_id from events") == [(1 if end == "csv" else "1",)]


def test_markers_are_what_the_configuration_says(world: Path) -> None:
    Path("a.csv").write_text("user,movie\nNULL,1\nn/a,2\n")
    take_in("a.csv", IDS, nulls=["n/a"], quarantine=ANY_SHARE)
    assert rejected() == [(2, "no user")]
    assert stored("select user_id from events") == [("NULL",)]


@pytest.mark.parametrize("end", FORMATS)
def test_a_textual_id_among_integers_is_quarantined(end: str, world: Path) -> None:
    write(pl.DataFrame({"user": [1, 2], "movie": [1, 2]}), f"a.{end}")
    write(pl.DataFrame({"user": ["TEST", "007", "12.7", "3"], "movie": [5, 5, 5, 5]}), f"b.{end}")
    take_in(f"a.{end}", IDS)
    take_in([f"a.{end}", f"b.{end}"], IDS, quarantine=ANY_SHARE)
    assert rejected() == [(place, "user is no integer") for place in (1, 2, 3)]
    assert stored("select user_id, typeof(user_id) from events order by all") == [(n, "BIGINT") for n in (1, 2, 3)]


def test_the_type_of_ids_can_be_fixed_from_the_start(world: Path) -> None:
    Path("a.csv").write_text("user,movie\n1,1\n2,x\n")
    take_in("a.csv", IDS, ids={"user_type": "text", "item_type": "integer"}, quarantine=ANY_SHARE)
    assert stored("select user_id, item_id, typeof(item_id) from events") == [("1", 1, "BIGINT")]
    assert rejected() == [(2, "item is no integer")]
    with pytest.raises(InputError, match=r"source\.ids\.user_type: this warehouse holds user_id as VARCHAR already"):
        take_in("a.csv", IDS, ids={"user_type": "integer"})


OTHER_TYPES = {
    "uuid": "VARCHAR",
    "enum('123e4567-e89b-12d3-a456-426614174000')": "VARCHAR",
    "decimal(10,0)": "BIGINT",
    "decimal(38,0)": "BIGINT",
}


IN_FILES = [(end, *kind) for end in ("parquet", "duckdb") for kind in OTHER_TYPES.items()]


@pytest.mark.parametrize(("end", "sql_type", "expected"), [*IN_FILES, ("duckdb", "hugeint", "BIGINT")])
def test_ids_of_other_types(end: str, sql_type: str, expected: str, world: Path) -> None:
    value = "12" if expected == "BIGINT" else "123e4567-e89b-12d3-a456-426614174000"
    query = f"select cast('{value}' as {sql_type}) as user, 1 as movie"
    with duckdb.connect("a.duckdb") as connection:
        connection.execute(f"create table events as {query}")
        if end == "parquet":
            connection.sql("from events").write_parquet("a.parquet")
    take_in(f"a.{end}", IDS)
    assert stored("select cast(user_id as varchar), typeof(user_id) from events") == [(value, expected)]


def test_metadata_has_the_types_that_fit_all_of_its_values(world: Path, logged: list[str]) -> None:
    write(pl.DataFrame({"user": [1], "movie": [1]}), "a.csv")
    rows = [f"{n},a,{1999 + n % 9},{n}.5,true,2020-01-0{1 + n % 9},0{n},no,NULL\n" for n in range(30_000)]
    rows.append("30000,b,unknown,1,false,2020-02-02,1,no,3\n")
    Path("m.csv").write_text("movie,name,year,price,is_new,since,code,language,stock\n" + "".join(rows))
    take_in("a.csv", IDS, {"path": "m.csv", **ITEMS})
    (row,) = stored("select * from items where item_id = 30000")
    assert row == (30000, "b", "unknown", 1.0, False, datetime.date(2020, 2, 2), "1", "no", 3)
    said = "m.csv: the column 'year' is text: 1 of 30,001 values are no bigint, e.g. 'unknown'"
    assert any(said in line for line in logged)
    years = [json.dumps({"movie": n, "name": "a", "year": n if n else "?"}) for n in range(99)]
    Path("m.jsonl").write_text("\n".join(years))
    take_in("a.csv", IDS, {"path": "m.jsonl", **ITEMS})
    assert any("m.jsonl: the column 'year' is text" in line for line in logged)


# how a file is written


ENCODINGS = ["cp1252", "utf-16", "utf-16-be", "utf-16-le", "latin-1", "utf-8", "iso8859-15", "cp1250"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("has_mark", [False, True])
def test_any_encoding_that_python_knows(encoding: str, has_mark: bool, world: Path) -> None:
    mark = "\ufeff" if has_mark and encoding.startswith("utf") else ""
    Path("a.csv").write_bytes(f"{mark}user,movie\nJürgen,1\nßé,2\n".encode(encoding))
    take_in("a.csv", IDS, csv={"encoding": encoding})
    assert stored("select user_id from events order by item_id") == [("Jürgen",), ("ßé",)]


def test_a_byte_order_mark_in_jsonl(world: Path) -> None:
    Path("a.jsonl").write_text('\ufeff{"user": 1, "movie": 2}\n{"user": 3, "movie": 4}\n')
    assert take_in("a.jsonl", IDS).n_events == 2


def test_an_unknown_encoding_is_refused_with_the_configuration(world: Path) -> None:
    with pytest.raises(ValueError, match="encoding 'klingon' is unknown"):
        take_in("a.csv", IDS, csv={"encoding": "klingon"})


@pytest.mark.parametrize(
    ("above", "csv"),
    [
        ("sep=;\n", {}),
        ('"sep=;"\r\n', {}),
        ("Export of 1 January; all shops\n\n", {"skip": 2}),
        ('A "quote, and more\nsep=;\n', {"skip": 1}),
    ],
)
@pytest.mark.parametrize("bad", ["", '7;"open\n'])
def test_lines_above_the_header(above: str, csv: dict, bad: str, world: Path) -> None:
    Path("a.csv").write_text(f"{above}user;movie\n1;2\n{bad}3;4\n")
    take_in("a.csv", IDS, csv=csv, quarantine=ANY_SHARE)
    assert stored("select user_id, item_id from events order by all") == [(1, 2), (3, 4)]
    n_above = above.count("\n")
    assert [place for place, _ in rejected()] == ([n_above + 3] if bad else [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_makes_the_columns(delimiter: str, world: Path) -> None:
    header, row = ["user", "movie", "a,b;c"], ["1", "2", '"x,y;z|w"']
    Path("a.txt").write_text(f"{delimiter.join(header[:2])}{delimiter}note\n{delimiter.join(row)}\n")
    take_in("a.txt", IDS)
    assert stored("select user_id, item_id from events") == [(1, 2)]


def test_json_objects_in_any_layout(world: Path) -> None:
    rows = [{"user": 1, "movie": 2, "at": "2026-01-01"}, {"user": 3, "movie": 4, "at": "2026-01-02"}]
    Path("a.json").write_text(json.dumps(rows, indent=2))
    Path("b.json").write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    Path("c.json").write_text("\n".join(json.dumps(row) for row in rows))
    Path("d.json").write_text("\n[" + ",\n".join(json.dumps(row) for row in rows) + "]\n\n")
    Path("e.json").write_text("[1, 2]\n" + "\n".join(json.dumps(row) for row in rows))
    Path("f.json").write_text(json.dumps({**rows[0], "more": "x" * 2**17}) + "\n" + json.dumps(rows[1]))
    for name in "abcdef":
        assert take_in(f"{name}.json", TIMED, quarantine=ANY_SHARE).n_read >= 2
        assert stored("select user_id, item_id from events order by all") == [(1, 2), (3, 4)]


def test_what_duckdb_says_of_a_broken_file_is_shown_whole(world: Path) -> None:
    Path("a.json").write_text('[{"user": 1, "movie": 2}, {"user": 3, "movie": ]')
    with pytest.raises(InputError, match=r"a\.json cannot be read: .*at byte \d+ in record"):
        take_in("a.json", IDS)


CHECKS: dict[str, Callable[[], dict]] = {
    "drift.category": lambda: {"drift": {"category": "genres"}},
    "gate.segments.column": lambda: {"gate": {"segments": {"column": "genres"}}},
    "source.items.category": lambda: {"items": {"category": "genres"}},
    "source.items.available_until": lambda: {"items": {"available_until": "genres"}},
    "recommendations.filters.in stock": lambda: {"recommendations": {"filters": {"in stock": "genres > 0"}}},
}


@pytest.mark.parametrize("key", CHECKS)
def test_the_configuration_is_held_against_the_files_before_any_event_is_read(
    key: str, world: Path, logged: list[str]
) -> None:
    from tasks.data.ingest import ingest
    from tasks.run.run import open_run
    from tests.support.worlds import config

    changes = CHECKS[key]()
    items = {"path": "data/movies.parquet", "item_id": "movie", "title": "name", **changes.pop("items", {})}
    own = config(source={"items": items}, **changes)
    with open_run(own) as run, pytest.raises(InputError, match=f"{key}.*genres|genres.*{key}"):
        ingest.fn(run)
    assert not any(line.startswith("read ") for line in logged)


def test_the_documentation_names_every_form() -> None:
    said = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    assert [end for end in (*READERS, *COMPRESSED) if f"`{end}`" not in said] == []
    assert f"`source.nulls`: {', '.join(SourceSettings().nulls[:-1])} and {SourceSettings().nulls[-1]}." in said
