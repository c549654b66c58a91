"""Interactions into sparse matrices, and who is held out."""

import hashlib
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.errors import InputError
from tasks.run.progress import working
from tasks.run.resume import resumable
from tasks.run.retries import RETRIES
from tasks.run.handles import Interactions, Matrix
from tasks.run.warehouse import Run, connect, digest_of_file, sql

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_array


@task(**RETRIES)
@resumable("matrix", Matrix, reads=("holdout", "evaluation"))
def build_matrix(run: Run, interactions: Interactions) -> Matrix:
    """Writes what `stages.Matrix` names. Rows are all users, columns the items that count."""
    import polars as pl
    from scipy import sparse

    rules = run.config.holdout
    with working("holdout"), connect(":memory:", run.config) as connection:
        pairs = connection.sql(
            sql("holdout"),
            params={
                "interactions": str(run.folder / interactions.path),
                "salt": rules.salt,
                "test_share": rules.test_share,
                "validation_share": rules.validation_share,
                "target_share": rules.target_share,
            },
        ).to_arrow_table()
    pairs = pl.DataFrame(pairs)
    counts = pl.col("weight") > 0
    items = pairs.filter(counts).group_by("item_id").agg(n_users=pl.len()).sort("item_id").with_row_index("item_idx")
    users = (
        pairs.group_by("user_id")
        .agg(pl.first("split", "position"), n_items=counts.sum(), n_targets=pl.col("is_target").sum())
        .sort("user_id")
        .with_row_index("user_idx")
    )
    pairs = (
        pairs.drop("position", "split")
        .join(users.select("user_id", "user_idx"), on="user_id")
        .join(items.select("item_id", "item_idx"), on="item_id")
        .sort("user_idx", "item_idx")
    )
    users.write_parquet(run.folder / "users.parquet")
    items.write_parquet(run.folder / "items.parquet")
    matrices = _matrices(run, pairs, users, (len(users), len(items)))
    digest = hashlib.sha256(digest_of_file(run.folder / "items.parquet").encode())
    for name, matrix in matrices.items():
        sparse.save_npz(run.folder / f"{name}.npz", matrix, compressed=False)
        digest.update(matrix.indptr.tobytes() + matrix.indices.tobytes() + matrix.data.tobytes())
    sizes = (matrices[name].shape[0] for name in ("train", "validation_targets", "test_targets"))
    handle = Matrix(*matrices["interactions"].shape, interactions.n_counting, *sizes, digest.hexdigest())
    get_run_logger().info(
        "%s users × %s items; %s train, %s validate, %s test",
        f"{handle.n_users:,}",
        f"{handle.n_items:,}",
        f"{handle.n_train_users:,}",
        f"{handle.n_validation_users:,}",
        f"{handle.n_test_users:,}",
    )
    run.record("matrix", handle)
    return handle


def _matrices(
    run: Run, pairs: "pl.DataFrame", users: "pl.DataFrame", shape: tuple[int, int]
) -> "dict[str, csr_array]":
    """All matrices that `stages.Matrix` names. Raises InputError where nobody is left to train, validate or test."""
    import numpy as np
    import polars as pl

    X = _csr(pairs.filter(pl.col("weight") > 0), shape)
    targets = _csr(pairs.filter("is_target"), shape)
    matrices = {"interactions": X, "seen": _csr(pairs.with_columns(weight=pl.lit(1, pl.Float32)), shape)}
    trains = ((users["split"] == "train") & (users["n_items"] > 1)).any()
    _require(run, trains, users.height, "train on", "test_share")
    matrices["train"] = X[np.flatnonzero(users["split"] == "train")]
    for split in ("validation", "test"):
        rows = _users_to_rank(users, split, run.config.evaluation.max_users)
        _require(
            run, len(rows) > 0, users.height, f"{split} with".replace("validation", "validate"), f"{split}_share"
        )
        fold_in = X[rows] - targets[rows]
        fold_in.eliminate_zeros()
        matrices |= {f"{split}_fold_in": fold_in, f"{split}_targets": targets[rows]}
    return matrices


def _users_to_rank(users: "pl.DataFrame", split: str, max_users: int) -> "np.ndarray":
    """The rows of the split's users who have targets, in their order; of more than `max_users`, the first by hash."""
    import polars as pl

    found = users.filter(pl.col("split") == split, pl.col("n_targets") > 0)
    if len(found) > max_users:
        get_run_logger().info(
            f"of {len(found):,} {split} users {max_users:,} are ranked, as evaluation.max_users says; the others are "
            "held out all the same"
        )
        found = found.bottom_k(max_users, by="position")
    return found["user_idx"].sort().to_numpy()


def _csr(pairs: "pl.DataFrame", shape: tuple[int, int]) -> "csr_array":
    """A float32 CSR matrix from pairs that are sorted by user_idx and item_idx."""
    import numpy as np
    from scipy import sparse

    index = sparse.get_index_dtype(maxval=max(len(pairs), *shape))
    indptr = np.zeros(shape[0] + 1, dtype=index)
    np.cumsum(np.bincount(pairs["user_idx"].to_numpy(), minlength=shape[0]), out=indptr[1:])
    return sparse.csr_array((pairs["weight"].to_numpy(), pairs["item_idx"].to_numpy().astype(index), indptr), shape)


def _require(run: Run, is_there: bool, n_users: int, purpose: str, key: str) -> None:
    if not is_there:
        raise InputError(
            f"of {n_users:,} users there is none to {purpose} who has two interactions that count; change "
            f"holdout.{key} (now {getattr(run.config.holdout, key)}) or bring more data"
        )
