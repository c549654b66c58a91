"""A night larger than every block, batch and row group, with two DuckDB threads; and what may be handed over."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import elsa_core.cooccurrence
import elsa_core.linear
import elsa_core.ridge
import elsa_core.sparse_product
import elsa_core.topk
import tasks.read.score
from flows.nightly import nightly
from flows.refresh import refresh
from flows.tables import score
from tasks.publish.published_model import PublishedModel
from tests.support.worlds import config

ROOT = Path(__file__).parents[2]
N_USERS, N_ITEMS, N_ROW_GROUP = 17_000, 9_000, 122_880
N_COMMUNITIES = 300
POLICY = {"embedding_policy": {"factors": 16, "n_epochs": 1, "strategy": "default", "residual_neighbors": 20,
                               "residual_ridge": [10.0], "residual_dropout": [0.5], "warm_start": False}}  # fmt: skip


def large_events() -> pl.DataFrame:
    """Users like what their community likes; every user and every item has an event."""
    rng = np.random.default_rng(0)
    user = np.concatenate([np.arange(N_ITEMS) % N_USERS, np.repeat(np.arange(N_USERS), 8)])
    item = np.arange(len(user)) % N_ITEMS
    own = rng.integers(0, N_ITEMS // N_COMMUNITIES, len(user)) * N_COMMUNITIES + user % N_COMMUNITIES
    item[N_ITEMS:] = own[N_ITEMS:]
    return pl.DataFrame({"user": user, "movie": item, "at": 1_700_000_000 + np.arange(len(user)) * 60})


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB with two threads, however many cores this machine has."""
    connect = duckdb.connect

    def connect_with_two(*arguments: object, **named: Any) -> duckdb.DuckDBPyConnection:
        return connect(*arguments, **named | {"config": {"threads": 2} | named.get("config", {})})

    monkeypatch.setattr(duckdb, "connect", connect_with_two)


