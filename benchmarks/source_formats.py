"""How long `ingest` takes for the same events in each format, beside DuckDB's own reader into a table.

PYTHONPATH=. python benchmarks/source_formats.py [rows, default 2000000]: generated events with an unmapped note; each
pair is run three times, alternately; the medians and their ratio are printed.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb
from prefect.logging import disable_run_logger

from tasks.data.ingest import ingest
from tasks.run.run import open_run
from tasks.settings.config import Config

EVENTS = """
    select
        range % 50_021 as user_id,
        hash(range) % 5_003 as item_id,
        timestamp '2026-01-01' + to_seconds(range) as ts,
        'note ' || range as note
    from range({n})
"""
WRITE = {"csv": "(format csv)", "jsonl": "(format json)", "parquet": "(format parquet)"}
READ = {"csv": "read_csv", "jsonl": "read_json", "parquet": "read_parquet"}
REPEATS = 3


def seconds_of_ingest(file: Path, folder: Path) -> float:
    columns = {"user_id": "user_id", "item_id": "item_id", "timestamp": "ts"}
    config = Config.model_validate({"warehouse": str(folder), "source": {"events": str(file), "columns": columns}})
    with disable_run_logger(), open_run(config) as run:
        started = time.perf_counter()
        ingest.fn(run)
        return time.perf_counter() - started


def seconds_of_duckdb(file: Path, end: str, folder: Path) -> float:
    started = time.perf_counter()
    with duckdb.connect(str(folder / "peer.duckdb")) as connection:
        connection.execute(f"create table events as select user_id, item_id, ts from {READ[end]}('{file}')")
    return time.perf_counter() - started


def main(n_rows: int) -> None:
    print(f"{n_rows:,} rows; medians of {REPEATS}")
    for end in WRITE:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"a.{end}"
            duckdb.connect().execute(f"copy ({EVENTS.format(n=n_rows)}) to '{file}' {WRITE[end]}")
            ours, peers = [], []
            for repeat in range(REPEATS):
                own = Path(folder) / str(repeat)
                own.mkdir()
                ours.append(seconds_of_ingest(file, own / "warehouse"))
                peers.append(seconds_of_duckdb(file, end, own))
        our, peer = statistics.median(ours), statistics.median(peers)
        print(f"{end:8} ingest {our:6.2f} s   DuckDB {peer:6.2f} s   ratio {our / peer:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
