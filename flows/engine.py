"""Runs a flow from the command line: on the configured Prefect server, or else on a temporary one."""

import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError

if TYPE_CHECKING:
    from prefect import Flow

SECONDS_FOR_AN_ANSWER = 15.0


def run_flow(flow: "Flow", *parameters: object, **named: object) -> Any:
    """What the flow returns. Raises InputError where PREFECT_API_URL names a server that does not answer."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)
    with _server():
        return flow(*parameters, **named)


@contextmanager
def _server() -> Iterator[None]:
    from prefect import settings

    os.environ.setdefault("DO_NOT_TRACK", "1")
    defaults = {
        settings.PREFECT_SERVER_ANALYTICS_ENABLED: False,
        settings.PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,  # 20 s are too few on a small machine
    }
    with settings.temporary_settings(set_defaults=defaults):
        if url := settings.PREFECT_API_URL.value():
            _require_answer(url)
            yield
        else:
            with _temporary_server():
                yield


@contextmanager
def _temporary_server() -> Iterator[None]:
    """Makes Prefect start our server if it needs one: it ends with this process, and no web page can control it."""
    from prefect import settings
    from prefect.server.api.server import SubprocessASGIServer

    class TemporaryServer(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> subprocess.Popen:
            own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
            given = settings.get_current_settings().to_environment_variables(exclude_unset=True)
            command = [sys.executable, "-P", "-m", "flows.temporary_server", str(self.port)]
            return subprocess.Popen(command, env={**os.environ, **own, **given}, stdin=subprocess.PIPE)

    TemporaryServer()  # Prefect asks for an instance of its class, and gets the one that is there
    auth = f"elsa:{secrets.token_urlsafe(32)}"
    with settings.temporary_settings(
        {settings.PREFECT_SERVER_API_AUTH_STRING: auth, settings.PREFECT_API_AUTH_STRING: auth}
    ):
        yield


def _require_answer(url: str) -> None:
    """Raises InputError unless a Prefect server answers at the address and accepts the auth string."""
    from prefect import settings
    from prefect.client.orchestration import get_client

    impatient = {
        settings.PREFECT_API_REQUEST_TIMEOUT: SECONDS_FOR_AN_ANSWER,
        settings.PREFECT_CLIENT_MAX_RETRIES: 1,
    }
    try:
        with settings.temporary_settings(impatient), get_client(sync_client=True) as client:
            client.read_flow_runs(limit=1)
    except Exception as error:  # whatever stands at the other end
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"PREFECT_API_URL is {url!r}, but no Prefect server can be used there: {said}. Start the server, correct "
            "PREFECT_API_URL and PREFECT_API_AUTH_STRING (environment or Prefect profile), or unset PREFECT_API_URL "
            "to run without a server"
        ) from None


def _without_traceback(record: logging.LogRecord) -> bool:
    """An error is shown once, when the command ends: a message, or the traceback of a defect."""
    record.exc_info = record.exc_text = None
    return True
