"""One writer at a time: a lock with its owner's name on it."""

import fcntl
import getpass
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from tasks.errors import InputError, RunUnderWay
from tasks.quoting import visible

SECONDS_FOR_A_GLANCE = 1.0  # whoever only looks at the lock holds it for a moment


def me() -> str:
    """Who this process is, for records: user@host, by number where the system has no name for the user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # from Python 3.13 on the latter
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@contextmanager
def locked(path: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock in the file `path`, which says who holds it since when.

    The system releases it when the process ends, however it ends: what a dead process left written in the file holds
    nobody up. Raises RunUnderWay if a living one has it for longer than `wait_seconds`.
    """
    with path.open("a+") as lock:
        if not _take(lock, wait_seconds):
            raise RunUnderWay(
                f"{path.parent} is in use by another run ({_owner(lock)}); wait for it to end, or stop it; "
                "lock_wait_seconds says how long to wait"
            )
        if left := _owner(lock):
            print(f"taking over the lock of a run that has died ({visible(left)})", file=sys.stderr)
        lock.truncate(0)
        lock.write(json.dumps({"owner": me(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat()}))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open() as lock:
        return not _try(lock, fcntl.LOCK_SH, SECONDS_FOR_A_GLANCE)


def _take(lock: IO, wait_seconds: float) -> bool:
    if _try(lock, fcntl.LOCK_EX, SECONDS_FOR_A_GLANCE):
        return True
    if wait_seconds > 0:
        print(f"waiting up to {wait_seconds:g} s for another run ({visible(_owner(lock))})", file=sys.stderr)
    return _try(lock, fcntl.LOCK_EX, wait_seconds)


def _try(lock: IO, kind: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        except OSError as error:
            raise InputError(
                f"{lock.name} cannot be locked: {error.strerror}; a warehouse needs a file system with locks"
            ) from None


def _owner(lock: IO) -> str:
    """Who wrote the lock file, in words; '' if nobody, as after a run that ended in order."""
    lock.seek(0)
    text = lock.read()
    try:
        content = json.loads(text)
        seconds = (datetime.now(UTC) - datetime.fromisoformat(content["since"])).total_seconds()
        return f"{content['owner']}, pid {content['pid']}, for {age(seconds)}"
    except (ValueError, KeyError):
        return text.strip()


def age(seconds: float) -> str:
    """A span of time in its largest fitting unit."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
