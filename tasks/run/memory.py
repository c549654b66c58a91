"""The memory that the stages of a run take."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

SECONDS_BETWEEN_SAMPLES = 0.02


class PeakMemory:
    """The most memory that this process held since it was last asked, while the `with` block runs.

    A thread samples what is held. The kernel's own record, which /usr/bin/time and others read, is never reset; where
    it rose meanwhile, it is the answer, for it misses nothing.
    """

    def __enter__(self) -> Self:
        self._recorded, self._sampled = recorded_peak_bytes(), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak memory", daemon=True)
        if self._recorded is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._recorded is not None:
            self._thread.join()

    def take(self) -> int | None:
        """In bytes, and starts again; None where the system does not tell."""
        before, self._recorded = self._recorded, recorded_peak_bytes()
        sampled, self._sampled = max(self._sampled, held_bytes()), 0
        if before is None or self._recorded is None or self._recorded > before:
            return self._recorded
        return min(sampled, self._recorded)

    def _sample(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_SAMPLES):
            if (held := held_bytes()) > self._sampled:  # never what was there before a `take`
                self._sampled = held


def held_bytes() -> int:
    """The memory that this process holds now; 0 where the system does not tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def recorded_peak_bytes() -> int | None:
    """The kernel's record of the most memory that this process has held; None where the system does not tell."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    return None
