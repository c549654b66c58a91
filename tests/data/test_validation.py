"""Expectations about the events: each finds what is against it, and none passes because it could not look."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tasks.data.expectations import check_expectations
from tasks.data.ingest import ingest
from tasks.data.validate import validate
from tasks.errors import InputError, ValidationFailed
from tasks.run.run import Run, open_run
from tasks.settings.config import Config
from tests.support.plain_nights import events_of
from tests.support.worlds import community_events, config

pytestmark = pytest.mark.usefixtures("without_prefect")
HOLDS = {
    "expect_table_row_count_to_be_between": {"min_value": 3000, "max_value": 4000},
    "expect_column_values_to_be_of_type": {"column": "user_id", "type_": "BIGINT"},
    "expect_column_values_to_not_be_null": {"column": "timestamp"},
    "expect_column_values_to_be_between": {"column": "value", "min_value": 1, "max_value": 5},
    "expect_column_values_to_be_in_set": {"column": "value", "value_set": [1, 5]},
    "events_are_unique": {},
    "events_are_fresh": {"max_age_hours": 1e6},
    "items_have_metadata": {"min_share": 1},
    "values_match_regex": {"column": "user_id", "regex": r"^\d{1,3}$|(?:')|%s:a"},
    "values_do_not_match_regex": {"column": "value", "regex": "{batch}|[2-4]"},
    "unexpected_rows_expectation": {"unexpected_rows_query": "select * from {batch} where value = 3"},
}
# what breaks each of them, and words of what is then said
FAILS = {
    "expect_table_row_count_to_be_between": ({"min_value": 4000}, "3,108"),
    "expect_column_values_to_be_of_type": ({"column": "value", "type_": "BIGINT"}, "DOUBLE"),
    "expect_column_values_to_not_be_null": ({"column": "timestamp"}, "3,108 unexpected values"),
    "expect_column_values_to_be_between": ({"column": "value", "max_value": 4}, "e.g. 5.0"),
    "expect_column_values_to_be_in_set": ({"column": "value", "value_set": [1]}, "e.g. 5.0"),
    "events_are_unique": ({}, "unexpected rows: user_id 7, item_id 1"),
    "events_are_fresh": ({"max_age_hours": 24}, "unexpected rows: newest 2020-09-1"),
    "items_have_metadata": ({"min_share": 0.99}, "n_items 60, n_with_metadata 59, share 0.9833"),
    "values_match_regex": ({"column": "user_id", "regex": r"^(?:\d{1,2}|1\d\d|20\d|2[13]\d|22[^7])$"}, "user_id 227"),
    "values_do_not_match_regex": ({"column": "value", "regex": "[5-9]"}, "value 5.0, n_rows 2381"),
    "unexpected_rows_expectation": ({"unexpected_rows_query": "select * from {batch} where value = 5"}, "value 5.0"),
}
SPOIL = {
    "expect_column_values_to_not_be_null": "update events set timestamp = null",
    "events_are_unique": "insert into events (user_id, item_id) select 7, 1 from range(2)",
    "items_have_metadata": "delete from items where item_id = 5",
}


def expecting(*expectations: dict) -> Config:
    return config(validation={"expectations": list(expectations)})


@pytest.fixture
def ingested(world: Path) -> Callable[..., Run]:
    """Ingests the small world, spoils it with a statement, and validates it as configured."""

    def results(changed: Config, spoil: str = "") -> pl.DataFrame:
        with open_run(changed) as run:
            ingest.fn(run)
            with duckdb.connect(str(run.warehouse.events)) as connection:
                connection.execute(spoil)
            validate.fn(run, events_of(run))
            return pl.read_parquet(run.files.folder / "validation.parquet")

    return results


@pytest.mark.parametrize("name", HOLDS)
def test_what_holds_passes(name: str, ingested: Callable) -> None:
    found = ingested(expecting({"expect": name, **HOLDS[name]}))
    assert found["passed"].to_list() == [True, True]
    assert found["rule"][1].startswith(f"{name}(")


@pytest.mark.parametrize("name", FAILS)
def test_what_does_not_hold_stops_the_night_or_warns(name: str, ingested: Callable) -> None:
    arguments, words = FAILS[name]
    expectation = {"expect": name, **arguments}
    with pytest.raises(ValidationFailed, match="1 of 2 expectations") as raised:
        ingested(expecting(expectation), SPOIL.get(name, ""))
    assert words in str(raised.value)
    spoil = SPOIL.get(name, "")
    found = ingested(expecting(expectation | {"severity": "warning"}), spoil)
    assert found.select("passed", "severity").rows() == [(True, "blocking"), (False, "warning")]
    assert words in found["observed"][1]


def test_an_empty_table_fails_whatever_is_configured(ingested: Callable) -> None:
    everything = [{"expect": name, **arguments} for name, arguments in HOLDS.items() if "row_count" not in name]
    with pytest.raises(ValidationFailed, match=r"row_count_to_be_between\(min_value=1\): 0"):
        ingested(expecting(*everything), "delete from events")


@pytest.mark.parametrize("severity", ["blocking", "warning"])
def test_what_cannot_be_evaluated_stops_the_night(severity: str, ingested: Callable) -> None:
    query = {"unexpected_rows_query": "select * from {batch} where nothing = 1", "severity": severity}
    with pytest.raises(ValidationFailed, match=r"could not be evaluated: .*nothing"):
        ingested(expecting({"expect": "unexpected_rows_expectation", **query}))
    dropped = {"expect": "expect_column_values_to_not_be_null", "column": "value", "severity": severity}
    with pytest.raises(ValidationFailed, match=r"could not be evaluated: .*value"):
        ingested(expecting(dropped), "alter table events drop value")


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        ({"expect": "expect_column_mean_to_be_betwen"}, "unknown; did you mean 'expect_column_mean_to_be_between'"),
        ({"expect": "events_are_frsh", "max_age_hours": 1}, "did you mean 'events_are_fresh'"),
        ({"expect": "events_are_fresh"}, "events_are_fresh takes max_age_hours; got none"),
        ({"expect": "events_are_fresh", "max_age_hours": "1; drop"}, "is '1; drop', but must be a number"),
        ({"expect": "expect_column_values_to_match_regex", "column": "x", "regex": "x"}, "use values_match_regex"),
        ({"expect": "something"}, "is unknown; these work: events_are_fresh, "),
        ({"expect": "values_match_regex", "column": "user_id"}, "takes column, regex; got column"),
        ({"expect": "values_match_regex", "column": "user_id", "regex": "("}, "regex '(' cannot be read: "),
        ({"expect": "values_match_regex", "column": "user_id", "regex": 5}, "regex is 5, but must be a text"),
        ({"expect": "values_match_regex", "column": "x\" or", "regex": "a"}, "maps no column 'x\" or', only"),
        ({"expect": "expect_compound_columns_to_be_unique", "column_list": ["user_id", "kind"]}, "no column 'kind'"),
        ({"expect": "unexpected_rows_expectation"}, "unexpected_rows_query is None, but must be a SQL query"),
        ({"expect": "unexpected_rows_expectation", "unexpected_rows_query": "selekt"}, "syntax error"),
        ({"expect": "unexpected_rows_expectation", "unexpected_rows_query": "select 1; select 2"}, "one select"),
        ({"expect": "unexpected_rows_expectation", "unexpected_rows_query": "select '{1}'"}, "other braces"),
        ({"expect": "unexpected_rows_expectation", "unexpected_rows_query": "from {batch.x}"}, "it has {batch.x}"),
        ({"expect": "unexpected_rows_expectation", "unexpected_rows_query": "from {batch[0]}"}, "it has {batch"),
        ({"expect": "events_are_unique", "column": "user_id"}, "takes no argument; got column"),
        ({"expect": "expect_column_values_to_be_between", "column": "value"}, "min_value and max_value cannot both"),
        ({"expect": "expect_column_values_to_not_be_null"}, "column"),
        ({"expect": "expect_column_values_to_not_be_null", "column": "event_type"}, "no column 'event_type', only"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place_before_anything_runs(expectation: dict, message: str) -> None:
    with pytest.raises(InputError) as raised:
        check_expectations(expecting({"expect": "events_are_unique"}, expectation))
    assert str(raised.value).startswith(f"validation.expectations[1]: {expectation['expect']}")
    assert message in str(raised.value)


def test_the_usual_expectations_hold_without_any_configuration(ingested: Callable) -> None:
    found = ingested(config())
    assert found["passed"].all() and len(found) == 1 + len(Config().validation.expectations)
    assert community_events().height == 3108


def test_of_two_events_with_one_id_one_is_against_uniqueness(ingested: Callable) -> None:
    spoil = "update events set event_id = 'x' where user_id = 5 and item_id in (select max(item_id) from events)"
    one = ingested(expecting({"expect": "events_are_unique"}), spoil)
    assert one["passed"].all()
    with pytest.raises(ValidationFailed, match="unexpected rows: event_id x"):
        ingested(expecting({"expect": "events_are_unique"}), "update events set event_id = 'x' where user_id < 9")
