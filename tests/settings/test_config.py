"""The configuration: the dialect as it stands, and refusals that say where and what."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from elsa_core import ResidualConfig, TrainConfig
from tasks.errors import InputError
from tasks.model.train import NOT_OF_TRAINING
from tasks.settings.config import Config
from tasks.settings.load import read_config
from tasks.settings.training import PolicySettings
from tests.support.worlds import settings

DIALECT = """\
policy_configs:
  embedding_policy:      # or scoring_policy, or both
    policy_type: elsa
    batch_size: 512      # samples per training batch
    n_epochs: 20
    lr: 0.1
    factors: 10
    device: auto
    strategy: early_stopping
    patience: 3
"""


def read(text: str, folder: Path) -> Config:
    (folder / "my.yaml").write_text(text)
    return read_config(folder / "my.yaml")


@pytest.mark.parametrize("section", ["embedding_policy", "scoring_policy"])
def test_the_policy_dialect_is_accepted_as_it_stands(section: str, tmp_path: Path) -> None:
    policy = read(DIALECT.replace("embedding_policy", section, 1), tmp_path).policy_configs.policy
    assert policy == PolicySettings(batch_size=512, n_epochs=20, lr=0.1, factors=10, device="auto",
                                strategy="early_stopping", patience=3)  # fmt: skip


def test_two_policy_sections_must_be_equal(tmp_path: Path) -> None:
    both = "policy_configs:\n  embedding_policy: {factors: 8}\n  scoring_policy: {factors: %s}\n"
    assert read(both % 8, tmp_path).policy_configs.policy.factors == 8
    with pytest.raises(InputError, match="embedding_policy and scoring_policy differ in factors"):
        read(both % 9, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interactions: {half_life_days: 30}", "half_life_days needs a column to look at: set source.columns.time"),
        ("interactions: {binarize: true, half_life_days: 9}", "with equal weights age cannot count"),
        (
            "policy_configs: {scoring_policy: {event_values: []}}",
            "scoring_policy.event_values is empty",
        ),
        ("policy_configs: {scoring_policy: {event_values: [buy]}}", "set source.columns.event_type"),
        ("warhouse: here", "warhouse: unknown key; did you mean 'warehouse'\\?"),
        (
            "source: {columns: {usr: a}}",
            "source.columns.usr: unknown key; did you mean 'user_id'\\? allowed are event_id, user_id",
        ),
        (
            "policy_configs: {embedding_policy: {factors: many}}",
            "embedding_policy.factors: got 'many', must be a valid",
        ),
        ("policy_configs: {embedding_policy: {batch_size: true}}", "batch_size: got True, must be a valid integer"),
        ("policy_configs: {embedding_policy: {n_epochs: 0}}", "n_epochs: got 0, must be greater than or equal to 1"),
        ("policy_configs: {embedding_policy: {device: gpu}}", "device: got 'gpu', must match pattern"),
        ("policy_configs: {embedding_policy: {policy_type: als}}", "policy_type: got 'als', must be 'elsa' or"),
        ("policy_configs: {embedding_policy: {policy_type: ease}}", "EASE has no vectors; make it the"),
        ("policy_configs: {scoring_policy: {policy_type: ease, factors: 8}}", "factors is not used by EASE"),
        ("policy_configs: {scoring_policy: {residual_ridge: [0]}}", "residual_ridge is \\[0.0\\]: each .* above 0"),
        ("policy_configs: {scoring_policy: {ease_ridge: [-1]}}", "ease_ridge is \\[-1.0\\]: each .* above 0"),
        ("policy_configs: {scoring_policy: {residual_dropout: [1]}}", "residual_dropout is .* from 0 to below 1"),
        ("holdout: {test_share: 0.6, validation_share: 0.4}", "holdout.test_share .* must stay below 1"),
        ("interactions: {min_value: 4}", "interactions.min_value needs a column.*source.columns.value"),
        ("interactions: {event_values: {view: -1}}", "event_values.view is -1"),
        ("interactions: {event_values: []}", "event_values is empty"),
        ("evaluation: {cutoffs: [0]}", "cutoffs is \\[0\\]"),
        ("gate: {minimums: {ndcg@7: 0.1}}", "gate.minimums.ndcg@7 is not measured; .*ndcg@10"),
        ("memory_limit: lots", "memory_limit: got 'lots', must be a size such as 500MB, 4GB or 0.5GiB"),
        ("memory_limit: 20MB", "memory_limit is 20MB: DuckDB needs 50MB at least"),
        ("seed: 1" + "0" * 32, "seed: got 10{32}, must be less than or equal to 9223372036854775807"),
        ("seed: " + "9" * 5000, "cannot be read as YAML: .*4300 digits"),
        ("publication: {grace_hours: 1e300}", "publication.grace_hours: got 1e\\+300, must be less than or equal to"),
        ("training_timeout_seconds: 1e300", "training_timeout_seconds: got 1e\\+300, must be less than or equal to"),
        ("publication: {keep: 99999999999}", "publication.keep is 99999999999: the largest integer is 2,147,483,647"),
        ("evaluation: {cutoffs: [10, 99999999999]}", "evaluation.cutoffs is 99999999999: the largest integer is"),
        ("evaluation: {cutoffs: [10001]}", "cutoffs is \\[10001\\]: .* from 1 to 10,000"),
        ("policy_configs: {scoring_policy: {ease_ridge: [1e300]}}", "ease_ridge is .*up to 1e12"),
        ("recommendations: {k: 010}", "recommendations.k: got '010', .*integer; numbers are written in decimal"),
        ("recommendations: {k: 0x10}", "recommendations.k: got '0x10', .*; numbers are written in decimal"),
        ("recommendations: {k: 1_000}", "recommendations.k: got '1_000', .*; numbers are written in decimal"),
        ("lock_wait_seconds: 1:30", "lock_wait_seconds: got '1:30', .*number; numbers are written in decimal"),
        ("lock_wait_seconds: 01.5", "lock_wait_seconds: got '01.5', .*number; numbers are written in decimal"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested deeper than 50 levels"),
        ("validation: {expectations: [{expect: x, a: " + "{a: " * 260 + "}" * 261 + "]}", "nested deeper than 50"),
        (f"holdout: {{salt: [{'x' * 9000}]}}", "salt: got \\['x{100,200}… \\(9,004 characters\\)"),
        ("seed: 1\nseed: 2", "the key 'seed' is given twice"),
        ("- a list", "must hold keys and values"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_mistakes_are_named_with_path_value_and_what_is_allowed(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(text, tmp_path)


def test_each_mistake_has_its_line_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
# a comment
gate:
  max_loss: 2

source:
  columns:
    user: who
  events: [a.csv, b.csv,
    7, {}]
holdout:
  validation_share: 0.5
  test_share: 0.5
evaluation: {
  cutoffs: [0]}
memory_limit: lots
source_: 1
"""
    with pytest.raises(InputError) as error:
        read(text, tmp_path)
    told = str(error.value).replace(f"{tmp_path}/", "").splitlines()
    assert [line.split(", ")[0] for line in told] == ["my.yaml"] * len(told)
    assert [re.match(r"my.yaml, (line \d+: [\w.]+)", line)[1] for line in told] == [
        "line 3: gate.max_loss",
        "line 7: source.columns.user",
        "line 8: source.events",  # as text
        "line 9: source.events.3",  # as a list
        "line 12: holdout.test_share",
        "line 14: evaluation.cutoffs",
        "line 15: memory_limit",
        "line 16: source_",
    ]
    assert told[1].startswith(
        "my.yaml, line 7: source.columns.user: unknown key; did you mean 'user_id'? allowed are"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\ninteractions:\n  binarize: false\n  min_value: 4", 4),
        ("gate:\n\n  minimums:\n    ndcg@10: 1\n    ndcg@7: 0.1", 5),
        ("seed: 1\nmemory_limit: 1MB", 2),
        ("source:\n  items:\n    path: a\n    query: select 1", 2),
        ("source:\n  events: a\n  query: select 1;;", 2),
        ("quarantine:\n  max_share: 0\n  conditions:\n    good: 1 = 1\n    bad: 1 =", 5),
        ("recommendations: {k: 3,\n same_category: true}", 2),
    ],
)
def test_a_check_of_several_keys_names_the_line_of_the_first(text: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"my.yaml, line {line}: "):
        read(text, tmp_path)


