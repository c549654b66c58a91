"""mtg-decklists, 15.8 million events: from Parquet to deduplicated interactions; a quarter, half and all of them.

Seconds and peak memory over an idle process, each size in a process of its own, DuckDB held to 3 GB.
`python benchmarks/ingest.py`
"""

import tempfile
from pathlib import Path

import polars as pl

from datasets import shared
from measured import in_a_process

SHARES = (0.25, 0.5, 1.0)


def main() -> None:
    print(f"{'events':>12}{'ingest (s)':>12}{'interactions (s)':>18}{'peak (MB)':>11}{'pairs':>12}")
    for share in SHARES:
        print("{:12,}{:12.1f}{:18.1f}{:11,.0f}{:12,}".format(*in_a_process(one_night, share)), flush=True)


def one_night(share: float) -> tuple:
    from prefect.logging import disable_run_logger

    from tasks.data.ingest import ingest
    from tasks.data.interactions import build_interactions
    from tasks.run.logs import held_bytes
    from tasks.run.manifest import read_manifest
    from tasks.run.run import open_run
    from tasks.settings.config import Config

    with tempfile.TemporaryDirectory() as folder, disable_run_logger():
        events = pl.scan_parquet(shared("mtg-decklists/events.parquet"))
        n_events = int(events.select(pl.len()).collect().item() * share)
        events.head(n_events).sink_parquet(f"{folder}/events.parquet")
        columns = {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp"}
        config = Config.model_validate(
            {
                "warehouse": f"{folder}/warehouse",
                "memory_limit": "3GB",
                "source": {"events": f"{folder}/events.parquet", "columns": columns},
            }
        )
        Path(folder, "warehouse").mkdir()
        with open_run(config) as run:
            idle = held_bytes()
            handle = ingest.fn(run)
            pairs = build_interactions.fn(run, handle)
            stages = [read_manifest(run.files.folder).measured[stage] for stage in ("ingest", "interactions")]
        peak = max(stage.peak_bytes for stage in stages) - idle
        return handle.n_read, *(stage["seconds"] for stage in stages), peak / 2**20, pairs.n_counting


if __name__ == "__main__":
    main()
