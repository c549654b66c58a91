"""The flows' parameter `config`: a deployment names a file, a program may give the configuration itself."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import SkipValidation, WithJsonSchema

from tasks.errors import InputError
from tasks.settings.config import Config
from tasks.settings.load import check_config, find_config, read_config

NAMED = "the name of a configuration file where the worker runs, ending in .yaml or .yml"
GivenConfig = Annotated[Config | str | dict, SkipValidation, WithJsonSchema({"type": "string", "description": NAMED})]


def given_config(given: GivenConfig) -> Config:
    """The configuration that a flow's parameter stands for.

    Whoever may start a run need not be whoever may write or read the files here. Text in place of a name counts only
    where ELSA_ALLOW_CONFIG_TEXT is 1, and a message tells nothing of a file's content.
    Raises InputError, also as `read_config` does.
    """
    if isinstance(given, Config):
        return given
    if isinstance(given, dict) and os.environ.get("ELSA_ALLOW_CONFIG_TEXT") == "1":
        return check_config(given, "the run's configuration")
    if not isinstance(given, str):
        raise InputError(
            f"the parameter config must be {NAMED}: make deploy puts it in place; to take the "
            "configuration itself, set ELSA_ALLOW_CONFIG_TEXT=1 for the worker"
        )
    _require_name_of_yaml(given)
    if not os.path.isfile(given):
        raise InputError(f"the parameter config is {given[:200]!r}: there is no such file (looked in {Path.cwd()})")
    try:
        return read_config(Path(given))
    except InputError:
        raise InputError(
            f"{given} is not a valid configuration; where the worker runs, elsa runs --config {given} says why"
        ) from None


def as_parameters(path: str | None, home: str | None) -> dict[str, str]:
    """A build step of prefect.yaml: the flows' parameter, the name of a configuration, the demo's if none is named.

    It is checked here; relative, it is relative to `home`, the folder of prefect.yaml where the worker runs.
    """
    found = find_config(Path(path) if path else None)
    _require_name_of_yaml(found.name)
    read_config(found)
    return {"config": str(Path(home or "") / found)}


def _require_name_of_yaml(given: str) -> None:
    if not given.endswith((".yaml", ".yml")):
        raise InputError(f"the parameter config is {given[:200]!r}: it must be {NAMED}")
