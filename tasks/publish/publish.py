"""The checked file becomes what readers open: one rename, one switch of a symlink; then old files go."""

from pathlib import Path

from prefect import get_run_logger

from tasks.publish.publication import publish_first
from tasks.publish.retention import prune
from tasks.run.durable import sync
from tasks.run.handles import Published, Tables
from tasks.run.integrity import identities
from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.progress import working
from tasks.run.run import Run
from tasks.run.stage import stage


@stage("publish", retries=0)
def publish(run: Run, tables: Tables) -> Published:
    """Makes the file durable under its final name, and switches readers to it atomically.

    Sizes and digests of all that is published, models too, are recorded first, and all of that is on disk then.
    """
    warehouse, final = run.warehouse, run.warehouse.tables(run.run_id)
    unfinished = warehouse.published / tables.path
    unfinished.chmod(0o444)
    sync(unfinished)
    unfinished.rename(final)
    sync(warehouse.published)
    with working("digests of the tables") as show:
        files = identities(warehouse, run.run_id, final, lambda share: show("digests of the tables", share))
        _make_durable([warehouse.path / name for name in files])
    manifest = read_manifest(run.files.folder)
    write_manifest(run.files.folder, manifest.model_copy(update={"published": files}))
    publish_first(run)
    get_run_logger().info("published %s", final.name)
    if removed := prune(run):
        get_run_logger().info(
            "removed what is older than publication.keep and grace_hours allow: %s", ", ".join(removed)
        )
    return Published(str(final.relative_to(warehouse.path)))


def _make_durable(paths: list[Path]) -> None:
    """Asks the system to put the files, and their names, on disk."""
    for path in [*paths, *{path.parent for path in paths}]:
        sync(path)
