"""The reference of all keys: complete, and docs/configuration.md is what the models say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.settings.config import Config
from tasks.settings.reference import markdown, parts, reference

ROOT = Path(__file__).parents[2]


def test_every_key_has_a_default_a_unit_a_range_and_a_sentence() -> None:
    for path, default, unit, limits, description in reference():
        assert default and limits, path
        assert unit or path.endswith("scoring_policy"), path
        assert re.fullmatch(r"(?s)\w.*\w.*[.]", description), path
    assert Config() == Config.model_validate({})


def test_the_page_is_what_the_models_say() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == markdown(), "run: make docs"


def test_the_module_prints_the_page() -> None:
    command = [sys.executable, "-m", "tasks.settings.reference"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == markdown()


def test_every_key_is_on_the_page_once_in_the_table_of_its_section() -> None:
    found = re.split(r"^## ", markdown(), flags=re.MULTILINE)[1:]
    assert [one.splitlines()[0].strip("`") for one in found] == [part.path or "Top level" for part in parts()]
    for text, part in zip(found, parts(), strict=True):
        rows = [line for line in text.splitlines() if line.startswith("| `")]
        assert [f"{part.path}.{row.split('`')[1]}".lstrip(".") for row in rows] == [key.path for key in part.keys]
        assert all(len(re.split(r"(?<!\\)\|", row)) == 7 for row in rows), "a | in a cell ends it"
        assert re.fullmatch(r"\w.*[.]", part.description) or not part.path


@pytest.mark.parametrize(
    ("path", "default", "unit", "limits"),
    [
        ("memory_limit", "4GB", "bytes", "a size such as 500MB, 4GB or 0.5GiB"),
        ("lock_wait_seconds", "600.0", "seconds", "number, ≥ 0, ≤ 10,000,000"),
        ("source.csv.delimiter", "null", "character", "text or null"),
        ("source.ids.strip_decimal", "null", "switch", "true or false or null"),
        ("policy_configs.embedding_policy.policy_type", "elsa", "name", "elsa, ease"),
        ("holdout.test_share", "0.1", "share of users", "number, > 0, < 1"),
        ("evaluation.cutoffs", "[10, 100]", "items", "list of integers"),
        ("gate.minimums", "{}", "metric", "mapping of numbers"),
        ("policy_configs.embedding_policy.warm_start", "true", "switch", "true or false"),
    ],
)
def test_default_unit_and_range_are_those_of_the_field(path: str, default: str, unit: str, limits: str) -> None:
    (key,) = [key for key in reference() if key.path == path]
    assert (key.default, key.unit, key.range) == (default, unit, limits)
