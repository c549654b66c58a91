"""The published model into output tables: one DuckDB file, checked, that nobody reads yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.stages import Events, Interactions, Matrix, Tables, Trained
from tasks.warehouse import Run, attach_events, connect, files_of_all_runs, first_row, sql

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from scipy.sparse import csr_array

    from elsa_core import Ease, Model, Popularity

ROWS = 8192  # users or items computed at a time
PACKAGES = ("duckdb", "great-expectations", "numpy", "polars", "prefect", "scipy", "torch")


class ContractBroken(AssertionError):
    """A finished table does not keep the contract in sql/checks/: a defect of this program, never published."""


@dataclass(frozen=True)
class Lists:
    """What the lists are made from: model, baseline, histories (users, items), and the outside ids of both."""

    model: "Model | Ease"
    popularity: "Popularity"
    X: "csr_array"
    seen: "csr_array"
    user_ids: "pa.Array"
    item_ids: "pa.Array"


@task
def materialize(run: Run, events: Events, interactions: Interactions, matrix: Matrix, trained: Trained) -> Tables:
    """Writes every table into a file beside the published ones and checks the contract. Removes it if that fails."""
    lists = _load(run, trained)
    path = run.warehouse / "published" / f"{run.run_id}.duckdb.unfinished"
    path.parent.mkdir(exist_ok=True)
    try:
        with connect(":memory:", run.config) as connection:
            connection.execute(f"attach '{path}' as output (storage_version 'v1.5.0')")
            attach_events(connection, run)
            _write_model_tables(connection, run, lists)
            _write_record_tables(connection, run, events, interactions, matrix, trained)
            connection.execute("detach output")
        _check_contract(run, path)
    except BaseException:
        for unfinished in path.parent.glob(f"{path.name}*"):  # on a full disk DuckDB leaves its log, too
            unfinished.unlink()
        raise
    handle = Tables(path.name, matrix.n_users, matrix.n_items, path.stat().st_size)
    run.record("materialize", handle)
    return handle


def _load(run: Run, trained: Trained) -> Lists:
    import polars as pl
    from scipy import sparse

    import elsa_core

    X = sparse.load_npz(run.folder / "interactions.npz")
    ids = [pl.read_parquet(run.folder / f"{name}s.parquet")[f"{name}_id"].to_arrow() for name in ("user", "item")]
    model = elsa_core.load(run.folder / trained.path, run.config.policy_configs.policy.device)
    return Lists(model, elsa_core.Popularity.fit(X), X, sparse.load_npz(run.folder / "seen.npz"), *ids)


def _write_model_tables(connection: "DuckDBPyConnection", run: Run, lists: Lists) -> None:
    """Streams what the model computes, block by block, into its tables."""
    recommendations = run.config.recommendations
    user_vectors, item_vectors, residuals = _user_vectors(lists), _item_vectors(lists), _residuals(lists)
    if run.config.policy_configs.policy.policy_type == "ease":
        user_vectors, item_vectors = _no_vectors(lists.user_ids, "user_id"), _no_vectors(lists.item_ids, "item_id")
        residuals = iter([_weights(lists, slice(0, 0), None)])
    for table, view, batches in [
        ("user_topk", "lists", _user_lists(lists, recommendations.k)),
        ("item_neighbors", "neighbors", _neighbors(lists, recommendations.neighbors)),
        ("user_embeddings", "user_vectors", user_vectors),
        ("item_embeddings", "item_vectors", item_vectors),
        ("item_residuals", "residuals", residuals),
    ]:
        connection.register(view, _stream(batches))
        connection.execute(sql(f"tables/{table}"))
        connection.unregister(view)
        n_rows = first_row(connection, f"select count(*) from output.{table}")[0]
        get_run_logger().info("%s: %s rows", table, f"{n_rows:,}")


def _write_record_tables(
    connection: "DuckDBPyConnection",
    run: Run,
    events: Events,
    interactions: Interactions,
    matrix: Matrix,
    trained: Trained,
) -> None:
    """Writes the histories, the items, and the record of how the run went."""
    import json

    folder = run.folder
    items, pairs = str(folder / "items.parquet"), str(folder / interactions.path)
    for table, parameters in {
        "popular_items": {"items": items},
        "user_items": {"items": items, "interactions": pairs},
        "items": {"interactions": pairs},
        "run_info": {
            "run_id": run.run_id,
            "n_events": events.n_events,
            "n_users": matrix.n_users,
            "n_items": matrix.n_items,
            "policy_type": run.config.policy_configs.policy.policy_type,
            "scale": trained.scale,
            "model_digest": trained.digest,
            "k": run.config.recommendations.k,
            "neighbors": run.config.recommendations.neighbors,
            "config": run.config.model_dump_json(),
            "versions": json.dumps({package: version(package) for package in PACKAGES}),
        },
        "run_metrics": {"metrics": files_of_all_runs(run.warehouse, "evaluate", "metrics.parquet")},
        "gate_checks": {"gate_checks": files_of_all_runs(run.warehouse, "gate", "gate_checks.parquet")},
        "validation_results": {"run_id": run.run_id, "validation": str(folder / "validation.parquet")},
    }.items():
        connection.execute(sql(f"tables/{table}"), parameters)


def _stream(batches: "Iterator[pa.RecordBatch]") -> "pa.RecordBatchReader":
    import pyarrow as pa

    first = next(batches)

    def all_batches() -> "Iterator[pa.RecordBatch]":
        yield first
        yield from batches

    return pa.RecordBatchReader.from_batches(first.schema, all_batches())


def _user_lists(lists: Lists, k: int) -> "Iterator[pa.RecordBatch]":
    """Personal items first; popular ones fill up where a user has no history that counts, or candidates run out."""
    import numpy as np

    for rows in _blocks(lists.X.shape[0], "users"):
        seen = lists.seen[rows]
        personal, scores = lists.model.recommend(lists.X[rows], k, also_exclude=seen)
        n_personal = (personal >= 0).sum(axis=1)
        short = np.flatnonzero(n_personal < k)
        is_personal = np.arange(k) < n_personal[:, None]
        if len(short):
            personal[short], scores[short] = _fill_up(lists.popularity, seen[short], personal[short], scores[short])
        yield _ranked(
            lists.user_ids,
            rows,
            lists.item_ids,
            personal,
            scores,
            ("user_id", "item_id"),
            np.where(is_personal, "personal", "popular"),
        )


def _fill_up(
    popularity: "Popularity", seen: "csr_array", personal: "np.ndarray", scores: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray]":
    """The lists (rows, k) with popular items behind the personal ones, none twice and none seen."""
    import numpy as np
    from scipy import sparse

    k = personal.shape[1]
    n_personal = (personal >= 0).sum(axis=1)
    listed = sparse.csr_array(
        (np.ones(n_personal.sum(), dtype=bool), personal[personal >= 0], np.append(0, np.cumsum(n_personal))),
        seen.shape,
    )
    popular, counts = popularity.recommend(seen, k, also_exclude=listed)
    place = np.arange(k) - n_personal[:, None]
    take = np.maximum(place, 0)
    return tuple(
        np.where(place < 0, own, np.take_along_axis(other, take, axis=1))
        for own, other in ((personal, popular), (scores, counts))
    )


def _neighbors(lists: Lists, k: int) -> "Iterator[pa.RecordBatch]":
    import numpy as np

    for rows in _blocks(len(lists.item_ids), "items"):
        items, scores = lists.model.similar(np.arange(rows.start, rows.stop), k)
        yield _ranked(lists.item_ids, rows, lists.item_ids, items, scores, ("item_id", "neighbor_item_id"))


def _ranked(
    owner_ids: "pa.Array",
    rows: slice,
    item_ids: "pa.Array",
    items: "np.ndarray",
    scores: "np.ndarray",
    names: tuple[str, str],
    sources: "np.ndarray | None" = None,
) -> "pa.RecordBatch":
    """One row per owner and rank from lists (rows, k); places without an item are left out."""
    import numpy as np
    import pyarrow as pa

    row, place = np.nonzero(items >= 0)
    columns = {
        names[0]: owner_ids.take(pa.array(row + rows.start)),
        "rank": pa.array(place + 1),
        names[1]: item_ids.take(pa.array(items[row, place])),
        "score": pa.array(scores[row, place]),
    }
    if sources is not None:
        columns["source"] = pa.array(sources[row, place])
    return pa.RecordBatch.from_pydict(columns)


def _user_vectors(lists: Lists) -> "Iterator[pa.RecordBatch]":
    import numpy as np

    for rows in _blocks(lists.X.shape[0], "users"):
        has_history = np.diff(lists.X.indptr)[rows] > 0
        yield _vectors(lists.user_ids, rows, "user_id", lists.model.embed(lists.X[rows]), has_history)


def _item_vectors(lists: Lists) -> "Iterator[pa.RecordBatch]":
    for rows in _blocks(len(lists.item_ids), "items"):
        yield _vectors(lists.item_ids, rows, "item_id", lists.model.item_embeddings[rows], lists.model.is_known[rows])


def _residuals(lists: Lists) -> "Iterator[pa.RecordBatch]":
    for rows in _blocks(len(lists.item_ids), "items"):
        yield _weights(lists, rows, lists.model.residual)


def _weights(lists: Lists, rows: slice, S: "csr_array | None") -> "pa.RecordBatch":
    """The stored S_ij of some rows of ELSA's sparse part: item i in a history adds its weight to item j's score."""
    import numpy as np
    import pyarrow as pa
    from scipy import sparse

    block = sparse.coo_array((0, 0), dtype=np.float32) if S is None else S[rows].tocoo()
    own, other = (lists.item_ids.take(pa.array(places)) for places in (block.row + rows.start, block.col))
    return pa.RecordBatch.from_pydict({"item_id": own, "neighbor_item_id": other, "weight": pa.array(block.data)})


def _no_vectors(ids: "pa.Array", name: str) -> "Iterator[pa.RecordBatch]":
    import numpy as np

    yield _vectors(ids, slice(0, 0), name, np.zeros((0, 1), dtype=np.float32), np.zeros(0, dtype=bool))


def _vectors(ids: "pa.Array", rows: slice, name: str, vectors: "np.ndarray", keep: "np.ndarray") -> "pa.RecordBatch":
    """Ids beside fixed-size lists of float from vectors (rows, r), where `keep` (rows,) says so."""
    import numpy as np
    import pyarrow as pa

    values = pa.array(np.ascontiguousarray(vectors[keep]).ravel())
    return pa.RecordBatch.from_pydict(
        {
            name: ids.take(pa.array(np.flatnonzero(keep) + rows.start)),
            "embedding": pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
        }
    )


def _blocks(n: int, what: str) -> Iterator[slice]:
    for first in range(0, n, ROWS):
        yield slice(first, min(first + ROWS, n))
        if n > ROWS:
            get_run_logger().info("%s of %s %s", f"{min(first + ROWS, n):,}", f"{n:,}", what)


def _check_contract(run: Run, path: Path) -> None:
    """Runs every query of sql/checks/; a row that comes back is a broken promise."""
    checks = sorted(
        file.name.removesuffix(".sql")
        for file in resources.files("sql").joinpath("checks").iterdir()
        if file.name.endswith(".sql")
    )
    with connect(path, run.config, read_only=True) as connection:
        broken = {check: rows for check in checks if (rows := connection.execute(sql(f"checks/{check}")).fetchall())}
    if broken:
        details = "; ".join(f"{check}: {len(rows)} rows, such as {rows[:3]}" for check, rows in broken.items())
        raise ContractBroken(
            f"the new tables break {len(broken)} of {len(checks)} checks and were not published: {details}"
        )
    get_run_logger().info("all %s contract checks hold", len(checks))
