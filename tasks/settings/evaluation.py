"""Sections about the evaluation and the gate: how a model is judged, and what it must reach to be published."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import model_validator

from tasks.settings.section import Section, key, part

METRICS_AT_K = ("recall", "ndcg", "hit_rate", "coverage", "novelty", "popularity")


class EvaluationSettings(Section):
    cutoffs: list[int] = key(
        [10, 100],
        "Cut-offs k of the metrics; early stopping uses nDCG at the largest.",
        unit="items",
        min_length=1,
    )
    max_users: int = key(
        20_000,
        "Most users of the test set, and of the validation set, that are evaluated, the same in each run; "
        "more take time and hardly narrow the intervals.",
        unit="users",
        ge=2,
    )
    ease_up_to: int = key(
        5000,
        "With at most so many items, EASE is also fitted and evaluated, for comparison; 0 for never.",
        unit="items",
        ge=0,
        le=50_000,
    )

    @model_validator(mode="after")
    def check_cutoffs(self) -> Self:
        if not all(1 <= k <= 10_000 for k in self.cutoffs) or len(set(self.cutoffs)) < len(self.cutoffs):
            raise ValueError(f"cutoffs is {self.cutoffs}: they must be different integers from 1 to 10,000")
        return self

    def metric_names(self) -> list[str]:
        return [f"{name}@{k}" for k in self.cutoffs for name in METRICS_AT_K]


class SegmentSettings(Section):
    history: list[int] = key(
        [5, 20, 100],
        "Upper ends of the segments of users by the length of their known history, but for the last; [] for none.",
        unit="items",
    )
    popularity: list[float] = key(
        [0.5, 0.8],
        "Upper ends of the segments of targets by the item's popularity, the most popular first, but for the last; "
        "[] for none.",
        unit="share of interactions",
    )
    column: str | None = key(
        None,
        "Column of the item metadata; each of its values is a segment of targets, the rarest values together.",
        unit="column",
    )
    min_users: int = key(
        50, "Segments with fewer users are reported, but do not decide about a model.", unit="test users", ge=2
    )
    max_loss: float = key(
        0.05, "Allowed relative loss against the published model in a segment.", unit="share", ge=0, lt=1
    )
    minimums: dict[str, float] = key(
        {},
        "Lowest allowed means of segments, such as {'history:1-5': 0.05}; checked also without a published model.",
        unit="metric",
    )

    @model_validator(mode="after")
    def check_ends(self) -> Self:
        if self.history != sorted(set(self.history)) or not all(end >= 1 for end in self.history):
            raise ValueError(f"history is {self.history}: upper ends must ascend, each from 1 on")
        if self.popularity != sorted(set(self.popularity)) or not all(0 < end < 1 for end in self.popularity):
            raise ValueError(f"popularity is {self.popularity}: upper ends must ascend, each between 0 and 1")
        return self

    @model_validator(mode="after")
    def check_minimums(self) -> Self:
        for name, limit in self.minimums.items():
            kind = name.split(":")[0]
            if limit <= 0:
                raise ValueError(f"minimums.{name} is {limit}: it must lie above 0, or be left out")
            if name not in self.band_names() and (kind != self.column or ":" not in name):
                known = [*self.band_names(), f"{self.column or '<column>'}:<value>"]
                raise ValueError(f"minimums: there is no segment {name!r}; there are {', '.join(known)}")
        return self

    def band_names(self) -> list[str]:
        """The segments that do not depend on the data."""
        ends: list[float] = [0, *self.history]
        names = [f"history:{low + 1}-{high}" for low, high in pairwise(ends)]
        names += [f"history:>{ends[-1]}"] if self.history else []
        ends = [0, *self.popularity, 1] if self.popularity else []
        return names + [f"popularity:{low:.0%}-{high:.0%}" for low, high in pairwise(ends)]


class GateSettings(Section):
    metric: Literal["recall", "ndcg", "hit_rate"] = key(
        "ndcg", "Metric, at the largest cut-off, compared with popularity and with the published model.", unit="name"
    )
    minimums: dict[str, float] = key({}, "Lowest allowed means, such as {ndcg@100: 0.1}.", unit="metric")
    min_lift_over_popularity: float = key(
        0.0, "The 95 % interval of the relative lift over popularity must lie above this.", unit="share", ge=-1
    )
    max_loss: float = key(
        0.01,
        "Allowed relative loss against the published model. "
        "A model is rejected if the whole 95 % interval of its relative difference lies below -max_loss.",
        unit="share",
        ge=0,
        lt=1,
    )
    false_alarm_rate: float = key(
        0.05,
        "Highest rate at which a model as good as the published one is rejected by the comparisons with it, "
        "segments included.",
        unit="share of runs",
        gt=0,
        le=0.5,
    )
    undecided: Literal["pass", "reject"] = key(
        "pass",
        "Verdict if max_loss lies within the interval: too few test users to decide. reject asks for proof "
        "that the model is not worse; false_alarm_rate does not hold then.",
        unit="name",
    )
    segments: SegmentSettings = part(SegmentSettings, "Limits for groups of users and items.")
