"""The configuration: one YAML file, checked before anything runs. Each key's home is a field of its section."""

from typing import Self

from pydantic import ByteSize, model_validator

from tasks.settings.checks import DriftSettings, QuarantineSettings, ValidationSettings
from tasks.settings.evaluation import EvaluationSettings, GateSettings
from tasks.settings.publication import PublicationSettings, RecommendationSettings
from tasks.settings.section import Section, Size, key, part, size_text
from tasks.settings.source import SourceSettings
from tasks.settings.training import HoldoutSettings, InteractionSettings, PolicyConfigsSettings, event_weights

MIN_MEMORY = ByteSize(50 * 10**6)  # a run with a few hundred users fails below 20MB


class Config(Section):
    """Everything a run needs to know."""

    warehouse: str = key(
        "warehouse",
        "Folder for everything that runs write, relative to the working directory. Each data set needs its own.",
        unit="path",
        min_length=1,
    )
    memory_limit: Size = key(
        ByteSize(4 * 10**9),
        f"Most memory that DuckDB uses before it spills to disk; at least {size_text(MIN_MEMORY)}.",
        unit="bytes",
    )
    lock_wait_seconds: float = key(
        600.0,
        "How long a run waits for another one that uses the warehouse; with 0 it fails at once.",
        unit="seconds",
        ge=0,
        le=1e7,
    )
    seed: int = key(
        0, "Seed of all randomness; two CPU runs with one seed are equal.", unit="any number", ge=0, le=2**63 - 1
    )
    training_timeout_seconds: float | None = key(
        None, "A training or refit that takes longer is stopped, and the run fails.", unit="seconds", gt=0, le=1e7
    )
    source: SourceSettings = part(SourceSettings, "Where events and items come from.")
    quarantine: QuarantineSettings = part(QuarantineSettings, "Which rows are unusable and quarantined.")
    validation: ValidationSettings = part(ValidationSettings, "What the events must satisfy.")
    drift: DriftSettings = part(
        DriftSettings, "How much this run's new events may differ from those of earlier runs."
    )
    interactions: InteractionSettings = part(InteractionSettings, "Which events count as positive feedback.")
    holdout: HoldoutSettings = part(HoldoutSettings, "What is hidden from training, to evaluate with.")
    policy_configs: PolicyConfigsSettings = part(PolicyConfigsSettings, "The algorithm and its training.")
    evaluation: EvaluationSettings = part(EvaluationSettings, "How a model is evaluated.")
    gate: GateSettings = part(GateSettings, "What a model must reach to be published.")
    recommendations: RecommendationSettings = part(RecommendationSettings, "What is published.")
    publication: PublicationSettings = part(PublicationSettings, "How long earlier runs are kept.")

    @property
    def compared_metric(self) -> str:
        """What the gate compares with popularity and with the published model, such as ndcg@100."""
        return f"{self.gate.metric}@{max(self.evaluation.cutoffs)}"

    @property
    def event_weights(self) -> dict[str, float]:
        """Event types that count and their weights, wherever they are configured; empty where every type counts."""
        return event_weights(self.interactions.event_values or self.policy_configs.policy.event_values)

    @model_validator(mode="after")
    def check_memory(self) -> Self:
        if self.memory_limit < MIN_MEMORY:
            needed = size_text(MIN_MEMORY)
            raise ValueError(f"memory_limit is {size_text(self.memory_limit)}: DuckDB needs {needed} at least")
        return self

    @model_validator(mode="after")
    def check_gate(self) -> Self:
        measured = self.evaluation.metric_names()
        for metric in self.gate.minimums:
            if metric not in measured:
                known = ", ".join(measured)
                raise ValueError(f"gate.minimums.{metric} is not measured; with these cutoffs there are: {known}")
        if self.gate.segments.column is not None and self.source.items is None:
            raise ValueError("gate.segments.column needs item metadata to look at: set source.items")
        return self

    @model_validator(mode="after")
    def check_event_values(self) -> Self:
        if self.interactions.event_values is not None and self.policy_configs.policy.event_values is not None:
            raise ValueError(
                "interactions.event_values and event_values in policy_configs are both given: keep one of them"
            )
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
        policies, policy = self.policy_configs, self.policy_configs.policy
        section = "embedding_policy" if policies.embedding_policy else "scoring_policy"
        for path, value, column in [
            (f"policy_configs.{section}.event_values", policy.event_values, "event_type"),
            ("interactions.half_life_days", self.interactions.half_life_days, "timestamp"),
            ("interactions.min_value", self.interactions.min_value, "value"),
            ("quarantine.min_value", self.quarantine.min_value, "value"),
            ("quarantine.max_value", self.quarantine.max_value, "value"),
            ("interactions.event_values", self.interactions.event_values, "event_type"),
        ]:
            if value is not None and getattr(self.source.columns, column) is None:
                raise ValueError(f"{path} needs a column to look at: set source.columns.{column}")
        return self
