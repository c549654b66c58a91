"""A refresh beside a full materialisation with one model: 200,000 users like the demo's, 1 % with something new.

Each generated user is one of the demo's with a random half of the films; the configuration is the demo's. With more
than one catalogue, users take turns between copies of the films. Both start from the same state; seconds of the
stage `materialize` alone, with its checks: in a refresh, each user's own are those of changed users. Their digests
must be equal.
`PYTHONPATH=. python benchmarks/refresh.py [users] [catalogues]`
"""

import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import polars as pl
from prefect.logging import disable_run_logger

import tasks.publish.materialize
from tasks.data.demo import write_demo_data
from tasks.data.drift import watch_drift
from tasks.data.holdout import hold_out
from tasks.data.ingest import ingest
from tasks.data.interactions import build_interactions
from tasks.data.matrix import build_matrix
from tasks.data.validate import validate
from tasks.model.adopt import adopt_evaluation_model, adopt_model
from tasks.model.champion import find_champion
from tasks.model.evaluate import evaluate
from tasks.model.gate import judge
from tasks.model.train import refit, train
from tasks.publish.materialize import materialize
from tasks.publish.publish import publish
from tasks.publish.rules import apply_rules
from tasks.run.handles import Events, Interactions, Matrix, Rules
from tasks.run.run import Run, open_run
from tasks.settings.config import Config
from tasks.settings.yaml_text import load_yaml
from tests.support.plain_nights import events_of
from tests.support.published_state import digest_of_tables

N_USERS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
N_CATALOGUES = int(sys.argv[2]) if len(sys.argv) > 2 else 1
NEXT_CATALOGUE = 1_000_000  # a film's number in one catalogue and in the next
REPEATS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as path, disable_run_logger():
        folder = Path(path)
        write_demo_data(folder)
        write_users(folder)
        config = settings(folder)
        night(config)
        write_more(folder)
        times, digests = {"full": [], "refresh": []}, set()
        for _ in range(REPEATS):
            for name, seconds in times.items():
                taken, digest = refreshed(config, is_full=name == "full")
                print(f"{name:<8} {taken:6.1f} s", flush=True)
                seconds.append(taken)
                digests.add(digest)
        assert len(digests) == 1, "a refresh gives exactly what a full materialisation gives"
        full, refresh = (float(np.median(seconds)) for seconds in times.values())
        n_items = pl.scan_parquet(folder / "movies.parquet").select(pl.len()).collect().item()
        print(f"{N_USERS:,} users, {N_USERS // 100:,} with something new, {n_items:,} items; medians of {REPEATS}:")
        print(f"full {full:.1f} s, refresh {refresh:.1f} s: {refresh / full:.2f}; equal digests")


def write_users(folder: Path) -> None:
    """Half of the ratings of one of the demo's users for each generated one."""
    ratings = pl.read_parquet(folder / "ratings.parquet").with_columns(pl.col("userId").rank("dense") - 1)
    rng = np.random.default_rng(0)
    n_demo = ratings["userId"].n_unique()
    for copy, first in enumerate(range(0, N_USERS, n_demo)):
        some = ratings.filter(pl.lit(rng.random(len(ratings)) < 0.5), pl.col("userId") < N_USERS - first)
        own = pl.col("userId") + first, pl.col("movieId") + NEXT_CATALOGUE * (copy % N_CATALOGUES)
        some.with_columns(own).write_parquet(folder / f"users-{copy:03}.parquet")
    movies = pl.read_parquet(folder / "movies.parquet")
    copies = [movies.with_columns(pl.col("movieId") + NEXT_CATALOGUE * number) for number in range(N_CATALOGUES)]
    pl.concat(copies).write_parquet(folder / "movies.parquet")


def write_more(folder: Path) -> None:
    """Every hundredth user likes one more film."""
    users = np.arange(0, N_USERS, 100)
    movies = pl.read_parquet(folder / "movies.parquet")["movieId"].sample(len(users), with_replacement=True, seed=1)
    columns = {"userId": users, "movieId": movies, "rating": 5.0, "timestamp": 1_476_700_000}
    pl.DataFrame(columns).write_parquet(folder / "users-more.parquet")


def settings(folder: Path) -> Config:
    config = load_yaml(Path("config/movielens.yaml").read_text(), Config)[0]
    config["warehouse"] = f"{folder}/warehouse"
    config["source"]["events"] = f"{folder}/users-*.parquet"
    config["source"]["items"]["path"] = f"{folder}/movies.parquet"
    config["policy_configs"]["embedding_policy"] |= {"n_epochs": 2, "strategy": "default"}
    config |= {"evaluation": {"ease_up_to": 0}, "gate": {"min_lift_over_popularity": -1.0}}
    return Config.model_validate(config)


def night(config: Config) -> None:
    with open_run(config) as run:
        parts = prepared(run)
        watch_drift.fn(run, events_of(run))
        _, _, matrix, rules = parts
        champion = find_champion(run, matrix)
        chosen = train.fn(run, matrix, champion)
        verdict = judge.fn(run, evaluate.fn(run, matrix, rules, chosen, champion))
        assert verdict.is_accepted
        publish.fn(run, materialize.fn(run, *parts, refit.fn(run, matrix, chosen, champion)))


def refreshed(config: Config, is_full: bool) -> tuple[float, str]:
    """Seconds that the tables take, and their digest. Nothing is published, so that each starts from the night's."""
    reuse = (lambda *_: None) if is_full else tasks.publish.materialize.reuse_earlier
    with open_run(config) as run:
        parts = prepared(run)
        adopt_evaluation_model.fn(run, parts[2])
        model = adopt_model.fn(run, parts[2])
        with patch.object(tasks.publish.materialize, "reuse_earlier", reuse):
            started = time.perf_counter()
            done = materialize.fn(run, *parts, model)
            seconds = time.perf_counter() - started
        path = run.warehouse.published / done.path
        digest = digest_of_tables(config, path)
        path.unlink()
    return seconds, digest


def prepared(run: Run) -> tuple[Events, Interactions, Matrix, Rules]:
    events = ingest.fn(run)
    validate.fn(run, events_of(run))
    rules = apply_rules.fn(run, events_of(run))
    interactions = build_interactions.fn(run, events_of(run))
    holdout = hold_out.fn(run, events_of(run), interactions, is_judged=True)
    return events, interactions, build_matrix.fn(run, interactions, holdout), rules


if __name__ == "__main__":
    main()
