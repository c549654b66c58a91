"""What YAML makes numbers, dates and switches of: text as it stands in the file, where a key holds text."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import InputError
from tasks.settings.config import Config, Section, read_config
from tasks.settings.yaml_text import load_yaml

KIND = "source: {columns: {event_type: kind, timestamp: at}}\n"
WRITTEN = ["5", "0", "007", "0x1F", "1_000", "1.50", "1e3", ".inf", "12:30:00", "yes", "No", "on", "true", "False",
           "1970-01-01", "2010-12-01 08:26:00", "2010-12-01T08:26:00Z"]  # fmt: skip


def read(text: str, folder: Path) -> Config:
    (folder / "my.yaml").write_text(text)
    return read_config(folder / "my.yaml")


@pytest.mark.parametrize("text", WRITTEN)
def test_text_keys_list_members_and_names_are_as_written(text: str, tmp_path: Path) -> None:
    def read_here(yaml: str) -> Config:
        return read(yaml, tmp_path)

    assert read_here(f"holdout:\n  salt: {text}\n").holdout.salt == text
    assert read_here(f"source:\n  columns:\n    user_id: {text}\n    value: {text}").source.columns.value == text
    assert read_here(f"source:\n  events:\n    - {text}\n").source.events == [text]
    assert read_here(f"source:\n  events: {text}\n").source.events == text
    assert read_here(f"source:\n  items:\n    path: a.csv\n    item_id: {text}").source.items.item_id == text
    listed = read_here(f"{KIND}interactions:\n  event_values:\n    - {text}\n")
    assert listed.event_weights == {text: 1.0}
    weighted = read_here(f"{KIND}policy_configs:\n  scoring_policy:\n    event_values:\n      {text}: 3\n")
    assert weighted.event_weights == {text: 3.0}
    conditions = load_yaml(f"quarantine:\n  conditions:\n    {text}: {text}\n", Config)  # which may be no SQL
    assert conditions == {"quarantine": {"conditions": {text: text}}}


@pytest.mark.parametrize("text", ["1970-01-01", "2010-12-01 08:26:00", "2010-12-01T08:26:00Z"])
def test_the_earliest_time_needs_no_quotes(text: str, tmp_path: Path) -> None:
    assert read(f"quarantine:\n  earliest: {text}\n", tmp_path).quarantine.earliest == text


def test_the_word_null_is_text_among_texts_and_nothing_for_a_key(tmp_path: Path) -> None:
    assert read("source: {events: [null, ~, NULL]}", tmp_path).source.events == ["null", "~", "NULL"]
    assert read(KIND + "interactions: {event_values: {null: 2}}", tmp_path).event_weights == {"null": 2.0}
    assert read("source: {columns: {value: null}}", tmp_path).source.columns.value is None
    with pytest.raises(InputError, match="source.events.0: got None"):
        read("source:\n  events:\n    -\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: '5'", "seed: got '5', must be a valid integer"),
        ("seed: yes", "seed: got True, must be a valid integer"),
        ("lock_wait_seconds: 1970-01-01", "lock_wait_seconds: got '1970-01-01', must be a valid number"),
        ("source: {ids: {trim: 1}}", "source.ids.trim: got 1, must be a valid boolean"),
        ("gate: {minimums: {ndcg@100: '0.1'}}", "gate.minimums.ndcg@100: got '0.1', must be a valid number"),
        ("evaluation: {cutoffs: ['10']}", "evaluation.cutoffs.0: got '10', must be a valid integer"),
        ("gate: {undecided: yes}", "gate.undecided: got 'yes', must be 'pass' or 'reject'"),
        ("memory_limit: 4", "memory_limit: got '4', must match pattern"),
        ("holdout: {salt: [5]}", "holdout.salt: got .*5.*, must be a valid string"),
        (f"{KIND}interactions: {{event_values: {{1: 2, '1': 3}}}}", "the key '1' is given twice"),
        ("seed: !!python/name:os.system 5", "cannot be read as YAML"),
        ("holdout: {salt: !mine 5}", "cannot be read as YAML"),
        ("holdout: &a {<<: *a}", "cannot be read as YAML"),
        ("source: {{ path }}", "cannot be read as YAML: (.|\\n)*unhashable key"),
        ("{{ path }}", "cannot be read as YAML: (.|\\n)*unhashable key"),
        ("? [a, b]\n: c", "cannot be read as YAML: (.|\\n)*unhashable key"),
    ],
)
def test_what_is_no_text_is_checked_as_before(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(text, tmp_path)


def test_anchors_and_merges_mean_what_each_place_holds(tmp_path: Path) -> None:
    text = """
seed: &five 5
holdout: {salt: *five}
source: {items: {path: a.csv}, columns: {event_type: 1, timestamp: 2}}
policy_configs:
  embedding_policy: &policy {factors: 8, event_values: [yes, 1]}
  scoring_policy: {<<: *policy, lr: 0.1}
recommendations: {filters: {<<: [{1: true}, {2: false}], 3: yes}}
"""
    config = read(text, tmp_path)
    assert (config.seed, config.holdout.salt) == (5, "5")
    assert config.source.columns.event_type == "1"
    assert config.event_weights == {"yes": 1.0, "1": 1.0}
    assert config.recommendations.filters == {"1": "true", "2": "false", "3": "yes"}


def test_arguments_of_expectations_keep_their_types_but_dates_are_text(tmp_path: Path) -> None:
    text = "{expect: x, column: 1970-01-01, min_value: 4, mostly: 0.5, strict_min: true, value_set: [1, 2010-12-01]}"
    (one,) = read(f"validation: {{expectations: [{text}]}}", tmp_path).validation.expectations
    assert one.arguments == {"column": "1970-01-01", "min_value": 4, "mostly": 0.5, "strict_min": True,
                             "value_set": [1, "2010-12-01"]}  # fmt: skip
    json.dumps(one.model_dump())


def leaves(section: type[Section]) -> list[tuple[list[str], Any]]:
    from tasks.settings.yaml_text import section_of

    found = []
    for name, field in section.model_fields.items():
        below = section_of(field.annotation)
        found += [([name, *path], kind) for path, kind in leaves(below)] if below else [([name], field.annotation)]
    return found


def test_every_key_that_holds_text_takes_it_as_written(tmp_path: Path) -> None:
    """Whatever is wrong with 2010-12-01 there, it is never its type."""
    texts = [path for path, kind in leaves(Config) if str in (kind, *getattr(kind, "__args__", ()))]
    assert len(texts) > 20
    for path in texts:
        yaml = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(path)).rstrip() + " 2010-12-01\n"
        try:
            read(yaml, tmp_path)
        except InputError as error:
            assert "valid string" not in str(error), path
