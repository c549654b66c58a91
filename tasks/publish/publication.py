"""The checked file becomes what readers open: one rename, one flip of a symlink; then old files go."""

from pathlib import Path

from prefect import get_run_logger, task

from tasks.publish.history import prune, publish_first
from tasks.run.durable import sync
from tasks.run.handles import Published, Tables
from tasks.run.integrity import identities
from tasks.run.progress import working
from tasks.run.warehouse import Run, read_manifest, write_json


@task
def publish(run: Run, tables: Tables) -> Published:
    """Makes the file durable under its final name, switches readers to it atomically, and removes what is too old.

    Sizes and digests of all that is published, models too, are recorded first, and all of that is on disk then.
    """
    folder = run.warehouse / "published"
    final = folder / f"{run.run_id}.duckdb"
    (folder / tables.path).chmod(0o444)
    sync(folder / tables.path)
    (folder / tables.path).rename(final)
    sync(folder)
    with working("digests of the tables") as show:
        files = identities(run.warehouse, run.run_id, final, lambda share: show("digests of the tables", share))
        _make_durable([run.warehouse / name for name in files])
    write_json(run.folder / "manifest.json", read_manifest(run.folder) | {"published": files})
    publish_first(run)
    get_run_logger().info("published %s", final.name)
    handle = Published(str(final.relative_to(run.warehouse)))
    run.record("publish", handle)
    if removed := prune(run):
        get_run_logger().info(
            "removed what is older than publication.keep and grace_hours allow: %s", ", ".join(removed)
        )
    return handle


def _make_durable(paths: list[Path]) -> None:
    """Asks the system to put the files, and their names, on disk."""
    for path in [*paths, *{path.parent for path in paths}]:
        sync(path)