@pytest.fixture
def n_blocks(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How many blocks each table was made of."""
    counted, blocks = Counter(), PublishedModel.blocks

    def counting(model: PublishedModel, n: int, width: int, table: str) -> Iterator[slice]:
        for block in blocks(model, n, width, table):
            counted[table] += 1
            yield block

    monkeypatch.setattr(PublishedModel, "blocks", counting)
    return counted


@pytest.mark.usefixtures("prefect_server", "two_threads")
def test_a_night_whose_every_loop_goes_round_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_blocks: Counter, tables: object
) -> None:
    monkeypatch.chdir(tmp_path)
    events = large_events()
    events.write_parquet("events_a.parquet")
    monkeypatch.setattr(elsa_core.topk, "ITEM_BLOCK", 4096)  # of real size they need 65,536 items and gigabytes
    monkeypatch.setattr(elsa_core.cooccurrence, "ROW_BLOCK", 2**18)
    monkeypatch.setattr(elsa_core.ridge, "PAIR_BLOCK", 2**18)
    monkeypatch.setattr(elsa_core.ridge, "GRAM_BLOCK", 2**20)
    monkeypatch.setattr(elsa_core.sparse_product, "USER_BLOCK", 4096)
    assert len(events) > N_ROW_GROUP
    columns = {"user_id": "user", "item_id": "movie", "timestamp": "at"}
    own = config(
        source={"events": "events_*.parquet", "columns": columns, "items": None},
        interactions={"min_value": None, "min_user_interactions": 1},
        holdout={"test_share": 0.05, "validation_share": 0.05},
        policy_configs=POLICY,
        evaluation={"cutoffs": [10], "max_users": 500},
        recommendations={"k": 10, "neighbors": 10, "max_table_size": "1MB"},
    )
    assert nightly(own).status == "published"
    assert set(n_blocks) == {"user_topk", "user_embeddings", "item_neighbors", "item_embeddings", "item_residuals"}
    assert min(n_blocks.values()) >= 2
    assert tables("select count(*), count(distinct user_id) from user_topk") == [(10 * N_USERS, N_USERS)]
    assert tables("select count(distinct item_id) from item_neighbors") == [(N_ITEMS,)]
    assert tables("select count(*) > 0 from duckdb_views() where sql like '%user_topk.parquet%'") == [(True,)]
    assert tables("select avg((item_id % 300 = user_id % 300)::int) > 0.5 from user_topk where rank = 1") == [(True,)]
    assert tables("select distinct n_users from run_metrics") == [(500,)]

    pairs = events.select(user_id="user", item_id="movie").sample(tasks.read.score.PAIRS + 1, seed=0)
    pairs.write_parquet("pairs.parquet")
    scored = score(own, Path("pairs.parquet"), Path("scored.parquet"))
    assert scored.n_pairs == scored.n_scored == tasks.read.score.PAIRS + 1 > 2 * elsa_core.linear.PAIRS

    n_blocks.clear()
    one_more_each = {"user": range(N_USERS), "movie": [7 * user % N_ITEMS for user in range(N_USERS)]}
    pl.DataFrame(one_more_each).with_columns(at=1_720_000_000).write_parquet("events_b.parquet")
    refresh(own)
    assert n_blocks["user_topk"] >= 2
    assert tables("select n_refreshes from run_info") == [(1,)]
    assert tables("select count(*), count(distinct user_id) from user_topk") == [(10 * N_USERS, N_USERS)]


LOOK_UPS = {"working", "get_run_logger", "FlowRunContext.get", "TaskRunContext.get", "get_run_context"}


@pytest.mark.parametrize("package", ["tasks", "flows"])
def test_what_is_handed_over_looks_nothing_up(package: str) -> None:
    """A generator or a callback may be drained or called by a thread that knows of no task: DuckDB has its own.

    Functions are told apart by their names, private ones by their file, too. Tasks call nothing of flows.
    """
    files = [path for name in {"tasks", package} for path in (ROOT / name).rglob("*.py")]
    functions = [(path, *found) for path in files for found in _functions(ast.parse(path.read_text()))]
    calls = [(_named(path, node.name), {_named(path, name) for name in _called(node)}) for path, node, _ in functions]
    looking: set[str] = set(LOOK_UPS)
    while more := {name for name, called in calls if called & looking} - looking:
        looking |= more
    assert {"materialize", "train", "progress"} <= looking
    own = [(path, node) for path, node, is_inner in functions
           if ROOT / package in path.parents and (is_inner or _is_generator(node))]  # fmt: skip
    handed_over = {_named(path, node.name) for path, node in own}
    assert package == "flows" or {"blocks", "user_lists", "neighbors", "all_batches"} <= handed_over
    assert sorted(handed_over & looking) == []


def _named(path: Path, name: str) -> str:
    return f"{path.relative_to(ROOT)}:{name}" if name.startswith("_") else name


def _functions(tree: ast.AST, is_inner: bool = False) -> Iterator[tuple[ast.FunctionDef, bool]]:
    """Every function and whether it stands in another one; not what a decorator makes, nor context managers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Lambda):
            yield ast.FunctionDef(name=f"lambda: {ast.unparse(node.body)}", body=[ast.Expr(node.body)]), True
        elif isinstance(node, ast.FunctionDef):
            decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
            if not decorators & {"contextmanager", "functools.wraps"}:
                yield node, is_inner
            yield from _functions(node, True)
        else:
            yield from _functions(node, is_inner)


def _called(node: ast.FunctionDef) -> set[str]:
    """The names of what a function calls, but not what functions inside it do."""
    names, left = set(), list(ast.iter_child_nodes(node))
    while left:
        inner = left.pop()
        if isinstance(inner, ast.FunctionDef):
            continue
        if isinstance(inner, ast.Call):
            names |= {ast.unparse(inner.func), ast.unparse(inner.func).split(".")[-1]}
        left += ast.iter_child_nodes(inner)
    return names


def _is_generator(node: ast.FunctionDef) -> bool:
    return any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node))
