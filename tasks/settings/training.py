"""Sections about the model: which events count, what is held out, the algorithm."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.settings.section import Section, key

EventValues = dict[str, float] | list[str] | None


def event_weights(event_values: EventValues) -> dict[str, float]:
    """Event types that count and their weights; empty where every type counts."""
    if isinstance(event_values, list):
        return dict.fromkeys(event_values, 1.0)
    return event_values or {}


def _check_event_values(event_values: EventValues) -> None:
    if event_values is not None and not event_values:
        raise ValueError("event_values is empty, so no event would count: name a type or leave the key out")
    for name, weight in event_weights(event_values).items():
        if not 1e-6 <= weight <= 1e6:
            raise ValueError(
                f"event_values.{name} is {weight}: a weight must lie between 1e-6 and 1e6; "
                "leave a type that does not count out"
            )


class InteractionSettings(Section):
    min_value: float | None = key(
        None, "Lowest value of an event that is positive feedback. If not set, every value counts.", unit="value"
    )
    event_values: EventValues = key(
        None,
        "Event types that count, as a list, or as a mapping with the weight of each. "
        "If not set, every type counts with weight 1.",
        unit="weight",
    )
    half_life_days: float | None = key(
        None,
        "An event's weight halves with each such period between it and the newest event. "
        "If not set, age does not matter.",
        unit="days",
        gt=0,
    )
    binarize: bool = key(False, "Every (user, item) pair that counts has weight 1.", unit="switch")
    max_user_interactions: int | None = key(
        None, "Of a user with more items than this, such as a bot, only the latest count.", unit="items", ge=1
    )
    min_user_interactions: int = key(1, "Users with fewer items than this get popular items.", unit="items", ge=1)
    min_item_interactions: int = key(1, "Items with fewer users than this are not recommended.", unit="users", ge=1)

    @model_validator(mode="after")
    def check_weights(self) -> Self:
        _check_event_values(self.event_values)
        if self.binarize and self.half_life_days is not None:
            raise ValueError(
                "binarize and half_life_days are given: with equal weights age cannot count, so keep one of them"
            )
        return self


class HoldoutSettings(Section):
    by: Literal["auto", "time", "users"] = key(
        "auto",
        "time: the last days of everyone are hidden. users: some users are left out of training, and their latest "
        "items are hidden. auto: time, if half of what counts lies before these days, and there are 100 users to "
        "validate with and 100 to test with who were there before and have new items in them.",
        unit="name",
    )
    days: int = key(
        28,
        "Length of the window that is hidden, up to the newest event, where it is by time.",
        unit="days",
        ge=1,
        le=3650,
    )
    salt: str = key(
        "elsa",
        "Decides which users validate and which test. If it changes, no model is compared with the published one.",
        unit="text",
    )
    test_share: float = key(
        0.1,
        "Share of users in the test set; by time, everyone in the window is in one of the two sets, in proportion.",
        unit="share of users",
        gt=0,
        lt=1,
    )
    validation_share: float = key(
        0.1, "Share of users in the validation set, for early stopping.", unit="share of users", gt=0, lt=1
    )
    target_share: float = key(
        0.2,
        "Share of a held-out user's interactions, the latest ones, that is hidden; not used by time.",
        unit="share of interactions",
        gt=0,
        lt=1,
    )

    @model_validator(mode="after")
    def check_shares(self) -> Self:
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share + validation_share must stay below 1, or nobody is left to train on")
        return self


class PolicySettings(Section):
    policy_type: Literal["elsa", "ease"] = key(
        "elsa",
        "The algorithm. elsa: ELSA, a scalable linear shallow autoencoder, with sparse residual weights. "
        "ease: EASE, full-rank, for small catalogues; it has no vectors, so it is a scoring policy only.",
        unit="name",
    )
    event_values: EventValues = key(
        None,
        "The same as interactions.event_values, for configurations that have it here; set one of the two.",
        unit="weight",
    )
    batch_size: int = key(512, "Samples per training batch.", unit="users", ge=1)
    n_epochs: int = key(20, "Most passes over the users.", unit="epochs", ge=1)
    lr: float = key(
        0.1, "Learning rate of the first step; it decreases to 0 over n_epochs.", unit="step size", gt=0, le=10
    )
    factors: int = key(64, "Length of an item's vector; at most the number of items.", unit="dimensions", ge=1)
    device: str = key(
        "auto",
        "Device to train on: auto, cpu, cuda, cuda:<n> or mps; auto uses a GPU if there is one.",
        unit="name",
        pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$",
    )
    strategy: Literal["default", "early_stopping"] = key(
        "early_stopping",
        "default trains for n_epochs; early_stopping keeps the epoch with the best validation nDCG.",
        unit="name",
    )
    patience: int = key(3, "Early stopping ends after so many epochs without improvement.", unit="epochs", ge=1)
    warm_start: bool = key(
        True,
        "Start from the published run's models if these have not seen what is held out now, else from the spectrum; "
        "without new data, keep these models.",
        unit="switch",
    )
    residual_neighbors: int = key(
        100,
        "Most residual weights per item; 0 for ELSA as in the paper. "
        "They are kept only if they improve the validation nDCG.",
        unit="items",
        ge=0,
        le=2000,
    )
    residual_dropout: list[float] = key(
        [0.25, 0.5, 0.75],
        "Dropout rates of the input to try when the residual is fitted; the best on the validation users is used.",
        unit="share of interactions",
        min_length=1,
    )
    residual_ridge: list[float] = key(
        [10.0, 30.0, 100.0],
        "L2 penalties of the residual to try; the best on the validation users is used.",
        unit="weighted users",
        min_length=1,
    )
    ease_ridge: list[float] = key(
        [100.0, 300.0, 1000.0],
        "L2 penalties of EASE to try; the best on the validation users is used.",
        unit="users",
        min_length=1,
    )
    ease_max_items: int = key(
        20_000, "EASE with more items than this is an error: its memory grows with their square.", unit="items", ge=1
    )

    @model_validator(mode="after")
    def check_penalties(self) -> Self:
        _check_event_values(self.event_values)
        for name in ("residual_ridge", "ease_ridge"):
            if not all(0 < value <= 1e12 for value in getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}: each value must lie above 0, and up to 1e12")
        if not all(0 <= share < 1 for share in self.residual_dropout):
            raise ValueError(f"residual_dropout is {self.residual_dropout}: each value must lie from 0 to below 1")
        return self

    @model_validator(mode="after")
    def check_keys_of_ease(self) -> Self:
        used = {"policy_type", "event_values", "device", "warm_start", "ease_ridge", "ease_max_items"}
        if self.policy_type == "ease":
            for name, field in PolicySettings.model_fields.items():
                if name not in used and getattr(self, name) != field.default:
                    raise ValueError(f"{name} is not used by EASE: leave it out, or set policy_type to elsa")
        return self


class PolicyConfigsSettings(Section):
    embedding_policy: PolicySettings | None = Field(
        None, description="The model for retrieval and similar items, with a vector for each item."
    )
    scoring_policy: PolicySettings | None = Field(
        None,
        description="The model that scores (user, item) pairs. One section serves both purposes; "
        "if both are given, they must be equal.",
    )

    @model_validator(mode="after")
    def check_policies(self) -> Self:
        one, other = self.embedding_policy, self.scoring_policy
        if one is not None and other is not None and one != other:
            differing = [name for name in PolicySettings.model_fields if getattr(one, name) != getattr(other, name)]
            raise ValueError(
                f"embedding_policy and scoring_policy differ in {', '.join(differing)}: one model "
                "serves both, so make them equal or keep one"
            )
        if one is not None and one.policy_type == "ease":
            raise ValueError("embedding_policy: EASE has no vectors; make it the scoring_policy, alone")
        return self

    @property
    def policy(self) -> PolicySettings:
        return self.embedding_policy or self.scoring_policy or PolicySettings()
