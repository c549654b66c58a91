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
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import InputError
from tasks.run.quoting import identifier, literal
from tasks.settings.source import CsvSettings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyarrow import NativeFile

DELIMITERS = (",", ";", "\t", "|")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
NO_ASCII = ("utf-16", "utf-32", "utf-7")  # in which a byte that cannot be read cannot be kept
LONGEST_VALUE = 1000  # lines of one quoted value in a file whose quotes do not pair up
# where DuckDB meets these it passes over what follows, uncounted
LOSES_LINES = "error_type in ('UNQUOTED VALUE', 'LINE SIZE OVER MAXIMUM')"


@dataclass(frozen=True)
class CsvFile:
    """How DuckDB reads a CSV file, or a copy of it in UTF-8 that begins with the header.

    escape       what makes a quote part of a value: another quote, or a backslash
    columns      names in the order of the file; one that comes twice has _1 behind it the second time
    repeated     names that come more than once
    above        lines of the original that a copy leaves out above
    is_parallel  no value holds a line break, in which DuckDB's threads lose their place
    bad          a Parquet file (line, raw) of the lines that a copy leaves empty; None where there are none
    """

    path: Path
    delimiter: str
    quote: str
    escape: str
    columns: tuple[str, ...]
    repeated: frozenset[str]
    above: int = 0
    is_parallel: bool = False
    bad: Path | None = None

    def select(self, nulls: tuple[str, ...] = ()) -> str:
        """The SQL that reads it, all columns as text; null is what is empty or, if given, one of `nulls`."""
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.columns)
        marks = f"delim = {literal(self.delimiter)}, quote = {literal(self.quote)}, escape = {literal(self.escape)}"
        nullstr = f", nullstr = [{', '.join(map(literal, nulls))}]" if nulls else ""
        return (
            f"select * from read_csv({literal(glob.escape(str(self.path)))}, auto_detect = false, header = true, "
            f"{marks}, columns = {{{columns}}}, store_rejects = true, hive_partitioning = false, "
            f"parallel = {self.is_parallel}{nullstr})"
        )


def open_csv(
    connection: "DuckDBPyConnection", path: Path, csv: CsvSettings, wanted: list[str], scratch: Path
) -> CsvFile:
    """Finds out how a file is written; `wanted` are columns that tell which delimiter is meant.

    A file in another encoding than UTF-8, or that does not begin with its header, or that DuckDB would lose lines of
    is copied into the folder `scratch`. Raises InputError where there is no header or it cannot be decompressed.
    """
    try:
        header = _header(path, csv)
        file = _dialect(path, csv, header, wanted)
        if codecs.lookup(csv.encoding).name != "utf-8" or header.above or header.n_lines > 1:
            file = _transcoded(file, csv.encoding, header, scratch)
        return _checked(connection, file) or _repaired(file, header.newline, scratch)
    except InputError:
        raise
    except (OSError, EOFError, ValueError) as error:  # Arrow's and codecs' errors are among them
        raise InputError(f"{path} cannot be read: {error}") from None


@dataclass(frozen=True)
class _Header:
    """The line with the names, which may be several in quotes, what stands above it, and how lines end."""

    text: str
    above: int
    n_lines: int
    newline: str
    delimiter: str | None


def _header(path: Path, csv: CsvSettings) -> _Header:
    """Finds it below the lines to skip, empty ones, and Excel's sep=;."""
    lines = lines_of(path, csv.encoding, newline="")
    above = len(list(islice(lines, csv.skip)))
    delimiter = csv.delimiter
    for line in lines:
        text = line.strip("\r\n\ufeff")
        if excels := re.fullmatch(r'"?sep=(.)"?', text):
            delimiter = delimiter or excels[1]
        elif text.strip():
            n_lines, newline = 1, "\r" if line.endswith("\r") else "\n"
            while csv.quote and text.count(csv.quote) % 2 and n_lines < LONGEST_VALUE and (more := next(lines, "")):
                text, n_lines = f"{text}\n{more}".rstrip("\r\n"), n_lines + 1
            return _Header(text, above, n_lines, newline, delimiter)
        above += 1
    raise InputError(f"{path} has no header in or below line {csv.skip + 1}; source.csv.skip: lines to pass over")


def _dialect(path: Path, csv: CsvSettings, header: _Header, wanted: list[str]) -> CsvFile:
    first = ("\t",) if ".tsv" in path.suffixes else ()
    candidates = (header.delimiter,) if header.delimiter else (*first, *DELIMITERS)
    split = {one: [name.strip() for name in _split(header.text, one, csv.quote)] for one in candidates}
    delimiter = max(split, key=lambda one: (len(set(split[one]) & set(wanted)), len(split[one])))
    return CsvFile(path, delimiter, csv.quote, csv.quote, *_distinct(split[delimiter]))


