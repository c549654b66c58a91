"""The checked file becomes what readers open: one rename, one flip of a symlink; then old files go."""

from prefect import get_run_logger, task

from tasks.files import sync
from tasks.history import prune, publish_first
from tasks.stages import Published, Tables
from tasks.warehouse import Run


@task
def publish(run: Run, tables: Tables) -> Published:
    """Makes the file durable under its final name, leads readers to it atomically, and removes what is too old."""
    folder = run.warehouse / "published"
    final = folder / f"{run.run_id}.duckdb"
    (folder / tables.path).chmod(0o444)
    sync(folder / tables.path)
    (folder / tables.path).rename(final)
    sync(folder)
    publish_first(run)
    get_run_logger().info("published %s", final.name)
    handle = Published(str(final.relative_to(run.warehouse)))
    run.record("publish", handle)
    if removed := prune(run):
        get_run_logger().info(
            "removed what is older than publication.keep and grace_hours allow: %s", ", ".join(removed)
        )
    return handle
