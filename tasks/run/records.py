"""A warehouse's own records, manifests and publications.jsonl. A damaged one is left out and named, no more."""

import json
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import InputError
from tasks.run.quoting import visible

if TYPE_CHECKING:
    from polars import DataType

TAKEN = ("finished_at", "seconds", "rows", "peak_bytes")
LOST = (OSError, ValueError, RecursionError)  # how a record that cannot be used shows itself
TEXT, NUMBER, TRUTH = "text", "a number", "true or false"
RULES = {"rule": TEXT, "severity": TEXT, "passed": TRUTH, "observed": TEXT}
COLUMNS = {  # without which a file is none of its name
    "metrics.parquet": {"model": TEXT, "metric": TEXT, "k": NUMBER, "value": NUMBER, "low": NUMBER, "high": NUMBER},
    "gate_checks.parquet": {"name": TEXT, "metric": TEXT, "passed": TRUTH, "verdict": TEXT},
    "validation.parquet": RULES,
    "drift.parquet": RULES | {"value": NUMBER, "low": NUMBER, "high": NUMBER},
}
MORE_COLUMNS = {"segment": TEXT, "metric": TEXT, "n_users": NUMBER, "threshold": NUMBER, "expected": NUMBER,
                "value": NUMBER, "low": NUMBER, "high": NUMBER}  # fmt: skip
_named: set[str] = set()  # in this command


