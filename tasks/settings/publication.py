"""Sections about what is published, and how long it is kept."""

from typing import Self

from pydantic import ByteSize, model_validator

from tasks.settings.configured_sql import check_conditions
from tasks.settings.section import Section, Size, key


class RecommendationSettings(Section):
    k: int = key(100, "Items in each user's list.", unit="items", ge=1, le=10_000)
    neighbors: int = key(100, "Neighbours of each item.", unit="items", ge=1, le=10_000)
    neighbors_min_users: int = key(
        0,
        "Items are neighbours only if at least so many users have both; 0 for no such condition.",
        unit="users",
        ge=0,
    )
    same_category: bool = key(
        False, "Neighbours have the item's own category; an item without one has no neighbours.", unit="switch"
    )
    max_per_category: int | None = key(
        None,
        "Most items of one category in a user's list, for diversity; the evaluation reports its cost.",
        unit="items",
        ge=1,
    )
    spare: int = key(
        20,
        "Backup items behind each list, which move up if a listed item becomes unavailable before the next run; "
        "used only if source.items.available_until is set.",
        unit="items",
        ge=0,
        le=10_000,
    )
    filters: dict[str, str] = key(
        {},
        "Conditions for an item to be recommended: names, each with a SQL condition on the published item metadata, "
        'such as {in stock: "stock > 0"}. Items without metadata satisfy none.',
        unit="SQL",
    )
    ease_weights_up_to: int = key(
        3000,
        "With at most so many items, the weights of EASE are published, one row per pair of items; "
        "score() and explain() need them.",
        unit="items",
        ge=0,
        le=20_000,
    )
    max_table_size: Size = key(
        ByteSize(50 * 10**9),
        "A table with a larger uncompressed size is written as Parquet files beside the published file, "
        "which has a view of it.",
        unit="bytes",
    )

    @model_validator(mode="after")
    def check_filters(self) -> Self:
        check_conditions("filters", self.filters)
        return self


class PublicationSettings(Section):
    keep: int = key(
        7,
        "Published runs whose tables and models are kept, so that a rollback to them is possible; refreshes are not "
        "counted. The current run is always kept.",
        unit="runs",
        ge=1,
    )
    grace_hours: float = key(
        24.0,
        "How long tables are kept after current.duckdb was switched to others, "
        "and a run's matrices and models after it ended.",
        unit="hours",
        ge=0,
        le=1e6,
    )
