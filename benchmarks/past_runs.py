"""What 10,000 past runs cost a night: the demo's, in a warehouse with few and with many of them.

`python benchmarks/past_runs.py`: seconds of each, alternating, and the median difference. The past runs are copies of
the records that retention keeps of the demo's own nights; nine of ten are refreshes.
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

N_RUNS, N_REPEATS = 10_000, 5
SCRIPT = "import sys; from flows.cli import main; sys.exit(main(['nightly', '--config', sys.argv[1]]))"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        configs = [configured(Path(scratch), name) for name in ("few", "many")]
        for config in configs:
            night(config)  # the first one trains; those below take its models over
        add_runs(Warehouse(Path(scratch) / "many"))
        for config in configs:
            night(config)  # writes the index
        seconds = [[night(config) for config in configs] for _ in range(N_REPEATS)]
    few, many = map(statistics.median, zip(*seconds, strict=True))
    differences = [round(many - few, 2) for few, many in seconds]
    print(f"seconds of a night: {few:.2f} with few past runs, {many:.2f} with {N_RUNS:,}; differences {differences}")


def configured(folder: Path, name: str) -> Path:
    path = folder / f"{name}.yaml"
    lines = Path("config/movielens.yaml").read_text().splitlines()
    path.write_text("\n".join([f"warehouse: {folder / name}", *(one for one in lines if "warehouse:" not in one)]))
    return path


def night(config: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", SCRIPT, config], check=True, capture_output=True)
    return time.perf_counter() - start


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
