"""CSV files as other programs write them: any encoding, lines above the header, quotes that nobody closed."""

import codecs
import csv as python_csv
import glob
import hashlib
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Csv
from tasks.errors import InputError
from tasks.quoting import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DELIMITERS = (",", ";", "\t", "|")
LONGEST_VALUE = 1000  # lines of one quoted value in a file whose quotes do not pair up
# where DuckDB meets these it passes over what follows, uncounted
LOSES_LINES = "error_type in ('UNQUOTED VALUE', 'LINE SIZE OVER MAXIMUM')"


@dataclass(frozen=True)
class CsvFile:
    """How DuckDB reads a CSV file, or a copy of it in UTF-8 whose quotes pair up and whose lines end alike.

    skip      lines above the header
    columns   names in the order of the file; one that comes twice has _1 behind it the second time
    repeated  names that come more than once
    bad       a Parquet file (line, raw) of the lines that the copy leaves out; None where there are none
    """

    path: Path
    delimiter: str
    quote: str
    skip: int
    columns: tuple[str, ...]
    repeated: frozenset[str]
    bad: Path | None = None

    def select(self, nulls: tuple[str, ...] = ()) -> str:
        """The SQL that reads it, all columns as text; null is what is empty or, if given, one of `nulls`."""
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.columns)
        marks = f"delim = {literal(self.delimiter)}, quote = {literal(self.quote)}, escape = {literal(self.quote)}"
        nullstr = f", nullstr = [{', '.join(map(literal, nulls))}]" if nulls else ""
        return (
            f"select * from read_csv({literal(glob.escape(str(self.path)))}, auto_detect = false, header = true, "
            f"skip = {self.skip}, {marks}, columns = {{{columns}}}, store_rejects = true, "
            f"hive_partitioning = false{nullstr})"
        )


def open_csv(
    connection: "DuckDBPyConnection", path: Path, csv: Csv, wanted: list[str], scratch: Path
) -> CsvFile:
    """Finds out how a file is written; `wanted` are columns that tell which delimiter is meant.

    A file in another encoding than UTF-8, with lines above its header, or that DuckDB would lose lines of is copied
    into the folder `scratch`. Raises InputError where the file has no header or cannot be decompressed.
    """
    try:
        file = _dialect(path, csv, wanted)
        is_plain = codecs.lookup(csv.encoding).name == "utf-8" and not file.skip
        return file if is_plain and not _loses_lines(connection, file) else _copied(file, path, csv.encoding, scratch)
    except InputError:
        raise
    except (OSError, EOFError, ValueError) as error:  # Arrow's and codecs' errors are among them
        raise InputError(f"{path} cannot be read: {error}") from None


def _dialect(path: Path, csv: Csv, wanted: list[str]) -> CsvFile:
    skip, delimiter = csv.skip, csv.delimiter
    lines = islice(chain(lines_of(path, csv.encoding, newline=""), ("", "")), skip, skip + 2)
    header, below = (line.strip("\r\n\ufeff") for line in lines)
    if excels := re.fullmatch(r'"?sep=(.)"?', header):
        skip, delimiter, header = skip + 1, delimiter or excels[1], below
    if not header.strip():
        raise InputError(f"{path} has no header in line {skip + 1}; source.csv.skip: lines that stand above it")
    first = ("\t",) if ".tsv" in path.suffixes else ()
    candidates = (delimiter,) if delimiter else (*first, *DELIMITERS)
    split = {one: _split(header, one, csv.quote) for one in candidates}
    delimiter = max(split, key=lambda one: (len(set(split[one]) & set(wanted)), len(split[one])))
    return CsvFile(path, delimiter, csv.quote, skip, *_distinct(split[delimiter]))


def lines_of(path: Path, encoding: str, newline: str = "\n") -> Iterator[str]:
    """The lines with their ends. Bytes that are not of the encoding come back as they are in what is written."""
    import pyarrow as pa

    name = codecs.lookup(encoding).name
    with pa.input_stream(str(path), compression="detect") as stream:
        yield from io.TextIOWrapper(
            io.BufferedReader(stream), "utf-8-sig" if name == "utf-8" else name, "surrogateescape", newline=newline
        )


