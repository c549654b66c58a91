"""What a reader waits for, and what a night's tables cost.

queries      a warm file of 200,000 users × 100 and 100,000 items × 256 factors: p50 and p95 of each query, with new
             ids each time, beside the plain look-up of a list. What is in the tables is drawn, not computed
pairs        elsa_core's scores of a million pairs, beside NumPy's einsum of the same vectors
materialize  lists of some users of that catalogue from a model, into tables

`PYTHONPATH=. python benchmarks/queries.py queries`, and so on.
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from prefect.logging import disable_run_logger
from scipy import sparse

from elsa_core import Elsa, Popularity
from tasks.publish.macros import write_macros
from tasks.publish.materialize import write_table
from tasks.publish.output import Output
from tasks.publish.published_model import PublishedModel
from tasks.publish.tables import TABLES
from tasks.run.catalogue import Catalogue
from tasks.settings.publication import RecommendationSettings

N_USERS, N_ITEMS, FACTORS, K, N_SEEN, N_WEIGHTS = 200_000, 100_000, 256, 100, 60, 100
N_QUERIES, N_PAIRS, REPEATS = 100, 1_000_000, 5
QUERIES = {
    "plain look-up of a list": "from user_topk where user_id = {u} order by rank",
    "recommend": "from recommend('{u}')",
    "similar": "from similar('{i}')",
    "score": "select score('{u}', '{i}')",
    "explain": "from explain('{u}', '{i}')",
    "recommend_for, 3 items": "from recommend_for(['{i}', '{j}', '{u}'])",
    "popular": "from popular()",
}


def main() -> None:
    {"queries": queries, "pairs": pairs, "materialize": materialize_lists}[sys.argv[1]]()


def queries() -> None:
    with tempfile.TemporaryDirectory(prefix="elsa-queries-") as folder:
        path = Path(folder) / "drawn.duckdb"
        draw(path)
        print(f"{path.stat().st_size / 1e9:.2f} GB", flush=True)
        rng = np.random.default_rng(0)
        with duckdb.connect(str(path), read_only=True) as connection:
            for name, query in QUERIES.items():
                times = []
                for _ in range(N_QUERIES + 10):
                    u, i, j = (int(rng.integers(N_ITEMS)) for _ in range(3))
                    text = query.format(u=u, i=i, j=j)
                    times.append(seconds(lambda text=text: connection.execute(text).fetchall()))
                p50, p95 = 1000 * np.percentile(times[10:], [50, 95])
                print(f"{name:28} p50 {p50:7.1f} ms   p95 {p95:7.1f} ms", flush=True)


def draw(path: Path) -> None:
    """The tables that the macros read, and the macros."""
    with duckdb.connect() as connection:
        connection.execute(f"attach '{path}' as output (storage_version 'v1.5.0'); use output")
        connection.execute(Path(__file__).with_name("drawn.sql").read_text())
        for owner, n in (("item", N_ITEMS), ("user", N_USERS)):
            values = pa.array(unit_vectors(n).ravel())
            vectors = pa.table({"id": range(n), "embedding": pa.FixedSizeListArray.from_arrays(values, FACTORS)})
            connection.register("vectors", vectors)
            connection.execute(f"create table {owner}_embeddings as select id as {owner}_id, embedding from vectors")
        write_macros(connection, RecommendationSettings())


def pairs() -> None:
    rng = np.random.default_rng(0)
    model, X = drawn_model(), histories(N_USERS)
    row, item = np.sort(rng.integers(0, N_USERS, N_PAIRS)), rng.integers(0, N_ITEMS, N_PAIRS)
    low_rank = Elsa(model.item_embeddings, [], 0)
    H = low_rank.embed(X)
    for name, score in {
        "einsum, user vectors given": lambda: np.einsum("pr,pr->p", H[row], low_rank.item_embeddings[item]),
        "score, low rank": lambda: low_rank.score(X, row, item),
        "score, with the residual": lambda: model.score(X, row, item),
    }.items():
        taken = np.median([seconds(score) for _ in range(REPEATS)])
        print(f"{name:28} {N_PAIRS / taken:12,.0f} pairs/s", flush=True)


def materialize_lists(n_users: int = 4_000) -> None:
    """Lists from a model with a residual, into the table; checks and neighbours are not in it."""
    model, X = drawn_model(), histories(n_users)
    ids = pa.array(range(N_ITEMS))
    items = Catalogue(ids, np.ones(N_ITEMS, dtype=bool), np.full(N_ITEMS, -1))
    rules = RecommendationSettings(k=K)
    source = PublishedModel(model, Popularity.fit(X), X, X, pa.array(range(n_users)), items, rules, K)
    with (
        tempfile.TemporaryDirectory(prefix="elsa-tables-") as folder,
        disable_run_logger(),
        duckdb.connect() as connection,
    ):
        path = Path(folder) / "tables.duckdb"
        connection.execute(f"attach '{path}' as output (storage_version 'v1.5.0')")
        output = Output(connection, source, None, {"k": K}, math.inf, path.parent, lambda table: None)
        taken = seconds(lambda: write_table(output, TABLES[0]))
        connection.execute("detach output")
        print(f"{n_users / taken:,.0f} users/s, {path.stat().st_size / (n_users * K):.1f} bytes a row")


def unit_vectors(n: int) -> np.ndarray:
    A = np.random.default_rng(n).standard_normal((n, FACTORS), dtype=np.float32)
    return A / np.linalg.norm(A, axis=1, keepdims=True)


def drawn_model() -> Elsa:
    rng = np.random.default_rng(0)
    columns = np.sort((np.arange(N_ITEMS)[:, None] + rng.integers(1, N_ITEMS, (1, N_WEIGHTS))) % N_ITEMS, axis=1)
    weights = rng.standard_normal(columns.size, dtype=np.float32) / 10
    S = sparse.csr_array((weights, columns.ravel(), np.arange(N_ITEMS + 1) * N_WEIGHTS), (N_ITEMS, N_ITEMS))
    return Elsa(unit_vectors(N_ITEMS), [], 0, scale=0.7, residual=S)


def histories(n_users: int) -> sparse.csr_array:
    start = np.random.default_rng(1).integers(0, N_ITEMS, (n_users, 1))
    items = np.sort((start + 1 + 1009 * np.arange(N_SEEN)) % N_ITEMS, axis=1).ravel()
    data, starts = np.ones(len(items), np.float32), np.arange(n_users + 1) * N_SEEN
    return sparse.csr_array((data, items, starts), (n_users, N_ITEMS))


def seconds(function: Callable) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
