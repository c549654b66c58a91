"""A refresh beside a full materialisation with one model: 200,000 generated users, of whom 1 % did something new.

Both write and check every table from the same state; seconds of the stage `materialize` alone. Their digests must
be equal. 5,000 items with Zipf popularity, 30 events a user, 64 factors with the sparse part.
`PYTHONPATH=. python benchmarks/refresh.py [users]`
"""

import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import polars as pl
from prefect.logging import disable_run_logger

import tasks.materialize
from tasks.adopt import adopt
from tasks.config import Config
from tasks.drift import watch_drift
from tasks.evaluate import evaluate
from tasks.gate import judge
from tasks.ingest import ingest
from tasks.interactions import build_interactions
from tasks.materialize import materialize
from tasks.matrix import build_matrix
from tasks.publish import publish
from tasks.published import digest_of_tables
from tasks.rules import apply_rules
from tasks.stages import Events, Interactions, Matrix, Rules
from tasks.train import refit, train
from tasks.validate import validate
from tasks.warehouse import Run, open_run

N_USERS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
N_ITEMS, PER_USER, REPEATS = 5000, 30, 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, disable_run_logger():
        write(Path(folder) / "first.parquet", np.repeat(np.arange(N_USERS), PER_USER), 0)
        config = settings(folder)
        night(config)
        write(Path(folder) / "more.parquet", np.arange(0, N_USERS, 100), 1)
        times, digests = {"full": [], "refresh": []}, set()
        for _ in range(REPEATS):
            for name, seconds in times.items():
                taken, digest = refreshed(config, is_full=name == "full")
                seconds.append(taken)
                digests.add(digest)
        assert len(digests) == 1, "a refresh gives exactly what a full materialisation gives"
        medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
        print(f"{N_USERS:,} users, {N_ITEMS:,} items, {N_USERS // 100:,} users with something new")
        for name, seconds in times.items():
            print(f"{name:<8} {medians[name]:6.1f} s, median of {', '.join(f'{one:.1f}' for one in seconds)}")
        print(f"refresh / full: {medians['refresh'] / medians['full']:.2f}; equal digests")


def write(path: Path, users: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = np.minimum(rng.zipf(1.3, len(users)) - 1 + 37 * (users % 60), N_ITEMS - 1)
    pl.DataFrame({"user_id": users, "item_id": items}).unique().write_parquet(path)


def settings(folder: str) -> Config:
    policy = {"factors": 64, "n_epochs": 2, "strategy": "default"}
    return Config.model_validate({
        "warehouse": f"{folder}/warehouse",
        "source": {"events": f"{folder}/*.parquet"},
        "policy_configs": {"embedding_policy": policy},
        "evaluation": {"ease_up_to": 0},
        "gate": {"min_lift_over_popularity": -1.0},
    })  # fmt: skip


def night(config: Config) -> None:
    with open_run(config) as run:
        parts = prepared(run)
        watch_drift.fn(run)
        verdict = judge.fn(run, evaluate.fn(run, chosen := train.fn(run, parts[2])))
        assert verdict.is_accepted
        publish.fn(run, materialize.fn(run, *parts, refit.fn(run, parts[2], chosen)))


def refreshed(config: Config, is_full: bool) -> tuple[float, str]:
    """Seconds that the tables take, and their digest. Nothing is published, so that each starts from the night's."""
    reuse = (lambda *_: None) if is_full else tasks.materialize.attach_earlier
    with open_run(config) as run:
        parts = prepared(run)
        model = adopt.fn(run, parts[2])
        with patch.object(tasks.materialize, "attach_earlier", reuse):
            started = time.perf_counter()
            done = materialize.fn(run, *parts, model)
            seconds = time.perf_counter() - started
        path = run.warehouse / "published" / done.path
        digest = digest_of_tables(config, path)
        path.unlink()
    return seconds, digest


def prepared(run: Run) -> tuple[Events, Interactions, Matrix, Rules]:
    events = ingest.fn(run)
    validate.fn(run)
    rules = apply_rules.fn(run)
    interactions = build_interactions.fn(run)
    return events, interactions, build_matrix.fn(run, interactions), rules


if __name__ == "__main__":
    main()
