"""Seconds and peak memory of a part of a benchmark."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Self


def in_a_process(function: Callable, *arguments: Any) -> Any:
    """What the function returns in a process of its own, so that no earlier measurement left memory behind."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


class Measured:
    """Of a `with` block: seconds, and the peak of memory over what the process held before, in MB. Linux only."""

    def __enter__(self) -> Self:
        import torch._dynamo  # noqa: F401  what any torch optimiser imports on first use

        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
        self._before, self._started = peak_megabytes(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        self.megabytes = peak_megabytes() - self._before


def peak_megabytes() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
