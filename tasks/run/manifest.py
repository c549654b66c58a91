"""A run's manifest: what it was to do, what it has done, and how it ended. Versioned; earlier ones are migrated."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from tasks.errors import InputError
from tasks.run.artifacts import RunFiles
from tasks.run.damage import LOST, in_words
from tasks.run.durable import write_whole
from tasks.run.warehouse import Warehouse
from tasks.settings.training import event_weights

REMAKES = ("refresh", "forget", "withdraw")  # tables of the published model, without training


def _aware(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time has no zone")
    return text


Time = Annotated[str, AfterValidator(_aware)]


class _Part(BaseModel):
    """What others read of a record; whatever else is in it stays."""

    model_config = ConfigDict(extra="allow", strict=True)


class Measured(_Part):
    """What a finished stage took: seconds since the one before, rows it had to do with, peak memory in bytes."""

    finished_at: Time
    seconds: float
    rows: int | None
    peak_bytes: int | None


class Identity(_Part):
    """A file's size and digest."""

    bytes: int
    sha256: str


class _Stage(_Part):
    path: str | None = None
    model_run_id: str = ""
    n_events: int | None = None
    n_rejected: int | None = None
    n_users: int | None = None
    n_items: int | None = None
    n_interactions: int | None = None
    n_test_users: int | None = None
    metric: str = ""
    value: float | None = None


class _Sections(_Part):
    """Of the configuration, the sections that later runs compare with their own."""

    policy_configs: dict[str, dict | None]
    interactions: dict
    holdout: dict


def _checked_as(kind: type[_Part]) -> AfterValidator:
    """What is checked as a model, and stays the dictionary that it is."""

    def check(content: dict[str, Any]) -> dict[str, Any]:
        try:
            kind.model_validate(content)
        except ValidationError as error:
            raise PydanticCustomError("part", "{words}", {"words": in_words(error)}) from None
        return content

    return AfterValidator(check)


class OfKind:
    """What a run was to do."""

    kind: str

    @property
    def is_night(self) -> bool:
        """Whether it was to train and judge a model, however far it came."""
        return self.kind == "nightly"

    @property
    def is_refresh(self) -> bool:
        """Whether it was to take over the model of another run, instead of training and judging its own."""
        return self.kind in REMAKES


class Manifest(_Part, OfKind):
    """The record of a run.

    kind           nightly, refresh, forget, withdraw, ingest or validate; `why` for those that a person asked for
    replaces       the run whose tables readers had when this one was opened: its champion, if it has one
    metric         what the gate compares, such as ndcg@100
    policy_type    by which name the run's own model goes in metrics
    event_weights  of the event types that count; empty where every type does
    stages         by its name, the fields of the handle of each finished stage
    inputs, files  by stage, the digest of all it reads, and those of the files that it wrote
    published      size and digest of all that was published, by its path in the warehouse
    replacing      the same of files that are about to take the places of others, while that lasts
    pruned_at      when its matrices and models were removed
    """

    CURRENT: ClassVar[int] = 2

    version: int = CURRENT
    run_id: str
    kind: str
    why: str | None = None
    status: str
    started_at: Time
    finished_at: Time | None = None
    reasons: list[str]
    replaces: str | None
    flow_run_id: str | None = None
    last_at: float = 0.0
    is_resumed: bool = False
    pruned_at: Time | None = None
    metric: str
    policy_type: str
    event_weights: dict[str, float]
    stages: dict[str, Annotated[dict[str, Any], _checked_as(_Stage)]]
    measured: dict[str, Measured] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    files: dict[str, dict[str, str]] = Field(default_factory=dict)
    published: dict[str, Identity] = Field(default_factory=dict)
    replacing: dict[str, Identity] = Field(default_factory=dict)
    config: Annotated[dict[str, Any], _checked_as(_Sections)]


def _migrated(content: Any) -> Any:
    """Derives what a manifest of version 1 did not hold. Raises ValueError for one of a later version."""
    if not isinstance(content, dict) or content.get("version", 1) == Manifest.CURRENT:
        return content
    if content.get("version", 1) != 1:
        raise ValueError(f"it is of version {content['version']!r:.20}, and this program knows {Manifest.CURRENT}")
    return content | _since_version_1(content) | {"version": Manifest.CURRENT}


def _since_version_1(content: dict) -> dict[str, Any]:
    config, stages = content["config"], content["stages"]
    policies: list[dict[str, Any]] = [one for one in config["policy_configs"].values() if one]
    policy: dict[str, Any] = policies[0] if policies else {"policy_type": "elsa"}
    values = config["interactions"].get("event_values") or policy.get("event_values")
    return {
        "kind": content.get("kind") or _kind(content, stages),
        "metric": f"{config['gate']['metric']}@{max(config['evaluation']['cutoffs'])}",
        "policy_type": policy["policy_type"],
        "event_weights": event_weights(values),
    }


def _kind(content: dict, stages: dict) -> str:
    """Of the first manifests, which did not say."""
    model_run_id = stages.get("train", {}).get("model_run_id", content["run_id"])
    if "gate" not in stages and model_run_id != content["run_id"]:
        return "refresh"
    return {"ingested": "ingest", "validated": "validate"}.get(content["status"], "nightly")


def read_manifest(folder: Path) -> Manifest:
    """Raises InputError that says why the manifest cannot be used, what follows from that and what to do."""
    path = RunFiles(folder).manifest
    try:
        return parse_manifest(path)
    except LOST as error:
        raise InputError(f"{path} is damaged: {in_words(error)}. {_cure(folder)}") from None


def parse_manifest(path: Path) -> Manifest:
    """Raises an error of LOST where it cannot be used."""
    if not os.path.lexists(path):
        raise ValueError("there is none")
    if not path.is_file():
        raise ValueError("it is no file")
    try:
        return Manifest.model_validate(_migrated(json.loads(path.read_text(encoding="utf-8"))))
    except (KeyError, TypeError, AttributeError) as error:  # of what a migration looks at
        raise ValueError(f"{type(error).__name__}: {error}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """All or nothing, as `write_whole` writes."""
    write_whole(RunFiles(folder).manifest, json.dumps(manifest.model_dump(mode="json"), indent=1))


def _cure(folder: Path) -> str:
    if folder.name != Warehouse(folder.parents[1]).current_run_id:
        return f"Restore it from a backup, or remove {folder}: nothing else needs it"
    return (
        "Readers keep the tables of this run, but no other run can be compared with it or refresh it. Restore the "
        "file from a backup; or go back to another run: elsa rollback; or remove "
        f"{folder / 'evaluation_model'}, and the next night goes on without comparison"
    )
