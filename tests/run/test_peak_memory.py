"""The memory of a run's stages: each its own peak, and the kernel's record stays whole."""

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.run.handles import Published
from tasks.run.manifest import read_manifest
from tasks.run.memory import PeakMemory, recorded_peak_bytes
from tasks.run.run import open_run
from tests.support.worlds import config

pytestmark = pytest.mark.skipif(recorded_peak_bytes() is None, reason="this system does not tell")
MB = 2**20
SCRIPT = """
import json, resource, sys, time
from tasks.run.memory import PeakMemory, recorded_peak_bytes

hold = lambda megabytes: bytearray(b"x") * (megabytes * 2**20)  # written to, so that it is really held
hold(400)
before = recorded_peak_bytes()
with PeakMemory() as memory:
    hold(50)
    small = memory.take()
    kept = hold(150)
    time.sleep(0.5)
    del kept
    large = memory.take()
    hold(600)
    record = memory.take()
    nothing = memory.take()
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([before, small, large, record, nothing, recorded_peak_bytes(), most]))
"""


def test_each_stage_has_its_own_peak_and_the_kernels_record_is_not_reset() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, small, large, record, nothing, after, most = json.loads(done.stdout)
    assert before > 400 * MB
    assert small < 250 * MB
    assert small + 50 * MB < large < before
    assert record > 600 * MB > nothing
    assert max(small, large, record, nothing) <= after <= most


def test_a_run_leaves_the_kernels_record_and_no_thread(world: Path) -> None:
    bytearray(b"x") * (100 * MB)
    before, n_threads = recorded_peak_bytes(), threading.active_count()
    with open_run(config()) as run:
        assert threading.active_count() == n_threads + 1
        run.record("publish", Published("x"))
    with pytest.raises(RuntimeError), open_run(config()):
        raise RuntimeError
    assert threading.active_count() == n_threads
    after = recorded_peak_bytes()
    assert before <= after <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 10 * MB < read_manifest(run.files.folder).measured["publish"].peak_bytes <= after


def test_where_the_system_does_not_tell_there_is_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.run.memory.recorded_peak_bytes", lambda: None)
    with PeakMemory() as memory:
        assert memory.take() is None