def lines_of(path: Path, encoding: str, newline: str = "\n") -> Iterator[str]:
    """The lines with their ends. Bytes that are not of the encoding come back as they are in what is written."""
    name = codecs.lookup(encoding).name
    errors = "replace" if name.startswith(NO_ASCII) else "surrogateescape"
    with _bytes_of(path) as stream:
        yield from io.TextIOWrapper(
            io.BufferedReader(stream), "utf-8-sig" if name == "utf-8" else name, errors, newline=newline
        )


def beginning_of(path: Path, n_bytes: int) -> str:
    """The first text of a file in UTF-8, compressed or not. Raises InputError where it cannot be decompressed."""
    try:
        with _bytes_of(path) as stream:
            return stream.read(n_bytes).decode(errors="replace")
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _bytes_of(path: Path) -> "NativeFile":
    import pyarrow as pa

    return pa.input_stream(str(path), compression=COMPRESSIONS.get(path.suffix.lower()))


def _split(record: str, delimiter: str, quote: str) -> list[str]:
    """The values of a record, which may have line breaks in quotes; [] where quotes do not pair up."""
    if len(delimiter) > 1 or not quote:
        is_whole = not quote or record.count(quote) % 2 == 0
        return [value.strip(quote or None) for value in record.split(delimiter)] if is_whole else []
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


def _transcoded(file: CsvFile, encoding: str, header: _Header, scratch: Path) -> CsvFile:
    """A copy in UTF-8 that begins with one line for the header."""
    copy = scratch / f"{hashlib.sha256(str(file.path).encode()).hexdigest()}.csv"
    below = islice(lines_of(file.path, encoding, header.newline), header.above + header.n_lines, None)
    names = file.delimiter.join(map(str, range(len(file.columns))))  # DuckDB passes over them
    with copy.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target:
        first = next(below, "")
        target.write(names + (first[len(first.rstrip("\r\n")) :] or "\n"))
        target.write(first)
        target.writelines(below)
    return replace(file, path=copy, above=header.above + header.n_lines - 1)


def _checked(connection: "DuckDBPyConnection", file: CsvFile) -> CsvFile | None:
    """The file with what was found out about escapes, and line breaks in values; None where lines may be lost.

    Read by several threads, for by one DuckDB says nothing of a quote that is never closed.
    """
    import duckdb

    breaks = " or ".join(f"contains({identifier(name)}, chr({code}))" for name in file.columns for code in (10, 13))
    with connection.cursor() as apart:  # an error ends no transaction but this one
        try:
            query = f"select coalesce(bool_or({breaks}), false) from ({replace(file, is_parallel=True).select()})"
            (has_breaks,) = apart.execute(query).fetchall()[0]
        except duckdb.InvalidInputException:  # lines that end in several ways
            return None
        escaped = f"count(*) filter (where contains(csv_line, chr(92) || {literal(file.quote)}))"  # by a backslash
        lost = f"select count(*), {escaped} from reject_errors where {LOSES_LINES}"
        n_lost, n_escaped = apart.execute(lost).fetchall()[0]
    if n_escaped > n_lost / 2 and file.escape == file.quote:
        return _checked(connection, replace(file, escape="\\"))
    return None if n_lost else replace(file, is_parallel=not has_breaks)


def _repaired(file: CsvFile, newline: str, scratch: Path) -> CsvFile:
    """A copy with an empty line in the place of each one that opens a quote and does not close it.

    All lines end alike in it; a carriage return elsewhere becomes a space.
    """
    import polars as pl

    bad: list[tuple[int, str]] = []
    copy = scratch / f"{hashlib.sha256(str(file.path).encode()).hexdigest()}.repaired.csv"
    lines = (line.rstrip("\r\n").replace("\r", " ") + "\n" for line in lines_of(file.path, "utf-8", newline))
    with copy.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target:
        target.writelines(_with_paired_quotes(lines, file, bad))
    left_out = copy.with_suffix(".parquet")
    pl.DataFrame(bad, schema={"line": pl.Int64, "raw": pl.String}, orient="row").write_parquet(left_out)
    return replace(file, path=copy, bad=left_out)


def _with_paired_quotes(lines: Iterator[str], file: CsvFile, bad: list[tuple[int, str]]) -> Iterator[str]:
    """The lines; one that opens a quote only with those that its value goes on in, else it is in `bad`."""
    yield from islice(lines, 1)
    number, ahead = 1, deque[str]()
    n_more: int | None
    while ahead or (ahead := deque(islice(lines, 1))):
        line, number, n_more = ahead.popleft(), number + 1, 0
        if file.quote and line.count(file.quote) % 2 and not _is_record(line, file):
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

    The next line with an odd number of quotes must close it.
    """
    record = line
    for n_more, other in enumerate(ahead, start=1):
        record += other
        if other.count(file.quote) % 2:
            return n_more if _is_record(record, file) else None
    return None


def _is_record(text: str, file: CsvFile) -> bool:
    python_csv.field_size_limit(2**31 - 1)
    return len(_split(text, file.delimiter, file.quote)) == len(file.columns)
