"""What README.md and docs/ name is there: links, files, names in files, make targets, commands of elsa."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml
from cyclopts import CycloptsError

from flows.cli import app
from tasks.data.expectations import check_expectations
from tasks.settings.config import Config
from tests.docs import write

ROOT = write.ROOT
TEXTS = {name: (ROOT / name).read_text() for name in [*write.pages(), *write.FILES]}
BY_HAND = {name: TEXTS[name] for name in write.pages()}
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")
NAMED = re.compile(r"`((?:flows|tasks|elsa_core|sql|tests|config|docs|benchmarks|\.ci)/[\w./-]+?)(?::([\w.]+))?`")
CODE = re.compile(r"`([^`\n]+)`|^(?:    |\$ )(\S.*)$|^((?:\.venv/bin/)?(?:elsa|make) .*)$", re.MULTILINE)
AVOIDED = re.compile(
    r"\b(tonight|borne|set aside|made anew|lead readers|leads readers|led readers|the way back|spares|sparse part)\b"
)
PLACEHOLDER = re.compile(r"[…\[\]]")


def commands(text: str, program: str) -> list[list[str]]:
    """What the text says to run: in backticks, indented, after a $, or as a line of a code block."""
    lines = ["".join(found).removeprefix(".venv/bin/") for found in CODE.findall(text)]
    return [shlex.split(line, comments=True) for line in lines if line.split()[0] == program and " " in line]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in LINK.findall(TEXTS[name]):
        if target.startswith(("http://", "https://")):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), target
        titles = [re.sub(r"[^\w\- ]", "", line.lstrip("# ")).lower().replace(" ", "-")
                  for line in path.read_text().splitlines() if line.startswith("#")] if anchor else []  # fmt: skip
        assert not anchor or anchor in titles, (target, anchor)


@pytest.mark.parametrize("name", BY_HAND)
def test_files_and_names_in_them_exist(name: str) -> None:
    for path, member in NAMED.findall(BY_HAND[name]):
        if "NAME" in path:
            continue
        assert (ROOT / path).exists(), path
        if member:
            defined = [node.name for node in ast.parse((ROOT / path).read_text()).body if hasattr(node, "name")]
            assert member in defined, (path, member)


@pytest.mark.parametrize("name", BY_HAND)
def test_make_targets_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for _, target, *_ in commands(BY_HAND[name], "make"):
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", BY_HAND)
def test_elsa_commands_parse(name: str) -> None:
    for _, *arguments in commands(BY_HAND[name], "elsa"):
        given = [PLACEHOLDER.sub("", argument) for argument in arguments]
        try:
            app.parse_args(given, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            assert given in NAMES_ONLY, (given, error)


NAMES_ONLY = [["init"], ["score"], ["recommend"], ["explain"], ["similar"]]  # a command by its name alone


def is_key(settings: dict | None, parts: list[str]) -> bool:
    """Whether there is such a key in the settings; below an optional section or a mapping, any."""
    return not parts or not settings or (parts[0] in settings and is_key(settings[parts[0]], parts[1:]))


@pytest.mark.parametrize("name", BY_HAND)
def test_configuration_keys_exist(name: str) -> None:
    settings = Config().model_dump()
    named = [key.split(".") for key in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", BY_HAND[name])]
    keys = [parts for parts in named if parts[0] in settings and parts != ["publication", "lock"]]  # a file
    assert not [parts for parts in keys if not is_key(settings, parts)]


def test_there_are_commands_to_look_at() -> None:
    assert len(commands(TEXTS["README.md"], "elsa")) > 8 and len(commands(TEXTS["README.md"], "make")) > 6
    assert len(commands(TEXTS["docs/operations.md"], "elsa")) > 10


def sources() -> list[str]:
    """The program's own text: what it says, and what is said of it."""
    files = (path for folder in ("sql", "tasks", "flows") for path in (ROOT / folder).rglob("*"))
    return sorted(str(path.relative_to(ROOT)) for path in files if path.suffix in {".py", ".sql", ".j2"})


@pytest.mark.parametrize("name", [*BY_HAND, "benchmarks/RESULTS.md", *sources()])
def test_words_that_readers_stumble_over_are_avoided(name: str) -> None:
    text = re.sub(r"```(text|console|python)\n.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
    assert not AVOIDED.findall(text.lower())


@pytest.mark.parametrize("name", ["README.md", "docs/validation.md"])
def test_yaml_examples_are_valid(name: str) -> None:
    for example in re.findall(r"```yaml\n(.*?)```", TEXTS[name], re.DOTALL):
        columns = {"timestamp": "at", "value": "value", "event_type": "kind"}
        check_expectations(Config.model_validate({"source": {"columns": columns}, **yaml.safe_load(example)}))


def test_each_metric_has_its_meaning() -> None:
    measured = {name.split("@")[0] for name in Config().evaluation.metric_names()}
    assert set(re.findall(r"^\| (\w+)@k \|", TEXTS["docs/gate.md"], re.MULTILINE)) == measured


def test_every_page_is_linked_from_readme() -> None:
    linked = {target for target, _ in LINK.findall(TEXTS["README.md"])}
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


def test_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_the_gate_runs_what_a_developer_runs() -> None:
    gate = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (\S+)", gate, re.MULTILINE) == [".venv/.ready", "test-operations", "test", "nightly"]
    assert gate.count("|| status=$?") == 2 and gate.index('test "$status" = 0') < gate.index("make nightly")
    assert gate.startswith("#!/usr/bin/env bash") and "set -euo pipefail" in gate


@pytest.mark.parametrize(
    "path", [*TEXTS, "prefect.yaml", "Makefile", "pyproject.toml", "constraints.txt", "config/movielens.yaml"]
)
def test_no_absolute_paths_of_a_machine(path: str) -> None:
    text = (ROOT / path).read_text()
    assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", text)
    assert str(Path.home()) not in text
