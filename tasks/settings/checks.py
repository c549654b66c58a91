"""Sections about the quality of the data: quarantined rows, expectations, drift."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.settings.configured_sql import check_conditions
from tasks.settings.section import Section, key


class QuarantineSettings(Section):
    earliest: str = key("1970-01-01", "Rows with an earlier time are quarantined.", unit="ISO date or time")
    max_hours_ahead: float = key(
        24.0,
        "Rows with a time further in the future are quarantined; some hours are allowed for clocks and time zones.",
        unit="hours",
        ge=0,
    )
    min_value: float | None = key(None, "Rows with a smaller value are quarantined.", unit="value")
    max_value: float | None = key(None, "Rows with a larger value are quarantined.", unit="value")
    conditions: dict[str, str] = key(
        {},
        "Further reasons to quarantine a row, each with a SQL condition on the source's columns, such as "
        "{cancelled: \"InvoiceNo like 'C%'\"}. All columns of a CSV file are text there.",
        unit="SQL",
    )
    max_share: float = key(
        0.05,
        "If a larger share of the rows read by this run is quarantined, the run stops.",
        unit="share",
        ge=0,
        le=1,
    )

    @model_validator(mode="after")
    def check_limits(self) -> Self:
        if self.min_value is not None and self.max_value is not None and self.min_value > self.max_value:
            raise ValueError(f"min_value {self.min_value} is above max_value {self.max_value}")
        try:
            datetime.fromisoformat(self.earliest)
        except ValueError:
            raise ValueError(f"earliest is {self.earliest!r}, which is no ISO date or time") from None
        for reason in self.conditions:
            if ";" in reason or not reason.strip() or reason.startswith("malformed"):
                raise ValueError(
                    f"conditions: the reason {reason!r} must be words without a semicolon, and not begin "
                    "with 'malformed', which marks lines that are no rows"
                )
        check_conditions("conditions", self.conditions)
        return self


class ExpectationSettings(Section):
    """An expectation by its name, with its own arguments as further keys."""

    model_config = ConfigDict(extra="allow")

    expect: str = Field(min_length=1)
    severity: Literal["blocking", "warning"] = "blocking"

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def __str__(self) -> str:
        return f"{self.expect}({', '.join(f'{name}={value}' for name, value in self.arguments.items())})"


DEFAULT_EXPECTATIONS = [
    ExpectationSettings.model_validate(one)
    for one in (
        {"expect": "expect_column_values_to_be_of_type", "column": "timestamp", "type_": "TIMESTAMP"},
        {"expect": "expect_column_values_to_be_of_type", "column": "value", "type_": "DOUBLE"},
        {"expect": "expect_column_values_to_not_be_null", "column": "user_id"},
        {"expect": "expect_column_values_to_not_be_null", "column": "item_id"},
        {"expect": "events_are_unique"},
    )
]


class ValidationSettings(Section):
    expectations: list[ExpectationSettings] = key(
        DEFAULT_EXPECTATIONS,
        "What all accepted events must satisfy: expectations of Great Expectations, or events_are_unique, "
        "events_are_fresh (max_age_hours), items_have_metadata (min_share), values_match_regex and "
        "values_do_not_match_regex (column, regex), each with its arguments and a severity, blocking or warning.",
        unit="name",
    )


class DriftSettings(Section):
    window: int = key(28, "Number of accepted runs with new events from which bands are computed.", unit="runs", ge=2)
    min_nights: int = key(7, "Drift is not judged while the window holds fewer runs than this.", unit="runs", ge=2)
    width: float = key(
        6.0,
        "Half the width of a band, in robust standard deviations of the window.",
        unit="standard deviations",
        gt=0,
        le=1e6,
    )
    severity: Literal["blocking", "warning"] = key(
        "blocking", "Effect of a value outside its band: blocking stops the run, warning does not.", unit="name"
    )
    backfill_days: float | None = key(
        7.0,
        "New events more than this much older than the newest accepted event are a backfill: "
        "accepted, but not judged, and not used for later bands; null to judge all events.",
        unit="days",
        gt=0,
    )
    category: str | None = key(
        None, "Column of the item metadata whose population stability index is judged, too.", unit="column"
    )

    @model_validator(mode="after")
    def check_window(self) -> Self:
        if self.min_nights > self.window:
            raise ValueError(
                f"min_nights is {self.min_nights}, but the window holds {self.window}: nothing would ever be judged"
            )
        return self
