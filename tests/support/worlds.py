"""A small world whose answer is known: its events, its configuration, and folders with a night in them."""

import shutil
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from tasks.run.handles import Outcome
from tasks.settings.config import Config

N_USERS, N_ITEMS, N_COMMUNITIES = 240, 60, 3


def write_world(folder: Path) -> None:
    """Writes data/ratings.parquet and data/movies.parquet."""
    (folder / "data").mkdir()
    community_events().write_parquet(folder / "data" / "ratings.parquet")
    movies = pl.DataFrame({"movie": range(N_ITEMS), "name": [f"Film {item}" for item in range(N_ITEMS)]})
    movies.with_columns(genre=pl.lit("drama")).write_parquet(folder / "data" / "movies.parquet")


@cache
def community_events() -> pl.DataFrame:
    """Users like the items of their own community (modulo 3), which popularity cannot know and a model can learn.

    User 0 rated everything low, and user 1 rated only item 0.
    """
    rng = np.random.default_rng(7)
    rows = [(1, 0, 5.0, 1_600_000_000)]
    for user in range(N_USERS):
        if user == 1:
            continue
        own = np.arange(user % N_COMMUNITIES, N_ITEMS, N_COMMUNITIES)
        liked = rng.choice(own, 10, replace=False)
        disliked = rng.choice(np.setdiff1d(np.arange(N_ITEMS), own), 3, replace=False)
        for place, item in enumerate([*liked, *disliked]):
            rating = 1.0 if user == 0 or place >= 10 else 5.0
            rows.append((user, int(item), rating, 1_600_000_000 + 1000 * place + user))
    return pl.DataFrame(rows, schema=["user", "movie", "rating", "at"], orient="row")


def settings(**changes: dict) -> dict:
    """The configuration of the small world; `changes` replace keys inside its sections, but a policy as a whole."""
    base = {
        "warehouse": "warehouse",
        "lock_wait_seconds": 0,
        "source": {
            "events": "data/ratings.parquet",
            "columns": {"user_id": "user", "item_id": "movie", "timestamp": "at", "value": "rating"},
            "items": {"path": "data/movies.parquet", "item_id": "movie", "title": "name"},
        },
        "interactions": {"min_value": 4.0, "min_user_interactions": 2},
        "holdout": {"test_share": 0.25, "validation_share": 0.2},
        "policy_configs": {"embedding_policy": {"factors": 8, "n_epochs": 5, "batch_size": 64}},
        "evaluation": {"cutoffs": [5, 10]},
        "recommendations": {"k": 10, "neighbors": 5},
    }
    for section, change in changes.items():
        is_merged = isinstance(change, dict) and section != "policy_configs"
        base[section] = {**base.get(section, {}), **change} if is_merged else change
    return base


def config(**changes: dict) -> Config:
    return Config.model_validate(settings(**changes))


def make_world(folder: Path, night: Config) -> tuple[Path, Outcome]:
    """A small world in which there was a night."""
    from tests.support.plain_nights import plain_night

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_world(folder)
        return folder, plain_night(night)


def copy_world(made: Path, folder: Path) -> None:
    """Copies a world with its warehouse, which then is as if it had been made in the other folder."""
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)
    with duckdb.connect(str(folder / "warehouse" / "events.duckdb")) as connection:
        connection.execute("update event_files set path = replace(path, ?, ?)", [str(made), str(folder)])
