"""Files that are written all or nothing, and known again by their size and digest."""

import glob
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BLOCK_BYTES = 2**22
LONGEST_SECONDS = 3600.0


def write_whole(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, also after the power went. A link under a name is not followed.

    Of several writers the last one's text stays.
    """
    _remove_left(path)
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _remove_left(path: Path) -> None:
    """Removes what writers of the file left that were killed: nobody writes that long."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.new"):
        with suppress(OSError):  # somebody else was faster
            if time.time() - left.lstat().st_mtime > LONGEST_SECONDS:
                remove(left)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Makes a finished file durable under the name of an earlier one, with that one's mode."""
    shutil.copymode(path, unfinished)
    sync(unfinished)
    unfinished.replace(path)
    sync(path.parent)


def remove(path: Path) -> None:
    """Removes a file, a folder with all in it, or a link, never what a link leads to. Nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Asks the system to put a file or a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def identity(path: Path, show: Callable[[float], None] = lambda share: None) -> dict[str, int | str]:
    """The file's bytes and sha256; `show` is told the share that is read."""
    size, n_read, digest = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            n_read += len(block)
            show(n_read / size if size else 1.0)
    return {"bytes": n_read, "sha256": digest.hexdigest()}
