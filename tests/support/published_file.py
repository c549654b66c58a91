"""A published file straight from a model and histories, without a night."""

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from scipy import sparse

from elsa_core import Ease, Elsa
from tasks.publish.materialize import materialize
from tasks.run.database import sql
from tasks.run.handles import Events, Interactions, Matrix, Rules, Trained
from tasks.run.manifest import write_manifest
from tasks.run.run import Run
from tests.support.manifests import a_manifest
from tests.support.worlds import config

Ids = list[int] | list[str]
NUMBERS = list(range(100, 108)), list(range(20))
TEXT = [f"us'er {n:02}" for n in range(8)], [f"ité;m {n:02}" for n in range(20)]


def write_published(
    folder: Path,
    model: Elsa | Ease,
    X: sparse.csr_array,
    user_ids: Ids,
    item_ids: Ids,
    *,
    seen: sparse.csr_array | None = None,
    rules: pl.DataFrame | None = None,
    **changes: dict,
) -> Path:
    """The checked file of the model, the histories X, and all that users saw; ids in ascending order. No Prefect."""
    run = _a_run(folder, model, changes)
    users, items = pl.Series("user_id", user_ids), pl.Series("item_id", item_ids)
    _write_histories(run, X, X if seen is None else seen, users, items)
    rules = no_rules(items) if rules is None else rules
    run.files.rules.write(rules)
    _write_records(run)
    run.files.model.write(model)
    materialize.fn(
        run,
        Events(X.nnz, X.nnz, 0, 0, {}, 1, 1, ""),
        Interactions(run.files.interactions.name, *X.shape, X.nnz, 0, ""),
        Matrix(*X.shape, X.nnz, X.shape[0], 0, 0, None, ""),
        Rules(run.files.rules.name, len(rules), 0, ""),
        Trained("model", run.run_id, None, 0, X.shape[1], 1, model.scale, None, None, "", "digest"),
    )
    final = folder / "current.duckdb"
    final.symlink_to(run.warehouse.unfinished_tables(run.run_id))
    return final


def _a_run(folder: Path, model: Elsa | Ease, changes: dict) -> Run:
    """As after the stages that the records of all runs are gathered by."""
    policy = {"factors": model.factors} if isinstance(model, Elsa) else {"policy_type": "ease"}
    policies = {"embedding_policy" if isinstance(model, Elsa) else "scoring_policy": policy}
    own = config(warehouse=str(folder / "warehouse"), policy_configs=policies, **changes)
    run = Run(own, "20260101T000000_000000")
    run.files.folder.mkdir(parents=True)
    stages: dict[str, dict] = {stage: {} for stage in ("ingest", "evaluate", "gate")}
    write_manifest(
        run.files.folder,
        a_manifest(run.run_id, status="running", finished_at=None, stages=stages, measured={}),
    )
    return run


def _write_histories(
    run: Run, X: sparse.csr_array, seen: sparse.csr_array, users: pl.Series, items: pl.Series
) -> None:
    run.files.weights.write(X)
    run.files.seen.write(seen)
    run.files.users.write(users.to_frame().with_row_index("user_idx"))
    n_users = pl.Series(np.bincount(X.indices, minlength=X.shape[1]))
    run.files.items.write(items.to_frame().with_columns(n_users=n_users).with_row_index("item_idx"))
    row, column = seen.tocoo().coords
    weight = np.asarray(X[row, column], dtype=np.float32)
    run.files.interactions.write(pl.DataFrame({"user_id": users[row], "item_id": items[column], "weight": weight}))


def publish(folder: Path, ids: tuple[Ids, Ids]) -> np.ndarray:
    """Publishes a random model into warehouse/ and returns x B, (users, items)."""
    rng = np.random.default_rng(0)
    model, X = random_model(20, rng), random_histories(8, 20, rng)
    write_published(folder, model, X, *ids).rename(folder / "warehouse" / "current.duckdb")
    published = next((folder / "warehouse" / "published").glob("*.unfinished"))
    (folder / "warehouse" / "current.duckdb").unlink()
    final = published.rename(published.with_suffix(""))
    (folder / "warehouse" / "current.duckdb").symlink_to(f"published/{final.name}")
    return X.toarray().astype(np.float64) @ weights_of(model)


def no_rules(item_ids: pl.Series) -> pl.DataFrame:
    """What rules.parquet says where nothing is configured."""
    moment = pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    return item_ids.to_frame().with_columns(
        category=pl.lit(None, dtype=pl.String), is_hidden=False, available_from=moment, available_until=moment,
        is_allowed=True,
    )  # fmt: skip


def _write_records(run: Run) -> None:
    """The files that later stages of a night would have written, of one row each."""
    number, text = pl.lit(0.5), pl.lit("x")
    measured = {"metric": text, "value": number, "low": number, "high": number}
    one = pl.DataFrame({"k": [10]})
    one.select("k", model=text, n_users=1, **measured).write_parquet(run.files.folder / "metrics.parquet")
    checks = one.select(name=text, segment=text, n_users=1, **measured, threshold=number, passed=True, verdict=text)
    checks.write_parquet(run.files.folder / "gate_checks.parquet")
    for name in ("validation", "drift"):
        rows = one.select(rule=text, severity=text, passed=True, observed=text)
        rows.write_parquet(run.files.folder / f"{name}.parquet")
    with duckdb.connect(str(run.warehouse.events)) as connection:
        connection.execute(sql("drift/history"))
        connection.execute("create table events as select timestamp '2026-01-01' as timestamp")
        users = str(run.files.folder / "items.parquet")
        connection.execute(
            f"create table items as select item_id, 'Title of ' || item_id as title from read_parquet('{users}')"
        )


def random_model(n_items: int, rng: np.random.Generator, *, has_residual: bool = True) -> Elsa:
    """Unit vectors and, if asked for, a residual."""
    A = rng.standard_normal((n_items, 4))
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    S = rng.standard_normal((n_items, n_items)) * (rng.random((n_items, n_items)) < 0.3)
    np.fill_diagonal(S, 0)
    residual = sparse.csr_array(S.astype(np.float32)) if has_residual else None
    return Elsa(A.astype(np.float32), [], 0, scale=float(rng.uniform(0.2, 2)), residual=residual)


def random_ease(n_items: int, rng: np.random.Generator) -> Ease:
    B = rng.standard_normal((n_items, n_items)).astype(np.float32)
    np.fill_diagonal(B, 0)
    return Ease(B, [])


def random_histories(n_users: int, n_items: int, rng: np.random.Generator) -> sparse.csr_array:
    """Weighted; every item counts for the last user, and only user 0 has nothing."""
    dense = (rng.random((n_users, n_items)) < 0.4) * rng.uniform(0.5, 2, (n_users, n_items))
    dense[-1] = 1
    dense[:, 0] = 1
    dense[0] = 0
    return sparse.csr_array(dense.astype(np.float32))


def without_residual(n_items: int, rng: np.random.Generator) -> Elsa:
    return random_model(n_items, rng, has_residual=False)


def weights_of(model: Elsa | Ease) -> np.ndarray:
    if isinstance(model, Ease):
        return model.weights.astype(np.float64)
    A = model.item_embeddings.astype(np.float64)
    low_rank = model.scale * (A @ A.T - np.eye(len(A)))
    return low_rank if model.residual is None else low_rank + model.residual.toarray()
