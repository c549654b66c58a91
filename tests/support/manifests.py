"""Manifests of runs that never ran."""

from tasks.run.manifest import Manifest
from tests.support.worlds import config


def a_manifest(run_id: str, **changes: object) -> Manifest:
    content = {
        "run_id": run_id,
        "kind": "nightly",
        "status": "published",
        "started_at": "2026-01-01T03:00:00+00:00",
        "finished_at": "2026-01-01T03:05:00+00:00",
        "reasons": [],
        "replaces": None,
        "metric": "ndcg@10",
        "policy_type": "elsa",
        "event_weights": {},
        "stages": {"ingest": {"n_events": 10}, "gate": {"value": 0.5}},
        "measured": {
            "ingest": {"finished_at": "2026-01-01T03:01:00+00:00", "seconds": 60.0, "rows": 10, "peak_bytes": None}
        },
        "config": config().model_dump(mode="json"),
    }
    return Manifest.model_validate(content | changes)
