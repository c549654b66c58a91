"""The configured expectations as objects of Great Expectations, checked before anything runs."""

import difflib
import re
from importlib import resources
from typing import TYPE_CHECKING

from tasks.config import Config, Expectation
from tasks.errors import InputError
from tasks.warehouse import sql

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation as OfGreatExpectations

# all others hold in an empty table
NOT_EMPTY = Expectation(expect="expect_table_row_count_to_be_between", min_value=1)
ROWS_AGAINST = "unexpected_rows_expectation"


def check_expectations(config: Config) -> None:
    """Raises InputError where an expectation is unknown, lacks an argument or names a column that is not mapped."""
    as_great_expectations(config)


def all_expectations(config: Config) -> list[Expectation]:
    return [NOT_EMPTY, *config.validation.expectations]


def as_great_expectations(config: Config) -> "list[OfGreatExpectations]":
    """The expectations as Great Expectations' own objects."""
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    built = []
    for place, expectation in enumerate(all_expectations(config)):
        where = f"validation.expectations[{place - 1}]: {expectation.expect}"
        _check_columns(config, expectation, where)
        kind, arguments = expectation.expect, expectation.arguments
        if kind in _own():
            kind, arguments = ROWS_AGAINST, {"unexpected_rows_query": _query(expectation, where)}
        try:
            found = ExpectationConfiguration(type=kind, kwargs=arguments, meta={"place": place}).to_domain_obj()
        except ExpectationNotFoundError:
            raise InputError(f"{where} is unknown{_hint(kind)}") from None
        except (TypeError, ValueError) as error:
            problems = "; ".join(line.strip() for line in str(error).splitlines()[1:]) or str(error)
            raise InputError(f"{where}: {problems}") from None
        built.append(found)
    return built


def _own() -> list[str]:
    """The names of the expectations in sql/expectations/: queries for the rows against them."""
    files = resources.files("sql").joinpath("expectations").iterdir()
    return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))


def _query(expectation: Expectation, where: str) -> str:
    """The text of an expectation of sql/expectations/ with its arguments put in."""
    query = sql(f"expectations/{expectation.expect}")
    query = "\n".join(line for line in query.splitlines() if not line.startswith("--"))
    wanted, given = set(re.findall(r"\$(\w+)", query)), expectation.arguments
    if wanted != set(given):
        names = ", ".join(sorted(wanted)) or "no argument"
        raise InputError(f"{where} takes {names}; got {', '.join(given) or 'none'}")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{where}: {name} is {value!r}, but must be a number")
        query = query.replace(f"${name}", str(value))
    return query


def _check_columns(config: Config, expectation: Expectation, where: str) -> None:
    """A column that is not mapped holds nulls only, which most expectations pass over; its type can be checked."""
    mapped = list(config.source.columns.mapped())
    column = expectation.arguments.get("column")
    if column is not None and column not in mapped and not expectation.expect.endswith(("of_type", "type_list")):
        raise InputError(f"{where}: source.columns maps no column {column!r}, only {', '.join(mapped)}")


def _hint(kind: str) -> str:
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    near = difflib.get_close_matches(kind, [*list_registered_expectation_implementations(), *_own()], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
