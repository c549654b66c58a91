"""What makes a function a stage: Prefect's task, tried again where that may help, resumed, measured, recorded."""

import errno
import functools
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from prefect import Task, get_run_logger, task

from tasks.errors import WarehouseBusy
from tasks.run.durable import identity
from tasks.run.handles import Events
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.run import Run
from tasks.settings.config import Config

P = ParamSpec("P")
R = TypeVar("R")
OF_THE_RUN = ("manifest", "log", "report", "reserve")
DELAYS: list[float] = [1, 5, 20]  # seconds before each retry
PASSING = (errno.EIO, errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT)


def stage(
    name: str, *, reads: tuple[str, ...] | None = None, retries: int = 3
) -> "Callable[[Callable[Concatenate[Run, P], R]], Task[Concatenate[Run, P], R]]":
    """A function of a run and of the handles of everything it reads, which returns the handle of what it writes.

    `reads` are the sections of the configuration that decide the result besides the handles, or keys in them, such as
    evaluation.cutoffs. A run that is resumed takes the recorded handle where these and the handles are as they were
    and the stage's files are untouched. A stage without `reads` is always done.
    """

    def decorate(function: "Callable[Concatenate[Run, P], R]") -> "Task[Concatenate[Run, P], R]":
        @functools.wraps(function)
        def once(run: Run, *arguments: P.args, **named: P.kwargs) -> R:
            inputs = None if reads is None else _inputs(run.config, reads, (*arguments, *named.values()))
            if inputs is not None and _is_done(run, name, inputs):
                get_run_logger().info("%s: done before, and nothing that it depends on has changed", name)
                return _restored(get_type_hints(function)["return"], read_manifest(run.files.folder).stages[name])
            before = {} if inputs is None else _listing(run.files.folder)
            handle = function(run, *arguments, **named)
            run.record(name, handle)
            if inputs is not None:
                _remember(run, name, inputs, before)
            return handle

        return task(retries=retries, retry_delay_seconds=DELAYS[:retries], retry_condition_fn=may_pass)(once)

    return decorate


def may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether the stage met with somebody who had the events open, or with a file system that did not answer.

    Libraries raise errors of their own then, in which the system's words stand.
    """
    try:
        state.result()
    except WarehouseBusy:
        return True
    except Exception as error:
        words = (os.strerror(code) for code in PASSING)
        return getattr(error, "errno", None) in PASSING or any(said in str(error) for said in words)
    return False


def _inputs(config: Config, reads: tuple[str, ...], arguments: tuple) -> str:
    """The digest of all that decides what a stage makes: this program, the sections it reads, the handles."""
    facts = [version("elsa-nightly"), {path: _value(config, path) for path in reads}, [*map(_content, arguments)]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _value(config: Config, path: str) -> Any:
    found = functools.reduce(getattr, path.split("."), config)
    return found.model_dump(mode="json") if hasattr(found, "model_dump") else found


def _content(argument: Any) -> Any:
    """What of an argument decides a result. The counts of events differ from attempt to attempt."""
    if isinstance(argument, Events):
        return argument.digest
    return asdict(argument) if is_dataclass(argument) and not isinstance(argument, type) else argument


def _is_done(run: Run, name: str, inputs: str) -> bool:
    """Whether it was done with these inputs. What was done with others is crossed out, and written again."""
    manifest = read_manifest(run.files.folder)
    if manifest.inputs.get(name) == inputs and _are_whole(run.files.folder, manifest.files[name]):
        return True
    if manifest.inputs.pop(name, None) is not None:
        del manifest.files[name]
        write_manifest(run.files.folder, manifest)
    return False


def _remember(run: Run, name: str, inputs: str, before: dict[str, tuple]) -> None:
    folder = run.files.folder
    written = [path for path, state in _listing(folder).items() if before.get(path) != state]
    manifest = read_manifest(folder)
    manifest.inputs[name] = inputs
    manifest.files[name] = {path: str(identity(folder / path)["sha256"]) for path in written}
    write_manifest(folder, manifest)


def _are_whole(folder: Path, files: dict[str, str]) -> bool:
    return all((folder / path).exists() and identity(folder / path)["sha256"] == sha for path, sha in files.items())


def _listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file that stages write, with what changes when it is written; not the records of the run as a whole."""
    found = (path for path in sorted(folder.rglob("*")) if path.name.split(".")[0] not in OF_THE_RUN)
    files = (path for path in found if path.is_file())
    return {str(path.relative_to(folder)): _state(path) for path in files}


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _restored(kind: type, content: dict) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})
