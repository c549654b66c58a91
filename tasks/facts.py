"""What a run has left behind, however far it came: everything that its report shows."""

import json
from typing import TYPE_CHECKING, Any

from tasks import pictures
from tasks.explore import look_up_item, look_up_user, select
from tasks.warehouse import Run, connect, list_runs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_NIGHTS = 30
N_LISTED, N_HISTORY = 5, 8
COUNTS = [  # what is counted each night: its name, the stage that counted it, the field of its handle
    ("events", "ingest", "n_events"),
    ("rows set aside", "ingest", "n_rejected"),
    ("users", "matrix", "n_users"),
    ("items", "matrix", "n_items"),
    ("interactions that count", "matrix", "n_interactions"),
    ("test users", "matrix", "n_test_users"),
]


def collect_facts(run: Run) -> dict[str, Any]:
    """Everything that the template shows, from what the run has left behind, however far it came."""
    manifests = [manifest for manifest in list_runs(run.warehouse) if manifest["run_id"] <= run.run_id]
    manifest = manifests[-1]
    earlier = next((one for one in reversed(manifests[:-1]) if one["status"] == "published"), None)
    metric = _compared_metric(manifest)
    coverage = f"coverage@{metric.split('@')[1]}"
    metrics, history = _metrics(run, manifests, metric)
    drift, model = _read(run, "drift.parquet"), _model_record(run, manifest)
    banded = [row for row in drift if row.get("low") is not None and row["value"] is not None]
    measured = manifest.get("measured", {})
    return {
        "manifest": manifest,
        "earlier": earlier,
        "changes": _changes(manifest, earlier),
        "changed_keys": _changed_keys(manifest, earlier) if earlier else [],
        "metric": metric,
        "metrics": metrics,
        "models": list(dict.fromkeys(row["model"] for row in metrics)),
        "gate": _read(run, "gate_checks.parquet"),
        "history": history,
        "validation": _read(run, "validation.parquet"),
        "drift": drift,
        "choices": [choice for choice in model.get("choices", []) if "ndcg" in choice],
        "measured": measured,
        "lists": _lists(run),
        "config": _as_yaml(manifest["config"]),
        "pictures": {
            "models": [pictures.models(metrics, name) for name in (metric, coverage)] if metrics else [],
            "nights": pictures.nights(history, metric) if len(history) > 1 else None,
            "training": pictures.training(model.get("history", []), model.get("best_epoch", 0)),
            "drift": pictures.drift(banded) if banded else None,
            "stages": pictures.stages(measured) if measured else None,
        },
    }


def _compared_metric(manifest: dict) -> str:
    return f"{manifest['config']['gate']['metric']}@{max(manifest['config']['evaluation']['cutoffs'])}"


def _own_model(manifest: dict) -> str:
    """Tonight's model goes by its name in the metrics."""
    policies = manifest["config"]["policy_configs"]
    policy = policies["embedding_policy"] or policies["scoring_policy"] or {"policy_type": "elsa"}
    return policy["policy_type"]


def _read(run: Run, name: str) -> list[dict]:
    import polars as pl

    path = run.folder / name
    return pl.read_parquet(path).to_dicts() if path.exists() else []


def _metrics(run: Run, manifests: list[dict], metric: str) -> tuple[list[dict], list[dict]]:
    """Tonight's metrics, and the compared one of the last nights until tonight that were evaluated."""
    evaluated = [manifest for manifest in manifests if "evaluate" in manifest["stages"]][-N_NIGHTS:]
    files = [str(run.warehouse / "runs" / manifest["run_id"] / "metrics.parquet") for manifest in evaluated]
    if not evaluated or evaluated[-1]["run_id"] != run.run_id:
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
        metrics = select(connection, "report/metrics", tonight)
        found = select(connection, "report/history", nights)
    status = {manifest["run_id"]: manifest["status"] for manifest in evaluated}
    return metrics, [{**row, "status": status[row["run_id"]]} for row in found]


def _model_record(run: Run, manifest: dict) -> dict:
    """What the evaluation model's training has written down: epochs and choices."""
    trained = manifest["stages"].get("train")
    path = run.folder / trained["path"] / "model.json" if trained else None
    return json.loads(path.read_text()) if path and path.exists() else {}


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
        {"key": key, "now": now.get(key), "then": then.get(key)}
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    ]


def _flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """Values by their whole keys, such as source.columns.user_id."""
    values = {}
    for key, value in config.items():
        values |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def _as_yaml(config: dict) -> str:
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _lists(run: Run) -> dict[str, Any] | None:
    """Pictures and samples of the published tables; None where there are none."""
    path = run.warehouse / "published" / f"{run.run_id}.duckdb"
    if not path.exists():
        return None
    with connect(path, run.config, read_only=True) as connection:
        return {"pictures": _pictures_of_lists(connection), **_samples(connection)}


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
