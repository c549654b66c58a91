"""What a run has left behind, however far it came: everything that its report shows."""

import json
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError, WarehouseBusy
from tasks.report import charts as pictures
from tasks.run.lookup import look_up_item, look_up_user, select
from tasks.run.records import is_refresh, name_damaged, read_manifest, read_model, usable_parquet
from tasks.run.warehouse import Run, connect, intact, list_runs
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


def collect_facts(run: Run) -> dict[str, Any]:
    """Everything that the template shows, from what the run has left behind, however far it came.

    Raises InputError if its manifest is damaged.
    """
    all_runs = {manifest["run_id"]: manifest for manifest in list_runs(run.warehouse)}
    manifests = [manifest for run_id, manifest in all_runs.items() if run_id <= run.run_id]
    manifest = all_runs.get(run.run_id) or read_manifest(run.folder)  # which raises
    earlier = all_runs.get(manifest["replaces"])
    metric = _compared_metric(manifest)
    coverage = f"coverage@{metric.split('@')[1]}"
    metrics, history = _metrics(run, manifests, metric)
    gate, drift = _read(run, "gate_checks.parquet"), _read(run, "drift.parquet")
    model = {} if is_refresh(manifest) else _model_record(run, manifest)
    banded = [row for row in drift if row.get("low") is not None and row["value"] is not None]
    measured = manifest.get("measured", {})
    return {
        "manifest": manifest,
        "lead": _lead(manifest, gate),
        "is_refresh": is_refresh(manifest),
        "earlier": earlier,
        "changes": _changes(manifest, earlier),
        "changed_keys": _changed_keys(manifest, earlier) if earlier else [],
        "metric": metric,
        "metrics": metrics,
        "models": list(dict.fromkeys(row["model"] for row in metrics)),
        "gate": gate,
        "history": history,
        "validation": _read(run, "validation.parquet"),
        "drift": drift,
        "choices": [choice for choice in model.get("choices", []) if "ndcg" in choice],
        "measured": measured,
        "lists": _lists(run),
        "config": dump_yaml(manifest["config"]),
        "pictures": {
            "models": [pictures.models(metrics, name) for name in (metric, coverage)] if metrics else [],
            "nights": pictures.nights(history, metric) if len(history) > 1 else None,
            "training": pictures.training(model.get("history", []), model.get("best_epoch", 0)),
            "drift": pictures.drift(banded) if banded else None,
            "stages": pictures.stages(measured) if measured else None,
        },
    }


def _lead(manifest: dict, gate: list[dict]) -> str:
    """What became of the run, in a sentence; the reasons, if there are any, come behind it."""
    status, last = manifest["status"], _last_stage(manifest)
    if status == "published":
        return _of_published(manifest, gate)
    if status == "rejected":
        kept = f"keep the tables of run {manifest['replaces']}" if manifest["replaces"] else "have none yet"
        return f"Nothing was published, and readers {kept}."
    if status == "running":
        return "The run is at work" + (f"; {last} is done." if last else ".")
    if status in ("ingested", "validated"):
        return "Only the data was looked at; nothing was trained."
    who = "The process ended without a word; the run" if status == "died" else "The run"
    when = f"after {last}" if last else "before its first stage was finished"
    resumed = " It had been resumed: what earlier attempts left is shown, too." if manifest.get("is_resumed") else ""
    return f"{who} stopped {when}. Nothing was published.{resumed}"


def _of_published(manifest: dict, gate: list[dict]) -> str:
    if any(row["name"] == "forced" for row in gate):
        return "Published all the same, although the gate says no:"
    said = "The model passed every check of the gate, and readers got its tables."
    if is_refresh(manifest):
        model = manifest["stages"]["train"]["model_run_id"]
        said = f"Tables made anew with the model of run {model}; nothing was trained or judged."
    return f"{said} Afterwards something went wrong:" if manifest["reasons"] else said


