"""A corpus of bad deliveries: each ends in counted rows or in one clear error, never in a traceback or a lost row."""

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from flows.cli import main
from tasks.errors import InputError
from tests.support.ingestion import stored, take_in
from tests.support.published_state import snapshot
from tests.support.worlds import settings

pytestmark = pytest.mark.usefixtures("without_prefect")
COLUMNS = {"user_id": "user", "item_id": "movie", "timestamp": "at", "value": "rating"}
HEADER = "user,movie,at,rating\n"
GOOD = "1,2,2026-01-01,5\n"
LONG = "x" * 10_000
FRAME = pl.DataFrame({"user": [1, 2], "movie": [1, 2], "at": ["2026-01-01", "2026-01-02"], "rating": [1.0, 2.0]})


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode(encoding))


def cut(name: str, n_bytes: int) -> Callable[[Path], object]:
    """The first bytes of what a proper writer makes."""

    def write(path: Path) -> None:
        if name == "parquet":
            FRAME.write_parquet(path)
        else:
            path.write_bytes(gzip.compress(FRAME.write_csv().encode() * 500))
        path.write_bytes(path.read_bytes()[:n_bytes])

    return write


# name: (file name, what writes it, (rows read, accepted, repeated, quarantined) or the words of the error)
Outcome = tuple[int, int, int, int] | str
CORPUS: dict[str, tuple[str, Callable[[Path], object], Outcome]] = {
    "no bytes": ("a.csv", text(""), "a.csv is empty"),
    "only a line break": ("a.csv", text("\n"), "a.csv"),
    "only a header": ("a.csv", text(HEADER), "holds no rows"),
    "no header": ("a.csv", text(GOOD), "has no column 'user'"),
    "header twice": ("a.csv", text(HEADER + HEADER + GOOD), (2, 1, 0, 1)),
    "a column twice": ("a.csv", text("user,user,movie,at,rating\n1,1,2,2026-01-01,5\n"), "two columns 'user'"),
    "a column missing": ("a.csv", text("user,movie,at\n1,2,2026-01-01\n"), "has no column 'rating'"),
    "more columns than needed": ("a.csv", text("x," + HEADER + "0," + GOOD), (1, 1, 0, 0)),
    "columns in another order": ("a.csv", text("rating,at,movie,user\n5,2026-01-01,2,1\n"), (1, 1, 0, 0)),
    "byte order mark": ("a.csv", text("\ufeff" + HEADER + GOOD), (1, 1, 0, 0)),
    "Windows line breaks": ("a.csv", text((HEADER + GOOD).replace("\n", "\r\n")), (1, 1, 0, 0)),
    "no line break at the end": ("a.csv", text((HEADER + GOOD).rstrip()), (1, 1, 0, 0)),
    "empty lines": ("a.csv", text(HEADER + GOOD + "\n\n" + "3,4,2026-01-02,1\n"), (2, 2, 0, 0)),
    "semicolons": ("a.csv", text((HEADER + GOOD).replace(",", ";")), (1, 1, 0, 0)),
    "too few fields": ("a.csv", text(HEADER + GOOD + "1,2\n"), (2, 1, 0, 1)),
    "too many fields": ("a.csv", text(HEADER + GOOD + "1,2,2026-01-01,5,6\n"), (2, 1, 0, 1)),
    "a quote that never ends": ("a.csv", text(HEADER + '1,"x",2026-01-01,5\n1,"2,2026-01-01,5\n'), (2, 1, 0, 1)),
    "a quoted line break": ("a.csv", text(HEADER + '1,"a\nb",2026-01-01,5\n'), (1, 1, 0, 0)),
    "latin-1 as utf-8": ("a.csv", text(HEADER + GOOD + "1,Köln,2026-01-01,5\n", "latin-1"), (2, 1, 0, 1)),
    "utf-16 as utf-8": ("a.csv", text(HEADER + GOOD, "utf-16"), "a.csv"),
    "embedded NUL": ("a.csv", text(HEADER + "1,a\0b,2026-01-01,5\n"), (1, 1, 0, 0)),
    "ids of 10,000 characters": ("a.csv", text(f"{HEADER}{LONG},{LONG},2026-01-01,5\n"), (1, 1, 0, 0)),
    "quotes in an id": ("a.csv", text(HEADER + '"O""Neil",2,2026-01-01,5\n'), (1, 1, 0, 0)),
    "emoji": ("a.csv", text(HEADER + "🎲,🎬,2026-01-01,5\n"), (1, 1, 0, 0)),
    "SQL in an id": ("a.csv", text(HEADER + "'; drop table events; --,2,2026-01-01,5\n"), (1, 1, 0, 0)),
    "text among numbers": ("a.csv", text(HEADER + GOOD + "anna,2,2026-01-01,5\n"), (2, 2, 0, 0)),
    "numbers beyond 64 bits": ("a.csv", text(f"{HEADER}{10**30},2,2026-01-01,5\n"), (1, 1, 0, 0)),
    "Infinity": ("a.csv", text(HEADER + "1,2,2026-01-01,Infinity\n"), (1, 0, 0, 1)),
    "NaN": ("a.csv", text(HEADER + "1,2,2026-01-01,nan\n"), (1, 0, 0, 1)),
    "a decimal comma": ("a.csv", text(HEADER + '1,2,2026-01-01,"4,5"\n'), (1, 0, 0, 1)),
    "year 1": ("a.csv", text(HEADER + "1,2,0001-01-01,5\n"), (1, 0, 0, 1)),
    "year 9999": ("a.csv", text(HEADER + "1,2,9999-12-31,5\n"), (1, 0, 0, 1)),
    "year 300000": ("a.csv", text(HEADER + "1,2,300000-01-01,5\n"), (1, 0, 0, 1)),
    "the 30th of February": ("a.csv", text(HEADER + "1,2,2026-02-30,5\n"), (1, 0, 0, 1)),
    "only spaces for an id": ("a.csv", text(HEADER + " ,2,2026-01-01,5\n"), (1, 1, 0, 0)),
    "the same line twice": ("a.csv", text(HEADER + GOOD + GOOD), (2, 1, 1, 0)),
    "gzip cut short": ("a.csv.gz", cut("gzip", 60), "a.csv.gz cannot be read"),
    "gzip in name only": ("a.csv.gz", text(HEADER + GOOD), "a.csv.gz cannot be read"),
    "Parquet cut short": ("a.parquet", cut("parquet", 200), "a.parquet cannot be read"),
    "Parquet in name only": ("a.parquet", text(HEADER + GOOD), "a.parquet cannot be read"),
    "Parquet without rows": ("a.parquet", lambda path: FRAME.head(0).write_parquet(path), "holds no rows"),
    "Parquet ids of dates": (
        "a.parquet",
        lambda path: FRAME.with_columns(user=pl.date(2026, 1, 1)).write_parquet(path),
        "user_id is of type DATE",
    ),
    "Parquet with a list for a value": (
        "a.parquet",
        lambda path: FRAME.with_columns(rating=pl.lit([1, 2])).write_parquet(path),
        (2, 0, 0, 2),
    ),
    "JSON cut short": ("a.jsonl", text('{"user":1,"movie":2,"at":"2026-01-01","rating":5}\n{"user":'), (2, 1, 0, 1)),
    "JSON that is an array": ("a.jsonl", text("[1, 2]\n"), (2, 0, 0, 2)),
    "JSON with a field missing": (
        "a.jsonl",
        text('{"user":1,"movie":2,"at":"2026-01-01","rating":5}\n{"user":1,"movie":2,"at":"2026-01-01"}\n'),
        (2, 2, 0, 0),
    ),
    "a database in name only": ("a.duckdb", text(HEADER + GOOD), "a.duckdb cannot be opened"),
    "an unknown format": ("a.xlsx", text(HEADER + GOOD), "cannot tell the format"),
    "a folder named like a file": ("a.csv", lambda path: path.mkdir(), "the folder a.csv holds no file"),
    "a link to nowhere": ("a.csv", lambda path: path.symlink_to("nowhere"), "no such file: a.csv"),
}


