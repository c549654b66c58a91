"""The configured expectations as objects of Great Expectations, checked before anything runs."""

import difflib
import re
from importlib import resources
from string import Formatter
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError
from tasks.run.database import sql
from tasks.run.quoting import fill, identifier
from tasks.settings.checks import ExpectationSettings
from tasks.settings.config import Config
from tasks.settings.configured_sql import check_select, in_parentheses

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation as OfGreatExpectations

# all others hold in an empty table
NOT_EMPTY = ExpectationSettings(expect="expect_table_row_count_to_be_between", min_value=1)
ROWS_AGAINST = "unexpected_rows_expectation"
# of Great Expectations 1.24, those that DuckDB evaluates correctly: tests/data/test_expectations_on_duckdb.py
WORKING = (
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
    "expect_column_kl_divergence_to_be_less_than",
    "expect_column_max_to_be_between",
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_min_to_be_between",
    "expect_column_most_common_value_to_be_in_set",
    "expect_column_pair_values_a_to_be_greater_than_b",
    "expect_column_pair_values_to_be_equal",
    "expect_column_pair_values_to_be_in_set",
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_sum_to_be_between",
    "expect_column_to_exist",
    "expect_column_type_to_be",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_value_lengths_to_be_between",
    "expect_column_value_lengths_to_equal",
    "expect_column_value_z_scores_to_be_less_than",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_be_in_type_list",
    "expect_column_values_to_be_null",
    "expect_column_values_to_be_of_type",
    "expect_column_values_to_be_unique",
    "expect_column_values_to_not_be_in_set",
    "expect_column_values_to_not_be_null",
    "expect_compound_columns_to_be_unique",
    "expect_multicolumn_sum_to_equal",
    "expect_multicolumn_values_to_be_equal",
    "expect_select_column_values_to_be_unique_within_record",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
    "expect_table_columns_to_match_set",
    "expect_table_row_count_to_be_between",
    "expect_table_row_count_to_equal",
    "expect_table_row_count_to_equal_other_table",
    ROWS_AGAINST,
)
# those that it does not, each with what does
INSTEAD = {
    "expect_column_values_to_be_dateutil_parseable": ROWS_AGAINST,
    "expect_column_values_to_be_decreasing": ROWS_AGAINST,
    "expect_column_values_to_be_increasing": ROWS_AGAINST,
    "expect_column_values_to_be_json_parseable": ROWS_AGAINST,
    "expect_column_values_to_match_json_schema": ROWS_AGAINST,
    "expect_column_values_to_match_like_pattern": "values_match_regex",
    "expect_column_values_to_match_like_pattern_list": "values_match_regex",
    "expect_column_values_to_match_regex": "values_match_regex",
    "expect_column_values_to_match_regex_list": "values_match_regex",
    "expect_column_values_to_match_strftime_format": "values_match_regex",
    "expect_column_values_to_not_be_outliers": "expect_column_value_z_scores_to_be_less_than",
    "expect_column_values_to_not_match_like_pattern": "values_do_not_match_regex",
    "expect_column_values_to_not_match_like_pattern_list": "values_do_not_match_regex",
    "expect_column_values_to_not_match_regex": "values_do_not_match_regex",
    "expect_column_values_to_not_match_regex_list": "values_do_not_match_regex",
    "expect_query_results_to_match_comparison": ROWS_AGAINST,
}
NAMES_OF_COLUMNS = ("column", "column_A", "column_B", "column_list")  # among the arguments


def check_expectations(config: Config) -> None:
    """Raises InputError where an expectation is unknown, not to be evaluated by DuckDB, or lacks an argument."""
    as_great_expectations(config)


def all_expectations(config: Config) -> list[ExpectationSettings]:
    return [NOT_EMPTY, *config.validation.expectations]


