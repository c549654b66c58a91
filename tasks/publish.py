"""The checked file becomes what readers open: one rename, one flip of a symlink."""

import os
from pathlib import Path

from prefect import get_run_logger, task

from tasks.stages import Published, Tables
from tasks.warehouse import Run


@task
def publish(run: Run, tables: Tables) -> Published:
    """Makes the file durable under its final name, then points warehouse/current.duckdb at it atomically."""
    folder = run.warehouse / "published"
    final = folder / f"{run.run_id}.duckdb"
    link = run.warehouse / "current.duckdb"
    (folder / tables.path).chmod(0o444)
    _sync(folder / tables.path)
    (folder / tables.path).rename(final)
    _sync(folder)
    new_link = run.warehouse / "current.duckdb.new"
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(final.relative_to(run.warehouse))
    new_link.replace(link)
    _sync(run.warehouse)
    get_run_logger().info("published %s", final.name)
    handle = Published(str(final.relative_to(run.warehouse)))
    run.record("publish", handle)
    return handle


def _sync(path: Path) -> None:
    """Asks the system to put a file or a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
