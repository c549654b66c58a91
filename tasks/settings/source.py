"""Sections about the source: where events and items come from, and how they are written."""

from functools import cache
from typing import Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, model_validator

from tasks.settings.configured_sql import check_query
from tasks.settings.section import Section, key, part

_time_zones = cache(available_timezones)  # it looks at a thousand files


class ColumnSettings(Section):
    event_id: str | None = key(
        None,
        "Column with the event's own id; rows with the same id are one event. "
        "If not set, rows that agree in all columns named here are one event.",
        unit="column",
    )
    user_id: str = key("user_id", "Column with the user's id, an integer or text.", unit="column")
    item_id: str = key(
        "item_id",
        "Column with the item's id, an integer or text; or with a list of ids, as in a basket: one event for each.",
        unit="column",
    )
    timestamp: str | None = key(
        None,
        "Column with the time: a timestamp, a date, ISO text, a number such as 20260131 or 202601311459, "
        "or a Unix epoch in s, ms, µs or ns.",
        unit="column",
    )
    timestamp_format: str | list[str] | None = key(
        None,
        "Format of times that are text but not ISO, in strptime codes, such as %d/%m/%Y %I:%M %p. "
        "Of a list, the first format that fits a time is used.",
        unit="format",
    )
    value: str | None = key(None, "Column with a number such as a rating or a quantity.", unit="column")
    event_type: str | None = key(None, "Column with the kind of event, such as view or purchase.", unit="column")

    def mapped(self) -> dict[str, str]:
        """Our names of the columns that the source has, and its names for them."""
        names = self.model_dump(exclude={"timestamp_format"})
        return {name: column for name, column in names.items() if column is not None}

    def timestamp_formats(self) -> list[str]:
        return [self.timestamp_format] if isinstance(self.timestamp_format, str) else self.timestamp_format or []

    @model_validator(mode="after")
    def check_formats(self) -> Self:
        for one in self.timestamp_formats():
            import duckdb

            try:
                duckdb.execute("select try_strptime('', $one)", {"one": one}).fetchall()
            except duckdb.Error as error:
                raise ValueError(f"timestamp_format {one!r} cannot be used: {str(error).splitlines()[0]}") from None
        if self.timestamp_format is not None and self.timestamp is None:
            raise ValueError("timestamp_format needs a column to look at: set timestamp")
        return self


class IdSettings(Section):
    trim: bool = key(False, "Remove spaces around ids.", unit="switch")
    lowercase: bool = key(False, "Convert ids to lower case: ids that differ in case only are one.", unit="switch")
    strip_decimal: bool | None = key(
        None,
        "Read an id such as 17850.0, which spreadsheets make of integers, as 17850; false keeps the two apart. "
        "If not set, a source that holds both is an error.",
        unit="switch",
    )
    user_type: Literal["auto", "integer", "text"] = key(
        "auto",
        "Type of user ids in the warehouse. integer quarantines rows with other ids; "
        "auto takes integer if the first files hold nothing else, and text otherwise.",
        unit="name",
    )
    item_type: Literal["auto", "integer", "text"] = key("auto", "Type of item ids, as user_type.", unit="name")


class CsvSettings(Section):
    delimiter: str | None = key(
        None, "Column delimiter; detected if not set.", unit="character", min_length=1, max_length=4
    )
    quote: str = key('"', "Quote character around text.", unit="character", max_length=1)
    encoding: str = key(
        "utf-8", "Text encoding, by its Python name, such as latin-1, cp1252, utf-16 or shift_jis.", unit="name"
    )
    skip: int = key(
        0,
        "Lines to skip above the header, such as a title. Excel's line sep=; is always skipped.",
        unit="lines",
        ge=0,
    )

    @model_validator(mode="after")
    def check_encoding(self) -> Self:
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(
                f"encoding {self.encoding!r} is unknown; names are Python's, such as cp1252 or utf-16-be"
            ) from None
        return self


class ItemSettings(Section):
    path: str | None = key(
        None, "File of item metadata with one row per item; all of its columns are published.", unit="path"
    )
    query: str | None = key(None, "Or a SQL query that DuckDB runs instead of reading a file.", unit="SQL")
    item_id: str = key("item_id", "Column with the item's id.", unit="column")
    title: str = key("title", "Column with the title that people see.", unit="column")
    category: str | None = key(
        None, "Column with the category, for recommendations.same_category and max_per_category.", unit="column"
    )
    is_hidden: str | None = key(
        None,
        "Column that says whether an item is never recommended: true or false, 1 or 0, yes or no.",
        unit="column",
    )
    available_from: str | None = key(
        None, "Column with the time from which an item may be recommended; empty for always.", unit="column"
    )
    available_until: str | None = key(
        None, "Column with the time until which an item may be recommended; empty for always.", unit="column"
    )

    @model_validator(mode="after")
    def check_origin(self) -> Self:
        if (self.path is None) == (self.query is None):
            raise ValueError("name a path or a query, one of them")
        check_query(self.query)
        return self


class SourceSettings(Section):
    events: str | list[str] | None = key(
        None,
        "Event files: a path, a folder, a glob or a list of them, relative to the working directory. Formats: .csv, "
        ".tsv, .txt, .jsonl, .json and .parquet, also with .gz or .zst; or a .duckdb file with the table `table`.",
        unit="path",
    )
    table: str = key(
        "events", "Table to read from a DuckDB database, with its schema if that is not main.", unit="table"
    )
    query: str | None = key(
        None, "Instead of files, a SQL query that DuckDB runs; every run reads all of its rows again.", unit="SQL"
    )
    csv: CsvSettings = part(CsvSettings, "The format of CSV files.")
    columns: ColumnSettings = part(ColumnSettings, "The names of the source's columns.")
    ids: IdSettings = part(IdSettings, "How ids of users and items are cleaned, before anything else.")
    nulls: list[str] = key(
        ["NULL", "null", "NaN", "None", "\\N"],
        "Texts that mean a missing value in ids, times, values, event types and CSV metadata; so does empty text.",
        unit="text",
    )
    timezone: str = key(
        "UTC", "Time zone of times without one, by its IANA name, such as Europe/Prague.", unit="name"
    )
    items: ItemSettings | None = Field(None, description="Item metadata. If not set, items have ids only.")

    @model_validator(mode="after")
    def check_source(self) -> Self:
        if self.events is not None and self.query is not None:
            raise ValueError("events and query are given: keep one of them")
        check_query(self.query)
        if self.timezone not in _time_zones():
            raise ValueError(
                f"timezone {self.timezone!r} is unknown; names are those of the IANA list, such as Europe/Prague"
            )
        return self