def _last_stage(manifest: dict) -> str | None:
    """The stage that was finished last, since the run was started or resumed."""
    start, measured = manifest["started_at"], manifest.get("measured", {})
    finished = [stage for stage in measured if measured[stage]["finished_at"] >= start]  # in the order of the night
    return max(reversed(finished), key=lambda stage: measured[stage]["finished_at"], default=None)


def _compared_metric(manifest: dict) -> str:
    return f"{manifest['config']['gate']['metric']}@{max(manifest['config']['evaluation']['cutoffs'])}"


def _own_model(manifest: dict) -> str:
    """Tonight's model goes by its name in the metrics."""
    policies = manifest["config"]["policy_configs"]
    policy = policies["embedding_policy"] or policies["scoring_policy"] or {"policy_type": "elsa"}
    return policy["policy_type"]


def _read(run: Run, name: str) -> list[dict]:
    import polars as pl

    paths = [run.folder / name] if (run.folder / name).exists() else []
    return [row for path in usable_parquet(paths) for row in pl.read_parquet(path).to_dicts()]


def _metrics(run: Run, manifests: list[dict], metric: str) -> tuple[list[dict], list[dict]]:
    """Tonight's metrics, and the compared one of the last nights until tonight that were evaluated."""
    evaluated = [manifest for manifest in manifests if "evaluate" in manifest["stages"]][-N_NIGHTS:]
    folder = run.warehouse / "runs"
    files = usable_parquet(folder / manifest["run_id"] / "metrics.parquet" for manifest in evaluated)
    evaluated = [manifest for manifest in evaluated if str(folder / manifest["run_id"] / "metrics.parquet") in files]
    if not evaluated:
        return [], []
    name, k = metric.split("@")
    nights = {
        "files": files,
        "metric": name,
        "k": int(k),
        "runs": [manifest["run_id"] for manifest in evaluated],
        "models": [_own_model(manifest) for manifest in evaluated],
    }
    with connect(":memory:", run.config) as connection:
        tonight = {"metrics": files[-1], "own": _own_model(evaluated[-1])}
        is_own = evaluated[-1]["run_id"] == run.run_id
        metrics = select(connection, "report/metrics", tonight) if is_own else []
        found = select(connection, "report/history", nights)
    status = {manifest["run_id"]: manifest["status"] for manifest in evaluated}
    return metrics, [{**row, "status": status[row["run_id"]]} for row in found]


def _model_record(run: Run, manifest: dict) -> dict:
    """What the evaluation model's training has written down: epochs and choices."""
    trained = manifest["stages"].get("train")
    path = run.folder / trained["path"] / "model.json" if trained else None
    return {} if path is None or not path.exists() else read_model(path)


def _changes(manifest: dict, earlier: dict | None) -> list[dict]:
    """What was counted tonight and in the earlier run."""
    rows = []
    for name, stage, field in COUNTS:
        now, then = ((one or {"stages": {}})["stages"].get(stage, {}).get(field) for one in (manifest, earlier))
        if now is not None:
            rows.append({"name": name, "now": now, "then": then})
    return rows


def _changed_keys(manifest: dict, earlier: dict) -> list[dict]:
    now, then = _flat(manifest["config"]), _flat(earlier["config"])
    return [
        {"key": key, "now": _as_json(now.get(key)), "then": _as_json(then.get(key))}
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    ]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """Values by their whole keys, such as source.columns.user_id."""
    values = {}
    for key, value in config.items():
        values |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def _lists(run: Run) -> dict[str, Any] | None:
    """Pictures and samples of the published tables; None where there are none."""
    path = run.warehouse / "published" / f"{run.run_id}.duckdb"
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
    found = [(draw, select(connection, f"report/{draw.__name__}")) for draw in drawings]
    return [draw(rows) for draw, rows in found if rows]


def _samples(connection: "DuckDBPyConnection") -> dict[str, list[dict]]:
    users, items = (select(connection, f"report/sample_{name}") for name in ("users", "items"))
    return {
        "users": [look_up_user(connection, row["id"], N_LISTED, N_HISTORY) for row in users],
        "items": [look_up_item(connection, row["id"], N_LISTED) for row in items],
    }
