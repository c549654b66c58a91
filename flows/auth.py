"""Prefect's commands with the auth string of the server on this machine: python -m flows.auth COMMAND…"""

import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from tasks.errors import InputError

AGAIN = "remove it, and start server and worker again: a new one is made"
HERE = ("127.0.0.1:4200", "localhost:4200")  # where `make server` answers


def with_auth(given: Mapping[str, str]) -> dict[str, str]:
    """The environment for a server, and for whatever talks to the one on this machine.

    What the user has set is kept; no other server is sent the auth string. Raises InputError like `auth_string`.
    """
    found = dict(given)
    if "PREFECT_SERVER_API_AUTH_STRING" not in found:
        found["PREFECT_SERVER_API_AUTH_STRING"] = auth_string(Path(found["PREFECT_HOME"]))
    if urlsplit(found["PREFECT_API_URL"]).netloc in HERE:
        found.setdefault("PREFECT_API_AUTH_STRING", found["PREFECT_SERVER_API_AUTH_STRING"])
    return found


def auth_string(home: Path) -> str:
    """The auth string, user:password, in the file auth of Prefect's folder; created if missing.

    No other user can read the file at any time. Raises InputError if one could, or it cannot be created or used.
    """
    path = home / "auth"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return _read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the auth string in {path} cannot be made or read: {error}; {AGAIN}") from None


def _make(path: Path) -> None:
    """All or nothing, and not in place of another one."""
    with NamedTemporaryFile("w", dir=path.parent) as unfinished, suppress(FileExistsError):  # made with mode 0600
        unfinished.write(f"elsa:{secrets.token_urlsafe(32)}\n")
        unfinished.flush()
        os.link(unfinished.name, path)


def _read(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW)) as file:
        status, text = os.fstat(file.fileno()), file.read().strip()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise InputError(f"{path} belongs to somebody else, or others may read or change it; {AGAIN}")
    if ":" not in text or "\n" in text:
        raise InputError(f"{path} holds no auth string, user:password; {AGAIN}")
    return text


def main(command: list[str]) -> int:
    """Becomes the command; returns only if the auth string cannot be used."""
    try:
        environment = with_auth(os.environ)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
