"""Ways to damage a file."""

import os
from pathlib import Path

from tasks.run import durable as files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    path.write_bytes(b"\xff\xfe not this file \x00" * 300)


def folder(path: Path) -> None:
    files.remove(path)
    path.mkdir()


def pipe(path: Path) -> None:
    files.remove(path)
    os.mkfifo(path)
