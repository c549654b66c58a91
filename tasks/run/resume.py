"""Going on with a run that died: a finished stage whose inputs and files are unchanged is not done again."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect import get_run_logger

from tasks.run.warehouse import Run, current_run_id, digest_of_file, read_manifest, write_json

OF_THE_RUN = ("manifest", "log", "report")
CHAMPION = "champion"  # in `reads`: the stage looks at the published run
METADATA = "metadata"  # in `reads`: it looks at the item metadata, or at what the rules make of it


def resumable(stage: str, kind: type, reads: tuple[str, ...]) -> Callable:
    """A stage that writes into the run's folder, records itself as `stage`, and returns a handle of that kind.

    Its inputs are the sections of the configuration that it `reads`, its arguments, and the digests of earlier
    stages, or of the files that they wrote. The manifest keeps their digest, and those of the stage's own files.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def done_once(run: Run, *arguments: Any) -> Any:
            inputs = _inputs(run, stage, reads, arguments)
            manifest = read_manifest(run.folder)
            if manifest["inputs"].get(stage) == inputs and _are_whole(run.folder, manifest["files"][stage]):
                get_run_logger().info("%s: done before, and nothing that it depends on has changed", stage)
                return _handle(kind, manifest["stages"][stage])
            if manifest["inputs"].pop(stage, None) is not None:
                del manifest["files"][stage]  # which it writes anew
                write_json(run.folder / "manifest.json", manifest)
            before = _listing(run.folder)
            handle = function(run, *arguments)
            written = [path for path, state in _listing(run.folder).items() if before.get(path) != state]
            manifest = read_manifest(run.folder)
            manifest["inputs"][stage] = inputs
            manifest["files"][stage] = {path: digest_of_file(run.folder / path) for path in written}
            write_json(run.folder / "manifest.json", manifest)
            return handle

        return done_once

    return decorate


def _inputs(run: Run, stage: str, reads: tuple[str, ...], arguments: tuple) -> str:
    manifest, config = read_manifest(run.folder), run.config.model_dump()
    names = list(manifest["stages"])
    earlier = names[: names.index(stage)] if stage in names else names
    facts = [
        version("elsa-nightly"),
        {name: config[name] for name in reads if name not in (CHAMPION, METADATA)},
        current_run_id(run.warehouse) if CHAMPION in reads else None,
        manifest["stages"]["rules"]["metadata_digest"] if METADATA in reads else None,
        [asdict(argument) if is_dataclass(argument) else argument for argument in arguments],
        [(name, manifest["stages"][name].get("digest") or manifest["files"].get(name)) for name in earlier],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _are_whole(folder: Path, files: dict[str, str]) -> bool:
    return all((folder / path).exists() and digest_of_file(folder / path) == digest for path, digest in files.items())


def _listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file that stages write, with what changes when it is written; not the records of the run as a whole."""
    found = (path for path in sorted(folder.rglob("*")) if path.name.split(".")[0] not in OF_THE_RUN)
    files = (path for path in found if path.is_file())
    return {str(path.relative_to(folder)): _state(path) for path in files}


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _handle(kind: type, content: dict) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})
