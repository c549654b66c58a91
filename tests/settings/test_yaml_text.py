"""What YAML makes numbers, dates and switches of: text as it stands in the file, where a key holds text."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tasks.errors import InputError
from tasks.settings.config import Config
from tasks.settings.load import read_config
from tasks.settings.section import Section, section_of
from tasks.settings.yaml_nodes import MAX_LEVELS
from tasks.settings.yaml_text import MAX_VALUES, dump_yaml, load_yaml

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
    conditions, _ = load_yaml(f"quarantine:\n  conditions:\n    {text}: {text}\n", Config)  # which may be no SQL
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
        ("memory_limit: 4", "memory_limit: got 4, must be a size such as 500MB, 4GB or 0.5GiB"),
        ("gate:", "gate: got None, must hold keys and values"),
        ("source: {csv: 3}", "source.csv: got 3, must hold keys and values"),
        ("gate: {minimums: }", "gate.minimums: got None, must hold keys and values"),
        ("holdout: {salt: [5]}", "holdout.salt: got .*5.*, must be a valid string"),
        (f"{KIND}interactions: {{event_values: {{1: 2, '1': 3}}}}", "the key '1' is given twice"),
        ("seed: !!python/name:os.system 5", "cannot be read as YAML"),
        ("holdout: {salt: !mine 5}", "cannot be read as YAML"),
        ("holdout: &a {<<: *a}", "cannot be read as YAML"),
        ("source: {{ path }}", "cannot be read as YAML: a list or mapping cannot be a key"),
        ("{{ path }}", "cannot be read as YAML: a list or mapping cannot be a key"),
        ("? [a, b]\n: c", "cannot be read as YAML: a list or mapping cannot be a key"),
    ],
)
def test_what_is_no_text_is_checked_as_before(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("seed: 1\nsource:\n  events: a\n  events: b", 4, "the key 'events' is given twice"),
        ("seed: 1\n\nholdout: {salt: !!int 5}", 3, "the tag '.*int' is not allowed"),
        ("seed: 1\nholdout: {salt: !mine 5}", 2, "the tag '!mine' is not allowed"),
        ("seed: 1\n---\nseed: 2", 2, "a second document begins"),
        ("seed: 1\nholdout: *lost", 2, "there is no anchor 'lost'"),
        ("seed: 1\nholdout: &a\n  salt: *a", 3, "there is no anchor 'a' before this alias"),
        ("seed: 1\nholdout: {<<: 5}", 2, "<< takes a mapping or a list of mappings"),
        ("seed: 1\nholdout: {<<: [{}, 5]}", 2, "<< takes a mapping or a list of mappings"),
        ("seed: 1\nholdout: [", 2, "while parsing a flow node: expected the node content"),
        ("seed: 1\n holdout: x", 2, "mapping values are not allowed here"),
        (
            "seed: 1\nholdout:\n\tsalt: x",
            3,
            "while scanning for the next token: found character",
        ),
        ("seed: 1\nholdout: {salt: 'a\x01'}", 2, r"the character '.x01' is not allowed"),
        ("seed: 1\nholdout: {salt: 'a\x1b[2J'}", 2, r"the character '.x1b' is not allowed"),
        ("seed: 1\nevaluation: {max_users: " + "9" * 5000 + "}", 2, ".*4300 digits"),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"my.yaml, line {line}: cannot be read as YAML: {message}") as error:
        read(text, tmp_path)
    assert str(error.value).isprintable()


def test_a_text_tag_is_allowed(tmp_path: Path) -> None:
    assert read("seed: 7\nholdout: {salt: !!str yes}", tmp_path).holdout.salt == "yes"
    with pytest.raises(InputError, match="seed: got '5'"):
        read("seed: !!str 5", tmp_path)


@pytest.mark.parametrize(
    ("width", "depth", "message"),
    [(9, 9, f"more than {MAX_VALUES:,} values"), (1, MAX_LEVELS + 2, f"nested deeper than {MAX_LEVELS} levels")],
)
def test_aliases_of_aliases_cannot_fill_the_memory_or_the_stack(
    width: int, depth: int, message: str, tmp_path: Path
) -> None:
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    for head in ("", "validation: {expectations: [{expect: x, "):
        lines = ["a0: &a0 [x]", *lists]
        text = head + ", ".join(lines) + "}]}" if head else "\n".join(lines)
        with pytest.raises(InputError, match=message):
            read(text, tmp_path)


def test_a_later_anchor_takes_the_place_of_one_of_the_same_name(tmp_path: Path) -> None:
    text = "warehouse: &a one\nsource: {events: &a two}\nholdout: {salt: *a}"
    assert read(text, tmp_path).holdout.salt == "two"


def test_a_mark_of_the_encoding_and_windows_ends_of_lines_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes("\ufeffseed: 7\r\nholdout:\r\n  salt: é\r\n".encode())
    config = read_config(tmp_path / "my.yaml")
    assert (config.seed, config.holdout.salt) == (7, "é")
    (tmp_path / "my.yaml").write_bytes("holdout: {salt: é}".encode("latin-1"))
    with pytest.raises(InputError, match="my.yaml cannot be read: .*utf-8"):
        read_config(tmp_path / "my.yaml")


def test_every_value_has_its_line() -> None:
    text = (
        "seed: 1\nsource:\n  events:\n  - a\n  -\n    b\ngate: {metric: ndcg,\n  max_loss: 0}\nholdout: &h\n  salt: x"
    )
    _, lines = load_yaml(text, Config)
    assert lines == {
        ("seed",): 1, ("source",): 2, ("source", "events"): 3, ("source", "events", 0): 4, ("source", "events", 1): 6,
        ("gate",): 7, ("gate", "metric"): 7, ("gate", "max_loss"): 8, ("holdout",): 9, ("holdout", "salt"): 10,
    }  # fmt: skip


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
))  # fmt: skip
def test_what_is_dumped_is_valid_yaml_of_one_line_or_more(value: Any) -> None:
    assert YAML(typ="safe", pure=True).load(dump_yaml(value)) == value
    line = dump_yaml(value, in_one_line=True).removesuffix("...\n")
    assert YAML(typ="safe", pure=True).load(line) == value


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