def test_help_is_printed_without_the_yaml_parser() -> None:
    script = "import sys, flows.cli; print('ruamel.yaml' in sys.modules)"
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match="no such configuration file: nowhere.yaml"):
        read_config(Path("nowhere.yaml"))


def test_numbers_may_be_written_as_in_yaml_1_2(tmp_path: Path) -> None:
    assert read("policy_configs: {scoring_policy: {lr: 1e-3}}", tmp_path).policy_configs.policy.lr == 1e-3


@pytest.mark.parametrize("where", ["interactions", "embedding_policy", "scoring_policy"])
@pytest.mark.parametrize(("given", "weights"), [
    ("[buy]", {"buy": 1.0}), ("{buy: 3.0, view: 1}", {"buy": 3.0, "view": 1.0}),
])  # fmt: skip
def test_event_values_may_be_a_list_or_weights_here_or_in_the_policy(
    where: str, given: str, weights: dict, tmp_path: Path
) -> None:
    section = f"{where}: {{event_values: {given}}}"
    text = section if where == "interactions" else f"policy_configs: {{{section}}}"
    assert read(f"source: {{columns: {{event_type: kind}}}}\n{text}\n", tmp_path).event_weights == weights


def test_event_values_are_given_in_one_place(tmp_path: Path) -> None:
    text = "source: {columns: {event_type: kind}}\ninteractions: {event_values: [buy]}\n"
    with pytest.raises(InputError, match="line 2: interactions.event_values and .* are both given"):
        read(text + "policy_configs: {scoring_policy: {event_values: [buy]}}", tmp_path)


def test_the_policy_and_the_library_have_the_same_defaults() -> None:
    library = {field.name: field.default for field in fields(TrainConfig)}
    policy = PolicySettings().model_dump()
    training = {name: policy.pop(name) for name in set(policy) - NOT_OF_TRAINING}
    assert training == {name: library[name] for name in training}
    residual = ResidualConfig()
    assert policy["residual_neighbors"] == residual.neighbors
    assert tuple(policy["residual_ridge"]) == residual.ridge
    assert tuple(policy["residual_dropout"]) == residual.dropout


def test_the_shipped_configurations_are_valid() -> None:
    found = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))
    assert found
    for path in found:
        read_config(path)


def test_the_configuration_survives_the_trip_through_prefect() -> None:
    config = Config.model_validate(settings())
    assert Config.model_validate(yaml.safe_load(config.model_dump_json())) == config