def as_great_expectations(config: Config) -> "list[OfGreatExpectations]":
    """The expectations as Great Expectations' own objects."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    built = []
    for place, expectation in enumerate(all_expectations(config)):
        where = f"validation.expectations[{place - 1}]: {expectation.expect}"
        kind, arguments = expectation.expect, expectation.arguments
        _check_kind(kind, where)
        _check_columns(config, expectation, where)
        if kind in _own():
            kind, arguments = ROWS_AGAINST, {"unexpected_rows_query": _query(expectation, where)}
        if kind == ROWS_AGAINST:
            _check_query(arguments.get("unexpected_rows_query"), where)
            query = f"from {in_parentheses(arguments['unexpected_rows_query'])}"
            arguments = arguments | {"unexpected_rows_query": query}
        try:
            found = ExpectationConfiguration(type=kind, kwargs=arguments, meta={"place": place}).to_domain_obj()
        except (TypeError, ValueError) as error:
            problems = "; ".join(line.strip() for line in str(error).splitlines()[1:]) or str(error)
            raise InputError(f"{where}: {problems}") from None
        built.append(found)
    return built


def _own() -> list[str]:
    """The names of the expectations in sql/expectations/: queries for the rows against them."""
    files = resources.files("sql").joinpath("expectations").iterdir()
    return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))


def _query(expectation: ExpectationSettings, where: str) -> str:
    """The text of an expectation of sql/expectations/ with its arguments put in."""
    query = sql(f"expectations/{expectation.expect}")
    query = "\n".join(line for line in query.splitlines() if not line.startswith("--"))
    wanted, given = set(re.findall(r"\$(\w+)", query)), expectation.arguments
    if wanted != set(given):
        names = ", ".join(sorted(wanted)) or "no argument"
        raise InputError(f"{where} takes {names}; got {', '.join(given) or 'none'}")
    return fill(query, **{name: _as_sql(name, value, where) for name, value in given.items()})


def _as_sql(name: str, value: Any, where: str) -> str:
    """An argument as it stands in a query; a text as digits, because braces, colons and quotes mean more there."""
    if name == "column":
        return identifier(value)  # one of those that source.columns maps
    if name == "regex":
        _check_regex(value, where)
        return f"decode(unhex('{value.encode().hex()}'))"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {name} is {value!r}, but must be a number")
    return str(value)


def _check_regex(regex: Any, where: str) -> None:
    import duckdb

    if not isinstance(regex, str):
        raise InputError(f"{where}: regex is {regex!r}, but must be a text")
    try:
        duckdb.execute("select regexp_matches('', $regex)", {"regex": regex}).fetchall()
    except duckdb.Error as error:
        raise InputError(f"{where}: regex {regex!r} cannot be read: {str(error).splitlines()[0]}") from None


def _check_kind(kind: str, where: str) -> None:
    if kind in INSTEAD:
        raise InputError(f"{where} cannot be evaluated by DuckDB; use {INSTEAD[kind]}, see docs/validation.md")
    known = [*_own(), *WORKING]
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"these work: {', '.join(known)}"
        raise InputError(f"{where} is unknown; {hint}")


def _check_query(query: Any, where: str) -> None:
    """Raises InputError unless it is one SQL query over {batch} that only reads."""
    if not isinstance(query, str):
        raise InputError(f"{where}: unexpected_rows_query is {query!r}, but must be a SQL query over {{batch}}")
    try:
        fields = {field for _, field, _, _ in Formatter().parse(query) if field is not None}
        if fields - {"batch"}:
            raise ValueError(f"it has {{{min(fields - {'batch'})}}}")
        filled = query.format(batch="events")
    except ValueError as error:
        raise InputError(f"{where}: {error}; {{batch}} is the events, and other braces are written twice") from None
    try:
        check_select(filled)
    except ValueError as error:
        raise InputError(f"{where}: unexpected_rows_query {query!r}: {error}") from None


def _check_columns(config: Config, expectation: ExpectationSettings, where: str) -> None:
    """A column that is not mapped holds nulls only, which most expectations pass over; its type can be checked."""
    mapped = list(config.source.columns.mapped())
    kind = expectation.expect
    if kind.startswith("expect_table_") or kind.endswith(("of_type", "type_list", "type_to_be")):
        return
    for name in NAMES_OF_COLUMNS:
        given = expectation.arguments.get(name, [])
        for column in given if isinstance(given, list) else [given]:
            if column not in mapped:
                raise InputError(f"{where}: source.columns maps no column {column!r}, only {', '.join(mapped)}")
