"""The configuration's file: which one, and what is wrong with it, with line and key."""

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tasks.errors import InputError
from tasks.settings.config import Config
from tasks.settings.section import SIZES, Section, section_of, shorten

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from tasks.settings.yaml_text import KeyPath

DEMO = Path("config/movielens.yaml")
NUMBERS = ("int_type", "float_type")  # pydantic's names of their mistakes
OF_UNIONS = ("str", "list[str]", "dict[str,float]")  # what pydantic puts into the place of a mistake beside keys
NOT_DECIMAL = re.compile(r"[-+]?[\d_.:xob]*\d[\da-fA-F_.:]*")


def find_config(given: Path | None = None) -> Path:
    """The given configuration, or what ELSA_CONFIG names, or the demo's where it is there.

    Raises InputError where there is none of them.
    """
    named = os.environ.get("ELSA_CONFIG")
    if given is not None:
        return given
    if named:
        if not Path(named).exists():
            raise InputError(f"ELSA_CONFIG is {named!r}, but there is no such file (looked in {Path.cwd()})")
        return Path(named)
    if not DEMO.exists():
        raise InputError(f"which configuration? Give --config FILE or set ELSA_CONFIG; {DEMO} is not in {Path.cwd()}")
    return DEMO


def read_config(path: Path) -> Config:
    """The configuration in a YAML file. Raises InputError with the line, key and value of each mistake."""
    from tasks.settings.yaml_nodes import YamlError  # ruamel.yaml, which elsa --help does without
    from tasks.settings.yaml_text import load_yaml

    try:
        content, lines = load_yaml(path.read_text(encoding="utf-8"), Config)
    except FileNotFoundError:
        raise InputError(f"no such configuration file: {path}") from None
    except YamlError as error:
        raise InputError(f"{path}, line {error.line}: cannot be read as YAML: {error}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys and values, such as 'warehouse: warehouse'")
    return check_config(content, str(path), lines)


def check_config(content: dict, name: str, lines: "dict[KeyPath, int] | None" = None) -> Config:
    """The configuration of keys and values. Raises InputError with a line for each mistake, in the file's order."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        mistakes = [_explain(problem) for problem in error.errors()]
    placed = sorted((_line_of(path, lines or {}), message) for path, message in mistakes)
    raise InputError("\n".join(f"{name}{f', line {line}' if line else ''}: {message}" for line, message in placed))


def _line_of(path: "KeyPath", lines: "dict[KeyPath, int]") -> int:
    """The line of a key, or of the innermost section around it that the file has; 0 if it has none."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def _explain(problem: "ErrorDetails") -> "tuple[KeyPath, str]":
    """The key that a mistake is about, and the message that begins with it."""
    path = tuple(part for part in problem["loc"] if part not in OF_UNIONS)
    if problem["type"] == "value_error":
        return _explain_check(path, str(problem["ctx"]["error"]))
    name = ".".join(map(str, path))
    if problem["type"] == "extra_forbidden":
        allowed = list(_section_at(path[:-1]).model_fields)
        near = difflib.get_close_matches(str(path[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return path, f"{name}: unknown key; {hint}allowed are {', '.join(allowed)}"
    message = problem["msg"].replace("Input should be", "must be").replace("String should", "must")
    if problem["type"].startswith("byte_size"):
        message = f"must be {SIZES}"
    if problem["type"] in ("model_type", "dict_type"):
        message = "must hold keys and values"
    is_odd = isinstance(problem["input"], str) and NOT_DECIMAL.fullmatch(problem["input"])
    hint = "; numbers are written in decimal, as in 1000" if is_odd and problem["type"] in NUMBERS else ""
    return path, f"{name}: got {shorten(repr(problem['input']))}, {message}{hint}"


def _explain_check(path: "KeyPath", message: str) -> "tuple[KeyPath, str]":
    """The same of a section's own check, whose message may begin with one of its keys."""
    key = tuple(message.split()[0].rstrip(":").split("."))
    if key[0] in _section_at(path).model_fields:
        return (*path, *key), ".".join((*map(str, path), message))
    return path, f"{'.'.join(map(str, path))}: {message}" if path else message


def _section_at(path: "KeyPath") -> type[Section]:
    """The innermost section on the way to a key."""
    section: type[Section] = Config
    for part in path:
        field = section.model_fields.get(str(part))
        section = (field and section_of(field.annotation)) or section
    return section