def _aware(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time has no zone")
    return text


Time = Annotated[str, AfterValidator(_aware)]


class _Part(BaseModel):
    """What others read of a record; whatever else is in it stays."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Judged(_Part):
    metric: str = ""
    value: float | None = None


class _Stage(_Part):
    path: str | None = None
    model_run_id: str = ""
    n_events: int | None = None
    n_rejected: int | None = None
    n_users: int | None = None
    n_items: int | None = None
    n_interactions: int | None = None
    n_test_users: int | None = None


class _Stages(_Part):
    __pydantic_extra__: dict[str, _Stage] = Field(init=False)
    gate: _Judged | None = None


class _Measured(_Part):
    finished_at: Time
    seconds: float
    rows: int | None
    peak_bytes: int | None


class _GateRules(_Part):
    metric: str


class _Cutoffs(_Part):
    cutoffs: list[int] = Field(min_length=1)


class _Configuration(_Part):
    gate: _GateRules
    evaluation: _Cutoffs
    policy_configs: dict[str, dict | None]
    interactions: dict
    holdout: dict


class _Identity(_Part):
    bytes: int
    sha256: str


class _Manifest(_Part):
    run_id: str
    status: str
    started_at: Time
    finished_at: Time | None = None
    reasons: list[str]
    replaces: str | None
    stages: _Stages
    measured: dict[str, _Measured] = {}
    published: dict[str, _Identity] = {}
    config: _Configuration


class _Epoch(_Part):
    epoch: int
    loss: float | None
    ndcg: float | None


class _Choice(_Part):
    ndcg: float = 0.0
    ridge: float | None = None


class _Model(_Part):
    history: list[_Epoch] = []
    best_epoch: int = 0
    choices: list[_Choice] = []


class _Publication(_Part):
    at: Time
    run_id: str
    replaced: str | None
    action: str
    by: str | None
    reason: str | None


def read_manifest(folder: Path) -> dict:
    """Raises InputError that says why the manifest cannot be used, what follows from that and what to do."""
    path = folder / "manifest.json"
    try:
        return _manifest(path)
    except LOST as error:
        raise InputError(f"{path} is damaged: {_said(error)}. {_cure(folder)}") from None


def _cure(folder: Path) -> str:
    if folder.name != current_run_id(folder.parents[1]):
        return f"Restore it from a backup, or remove {folder}: nothing else needs it"
    return (
        "Readers keep the tables of this run, but no other run can be compared with it or refresh it. Restore the "
        "file from a backup; or go back to another run: elsa rollback; or remove "
        f"{folder / 'evaluation_model'}, and the next night goes on without comparison"
    )


def manifests(warehouse: Path) -> tuple[list[dict], dict[str, str]]:
    """Those of all runs, oldest first, and by their run what is wrong with the others, which are named."""
    found, damaged = [], {}
    for folder in _folders(warehouse / "runs"):
        path = folder / "manifest.json"
        if not os.path.lexists(path) and not (folder / "log.jsonl").exists():
            continue  # no run of ours, or one that was killed before it began
        try:
            manifest = _manifest(path)
            if manifest["run_id"] != folder.name:
                raise ValueError(f"it is the manifest of run {manifest['run_id']!r:.40}")
            found.append(manifest)
        except LOST as error:
            damaged[folder.name] = _said(error)
            name_damaged(path, f"{damaged[folder.name]}; run {folder.name} is left out")
    return found, damaged


def _folders(path: Path) -> list[Path]:
    """Those in the folder; none where it is not there yet. Raises InputError where it is no folder."""
    try:
        return sorted(one for one in path.iterdir() if one.is_dir())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise InputError(f"{path} must be a folder that this program made: move away what is there") from None


def _manifest(path: Path) -> dict:
    content = json.loads(_text(path))
    _Manifest.model_validate(content)
    return content


def read_model(path: Path) -> dict:
    """What a model's training has written down; {} for a damaged file, which is named."""
    try:
        content = json.loads(_text(path))
        _Model.model_validate(content)
        return content
    except LOST as error:
        name_damaged(path, f"{_said(error)}; the report does without")
        return {}


def _text(path: Path) -> str:
    if not path.exists():
        raise ValueError("there is none")
    if not path.is_file():
        raise ValueError("it is no file")
    return path.read_text(encoding="utf-8")


def _said(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    if isinstance(error, OSError):
        return str(error.strerror)
    return str(error).splitlines()[0]


def name_damaged(path: Path, words: str) -> None:
    """Names a damaged file once a command: in the run's log, or where there is no run, on standard error."""
    line = f"{path} is damaged: {words}"
    if line in _named:
        return
    _named.add(line)
    if "prefect.context" in sys.modules:
        from prefect import get_run_logger
        from prefect.context import FlowRunContext, TaskRunContext

        if FlowRunContext.get() or TaskRunContext.get():
            get_run_logger().warning(line)
            return
    print(f"warning: {visible(line)}", file=sys.stderr)


def begin_to_name() -> None:
    """A command begins: what is damaged is named in it, once."""
    _named.clear()


def is_night(manifest: dict) -> bool:
    """Whether the run was to train and judge a model, however far it came."""
    if "kind" in manifest:
        return manifest["kind"] == "nightly"
    return not is_refresh(manifest) and manifest["status"] not in ("ingested", "validated")


REMAKES = ("refresh", "forget", "withdraw")  # tables of the published model


def is_refresh(manifest: dict) -> bool:
    """Whether the run was to take over the model of another one, instead of training and judging its own."""
    if "kind" in manifest:
        return manifest["kind"] in REMAKES
    trained = manifest["stages"].get("train", {})  # of an earlier version
    return "gate" not in manifest["stages"] and trained.get("model_run_id", manifest["run_id"]) != manifest["run_id"]


def current_run_id(warehouse: Path) -> str | None:
    """The run whose tables readers get, or None before the first publication."""
    link = warehouse / "current.duckdb"
    return Path(os.readlink(link)).stem if link.is_symlink() else None


def publications(warehouse: Path) -> list[dict]:
    """Every time that readers were led to another run, oldest first; the symlink tells the last one in any case."""
    entries, _ = read_publications(warehouse)
    current = current_run_id(warehouse)
    if current is not None and (not entries or entries[-1]["run_id"] != current):  # died between flip and record
        at = datetime.fromtimestamp((warehouse / "current.duckdb").lstat().st_mtime, UTC)
        replaced = entries[-1]["run_id"] if entries else None
        entries.append(
            {
                "at": at.isoformat(),
                "run_id": current,
                "replaced": replaced,
                "action": "publish",
                "by": None,
                "reason": None,
            }
        )
    return entries


def read_publications(warehouse: Path) -> tuple[list[dict], bool]:
    """The lines of publications.jsonl that can be used, and whether others had to be named and left out."""
    path, entries, lost = warehouse / "publications.jsonl", [], []
    if not os.path.lexists(path):
        return [], False
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        lines = path.read_bytes().splitlines()
    except LOST as error:
        name_damaged(path, f"{_said(error)}; what readers had before is unknown")
        return [], True
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            _Publication.model_validate(entry)
            entries.append(entry)
        except LOST as error:
            lost.append((number, _said(error)))
    if lost:
        numbers = ", ".join(str(number) for number, _ in lost[:5]) + (", …" if len(lost) > 5 else "")
        name_damaged(path, f"line {numbers} cannot be used ({lost[0][1]}) and is left out")
    return entries, bool(lost)


def files_of_all_runs(warehouse: Path, manifests: list[dict], stage: str, name: str) -> list[str]:
    """The Parquet file of that name of every one of the runs that has finished the stage, in their order.

    Raises InputError if none can be used: a refresh has none of its own.
    """
    runs = [manifest["run_id"] for manifest in manifests if stage in manifest["stages"]]
    found = usable_parquet(warehouse / "runs" / run_id / name for run_id in runs)
    if not found:
        raise InputError(f"no run in {warehouse} has a {name} that can be used; make one with: elsa nightly")
    return found


def usable_parquet(paths: Iterable[Path]) -> list[str]:
    """Those of the files that hold the columns that their name says, each of its kind; others are named."""
    import polars as pl

    found = []
    for path in paths:
        try:
            _require_columns(pl.read_parquet_schema(path), COLUMNS[path.name])
            found.append(str(path))
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            name_damaged(path, f"{_said(error)}; it is left out")
    return found


def _require_columns(found: "dict[str, DataType]", columns: dict[str, str]) -> None:
    if missing := columns.keys() - found.keys():
        raise ValueError(f"it has no column {min(missing)!r}")
    kinds = MORE_COLUMNS | columns
    for name, dtype in found.items():
        if name in kinds and not _is(dtype, kinds[name]):
            raise ValueError(f"its column {name!r} is {dtype}, not {kinds[name]}")


def _is(dtype: "DataType", kind: str) -> bool:
    """A column without a value has no kind."""
    import polars as pl

    kinds = {TEXT: dtype == pl.String, TRUTH: dtype == pl.Boolean, NUMBER: dtype.is_numeric()}
    return dtype == pl.Null or kinds[kind]


def stages_of_all_runs(manifests: list[dict]) -> list[dict[str, Any]]:
    """What each finished stage took, a row a stage, of every one of the runs that has taken events in."""
    return [
        {"run_id": manifest["run_id"], "stage": stage, **{name: taken[name] for name in TAKEN}}
        for manifest in manifests
        if "ingest" in manifest["stages"]
        for stage, taken in manifest.get("measured", {}).items()
    ]
