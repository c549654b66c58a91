"""The published file at 200,000 users × 100 and 100,000 items × 256 factors: queries, materialising, pairs.

Queries are timed on a warm file, each for ids of its own, beside the plain look-up of rows of the same table. The
lists are drawn, not computed: what is in them does not matter to a look-up.
`python -m benchmarks.queries queries [users]`, `python -m benchmarks.queries pairs`, `… materialize`
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
from prefect.logging import disable_run_logger
from scipy import sparse

from elsa_core import Model
from tests.published_file import write_published

N_USERS, N_ITEMS, FACTORS, K, N_SEEN, N_WEIGHTS = 200_000, 100_000, 256, 100, 60, 100
N_QUERIES, N_PAIRS, REPEATS = 200, 1_000_000, 5


class Drawn(Model):
    """Lists at random: for queries that only look them up."""

    def recommend(self, X_rows: sparse.csr_array, k: int, **_: object) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(X_rows.nnz)
        start = rng.integers(0, N_ITEMS, (X_rows.shape[0], 1))
        items = (start + 997 * np.arange(k)) % N_ITEMS
        return items, np.tile(np.linspace(1, 0, k, dtype=np.float32), (len(items), 1))


def main() -> None:
    n_users = int(sys.argv[1]) if len(sys.argv) > 1 else N_USERS
    folder = Path(tempfile.mkdtemp(prefix="elsa-queries-"))
    try:
        rng = np.random.default_rng(0)
        model, X = drawn_model(rng), histories(rng, n_users)
        path = published(folder / "drawn", model, X)
        print(f"{n_users:,} users × {K}, {N_ITEMS:,} items × {FACTORS}; {path.resolve().stat().st_size / 1e9:.2f} GB")
        time_queries(path, rng, n_users)
        pairs_per_second(model, X, rng)
    finally:
        shutil.rmtree(folder)


def drawn_model(rng: np.random.Generator) -> Model:
    A = rng.standard_normal((N_ITEMS, FACTORS), dtype=np.float32)
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    columns = (np.arange(N_ITEMS)[:, None] + rng.integers(1, N_ITEMS, (1, N_WEIGHTS))) % N_ITEMS
    indices = np.sort(columns, axis=1).ravel()
    weights = rng.standard_normal(len(indices), dtype=np.float32) / 10
    S = sparse.csr_array((weights, indices, np.arange(N_ITEMS + 1) * N_WEIGHTS), (N_ITEMS, N_ITEMS))
    return Drawn(A, [], 0, scale=0.7, residual=S)


def histories(rng: np.random.Generator, n_users: int) -> sparse.csr_array:
    start = rng.integers(0, N_ITEMS, (n_users, 1))
    indices = np.sort((start + 1 + 1009 * np.arange(N_SEEN)) % N_ITEMS, axis=1).ravel()
    shape = n_users, N_ITEMS
    return sparse.csr_array((np.ones(len(indices), np.float32), indices, np.arange(n_users + 1) * N_SEEN), shape)


def published(folder: Path, model: Model, X: sparse.csr_array) -> Path:
    import tasks.materialize

    folder.mkdir()
    tasks.materialize._check_contract = lambda run, path: None  # drawn lists do not keep it
    with disable_run_logger():
        ids = list(range(X.shape[0])), list(range(N_ITEMS))
        return write_published(folder, model, X, *ids, recommendations={"k": K, "neighbors": K})


def time_queries(path: Path, rng: np.random.Generator, n_users: int) -> None:
    with duckdb.connect(str(path), read_only=True) as connection:
        for name, query in {
            "plain look-up of a list": "from user_topk where user_id = {u} order by rank",
            "recommend": "from recommend('{u}')",
            "plain look-up of neighbours": "from item_neighbors where item_id = {i} order by rank",
            "similar": "from similar('{i}')",
            "score": "select score('{u}', '{i}')",
            "explain": "from explain('{u}', '{i}')",
            "recommend_for, 3 items": "from recommend_for(['{i}', '{j}', '{u}'])",
            "popular": "from popular()",
        }.items():
            times = []
            for _ in range(N_QUERIES):
                u, i, j = (int(rng.integers(n)) for n in (min(n_users, N_ITEMS), N_ITEMS, N_ITEMS))
                started = time.perf_counter()
                connection.execute(query.format(u=u, i=i, j=j)).fetchall()
                times.append(1000 * (time.perf_counter() - started))
            p50, p95 = np.percentile(times[N_QUERIES // 10 :], [50, 95])
            print(f"{name:30} p50 {p50:7.2f} ms   p95 {p95:7.2f} ms", flush=True)


def pairs_per_second(model: Model, X: sparse.csr_array, rng: np.random.Generator) -> None:
    """elsa_core's score, with and without S, beside NumPy's einsum of the same vectors: the low-rank part."""
    row, item = np.sort(rng.integers(0, X.shape[0], N_PAIRS)), rng.integers(0, N_ITEMS, N_PAIRS)
    low_rank = Model(model.item_embeddings, [], 0)
    H = low_rank.embed(X)
    peers = {
        "einsum, user vectors given": lambda: np.einsum("pr,pr->p", H[row], low_rank.item_embeddings[item]),
        "score, low rank": lambda: low_rank.score(X, row, item),
        "score, with S": lambda: model.score(X, row, item),
    }
    for name, score in peers.items():
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            score()
            times.append(time.perf_counter() - started)
        print(f"{name:30} {N_PAIRS / np.median(times):12,.0f} pairs/s", flush=True)


if __name__ == "__main__":
    main()
