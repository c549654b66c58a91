"""The program of Prefect's temporary server: it ends with the process that started it, however that ends."""

import os
import signal
import sys
import threading
import time

SECONDS_TO_END = 5.0


def serve(port: int) -> None:
    """Serves until it is told to end, or the pipe that is its standard input is closed."""
    threading.Thread(target=_end_with_the_other_side, daemon=True).start()
    import uvicorn  # what is imported from here on takes seconds

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
