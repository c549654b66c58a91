"""The configuration: one YAML file, checked before anything runs. Each key's home is its field below."""

import difflib
import os
import re
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError, WithJsonSchema, model_validator

from tasks.errors import InputError
from tasks.settings.configured_sql import check_expression, check_select
from tasks.settings.yaml_text import load_yaml, section_of

LEAST_MEMORY = "50MB"  # a night of a few hundred users fails below 20MB
NUMBERS = ("int_type", "float_type")  # pydantic's names of their mistakes
MOST_WHOLE = 2**31 - 1  # what fits into every library here
MOST_SHOWN = 200  # characters of a value in a message
_time_zones = cache(available_timezones)  # it looks at a thousand files


def key(default: Any, description: str, *, unit: str = "", factory: Any = None, **limits: Any) -> Any:
    """A configuration key: its default, a sentence, its unit, and its range as pydantic's limits (ge, lt, pattern…)."""
    extra = {"unit": unit}
    if factory is not None:
        return Field(default_factory=factory, description=description, json_schema_extra=extra, **limits)
    return Field(default, description=description, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """Unknown keys and wrong types are refused; values are never converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def check_whole_numbers(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            for number in value if isinstance(value, list) else [value]:
                if type(number) is int and number > MOST_WHOLE and name != "seed":
                    raise ValueError(f"{name} is {shorten(str(number))}: whole numbers reach up to {MOST_WHOLE:,}")
        return self


def _check_query(query: str | None) -> None:
    try:
        if query is not None:
            check_select(query)
    except ValueError as error:
        raise ValueError(f"query: {error}") from None


def _check_conditions(name: str, conditions: dict[str, str]) -> None:
    for reason, condition in conditions.items():
        try:
            check_expression(condition)
        except ValueError as error:
            raise ValueError(f"{name}.{reason}: {condition!r} is no SQL condition: {error}") from None


class EventColumns(Section):
    event_id: str | None = key(None, "Column with the event's own id; events with one id are one event. Without it, events that agree in all columns named here are one.", unit="column")
    user_id: str = key("user_id", "Column with the user's id, an integer or text.", unit="column")
    item_id: str = key("item_id", "Column with the item's id, an integer or text; or a list of them, as of a basket: an event each.", unit="column")
    timestamp: str | None = key(None, "Column with the time: a timestamp, a date, ISO text, a number such as 20260131 or 202601311459, or a Unix epoch in s, ms, µs or ns.", unit="column")
    timestamp_format: str | list[str] | None = key(None, "How times are written as text where they are not ISO, such as %d/%m/%Y %I:%M %p; of several, the first that fits. Codes are those of strptime.", unit="format")
    value: str | None = key(None, "Column with a number such as a rating or a quantity.", unit="column")
    event_type: str | None = key(None, "Column with the kind of event, such as view or purchase.", unit="column")

    def mapped(self) -> dict[str, str]:
        """Our names of the columns that the source has, and its names for them."""
        return {name: column for name, column in self.model_dump(exclude={"timestamp_format"}).items() if column is not None}

    def timestamp_formats(self) -> list[str]:
        return [self.timestamp_format] if isinstance(self.timestamp_format, str) else self.timestamp_format or []

    @model_validator(mode="after")
    def check_formats(self) -> Self:
        import duckdb

        for one in self.timestamp_formats():
            try:
                duckdb.execute("select try_strptime('', $one)", {"one": one}).fetchall()
            except duckdb.Error as error:
                raise ValueError(f"timestamp_format {one!r} cannot be used: {str(error).splitlines()[0]}") from None
        if self.timestamp_format is not None and self.timestamp is None:
            raise ValueError("timestamp_format needs a column to look at: set timestamp")
        return self


class Ids(Section):
    trim: bool = key(False, "Remove spaces around ids.", unit="switch")
    lowercase: bool = key(False, "Ids that differ in case only are one.", unit="switch")
    strip_decimal: bool | None = key(None, "Read an id such as 17850.0, which spreadsheets make of numbers, as 17850. If not set, a source that holds both is an error; false keeps them apart.", unit="switch")
    user_type: Literal["auto", "integer", "text"] = key("auto", "Type of user ids in the warehouse: integer quarantines what is none; auto takes integers where the first files hold nothing else.", unit="name")
    item_type: Literal["auto", "integer", "text"] = key("auto", "The same for item ids.", unit="name")


class Csv(Section):
    delimiter: str | None = key(None, "Character between columns; detected if not set.", unit="character", min_length=1, max_length=4)
    quote: str = key('"', "Character around text.", unit="character", max_length=1)
    encoding: str = key("utf-8", "Encoding of the text: any of Python's, such as latin-1, cp1252, utf-16 or shift_jis.", unit="name")
    skip: int = key(0, "Lines above the header, such as a title. Excel's sep=; is understood without.", unit="lines", ge=0)

    @model_validator(mode="after")
    def check_encoding(self) -> Self:
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding {self.encoding!r} is unknown; names are Python's, such as cp1252 or utf-16-be") from None
        return self


class ItemSource(Section):
    path: str | None = key(None, "File of item metadata, one row an item; every column is published.", unit="path")
    query: str | None = key(None, "Or a SQL query that DuckDB runs for it.", unit="SQL")
    item_id: str = key("item_id", "Its column with the item's id.", unit="column")
    title: str = key("title", "Its column with the title to show to people.", unit="column")
    category: str | None = key(None, "Its column with the category that recommendations.same_category and max_per_category go by.", unit="column")
    is_hidden: str | None = key(None, "Its column that says whether an item must not be recommended: true or false, 1 or 0, yes or no.", unit="column")
    available_from: str | None = key(None, "Its column with the moment from which an item may be recommended; empty for always.", unit="column")
    available_until: str | None = key(None, "Its column with the moment from which an item may not be recommended any more; empty for never.", unit="column")

    @model_validator(mode="after")
    def name_one(self) -> Self:
        if (self.path is None) == (self.query is None):
            raise ValueError("name a path or a query, one of them")
        _check_query(self.query)
        return self


class Source(Section):
    events: str | list[str] | None = key(None, "Event files: a path, a folder, a glob or a list of them; .csv, .tsv, .txt, .jsonl, .json or .parquet, also .gz or .zst; or a .duckdb file with the table `table`. Relative to the working directory.", unit="path")
    table: str = key("events", "The table to read where a file is a DuckDB database, with its schema if that is not main.", unit="table")
    query: str | None = key(None, "Instead of files, a SQL query that DuckDB runs; all of its rows are read anew every night.", unit="SQL")
    csv: Csv = key(None, "How CSV files are written.", factory=Csv)
    columns: EventColumns = key(None, "Which column holds what.", factory=EventColumns)
    ids: Ids = key(None, "What is done to the ids of users and items before anything else.", factory=Ids)
    nulls: list[str] = key(None, "Texts that stand for no value in ids, times, values and event types, and in CSV metadata; empty text always does.", unit="text", factory=lambda: ["NULL", "null", "NaN", "None", "\\N"])
    timezone: str = key("UTC", "Time zone of times that do not name theirs, such as Europe/Prague.", unit="name")
    items: ItemSource | None = key(None, "Item metadata; without it, items have ids only.")

    @model_validator(mode="after")
    def check_source(self) -> Self:
        if self.events is not None and self.query is not None:
            raise ValueError("events and query are given: keep one of them")
        _check_query(self.query)
        if self.timezone not in _time_zones():
            raise ValueError(f"timezone {self.timezone!r} is unknown; names are those of the IANA list, such as Europe/Prague")
        return self


class Quarantine(Section):
    earliest: str = key("1970-01-01", "Events before this time cannot be used.", unit="ISO date or time")
    max_hours_ahead: float = key(24.0, "Events that lie further in the future cannot be used; a little is borne for clocks and time zones.", unit="hours", ge=0)
    min_value: float | None = key(None, "Events with a smaller value cannot be used.", unit="value")
    max_value: float | None = key(None, "Events with a larger value cannot be used.", unit="value")
    conditions: dict[str, str] = key(None, "More reasons why a row cannot be used, each with its SQL condition on the source's columns, such as {cancelled: \"InvoiceNo like 'C%'\"}. All columns of a CSV file are text there.", unit="SQL", factory=dict)
    max_share: float = key(0.05, "A larger share of rows that cannot be used, among those read tonight, stops the night.", unit="share of rows", ge=0, le=1)

    @model_validator(mode="after")
    def check_limits(self) -> Self:
        if None not in (self.min_value, self.max_value) and self.min_value > self.max_value:
            raise ValueError(f"min_value {self.min_value} is above max_value {self.max_value}")
        try:
            datetime.fromisoformat(self.earliest)
        except ValueError:
            raise ValueError(f"earliest is {self.earliest!r}, which is no ISO date or time") from None
        for reason in self.conditions:
            if ";" in reason or not reason.strip() or reason.startswith("malformed"):
                raise ValueError(f"conditions: the reason {reason!r} must be words without a semicolon, and not begin "
                                 "with 'malformed', which marks lines that are no rows")
        _check_conditions("conditions", self.conditions)
        return self


class Expectation(Section):
    """An expectation by its name, with its own arguments as further keys."""

    model_config = ConfigDict(extra="allow")

    expect: str = Field(min_length=1)
    severity: Literal["blocking", "warning"] = "blocking"

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra)

    def __str__(self) -> str:
        return f"{self.expect}({', '.join(f'{name}={value}' for name, value in self.arguments.items())})"


def usual_expectations() -> list[Expectation]:
    return [
        Expectation(expect="expect_column_values_to_be_of_type", column="timestamp", type_="TIMESTAMP"),
        Expectation(expect="expect_column_values_to_be_of_type", column="value", type_="DOUBLE"),
        Expectation(expect="expect_column_values_to_not_be_null", column="user_id"),
        Expectation(expect="expect_column_values_to_not_be_null", column="item_id"),
        Expectation(expect="events_are_unique"),
    ]


class Validation(Section):
    expectations: list[Expectation] = key(None, "What all accepted events must satisfy: Great Expectations' own expectations, or events_are_unique, events_are_fresh (max_age_hours), items_have_metadata (min_share), values_match_regex and values_do_not_match_regex (column, regex), each with its arguments and a severity, blocking or warning.", unit="name", factory=usual_expectations)


class Drift(Section):
    window: int = key(28, "Bands are learnt from so many accepted nights that brought new events.", unit="nights", ge=2)
    min_nights: int = key(7, "With fewer nights in the window, nothing is judged.", unit="nights", ge=2)
    width: float = key(6.0, "Half of a band, in robust standard deviations of the window.", unit="standard deviations", gt=0, le=1e6)
    severity: Literal["blocking", "warning"] = key("blocking", "What a value outside its band does: stop the night, or warn.", unit="name")
    backfill_days: float | None = key(7.0, "New events that are more than so many days older than the newest accepted event are a backfill: accepted, but not judged, and not part of later bands; null to judge all.", unit="days", gt=0)
    category: str | None = key(None, "Column of the item metadata; its population stability index is watched, too.", unit="column")

    @model_validator(mode="after")
    def leave_nights_enough(self) -> Self:
        if self.min_nights > self.window:
            raise ValueError(f"min_nights is {self.min_nights}, but the window holds {self.window}: nothing would ever be judged")
        return self


EventValues = dict[str, float] | list[str] | None


def check_event_values(event_values: EventValues) -> None:
    if event_values is not None and not event_values:
        raise ValueError("event_values is empty, so no event would count: name a type or leave the key out")
    for name, weight in event_weights(event_values).items():
        if not 1e-6 <= weight <= 1e6:
            raise ValueError(f"event_values.{name} is {weight}: a weight must lie between 1e-6 and 1e6; leave a type that does not count out")


def event_weights(event_values: EventValues) -> dict[str, float]:
    """Event types that count and their weights; empty where every type counts."""
    if isinstance(event_values, list):
        return dict.fromkeys(event_values, 1.0)
    return event_values or {}


class Interactions(Section):
    min_value: float | None = key(None, "An event counts as positive feedback from this value on; without it, every value counts.", unit="value")
    event_values: EventValues = key(None, "Event types that count, as a list or with a weight each; without it, every type counts with weight 1.", unit="weight")
    half_life_days: float | None = key(None, "An event's weight halves with every so many days between it and the newest event; without it, age does not count.", unit="days", gt=0)
    binarize: bool = key(False, "Every pair of a user and an item that counts has the weight 1.", unit="switch")
    max_user_interactions: int | None = key(None, "Of a user with more items than this, such as a bot, only the latest count.", unit="items", ge=1)
    min_user_interactions: int = key(1, "Users with fewer items than this get popular items.", unit="items", ge=1)
    min_item_interactions: int = key(1, "Items with fewer users than this are not recommended.", unit="users", ge=1)

    @model_validator(mode="after")
    def check_weights(self) -> Self:
        check_event_values(self.event_values)
        if self.binarize and self.half_life_days is not None:
            raise ValueError("binarize and half_life_days are given: with equal weights age cannot count, so keep one of them")
        return self


class Holdout(Section):
    salt: str = key("elsa", "Changes which users are held out; keep it, or tonight cannot be compared with last night.", unit="any text")
    test_share: float = key(0.1, "Share of users whose hidden interactions judge the model.", unit="share of users", gt=0, lt=1)
    validation_share: float = key(0.1, "Share of users that early stopping watches.", unit="share of users", gt=0, lt=1)
    target_share: float = key(0.2, "Share of a held-out user's interactions, the last in time, that is hidden from the model.", unit="share of interactions", gt=0, lt=1)

    @model_validator(mode="after")
    def leave_users_to_train_on(self) -> Self:
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share + validation_share must stay below 1, or nobody is left to train on")
        return self


class Policy(Section):
    policy_type: Literal["elsa", "ease"] = key("elsa", "The algorithm: ELSA, a scalable linear shallow autoencoder, with a learned sparse part; or EASE, its full-rank relative for small catalogues, which has no vectors and so is a scoring policy only.", unit="name")
    event_values: EventValues = key(None, "The same as interactions.event_values, for configurations that have it here; give it in one place.", unit="weight")
    batch_size: int = key(512, "Samples per training batch.", unit="users", ge=1)
    n_epochs: int = key(20, "Passes over the users; the learning rate falls to 0 over them.", unit="epochs", ge=1)
    lr: float = key(0.1, "Learning rate of the first step; it falls to 0 over n_epochs.", unit="step size", gt=0, le=10)
    factors: int = key(64, "Length of an item's vector; at most the number of items.", unit="dimensions", ge=1)
    device: str = key("auto", "Where to train: auto, cpu, cuda, cuda:<n> or mps; auto takes a GPU if there is one.", unit="name", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    strategy: Literal["default", "early_stopping"] = key("early_stopping", "default runs all n_epochs; early_stopping keeps the best epoch on the validation users.", unit="name")
    patience: int = key(3, "Epochs without a better validation nDCG before early stopping stops.", unit="epochs", ge=1)
    warm_start: bool = key(True, "Start from the published run's models, if they held out the same users, instead of from the spectrum; without new data, keep them.", unit="switch")
    residual_neighbors: int = key(100, "Most items that explain an item in the sparse part of ELSA, which is kept only if it helps the validation users; 0 for the paper's ELSA.", unit="items", ge=0, le=2000)
    residual_dropout: list[float] = key(None, "Shares of the input that the sparse part is fitted to do without; the validation users choose.", unit="share of interactions", factory=lambda: [0.25, 0.5, 0.75], min_length=1)
    residual_ridge: list[float] = key(None, "Penalties of the sparse part to try; the validation users choose.", unit="weighted users", factory=lambda: [10.0, 30.0, 100.0], min_length=1)
    ease_ridge: list[float] = key(None, "Penalties of EASE to try; the validation users choose.", unit="users", factory=lambda: [100.0, 300.0, 1000.0], min_length=1)
    ease_max_items: int = key(20_000, "EASE is refused for more items than this: its memory grows with their square.", unit="items", ge=1)

    @model_validator(mode="after")
    def check_penalties(self) -> Self:
        check_event_values(self.event_values)
        for name in ("residual_ridge", "ease_ridge"):
            if not all(0 < value <= 1e12 for value in getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}: each value must lie above 0, and up to 1e12")
        if not all(0 <= share < 1 for share in self.residual_dropout):
            raise ValueError(f"residual_dropout is {self.residual_dropout}: each value must lie from 0 to below 1")
        return self

    @model_validator(mode="after")
    def refuse_what_ease_does_not_use(self) -> Self:
        used = {"policy_type", "event_values", "device", "warm_start", "ease_ridge", "ease_max_items"}
        if self.policy_type == "ease":
            for name, field in Policy.model_fields.items():
                if name not in used and getattr(self, name) != field.get_default(call_default_factory=True):
                    raise ValueError(f"{name} is not used by EASE: leave it out, or set policy_type to elsa")
        return self


class PolicyConfigs(Section):
    embedding_policy: Policy | None = key(None, "Yields vectors for retrieval and similar items.")
    scoring_policy: Policy | None = key(None, "Scores (user, item) pairs. One of the two sections serves both purposes; given both, they must be equal.")

    @model_validator(mode="after")
    def agree(self) -> Self:
        both = self.embedding_policy, self.scoring_policy
        if None not in both and both[0] != both[1]:
            differing = [name for name in Policy.model_fields if getattr(both[0], name) != getattr(both[1], name)]
            raise ValueError(f"embedding_policy and scoring_policy differ in {', '.join(differing)}: one model "
                             "serves both, so make them equal or keep one")
        if self.embedding_policy is not None and self.embedding_policy.policy_type == "ease":
            raise ValueError("embedding_policy: EASE has no vectors; make it the scoring_policy, alone")
        return self

    @property
    def policy(self) -> Policy:
        return self.embedding_policy or self.scoring_policy or Policy()


METRICS_AT_K = ("recall", "ndcg", "hit_rate", "coverage", "novelty", "popularity")


class Evaluation(Section):
    cutoffs: list[int] = key(None, "Lengths k at which the lists are judged; early stopping watches nDCG at the largest.", unit="items", factory=lambda: [10, 100], min_length=1)
    max_users: int = key(20_000, "Of the validation users, and of the test users, at most so many are ranked, the same ones every night; more would cost time and hardly narrow the intervals.", unit="users", ge=2)
    ease_up_to: int = key(5000, "For comparison, EASE is fitted and judged beside ELSA where there are at most so many items; 0 for never.", unit="items", ge=0, le=50_000)

    @model_validator(mode="after")
    def check_cutoffs(self) -> Self:
        if not all(1 <= k <= 10_000 for k in self.cutoffs) or len(set(self.cutoffs)) < len(self.cutoffs):
            raise ValueError(f"cutoffs is {self.cutoffs}: they must be different whole numbers from 1 to 10,000")
        return self

    def metric_names(self) -> list[str]:
        return [f"{name}@{k}" for k in self.cutoffs for name in METRICS_AT_K]


class Segments(Section):
    history: list[int] = key(None, "Users fall into bands by the length of the history that the models are shown; upper ends of the bands but the last. [] for no bands.", unit="items", factory=lambda: [5, 20, 100])
    popularity: list[float] = key(None, "Targets fall into bands of items, the most popular first; upper ends of the bands but the last. [] for no bands.", unit="share of interactions", factory=lambda: [0.5, 0.8])
    column: str | None = key(None, "A column of the item metadata; targets fall into one segment for each of its values, the rarest together.", unit="column")
    min_users: int = key(50, "Smaller segments are reported, but do not decide.", unit="test users", ge=2)
    max_loss: float = key(0.05, "Relative loss against the published model that is borne in a segment.", unit="share", ge=0, lt=1)
    minimums: dict[str, float] = key(None, "Lowest acceptable mean in a segment, such as {'history:1-5': 0.05}; also judged on a first night.", unit="metric", factory=dict)

    @model_validator(mode="after")
    def check_bands(self) -> Self:
        for name, ends, is_in, words in (
            ("history", self.history, lambda end: end >= 1, "from 1 on"),
            ("popularity", self.popularity, lambda end: 0 < end < 1, "between 0 and 1"),
        ):
            if ends != sorted(set(ends)) or not all(map(is_in, ends)):
                raise ValueError(f"{name} is {ends}: upper ends must ascend, each {words}")
        for name, limit in self.minimums.items():
            kind = name.split(":")[0]
            if limit <= 0:
                raise ValueError(f"minimums.{name} is {limit}: it must lie above 0; leave a segment without a floor out")
            if name not in self.band_names() and (kind != self.column or ":" not in name):
                known = [*self.band_names(), f"{self.column or '<column>'}:<value>"]
                raise ValueError(f"minimums: there is no segment {name!r}; there are {', '.join(known)}")
        return self

    def band_names(self) -> list[str]:
        """The segments that do not depend on the data."""
        ends = [0, *self.history]
        names = [f"history:{low + 1}-{high}" for low, high in pairwise(ends)]
        names += [f"history:>{ends[-1]}"] if self.history else []
        ends = [0, *self.popularity, 1] if self.popularity else []
        return names + [f"popularity:{low:.0%}-{high:.0%}" for low, high in pairwise(ends)]


class Gate(Section):
    metric: Literal["recall", "ndcg", "hit_rate"] = key("ndcg", "Metric, at the largest cut-off, for the comparisons with popularity and with the published model.", unit="name")
    minimums: dict[str, float] = key(None, "Lowest acceptable means, such as {ndcg@100: 0.1}.", unit="metric", factory=dict)
    min_lift_over_popularity: float = key(0.0, "The whole 95 % interval of the relative lift over popularity must lie above this.", unit="share", ge=-1)
    max_loss: float = key(0.01, "Relative loss against the published model that is borne. A model whose whole interval lies below it is rejected.", unit="share", ge=0, lt=1)
    false_alarm_rate: float = key(0.05, "How often, at most, a model that is as good as the published one may be rejected by the comparisons with it, segments included.", unit="share of nights", gt=0, le=0.5)
    undecided: Literal["pass", "reject"] = key("pass", "What becomes of a model whose interval reaches to both sides of max_loss: too few test users to tell. reject asks for proof that it is not worse, and lets false alarms be.", unit="name")
    segments: Segments = key(None, "Floors for groups of users and items.", factory=Segments)


class Publication(Section):
    keep: int = key(7, "How many published nights keep their tables and models, so that one can roll back to them; refreshes do not count. The current run always does.", unit="nights", ge=1)
    grace_hours: float = key(24.0, "Tables stay for so long after readers were led to others, and a run's matrices and models after it ended.", unit="hours", ge=0, le=1e6)


class Recommendations(Section):
    k: int = key(100, "Items in each user's list.", unit="items", ge=1, le=10_000)
    neighbors: int = key(100, "Neighbours of each item.", unit="items", ge=1, le=10_000)
    neighbors_min_users: int = key(0, "Two items are neighbours only if at least so many users have both; 0 to ask for none.", unit="users", ge=0)
    same_category: bool = key(False, "Neighbours are of the item's own category only; an item without one has no neighbours.", unit="switch")
    max_per_category: int | None = key(None, "Most items of a category in a user's list, for diversity; the evaluation says what it costs.", unit="items", ge=1)
    spare: int = key(20, "Items behind each list that move up when a listed one becomes unavailable before the next night; kept only where source.items.available_until is named.", unit="items", ge=0, le=10_000)
    filters: dict[str, str] = key(None, "What an item must satisfy to be recommended: names, each with its SQL condition on the item metadata as it is published, such as {in stock: \"stock > 0\"}. Items without metadata satisfy none.", unit="SQL", factory=dict)
    ease_weights_up_to: int = key(3000, "The weights of EASE, which score() and explain() need, are published where there are at most so many items: a row for each pair of them.", unit="items", ge=0, le=20_000)
    max_table_size: str = key("50GB", "A table that would be larger, uncompressed, is written as Parquet files beside the published file, with a view in it.", unit="bytes", pattern=r"^\d+(\.\d+)?\s?[KMGT]i?B$")

    @model_validator(mode="after")
    def check_filters(self) -> Self:
        _check_conditions("filters", self.filters)
        return self


class Config(Section):
    """Everything a night needs to know."""

    warehouse: str = key("warehouse", "Folder for everything that the nights write. A data set has a warehouse of its own. Relative to the working directory.", unit="path", min_length=1)
    memory_limit: str = key("4GB", "Most memory that DuckDB takes before it spills to disk.", unit="bytes", pattern=r"^\d+(\.\d+)?\s?[KMGT]i?B$")
    lock_wait_seconds: float = key(600.0, "How long a run waits for another one that is using the warehouse; 0 leaves at once.", unit="seconds", ge=0, le=1e7)
    seed: int = key(0, "Seed of everything random; two CPU runs with one seed are equal.", unit="any number", ge=0, le=2**63 - 1)
    training_timeout_seconds: float | None = key(None, "A training or refit that takes longer is stopped, and the night fails.", unit="seconds", gt=0, le=1e7)
    source: Source = key(None, "Where events and items come from.", factory=Source)
    quarantine: Quarantine = key(None, "Which rows cannot be used, and are quarantined.", factory=Quarantine)
    validation: Validation = key(None, "What the events must satisfy.", factory=Validation)
    drift: Drift = key(None, "How tonight's new events may differ from those of earlier nights.", factory=Drift)
    interactions: Interactions = key(None, "Which events count.", factory=Interactions)
    holdout: Holdout = key(None, "Who is held out to judge the model.", factory=Holdout)
    policy_configs: PolicyConfigs = key(None, "The algorithm.", factory=PolicyConfigs)
    evaluation: Evaluation = key(None, "How the model is judged.", factory=Evaluation)
    gate: Gate = key(None, "What a model must reach to be published.", factory=Gate)
    recommendations: Recommendations = key(None, "What is published.", factory=Recommendations)
    publication: Publication = key(None, "How long earlier runs are kept.", factory=Publication)

    @model_validator(mode="after")
    def check_memory(self) -> Self:
        if bytes_of(self.memory_limit) < bytes_of(LEAST_MEMORY):
            raise ValueError(f"memory_limit is {self.memory_limit}: DuckDB needs {LEAST_MEMORY} at least")
        return self

    @property
    def compared_metric(self) -> str:
        """What the gate compares with popularity and with the published model, such as ndcg@100."""
        return f"{self.gate.metric}@{max(self.evaluation.cutoffs)}"

    @model_validator(mode="after")
    def check_minimums(self) -> Self:
        allowed = self.evaluation.metric_names()
        for metric in self.gate.minimums:
            if metric not in allowed:
                raise ValueError(f"gate.minimums.{metric} is not measured; with these cutoffs there are: {', '.join(allowed)}")
        if self.gate.segments.column is not None and self.source.items is None:
            raise ValueError("gate.segments.column needs item metadata to look at: set source.items")
        return self

    @property
    def event_weights(self) -> dict[str, float]:
        """Event types that count and their weights, wherever they are configured; empty where every type counts."""
        return event_weights(self.interactions.event_values or self.policy_configs.policy.event_values)

    @model_validator(mode="after")
    def find_event_values_in_one_place(self) -> Self:
        if None not in (self.interactions.event_values, self.policy_configs.policy.event_values):
            raise ValueError("event_values is given in interactions and in policy_configs: keep one of them")
        return self

    @model_validator(mode="after")
    def check_rules(self) -> Self:
        rules, items = self.recommendations, self.source.items
        for name, needed in (("same_category", "category"), ("max_per_category", "category"), ("filters", "path")):
            if getattr(rules, name) and (items is None or (needed == "category" and items.category is None)):
                raise ValueError(f"recommendations.{name} needs item metadata to look at: set source.items.{needed}")
        return self

    @model_validator(mode="after")
    def check_columns(self) -> Self:
        columns = self.source.columns
        for path, value, column in [
            ("policy_configs: event_values", self.policy_configs.policy.event_values, "event_type"),
            ("interactions.half_life_days", self.interactions.half_life_days, "timestamp"),
            ("interactions.min_value", self.interactions.min_value, "value"),
            ("quarantine.min_value", self.quarantine.min_value, "value"),
            ("quarantine.max_value", self.quarantine.max_value, "value"),
            ("interactions.event_values", self.interactions.event_values, "event_type"),
        ]:
            if value is not None and getattr(columns, column) is None:
                raise ValueError(f"{path} needs a column to look at: set source.columns.{column}")
        return self


DEMO = Path("config/movielens.yaml")


def bytes_of(size: str) -> float:
    """Of a size such as 4GB or 0.5 MiB."""
    number, unit, binary = re.fullmatch(r"([\d.]+)\s?([KMGT])(i?)B", size).groups()
    return float(number) * (1024 if binary else 1000) ** ("KMGT".index(unit) + 1)


def find_config(given: Path | None = None) -> Path:
    """The given configuration, or what ELSA_CONFIG names, or the demo's where it is there.

    Raises InputError where there is none of them.
    """
    named = os.environ.get("ELSA_CONFIG")
    if given is not None:
        return given
    if named:
        if not Path(named).exists():
            raise InputError(f"ELSA_CONFIG is {named!r}, but there is no such file (looked in {Path.cwd()})")
        return Path(named)
    if not DEMO.exists():
        raise InputError(f"which configuration? Give --config FILE or set ELSA_CONFIG; {DEMO} is not in {Path.cwd()}")
    return DEMO


def read_config(path: Path) -> Config:
    """The configuration in a YAML file. Raises InputError that lists each wrong key, its value and what is allowed."""
    try:
        content = load_yaml(path.read_text(), Config)
    except FileNotFoundError:
        raise InputError(f"no such configuration file: {path}") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys and values, such as 'warehouse: warehouse'")
    return _checked(content, str(path))


def _checked(content: dict, name: str) -> Config:
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise InputError(f"{name} has {error.error_count()} mistake(s):\n{lines}") from None


def _explain(problem: dict) -> str:
    path = ".".join(str(part) for part in problem["loc"] if part not in ("str", "list[str]", "dict[str,float]"))
    if problem["type"] == "extra_forbidden":
        allowed = _keys_beside(problem["loc"])
        near = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{path}: unknown key; {hint}allowed are {', '.join(allowed)}"
    if problem["type"] == "value_error":
        return f"{path}: {problem['ctx']['error']}" if path else str(problem["ctx"]["error"])
    message = problem["msg"].replace("Input should be", "must be").replace("String should", "must")
    is_odd = isinstance(problem["input"], str) and re.fullmatch(r"[-+]?[\d_.:xob]*\d[\da-fA-F_.:]*", problem["input"])
    hint = "; numbers are written in decimal, as in 1000" if is_odd and problem["type"] in NUMBERS else ""
    return f"{path}: got {shorten(repr(problem['input']))}, {message}{hint}"


def shorten(text: str) -> str:
    """What fits into a message."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}… ({len(text):,} characters)"


def _keys_beside(location: tuple) -> list[str]:
    """The keys of the section in which the last part of the location stands."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        section = section_of(section.model_fields[part].annotation)
    return list(section.model_fields)


def reference(section: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, str, str, str, str]]:
    """Every key as (path, default, unit, range, description), in the order of the file."""
    rows = []
    for name, field in section.model_fields.items():
        below = section_of(field.annotation)
        if below is None:
            unit = field.json_schema_extra["unit"]
            rows.append((prefix + name, _default(field), unit, _range(section, name), field.description))
        elif name == "scoring_policy":
            rows.append((prefix + name, "null", "", "like embedding_policy", field.description))
        else:
            rows += reference(below, f"{prefix}{name}.")
    return rows


def reference_table() -> str:
    """The reference as a Markdown table."""
    rows = [("Key", "Default", "Unit", "Range", "What it does"), ("---",) * 5]
    for path, default, unit, limits, text in reference():
        rows.append((f"`{path}`", f"`{default}`", unit, limits.replace("|", "\\|"), text))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value)


def _range(section: type[BaseModel], name: str) -> str:
    schema = section.model_json_schema()["properties"][name]
    options = schema.get("anyOf", [schema])
    kinds = [option.get("type", "") for option in options]
    schema = {part: value for option in reversed(options) for part, value in option.items()} | schema
    if "enum" in schema or "const" in schema:
        return ", ".join(schema.get("enum", [schema.get("const")]))
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[limit]}" for limit, sign in signs.items() if limit in schema]
    if "pattern" in schema:
        limits.append(f"`{schema['pattern']}`")
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "array": "list", "object": "mapping", "null": "null"}
    return " or ".join(words[kind] for kind in kinds) + "".join(f", {limit}" for limit in limits)


NAMED = "the name of a configuration file where the worker runs, ending in .yaml or .yml"
GivenConfig = Annotated[Config | str | dict, SkipValidation, WithJsonSchema({"type": "string", "description": NAMED})]


def given_config(given: GivenConfig) -> Config:
    """A flow's parameter as the configuration: of a deployment the name of a file here, of a program the thing itself.

    Whoever may start a run need not be whoever may write or read the files here. Text in place of a name counts only
    where ELSA_ALLOW_CONFIG_TEXT is 1, and nothing of a file is told. Raises InputError, also as `read_config` does.
    """
    if isinstance(given, Config):
        return given
    if isinstance(given, dict) and os.environ.get("ELSA_ALLOW_CONFIG_TEXT") == "1":
        return _checked(given, "the run's configuration")
    if not isinstance(given, str):
        raise InputError(f"the parameter config must be {NAMED}: make deploy puts it in place; to take the "
                         "configuration itself, set ELSA_ALLOW_CONFIG_TEXT=1 for the worker")
    _require_name_of_yaml(given)
    if not os.path.isfile(given):
        raise InputError(f"the parameter config is {given[:200]!r}: there is no such file (looked in {Path.cwd()})")
    try:
        return read_config(Path(given))
    except InputError:
        raise InputError(f"{given} is no configuration that can be used; where the worker runs, "
                         f"elsa runs --config {given} says why") from None


def _require_name_of_yaml(given: str) -> None:
    if not given.endswith((".yaml", ".yml")):
        raise InputError(f"the parameter config is {given[:200]!r}: it must be {NAMED}")


def as_parameters(path: str | None, home: str | None) -> dict[str, str]:
    """A build step of prefect.yaml: the flows' parameter, the name of a configuration, the demo's if none is named.

    It is checked here; relative, it is relative to `home`, the folder of prefect.yaml where the worker runs.
    """
    found = find_config(Path(path) if path else None)
    _require_name_of_yaml(found.name)
    read_config(found)
    return {"config": str(Path(home or "") / found)}
