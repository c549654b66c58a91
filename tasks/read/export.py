"""The published vectors as files for other programs."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect import get_run_logger, task

from tasks.errors import InputError
from tasks.read.terminal import open_published
from tasks.run.database import first_row
from tasks.run.durable import remove
from tasks.run.handles import Exported
from tasks.run.integrity import require_tables
from tasks.run.warehouse import Warehouse
from tasks.settings.config import Config

if TYPE_CHECKING:
    import numpy as np
    from duckdb import DuckDBPyConnection

Format = Literal["parquet", "npy", "safetensors"]
OWNERS = ("item", "user")
MAX_HEADER = 50_000_000  # characters of text ids; safetensors allows 100 MB for them and all else


@task
def export_vectors(config: Config, form: Format, out: Path) -> Exported:
    """Writes item and user vectors, their ids, and of which model they are, into a new folder, all or nothing."""
    check_export(config, out)
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        remove(unfinished)
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out {out}: the folder cannot be made: {error}") from None
    write = {"parquet": _write_parquet, "npy": _write_npy, "safetensors": _write_safetensors}[form]
    try:
        with open_published(config) as connection:
            about = _about(connection)
            require_tables(Warehouse.of(config), about["run_id"])
            write(connection, about, unfinished)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    handle = Exported(str(out), int(about["n_items"]), int(about["n_users"]))
    get_run_logger().info(f"{handle.n_items:,} item and {handle.n_users:,} user vectors in {out}")
    return handle


def check_export(config: Config, out: Path) -> None:
    """Raises InputError where there is nothing to export, or no place for it, before any work."""
    with open_published(config) as connection:
        _about(connection)
    if os.path.lexists(out):
        raise InputError(f"--out {out} exists already; name a new folder")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = os.strerror(errno.EACCES if there.is_dir() else errno.ENOTDIR)
        raise InputError(f"--out {out}: the folder cannot be made: {there}: {why}; name another place")


def _about(connection: "DuckDBPyConnection") -> dict[str, str]:
    """Which model the vectors are of, as text."""
    names = ("run_id", "model_digest", "scale", "policy_type")
    about = dict(zip(names, first_row(connection, f"select {', '.join(names)} from run_info"), strict=True))
    if about.pop("policy_type") == "ease":
        raise InputError("the published model is EASE, which has no vectors; there is nothing to export")
    for owner in OWNERS:
        about[f"n_{owner}s"] = first_row(connection, f"select count(*) from {owner}_embeddings")[0]
    about["factors"] = first_row(connection, "select len(embedding) from item_embeddings limit 1")[0]
    return {name: str(value) for name, value in about.items()}


def _write_parquet(connection: "DuckDBPyConnection", about: dict[str, str], folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for owner in OWNERS:
        reader = connection.sql(f"from {owner}_embeddings").to_arrow_reader(100_000)
        length = int(about["factors"])
        schema = pa.schema([reader.schema.field(0), pa.field("embedding", pa.list_(pa.float32(), length))], about)
        with pq.ParquetWriter(folder / f"{owner}_embeddings.parquet", schema) as writer:
            for batch in reader:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


def _write_npy(connection: "DuckDBPyConnection", about: dict[str, str], folder: Path) -> None:
    import numpy as np

    for owner in OWNERS:
        ids, vectors = _arrays(connection, owner)
        np.save(folder / f"{owner}_ids.npy", np.array(ids), allow_pickle=False)
        np.save(folder / f"{owner}_embeddings.npy", vectors)
    (folder / "metadata.json").write_text(json.dumps(about, indent=1))


def _write_safetensors(connection: "DuckDBPyConnection", about: dict[str, str], folder: Path) -> None:
    """Ids that are numbers are tensors, too; text goes into the metadata as a JSON list."""
    import numpy as np
    from safetensors.numpy import save_file

    tensors, metadata = {}, dict(about)
    for owner in OWNERS:
        ids, tensors[f"{owner}_embeddings"] = _arrays(connection, owner)
        if isinstance(ids[0], str):
            metadata[f"{owner}_ids"] = json.dumps(ids, ensure_ascii=False)
        else:
            tensors[f"{owner}_ids"] = np.array(ids)
    if sum(map(len, metadata.values())) > MAX_HEADER:
        raise InputError("the ids are too much text for a safetensors file; export with --format parquet")
    save_file(tensors, folder / "embeddings.safetensors", metadata)


def _arrays(connection: "DuckDBPyConnection", owner: str) -> "tuple[list, np.ndarray]":
    """All ids, and vectors (n, factors) float32 in their order."""
    table = connection.sql(f"from {owner}_embeddings").to_arrow_table().combine_chunks()
    vectors = table["embedding"].combine_chunks()
    return table[f"{owner}_id"].to_pylist(), vectors.flatten().to_numpy().reshape(len(vectors), -1)
