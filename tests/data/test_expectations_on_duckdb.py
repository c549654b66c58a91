"""Which of Great Expectations' expectations DuckDB evaluates: each is tried on what holds and on what does not."""

import re
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.registry import list_registered_expectation_implementations

from tasks.data.expectations import INSTEAD, WORKING, _own
from tasks.data.validate import _exceptions, _run
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

EVENTS = """
    create table events as
    select
        cast(null as varchar) as event_id,
        1000 + n as user_id,
        n % 7 as item_id,
        timestamp '2026-01-01' + interval 1 minute * n as timestamp,
        cast(1 + n % 5 as double) as value,
        if(n % 2 = 0, 'view', 'buy') as event_type,
        '2026-01-01' as day,
        1 as one,
        exp(n / 10.0) as skewed
    from range(100) as numbers (n);
    create table same as from events;
    create table items as select 1 as item_id;
"""
C, T = "value", "event_type"
COLUMNS = ["event_id", "user_id", "item_id", "timestamp", "value", "event_type", "day", "one", "skewed"]
ARGUMENTS = {  # that hold, and that do not
    "expect_column_distinct_values_to_be_in_set": (
        {"column": T, "value_set": ["view", "buy"]},
        {"column": T, "value_set": ["view"]},
    ),
    "expect_column_distinct_values_to_contain_set": (
        {"column": T, "value_set": ["view"]},
        {"column": T, "value_set": ["x"]},
    ),
    "expect_column_distinct_values_to_equal_set": (
        {"column": T, "value_set": ["view", "buy"]},
        {"column": T, "value_set": ["view"]},
    ),
    "expect_column_kl_divergence_to_be_less_than": (
        {"column": T, "partition_object": {"values": ["view", "buy"], "weights": [0.5, 0.5]}, "threshold": 0.1},
        {"column": T, "partition_object": {"values": ["view", "buy"], "weights": [0.99, 0.01]}, "threshold": 0.1},
    ),
    "expect_column_max_to_be_between": ({"column": C, "max_value": 5}, {"column": C, "max_value": 4}),
    "expect_column_mean_to_be_between": ({"column": C, "min_value": 1}, {"column": C, "min_value": 5}),
    "expect_column_median_to_be_between": ({"column": C, "min_value": 1}, {"column": C, "min_value": 5}),
    "expect_column_min_to_be_between": ({"column": C, "min_value": 1}, {"column": C, "min_value": 2}),
    "expect_column_most_common_value_to_be_in_set": (
        {"column": "one", "value_set": [1]},
        {"column": "one", "value_set": [2]},
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        {"column_A": "timestamp", "column_B": "timestamp", "or_equal": True},
        {"column_A": "value", "column_B": "user_id"},
    ),
    "expect_column_pair_values_to_be_equal": (
        {"column_A": C, "column_B": C},
        {"column_A": "item_id", "column_B": "user_id"},
    ),
    "expect_column_pair_values_to_be_in_set": (
        {"column_A": T, "column_B": T, "value_pairs_set": [["view", "view"], ["buy", "buy"]]},
        {"column_A": T, "column_B": T, "value_pairs_set": [["view", "view"]]},
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": (
        {"column": C, "min_value": 0.5},
        {"column": "event_id", "min_value": 0.5},
    ),
    "expect_column_proportion_of_unique_values_to_be_between": (
        {"column": "timestamp", "min_value": 0.9},
        {"column": C, "min_value": 0.9},
    ),
    "expect_column_quantile_values_to_be_between": (
        {"column": C, "quantile_ranges": {"quantiles": [0.1, 0.5], "value_ranges": [[0, 5], [0, 5]]}},
        {"column": C, "quantile_ranges": {"quantiles": [0.1, 0.5], "value_ranges": [[9, 15], [9, 15]]}},
    ),
    "expect_column_stdev_to_be_between": (
        {"column": C, "min_value": 1, "max_value": 2},
        {"column": C, "min_value": 5},
    ),
    "expect_column_sum_to_be_between": ({"column": C, "min_value": 1}, {"column": C, "max_value": 5}),
    "expect_column_to_exist": ({"column": C}, {"column": "nothing"}),
    "expect_column_type_to_be": ({"column": C, "type_": "DOUBLE"}, {"column": C, "type_": "BIGINT"}),
    "expect_column_unique_value_count_to_be_between": (
        {"column": C, "min_value": 5, "max_value": 5},
        {"column": C, "min_value": 6},
    ),
    "expect_column_value_lengths_to_be_between": (
        {"column": T, "min_value": 3, "max_value": 4},
        {"column": T, "max_value": 3},
    ),
    "expect_column_value_lengths_to_equal": ({"column": "event_id", "value": 3}, {"column": T, "value": 3}),
    "expect_column_value_z_scores_to_be_less_than": (
        {"column": C, "threshold": 5, "double_sided": True},
        {"column": C, "threshold": 0.5, "double_sided": True},
    ),
    "expect_column_values_to_be_between": ({"column": C, "max_value": 5}, {"column": C, "max_value": 4}),
    "expect_column_values_to_be_dateutil_parseable": ({"column": "day"}, {"column": T}),
    "expect_column_values_to_be_decreasing": ({"column": "event_id"}, {"column": "timestamp"}),
    "expect_column_values_to_be_in_set": (
        {"column": C, "value_set": [1, 2, 3, 4, 5]},
        {"column": C, "value_set": [1]},
    ),
    "expect_column_values_to_be_in_type_list": (
        {"column": C, "type_list": ["DOUBLE"]},
        {"column": C, "type_list": ["BIGINT"]},
    ),
    "expect_column_values_to_be_increasing": ({"column": "timestamp"}, {"column": C}),
    "expect_column_values_to_be_json_parseable": ({"column": "user_id"}, {"column": T}),
    "expect_column_values_to_be_null": ({"column": "event_id"}, {"column": C}),
    "expect_column_values_to_be_of_type": ({"column": C, "type_": "DOUBLE"}, {"column": C, "type_": "BIGINT"}),
    "expect_column_values_to_be_unique": ({"column": "timestamp"}, {"column": C}),
    "expect_column_values_to_match_json_schema": (
        {"column": "event_id", "json_schema": {"type": "object"}},
        {"column": T, "json_schema": {"type": "object"}},
    ),
    "expect_column_values_to_match_like_pattern": (
        {"column": T, "like_pattern": "%"},
        {"column": T, "like_pattern": "v%"},
    ),
    "expect_column_values_to_match_like_pattern_list": (
        {"column": T, "like_pattern_list": ["v%", "b%"]},
        {"column": T, "like_pattern_list": ["v%"]},
    ),
    "expect_column_values_to_match_regex": ({"column": T, "regex": "."}, {"column": T, "regex": "^v"}),
    "expect_column_values_to_match_regex_list": (
        {"column": T, "regex_list": ["."]},
        {"column": T, "regex_list": ["^v"]},
    ),
    "expect_column_values_to_match_strftime_format": (
        {"column": T, "strftime_format": "%Y"},
        {"column": T, "strftime_format": "%Y"},
    ),
    "expect_column_values_to_not_be_in_set": ({"column": C, "value_set": [9]}, {"column": C, "value_set": [1]}),
    "expect_column_values_to_not_be_null": ({"column": C}, {"column": "event_id"}),
    "expect_column_values_to_not_be_outliers": (
        {"column": C, "method": "iqr", "multiplier": 3},
        {"column": "skewed", "method": "iqr", "multiplier": 0.01},
    ),
    "expect_column_values_to_not_match_like_pattern": (
        {"column": T, "like_pattern": "x%"},
        {"column": T, "like_pattern": "v%"},
    ),
    "expect_column_values_to_not_match_like_pattern_list": (
        {"column": T, "like_pattern_list": ["x%"]},
        {"column": T, "like_pattern_list": ["v%"]},
    ),
    "expect_column_values_to_not_match_regex": ({"column": T, "regex": "x"}, {"column": T, "regex": "^v"}),
    "expect_column_values_to_not_match_regex_list": (
        {"column": T, "regex_list": ["x"]},
        {"column": T, "regex_list": ["^v"]},
    ),
    "expect_compound_columns_to_be_unique": (
        {"column_list": ["user_id", "timestamp"]},
        {"column_list": ["value", "event_type"]},
    ),
    "expect_multicolumn_sum_to_equal": (
        {"column_list": ["one", "one"], "sum_total": 2},
        {"column_list": ["value", "one"], "sum_total": 2},
    ),
    "expect_multicolumn_values_to_be_equal": ({"column_list": ["one", "one"]}, {"column_list": ["value", "one"]}),
    "expect_select_column_values_to_be_unique_within_record": (
        {"column_list": ["user_id", "value"]},
        {"column_list": ["one", "value"]},
    ),
    "expect_table_column_count_to_be_between": ({"min_value": 5}, {"max_value": 2}),
    "expect_table_column_count_to_equal": ({"value": 9}, {"value": 2}),
    "expect_table_columns_to_match_ordered_list": ({"column_list": COLUMNS}, {"column_list": ["value"]}),
    "expect_table_columns_to_match_set": ({"column_set": COLUMNS}, {"column_set": ["value"]}),
    "expect_table_row_count_to_be_between": ({"min_value": 5}, {"max_value": 2}),
    "expect_table_row_count_to_equal": ({"value": 100}, {"value": 2}),
    "expect_table_row_count_to_equal_other_table": ({"other_table_name": "same"}, {"other_table_name": "items"}),
    "unexpected_rows_expectation": (
        {"unexpected_rows_query": "select * from {batch} where value > 9"},
        {"unexpected_rows_query": "select * from {batch} where value > 1"},
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """For each expectation, of arguments that hold and of some that do not: whether it passed, or what was raised."""
    folder = tmp_path_factory.mktemp("events")
    with duckdb.connect(str(folder / "events.duckdb")) as connection:
        connection.execute(EVENTS)
    run = SimpleNamespace(warehouse=Warehouse(folder), config=Config())
    kinds = [(name, arguments) for name, both in ARGUMENTS.items() for arguments in both]
    built = [ExpectationConfiguration(type=name, kwargs=arguments, meta={"place": place}).to_domain_obj()
             for place, (name, arguments) in enumerate(kinds)]  # fmt: skip
    found = [next(_exceptions(result), result.success) for result in _run(run, built)]
    return {name: found[2 * place : 2 * place + 2] for place, name in enumerate(ARGUMENTS)}


def test_those_that_are_listed_tell_what_holds_from_what_does_not(outcomes: dict[str, list]) -> None:
    assert {name: found for name, found in outcomes.items() if found == [True, False]}.keys() == set(WORKING)


def test_those_that_are_refused_cannot_be_evaluated(outcomes: dict[str, list]) -> None:
    for name in INSTEAD.keys() & outcomes.keys():
        assert all(isinstance(raised, str) for raised in outcomes[name]), name


def test_every_expectation_of_great_expectations_is_in_one_of_the_lists() -> None:
    assert sorted([*WORKING, *INSTEAD]) == sorted(list_registered_expectation_implementations())
    assert ARGUMENTS.keys() ^ {*WORKING, *INSTEAD} == {"expect_query_results_to_match_comparison"}  # of two databases
    assert set(INSTEAD.values()) <= {*WORKING, *_own()}


def test_the_documentation_lists_the_same() -> None:
    text = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
    ours, theirs, others = (part.split("\n## ")[0] for part in re.split(r"\n## .*\n", text)[1:4])
    assert re.findall(r"^\| `(\w+)` \|", ours, re.MULTILINE) == _own()
    assert re.findall(r"^- `(\w+)`", theirs, re.MULTILINE) == list(WORKING)
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", others, re.MULTILINE)) == INSTEAD
