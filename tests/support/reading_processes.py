"""Processes that read the published tables on and on, and what they saw."""

import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tests.support.cores import use_all_cores
from tests.support.killed_nights import WORKERS

VERSION = """
    select
        run_id,
        (select sum(md5_number_lower(cast(t as varchar))) from user_topk as t),
        (select sum(md5_number_lower(cast(t as varchar))) from item_neighbors as t),
        (select sum(md5_number_lower(cast(t as varchar))) from popular_items as t)
    from run_info
    where run_id = (select any_value(run_id) from validation_results having count(distinct run_id) = 1)
      and run_id = (select max(run_id) from run_metrics)
"""


def read_on(folder: Path, pause: float, name: str) -> None:
    """Opens the tables again and again, looks twice, and writes down every version and every error that it saw."""
    use_all_cores()
    found: set[tuple] = set()
    while not (folder / "stop").exists():
        try:
            with duckdb.connect(str(folder / "warehouse" / "current.duckdb"), read_only=True) as connection:
                first = connection.execute(VERSION).fetchall()
                time.sleep(pause)
                again = connection.execute(VERSION).fetchall()
            found.add(tuple(first[0]) if first == again and len(first) == 1 else ("mixed", *first, *again))
        except Exception as error:
            found.add(("error", str(error)))
    (folder / name).write_bytes(pickle.dumps(found))


def watch(folder: Path, name: str) -> None:
    """Looks at the link whenever a core is free, and writes down whether it was ever missing."""
    use_all_cores()
    os.nice(19)
    found: set[tuple] = set()
    while not (folder / "stop").exists():
        for _ in range(1000):
            try:
                os.readlink(folder / "warehouse" / "current.duckdb")
            except FileNotFoundError:
                found.add(("error", "there was no current.duckdb"))
    (folder / name).write_bytes(pickle.dumps(found))


@contextmanager
def readers(folder: Path, pauses: tuple[float, ...] = (0.01, 0.3)) -> Iterator[set[tuple]]:
    """Reading processes around a block; what they saw is in the set when it ends."""
    found: set[tuple] = set()
    started = [
        WORKERS.Process(target=read_on, args=(folder, pause, f"reader{number}"))
        for number, pause in enumerate(pauses)
    ]
    started.append(WORKERS.Process(target=watch, args=(folder, f"reader{len(pauses)}")))
    for process in started:
        process.start()
    try:
        yield found
    finally:
        (folder / "stop").touch()
        for process in started:
            process.join()
    for number in range(len(started)):
        found |= pickle.loads((folder / f"reader{number}").read_bytes())
