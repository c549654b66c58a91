"""What 10,000 past runs cost a night: the demo's, in a warehouse with few and with many of them.

`python benchmarks/past_runs.py`: seconds of each stage and of the whole, alternating, and the difference of the
medians; start-up varies by more than is looked for, so that the stages say it better. The past runs are copies of the
records that retention keeps of the demo's own nights; nine of ten are refreshes.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from tasks.run.manifest import read_manifest, write_manifest
from tasks.run.run import RUN_ID
from tasks.run.warehouse import Warehouse

N_RUNS, N_REPEATS = 10_000, 6
SCRIPT = "import sys; from flows.cli import main; sys.exit(main(['nightly', '--config', sys.argv[1]]))"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        warehouses = [Warehouse(Path(scratch) / name) for name in ("few", "many")]
        for warehouse in warehouses:
            night(warehouse)  # the first one trains; those below take its models over
        add_runs(warehouses[1])
        for warehouse in warehouses:
            night(warehouse)  # writes the index
        seconds = [[night(warehouse) for warehouse in warehouses] for _ in range(N_REPEATS)]
    print(f"{'seconds (medians)':18} {'few':>6} {N_RUNS:>6,} {'more':>6}")
    for name in seconds[0][0]:
        few, many = (statistics.median(one[name] for one in column) for column in zip(*seconds, strict=True))
        print(f"{name:18} {few:6.2f} {many:6.2f} {many - few:+6.2f}")


def night(warehouse: Warehouse) -> dict[str, float]:
    """Seconds of its stages, of all of them, and from outside."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", SCRIPT, configured(warehouse)], check=True, capture_output=True)
    whole = time.perf_counter() - start
    stages = read_manifest(warehouse.run_folder(warehouse.current_run_id)).measured
    seconds = {name: taken.seconds for name, taken in stages.items()}
    return seconds | {"all stages": sum(seconds.values()), "the whole night": whole}


def configured(warehouse: Warehouse) -> Path:
    path = warehouse.path.with_suffix(".yaml")
    lines = [line for line in Path("config/movielens.yaml").read_text().splitlines() if "warehouse:" not in line]
    path.write_text("\n".join([f"warehouse: {warehouse.path}", *lines]))
    return path


def add_runs(warehouse: Warehouse) -> None:
    """Folders as retention leaves them, each a day of 2000 on apart."""
    [template] = warehouse.runs.glob("*/")
    manifest = read_manifest(template)
    for number in range(N_RUNS):
        began = datetime(2000, 1, 1) + timedelta(hours=number)
        folder = warehouse.run_folder(began.strftime(RUN_ID))
        folder.mkdir()
        at = f"{began.isoformat()}+00:00"
        changes = {
            "run_id": folder.name,
            "started_at": at,
            "finished_at": at,
            "pruned_at": at,
            "files": {},
            "inputs": {},
        }
        if number % 10:
            stages = {name: one for name, one in manifest.stages.items() if name not in ("evaluate", "gate")}
            changes |= {"kind": "refresh", "stages": stages}
        else:
            for name in ("metrics.parquet", "gate_checks.parquet"):
                (folder / name).write_bytes((template / name).read_bytes())
        write_manifest(folder, manifest.model_copy(update=changes))


if __name__ == "__main__":
    main()
