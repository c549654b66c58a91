"""Servers for tests: a Prefect API, and the explore page as `elsa explore` serves it."""

import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tasks.settings.config import Config
from tests.support.cores import on_all_cores


@contextmanager
def serve_prefect(folder: Path, cache: Path) -> Iterator[None]:
    """A real Prefect API on a database of its own in the folder; the cache keeps a migrated empty one.

    What no test looks at is turned off, the events and the task runs in its database: most of a night's cost there.
    """
    from prefect import __version__, settings
    from prefect.testing.utilities import prefect_test_harness

    services = {
        settings.PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED: False,
        settings.PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED: False,
        settings.PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False,
        settings.PREFECT_SERVER_ANALYTICS_ENABLED: False,
    }
    empty = cache / f"{__version__}.db"  # its migrations take 10 s
    if empty.exists():
        shutil.copyfile(empty, folder / "prefect-test.db")
    with pytest.MonkeyPatch.context() as patch, settings.temporary_settings(services):
        patch.setattr("prefect.testing.utilities.mkdtemp", lambda: str(folder))
        with ExitStack() as stack:
            with on_all_cores():
                stack.enter_context(prefect_test_harness(server_startup_timeout=120))
            stack.enter_context(settings.temporary_settings({settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
            if not empty.exists():
                keep_database(folder / "prefect-test.db", empty)
            yield


def keep_database(made: Path, path: Path) -> None:
    """Copies a SQLite database that is in use, all or nothing."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(unfinished)) as target:
        source.backup(target)
    unfinished.replace(path)


@contextmanager
def serve_pages(config: Config) -> Iterator[str]:
    """The explore page's address while it is served."""
    import uvicorn

    from flows.explore import HOST, make_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            is_up.set()

    is_up = threading.Event()
    with socket.socket() as chosen:
        chosen.bind((HOST, 0))
        server = Server(uvicorn.Config(make_app(config), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [chosen]})
        thread.start()
        is_up.wait()
        yield f"http://{HOST}:{chosen.getsockname()[1]}/"
        server.should_exit = True
        thread.join()
