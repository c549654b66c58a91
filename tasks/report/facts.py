"""What a run has left behind, however far it came: everything that its report shows."""

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from tasks.errors import InputError, WarehouseBusy
from tasks.report import charts as pictures
from tasks.run.artifacts import Frame
from tasks.run.damage import LOST, in_words, name_damaged
from tasks.run.database import connect, intact, select, sql
from tasks.run.index import RunSummary, list_runs
from tasks.run.lookup import look_up_item, look_up_user
from tasks.run.manifest import Manifest, read_manifest
from tasks.run.results import usable_parquet
from tasks.run.run import Run
from tasks.settings.yaml_text import dump_yaml

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_NIGHTS = 30
N_LISTED, N_HISTORY = 5, 8
COUNTS = [  # what is counted each night: its name, the stage that counted it, the field of its handle
    ("events", "ingest", "n_events"),
    ("rows quarantined", "ingest", "n_rejected"),
    ("users", "matrix", "n_users"),
    ("items", "matrix", "n_items"),
    ("interactions that count", "matrix", "n_interactions"),
    ("test users", "matrix", "n_test_users"),
]


class _Epoch(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    epoch: int
    loss: float | None
    ndcg: float | None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    ndcg: float = 0.0
    ridge: float | None = None


class _Training(BaseModel):
    """What the report shows of a model's training."""

    model_config = ConfigDict(extra="allow", strict=True)

    history: list[_Epoch] = []
    best_epoch: int = 0
    choices: list[_Choice] = []


def collect_facts(run: Run) -> dict[str, Any]:
    """Everything that the template shows, from what the run has left behind, however far it came.

    Raises InputError if its manifest is damaged.
    """
    runs = {one.run_id: one for one in list_runs(run.warehouse)}
    manifest = read_manifest(run.files.folder)
    manifest.status = runs[run.run_id].status
    earlier = _earlier(run, manifest, runs)
    metrics, history = _metrics(run, [one for run_id, one in runs.items() if run_id <= run.run_id], manifest.metric)
    gate, drift = _read(run.files.gate_checks), _read(run.files.drift)
    model = {} if manifest.is_refresh else _model_record(run, manifest)
    return {
        "manifest": manifest,
        "lead": _lead(manifest, gate),
        "is_refresh": manifest.is_refresh,
        "earlier": earlier,
        "changes": _changes(manifest, earlier),
        "changed_keys": _changed_keys(manifest, earlier) if earlier else [],
        "metric": manifest.metric,
        "metrics": metrics,
        "holdout": manifest.stages.get("holdout", {}).get("reason"),
        "models": list(dict.fromkeys(row["model"] for row in metrics)),
        "gate": gate,
        "history": history,
        "validation": _read(run.files.validation),
        "drift": drift,
        "choices": [choice for choice in model.get("choices", []) if "ndcg" in choice],
        "measured": manifest.measured,
        "lists": _lists(run),
        "config": dump_yaml(manifest.config),
        "pictures": _pictures(manifest, metrics, history, model, drift),
    }


def _earlier(run: Run, manifest: Manifest, runs: dict[str, RunSummary]) -> Manifest | None:
    """The run that it replaces, where that still has a manifest."""
    found = runs.get(manifest.replaces or "")
    return None if found is None else read_manifest(run.warehouse.run_folder(found.run_id))


def _pictures(
    manifest: Manifest, metrics: list[dict], history: list[dict], model: dict, drift: list[dict]
) -> dict[str, Any]:
    banded = [row for row in drift if row.get("low") is not None and row["value"] is not None]
    shown = (manifest.metric, f"coverage@{manifest.metric.split('@')[1]}")
    return {
        "models": [pictures.models(metrics, name) for name in shown] if metrics else [],
        "nights": pictures.nights(history, manifest.metric) if len(history) > 1 else None,
        "training": pictures.training(model.get("history", []), model.get("best_epoch", 0)),
        "drift": pictures.drift(banded) if banded else None,
        "stages": pictures.stages(manifest.measured) if manifest.measured else None,
    }


def _lead(manifest: Manifest, gate: list[dict]) -> str:
    """What became of the run, in a sentence; the reasons, if there are any, come behind it."""
    status, last = manifest.status, _last_stage(manifest)
    if status == "published":
        return _of_published(manifest, gate)
    if status == "rejected":
        kept = f"keep the tables of run {manifest.replaces}" if manifest.replaces else "have none yet"
        return f"Nothing was published, and readers {kept}."
    if status == "running":
        return "The run is at work" + (f"; {last} is done." if last else ".")
    if status in ("ingested", "validated"):
        return "Only the data was looked at; nothing was trained."
    who = "The process ended without a word; the run" if status == "died" else "The run"
    when = f"after {last}" if last else "before its first stage was finished"
    resumed = " It had been resumed: what earlier attempts left is shown, too." if manifest.is_resumed else ""
    return f"{who} stopped {when}. Nothing was published.{resumed}"


def _of_published(manifest: Manifest, gate: list[dict]) -> str:
    if any(row["name"] == "forced" for row in gate):
        return "Published all the same, although the gate says no:"
    said = "The model passed every check of the gate, and readers got its tables."
    if manifest.is_refresh:
        model = manifest.stages["train"]["model_run_id"]
        said = f"Tables rebuilt with the model of run {model}; nothing was trained or judged."
    return f"{said} Afterwards something went wrong:" if manifest.reasons else said


def _last_stage(manifest: Manifest) -> str | None:
    """The stage that was finished last, since the run was started or resumed."""
    measured = manifest.measured
    finished = [stage for stage in measured if measured[stage].finished_at >= manifest.started_at]
    return max(reversed(finished), key=lambda stage: measured[stage].finished_at, default=None)


def _read(file: Frame) -> list[dict]:
    paths = usable_parquet([file.path] if file.path.exists() else [])
    return file.read().to_dicts() if paths else []


def _metrics(run: Run, runs: list[RunSummary], metric: str) -> tuple[list[dict], list[dict]]:
    """The run's metrics, and the compared one of the last runs until this one that were evaluated."""
    evaluated = {
        run.warehouse.files(one.run_id).metrics.path: one
        for one in [one for one in runs if "evaluate" in one.stages][-N_NIGHTS:]
    }
    files = usable_parquet(evaluated)
    if not files:
        return [], []
    own, last = [evaluated[path] for path in files], evaluated[files[-1]]
    name, k = metric.split("@")
    nights = {"files": [*map(str, files)], "metric": name, "k": int(k), "runs": [one.run_id for one in own],
              "models": [one.policy_type for one in own]}  # fmt: skip
    with connect(":memory:", run.config) as connection:
        this = {"metrics": str(files[-1]), "own": last.policy_type}
        metrics = select(connection, sql("report/metrics"), this) if last.run_id == run.run_id else []
        found = select(connection, sql("report/history"), nights)
    status = {one.run_id: one.status for one in own}
    return metrics, [{**row, "status": status[row["run_id"]]} for row in found]


def _model_record(run: Run, manifest: Manifest) -> dict:
    """What the evaluation model's training has written down, epochs and choices; {} for a damaged file, named."""
    path = run.files.evaluation_model.training
    if "train" not in manifest.stages or not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _Training.model_validate(content)
        return content
    except LOST as error:
        name_damaged(path, f"{in_words(error)}; the report does without")
        return {}


def _changes(manifest: Manifest, earlier: Manifest | None) -> list[dict]:
    """What was counted in this run and in the earlier one."""
    rows = []
    for name, stage, field in COUNTS:
        now, then = (one and one.stages.get(stage, {}).get(field) for one in (manifest, earlier))
        if now is not None:
            rows.append({"name": name, "now": now, "then": then})
    return rows


def _changed_keys(manifest: Manifest, earlier: Manifest) -> list[dict]:
    now, then = _flat(manifest.config), _flat(earlier.config)
    return [
        {"key": key, "now": _as_json(now.get(key)), "then": _as_json(then.get(key))}
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    ]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """Values by their whole keys, such as source.columns.user_id."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def _lists(run: Run) -> dict[str, Any] | None:
    """Pictures and samples of the published tables; None where there are none."""
    path = run.warehouse.tables(run.run_id)
    if not path.exists():
        return None
    try:
        with intact(path), connect(path, run.config, read_only=True) as connection:
            return {"pictures": _pictures_of_lists(connection), **_samples(connection)}
    except WarehouseBusy:
        raise
    except InputError as error:
        name_damaged(path, f"the report does without: {error}")
        return None


def _pictures_of_lists(connection: "DuckDBPyConnection") -> list[pictures.Picture]:
    drawings = (pictures.coverage, pictures.popularity, pictures.scores)
    found = [(draw, select(connection, sql(f"report/{draw.__name__}"))) for draw in drawings]
    return [draw(rows) for draw, rows in found if rows]


def _samples(connection: "DuckDBPyConnection") -> dict[str, list[dict | None]]:
    users, items = (select(connection, sql(f"report/sample_{name}")) for name in ("users", "items"))
    return {
        "users": [look_up_user(connection, row["id"], N_LISTED, N_HISTORY) for row in users],
        "items": [look_up_item(connection, row["id"], N_LISTED) for row in items],
    }
