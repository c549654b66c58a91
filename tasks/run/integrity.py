"""What a publication consists of, by size and digest: recorded before readers get it, checked before it is used."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tasks.errors import InputError
from tasks.run.durable import identity
from tasks.run.manifest import Identity, read_manifest
from tasks.run.quoting import visible
from tasks.run.warehouse import Warehouse

OF_MODEL = ("model/model.safetensors", "model/model.json")
OF_SCORES = (*OF_MODEL, "interactions.npz", "users.parquet", "items.parquet")
OF_EVALUATION = ("evaluation_model/model.safetensors", "evaluation_model/model.json")
OF_STAGES = {"model/model.safetensors": "refit", "evaluation_model/model.safetensors": "train"}
TABLES_CURE = "Restore it from a backup; or go back to another run: elsa rollback; or run: elsa nightly"
LONG = 1e9  # bytes, of which a person is told that they are being read


def identities(warehouse: Warehouse, run_id: str, tables: Path, show: Callable[[float], None]) -> dict[str, Identity]:
    """Size and digest, by the path in the warehouse, of the tables, which are in `tables`, and of all read beside."""
    folder = warehouse.run_folder(run_id)
    beside = sorted(warehouse.large_tables(run_id).glob("*.parquet"))
    used = [folder / name for name in (*OF_SCORES, *OF_EVALUATION) if (folder / name).exists()]
    names = {str(path.relative_to(warehouse.path)): path for path in (*beside, *used)}
    names = {_name_of_tables(warehouse, run_id): tables} | names
    return {name: Identity.model_validate(identity(path, show)) for name, path in names.items()}


def require_tables(warehouse: Warehouse, run_id: str) -> None:
    """Raises InputError unless the published file, and the files that its views lead to, are as they were written.

    A publication of an earlier version has no record of that, and passes.
    """
    try:
        recorded = _recorded(warehouse, run_id)
    except InputError as error:  # of an earlier run, which can be switched to without it
        warning = f"the tables of run {run_id} are opened, but not compared with what was written: {error}"
        print(f"warning: {visible(warning)}", file=sys.stderr)
        return
    tables = {name: one for name, one in recorded.items() if name.startswith(f"published/{run_id}")}
    _require(warehouse, run_id, tables, TABLES_CURE)


def require_size(warehouse: Warehouse, run_id: str) -> None:
    """Raises InputError where the published file has not the size that it was written with; DuckDB would open it."""
    name = _name_of_tables(warehouse, run_id)
    try:
        expected = _recorded(warehouse, run_id).get(name, {})
    except InputError:  # nobody knows
        return
    _require(warehouse, run_id, {name: {"bytes": expected["bytes"]} if expected else {}}, TABLES_CURE)


def require_files(warehouse: Warehouse, run_id: str, names: Iterable[str]) -> None:
    """Raises InputError unless these files in the run's folder are as they were written."""
    folder, recorded = warehouse.run_folder(run_id), _recorded(warehouse, run_id)
    cure = (
        "Readers keep its tables. Restore the file; or go back to another run: elsa rollback; or remove "
        f"{folder / 'evaluation_model'}, and the next night goes on without comparison"
    )
    paths = [f"runs/{run_id}/{name}" for name in names]
    _require(warehouse, run_id, {path: recorded.get(path, {}) for path in paths}, cure)


def _require(warehouse: Warehouse, run_id: str, files: dict[str, dict], cure: str) -> None:
    new = _being_replaced(warehouse, run_id)
    for name, expected in files.items():
        path = warehouse.path / name
        if (why := _difference(path, expected)) and (name not in new or _difference(path, new[name])):
            raise InputError(f"{path} is damaged: run {run_id} wrote something else ({why}). {cure}")


def _being_replaced(warehouse: Warehouse, run_id: str) -> dict[str, dict]:
    """What is about to stand in the place of the run's files, or does already: `elsa forget` rewrites them."""
    try:
        manifest = read_manifest(warehouse.run_folder(run_id))
        return {name: one.model_dump() for name, one in manifest.replacing.items()}
    except InputError:
        return {}


def _difference(path: Path, expected: dict) -> str | None:
    """In words, or None where the file has the expected size and digest, as far as these are known."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            return "it is no file"
        if expected.get("bytes", size) != size:
            return f"it has {size:,} bytes, not {expected['bytes']:,}"
        if expected.get("sha256") and identity(path, _told(path, size))["sha256"] != expected["sha256"]:
            return "its digest is another one"
    except OSError as error:
        return str(error.strerror).lower()
    return None


def _told(path: Path, size: int) -> Callable[[float], None]:
    """Tells a person, in tenths, how far the reading of a long file is."""
    tenths = 0

    def show(share: float) -> None:
        nonlocal tenths
        if size > LONG and int(10 * share) > tenths:
            tenths = int(10 * share)
            print(f"checking {visible(path.name)}, {size / 1e9:.1f} GB: {tenths * 10} %", file=sys.stderr)

    return show


def _recorded(warehouse: Warehouse, run_id: str) -> dict[str, dict]:
    """What the run's manifest says of its files: only of its models, in an earlier version. Raises InputError."""
    manifest = read_manifest(warehouse.run_folder(run_id))
    stages = {
        f"runs/{run_id}/{name}": {"sha256": manifest.stages[stage].get("digest")}
        for name, stage in OF_STAGES.items()
        if stage in manifest.stages
    }
    return stages | {name: one.model_dump() for name, one in manifest.published.items()}


def _name_of_tables(warehouse: Warehouse, run_id: str) -> str:
    return str(warehouse.tables(run_id).relative_to(warehouse.path))
