"""One writer at a time: a lock with its owner's name on it."""

import errno
import fcntl
import getpass
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO

from tasks.errors import InputError, RunUnderWay
from tasks.run.quoting import visible

SECONDS_FOR_A_GLANCE = 1.0  # whoever only looks at the lock holds it for a moment


def me() -> str:
    """Who this process is, for records: user@host, by number where the system has no name for the user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # from Python 3.13 on the latter
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@contextmanager
def locked(path: Path, wait_seconds: float = 0.0) -> Iterator[Callable[[str], None]]:
    """Holds the lock in the file `path`, which says who holds it since when; yields what adds for which run.

    The system releases it when the process ends, however it ends: what a dead process left written in the file holds
    nobody up. Raises RunUnderWay if a living one has it for longer than `wait_seconds`, InputError if it is no file.
    """
    with _open(path, os.O_RDWR | os.O_CREAT) as lock:
        if not _take(lock, wait_seconds):
            raise RunUnderWay(
                f"{path.parent} is in use by another run ({_owner(lock)}); wait for it to end, or stop it; "
                "lock_wait_seconds says how long to wait"
            )
        if left := _owner(lock):
            print(f"taking over the lock of a run that has died ({visible(left)})", file=sys.stderr)
        owner = {"owner": me(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
        _write(lock, owner)
        try:
            yield partial(_claim, lock, owner)
        finally:
            lock.truncate(0)


def holder(path: Path) -> dict | None:
    """What whoever holds the lock has written into it, {} where that cannot be read; None if nobody does."""
    try:
        with _open(path, os.O_RDONLY) as lock:
            return None if _try(lock, fcntl.LOCK_SH, SECONDS_FOR_A_GLANCE) else _content(lock)
    except PermissionError:
        return {}
    except (OSError, InputError):  # nobody can have it
        return None


def _open(path: Path, flags: int) -> IO:
    """Never follows a link, which would lead to somebody's file, nor waits for the other end of a pipe."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return open(descriptor, "rb+" if flags & os.O_RDWR else "rb", buffering=0)
        os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise
    raise InputError(f"{path} must be a file that this program made: move away what is there, and run again")


def _claim(lock: IO, owner: dict, run_id: str) -> None:
    _write(lock, owner | {"run_id": run_id})


def _write(lock: IO, content: dict) -> None:
    lock.truncate(0)
    lock.seek(0)
    lock.write(json.dumps(content).encode())


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
                f"the warehouse's lock cannot be taken: {error.strerror}; a warehouse needs a file system with locks"
            ) from None


def _owner(lock: IO) -> str:
    """Who wrote the lock file, in words; '' if nobody, as after a run that ended in order."""
    from humanize import naturaldelta

    content = _content(lock)
    try:
        held = datetime.now(UTC) - datetime.fromisoformat(content["since"])
        return f"{content['owner']}, pid {content['pid']}, for {naturaldelta(max(held, timedelta()))}"
    except (ValueError, KeyError, TypeError):
        lock.seek(0)
        return "".join(filter(str.isprintable, lock.read(80).decode(errors="replace"))).strip()


def _content(lock: IO) -> dict:
    """What is written in the lock file; {} where that is not what `locked` writes."""
    lock.seek(0)
    try:
        content = json.loads(lock.read(10_000))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
