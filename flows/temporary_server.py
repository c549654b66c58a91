"""Prefect's temporary server, which ends with the process that started it, however that ends."""

import os
import signal
import subprocess
import sys
import threading
import time

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings

SECONDS_TO_END = 5.0
ITS_OWN = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class TemporaryServer(SubprocessASGIServer):
    """What Prefect starts where it needs a server and PREFECT_API_URL is not set: made before, it is taken."""

    def _run_uvicorn_command(self) -> subprocess.Popen:
        """As Prefect's, but the process also holds the end of a pipe to this one."""
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        command = [sys.executable, "-P", "-m", "flows.temporary_server", str(self.port)]
        return subprocess.Popen(command, env={**os.environ, **ITS_OWN, **settings}, stdin=subprocess.PIPE)


def serve(port: int) -> None:
    """Serves until it is told to end, or the pipe that is its standard input is closed."""
    import uvicorn

    threading.Thread(target=_end_with_the_other_side, daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


def _end_with_the_other_side() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
