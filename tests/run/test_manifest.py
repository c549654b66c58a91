"""Manifests: written and read back, migrated from earlier versions, refused from later ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import InputError
from tasks.run.manifest import Manifest, read_manifest, write_manifest
from tests.support.manifests import a_manifest
from tests.support.worlds import config

VERSION_1: dict[str, Any] = {
    "run_id": "20260101T030000_000000",
    "stages": {"ingest": {"n_events": 10}, "train": {"model_run_id": "20260101T030000_000000", "path": "model"}},
    "measured": {},
    "inputs": {"train": "abc"},
    "files": {"train": {"model/model.json": "def"}},
    "kind": "nightly",
    "why": None,
    "started_at": "2026-01-01T03:00:00+00:00",
    "status": "published",
    "reasons": [],
    "replaces": None,
    "flow_run_id": None,
    "last_at": 1767236400.0,
    "is_resumed": False,
    "config": config().model_dump(mode="json"),
    "finished_at": "2026-01-01T03:05:00+00:00",
}


def read(folder: Path, content: dict) -> Manifest:
    (folder / "manifest.json").write_text(json.dumps(content))
    return read_manifest(folder)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = a_manifest("20260101T030000_000000", of_a_later_version="kept")
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_a_manifest_of_version_1_is_migrated(tmp_path: Path) -> None:
    manifest = read(tmp_path, VERSION_1)
    assert manifest.version == 2
    assert (manifest.metric, manifest.policy_type, manifest.event_weights) == ("ndcg@10", "elsa", {})
    assert manifest.inputs == VERSION_1["inputs"] and manifest.files == VERSION_1["files"]
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest, "and stays so"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "nightly"),
        ({"stages": {"train": {"model_run_id": "another"}}}, "refresh"),
        ({"stages": {"train": {"model_run_id": "another"}, "gate": {}}}, "nightly"),
        ({"stages": {}, "status": "ingested"}, "ingest"),
        ({"stages": {}, "status": "validated"}, "validate"),
        ({"stages": {}, "status": "failed"}, "nightly"),
    ],
)
def test_the_kind_of_the_first_manifests_follows_from_what_they_did(changes: dict, kind: str, tmp_path: Path) -> None:
    content = {name: value for name, value in VERSION_1.items() if name not in ("kind", "inputs", "files")}
    assert read(tmp_path, content | changes).kind == kind


def test_event_values_of_an_earlier_place_are_found(tmp_path: Path) -> None:
    content = json.loads(json.dumps(VERSION_1))
    content["config"]["policy_configs"] = {
        "embedding_policy": None, "scoring_policy": {"policy_type": "ease", "event_values": {"buy": 2.0}},
    }  # fmt: skip
    manifest = read(tmp_path, content)
    assert (manifest.policy_type, manifest.event_weights) == ("ease", {"buy": 2.0})


def test_a_new_manifest_is_what_its_maker_says() -> None:
    manifest = a_manifest("20260101T030000_000000", metric="recall@5", policy_type="ease", event_weights={"buy": 2.0})
    assert (manifest.metric, manifest.policy_type, manifest.event_weights) == ("recall@5", "ease", {"buy": 2.0})


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of version 3, and this program knows 2"):
        read(tmp_path, VERSION_1 | {"version": 3})


@pytest.mark.parametrize("lacking", ["config", "stages", "run_id", "started_at"])
def test_one_that_lacks_a_part_is_damaged(lacking: str, tmp_path: Path) -> None:
    content = {name: value for name, value in VERSION_1.items() if name != lacking}
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        read(tmp_path, content)