def beginning_of(path: Path, n_bytes: int) -> str:
    """The first text of a file in UTF-8, compressed or not. Raises InputError where it cannot be decompressed."""
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            return stream.read(n_bytes).decode(errors="replace")
    except (OSError, EOFError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _split(record: str, delimiter: str, quote: str) -> list[str]:
    """The values of a record, which may have line breaks in quotes; [] where quotes do not pair up."""
    if len(delimiter) > 1 or not quote:
        return record.split(delimiter)
    try:
        return next(python_csv.reader([record], delimiter=delimiter, quotechar=quote, strict=True), [])
    except python_csv.Error:
        return []


def _distinct(names: list[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The names, different from one another also for DuckDB, which ignores case; and those that come repeatedly."""
    distinct: dict[str, str] = {}
    repeated = set()
    for place, name in enumerate(names, start=1):
        own, count = name or f"column{place}", 0
        while own.lower() in distinct:
            own, count = f"{name}_{count + 1}", count + 1
        if count:
            repeated.add(name)
        distinct[own.lower()] = own
    return tuple(distinct.values()), frozenset(repeated)


def _loses_lines(connection: "DuckDBPyConnection", file: CsvFile) -> bool:
    """Whether there is a quote that is not closed where its value ends, or lines end in several ways."""
    import duckdb

    with connection.cursor() as apart:  # an error ends no transaction but this one
        try:
            apart.execute(f"select count(*) from ({file.select()})").fetchall()
        except duckdb.InvalidInputException:
            return True
        return apart.execute(f"select count(*) > 0 from reject_errors where {LOSES_LINES}").fetchall()[0][0]


def _copied(file: CsvFile, path: Path, encoding: str, scratch: Path) -> CsvFile:
    """Copies the file with an empty line in the place of each one that opens a quote and does not close it."""
    import polars as pl

    bad: list[tuple[int, str]] = []
    copy = scratch / f"{hashlib.sha256(str(path).encode()).hexdigest()}.csv"
    lines = (line.rstrip("\r\n").replace("\r", " ") + "\n" for line in lines_of(path, encoding))
    with copy.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target:
        target.writelines(_with_paired_quotes(lines, file, bad))
    if not bad:
        return replace(file, path=copy)
    left_out = copy.with_suffix(".parquet")
    pl.DataFrame(bad, schema={"line": pl.Int64, "raw": pl.String}, orient="row").write_parquet(left_out)
    return replace(file, path=copy, bad=left_out)


def _with_paired_quotes(lines: Iterator[str], file: CsvFile, bad: list[tuple[int, str]]) -> Iterator[str]:
    """The lines; one with an odd number of quotes only with those that its value goes on in, else it is in `bad`."""
    yield from islice(lines, file.skip + 1)
    number, ahead = file.skip + 1, deque[str]()
    while ahead or (ahead := deque(islice(lines, 1))):
        line, number, n_more = ahead.popleft(), number + 1, 0
        if file.quote and line.count(file.quote) % 2:
            ahead.extend(islice(lines, LONGEST_VALUE - len(ahead)))
            n_more = _n_lines_of_value(line, ahead, file)
        if n_more is None:
            bad.append((number, line.rstrip("\n").encode(errors="backslashreplace").decode()))
            yield "\n"
            continue
        yield line
        yield from (ahead.popleft() for _ in range(n_more))
        number += n_more


def _n_lines_of_value(line: str, ahead: Iterable[str], file: CsvFile) -> int | None:
    """How many of the lines ahead belong to the record that a line begins; None where it opens a quote for no reason.

    A line that is a whole record ends the search: the quote above it was meant to be closed.
    """
    record = line
    for n_more, other in enumerate(ahead, start=1):
        record += other
        if other.count(file.quote) % 2:
            is_record = len(_split(record, file.delimiter, file.quote)) == len(file.columns)
            return n_more if is_record else None
        if len(_split(other, file.delimiter, file.quote)) == len(file.columns):
            return None
    return None