def publish_something(warehouse: Path) -> None:
    (warehouse / "published").mkdir(parents=True)
    (warehouse / "published" / "last.duckdb").write_bytes(b"what readers have")
    (warehouse / "current.duckdb").symlink_to(Path("published") / "last.duckdb")


@pytest.mark.parametrize("case", CORPUS)
def test_ends_in_counted_rows_or_in_one_clear_error(case: str, world: Path) -> None:
    name, write, outcome = CORPUS[case]
    write(Path(name))
    publish_something(world / "warehouse")
    before = snapshot(world / "warehouse")
    if isinstance(outcome, str):
        with pytest.raises(InputError) as raised:
            take_in(name, COLUMNS, quarantine={"max_share": 1})
        assert outcome in str(raised.value)
    else:
        handle = take_in(name, COLUMNS, quarantine={"max_share": 1})
        found = handle.n_read, handle.n_events, handle.n_repeated, handle.n_rejected
        assert found == outcome
        assert stored("select count(*) from rejected_events where raw is null") == [(0,)]
    assert snapshot(world / "warehouse") == before


WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@pytest.mark.skipif(WITHOUT_PRIVILEGES != [] and not shutil.which("setpriv"), reason="root may read everything")
def test_a_file_without_permission_is_named(world: Path) -> None:
    Path("a.csv").write_text(HEADER + GOOD)
    Path("a.csv").chmod(0)
    script = (
        f"from tests.support.ingestion import take_in\nCOLUMNS = {COLUMNS!r}\n"
        "from prefect.logging import disable_run_logger\nwith disable_run_logger(): take_in('a.csv', COLUMNS)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([*WITHOUT_PRIVILEGES, sys.executable, "-c", script], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(root)}, check=False)  # fmt: skip
    assert "InputError: source.events: " in done.stderr and "a.csv may not be read by this user" in done.stderr


@pytest.mark.parametrize("case", ["no header", "gzip cut short", "Parquet in name only", "an unknown format"])
def test_at_the_terminal_it_is_one_message_without_a_traceback(
    case: str, world: Path, capfd: pytest.CaptureFixture, without_engine: None
) -> None:
    name, write, outcome = CORPUS[case]
    write(Path(name))
    columns = {"source": {"events": name, "columns": COLUMNS, "items": None}}
    Path("my.yaml").write_text(yaml.safe_dump(settings(**columns)))
    assert main(["ingest", "--config", "my.yaml"]) == 2
    said = capfd.readouterr().err
    assert outcome in said.split("error: ")[-1] and "Traceback" not in said
