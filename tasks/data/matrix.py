"""Interactions into sparse matrices: what is published from, and what evaluation models are shown and asked for."""

import hashlib
from typing import TYPE_CHECKING

from prefect import get_run_logger

from tasks.errors import InputError
from tasks.run.artifacts import RunFiles, Sparse
from tasks.run.handles import Holdout, Interactions, Matrix
from tasks.run.progress import working
from tasks.run.run import Run
from tasks.run.stage import stage

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_array


@stage("matrix", reads=("evaluation.max_users",))
def build_matrix(run: Run, interactions: Interactions, holdout: Holdout) -> Matrix:
    """Writes what `handles.Matrix` names. Rows are all users, columns the items that count."""
    with working("matrices"):
        pairs = run.files.holdout.read()
        users, items = _users_and_items(pairs)
        pairs = (
            pairs.drop("position", "split", "is_trained_on")
            .join(users.select("user_id", "user_idx"), on="user_id")
            .join(items.select("item_id", "item_idx"), on="item_id")
            .sort("user_idx", "item_idx")
        )
    run.files.users.write(users)
    run.files.items.write(items)
    digest = hashlib.sha256((run.files.users.digest() + run.files.items.digest()).encode())
    matrices = _matrices(run, holdout, pairs, users, (len(users), len(items)))
    for file, matrix in matrices.items():
        file.write(matrix)
        digest.update(matrix.indptr.tobytes() + matrix.indices.tobytes() + matrix.data.tobytes())
    files = run.files
    n_train, n_validation, n_test = (
        matrices[file].shape[0] for file in (files.train, files.targets("validation"), files.targets("test"))
    )
    n_users, n_items = matrices[files.weights].shape
    counts = (n_users, n_items, interactions.n_counting, n_train, n_validation, n_test)
    handle = Matrix(*counts, holdout.window_start, digest.hexdigest())
    get_run_logger().info(
        f"{handle.n_users:,} users × {handle.n_items:,} items; {handle.n_train_users:,} train, "
        f"{handle.n_validation_users:,} validate, {handle.n_test_users:,} test"
    )
    return handle


def _users_and_items(pairs: "pl.DataFrame") -> "tuple[pl.DataFrame, pl.DataFrame]":
    """All users, and the items that count, each numbered in the order of its ids."""
    import polars as pl

    counts = pl.col("weight") > 0
    items = pairs.filter(counts).group_by("item_id").agg(n_users=pl.len()).sort("item_id").with_row_index("item_idx")
    users = (
        pairs.group_by("user_id")
        .agg(
            pl.first("split", "position", "is_trained_on"), n_items=counts.sum(), n_targets=pl.col("is_target").sum()
        )
        .sort("user_id")
        .with_row_index("user_idx")
    )
    return users, items


def _matrices(
    run: Run, holdout: Holdout, pairs: "pl.DataFrame", users: "pl.DataFrame", shape: tuple[int, int]
) -> "dict[Sparse, csr_array]":
    """All matrices that `handles.Matrix` names. Raises InputError where nobody is left to train, validate or test."""
    import numpy as np
    import polars as pl

    files: RunFiles = run.files
    known = _csr(pairs.filter(pl.col("known_weight") > 0), shape, "known_weight")
    targets = _csr(pairs.filter("is_target"), shape)
    matrices = {
        files.weights: _csr(pairs.filter(pl.col("weight") > 0), shape),
        files.seen: _csr(pairs.with_columns(weight=pl.lit(1, pl.Float32)), shape),
    }
    trained_on = np.flatnonzero(users["is_trained_on"])
    matrices[files.train] = known[trained_on]
    trains = bool((np.diff(matrices[files.train].indptr) > 1).any())
    _require(run, trains, users.height, "train on", "test_share" if holdout.window_start is None else "days")
    for split, purpose in (("validation", "validate with"), ("test", "test with")):
        rows = _users_to_rank(users, split, run.config.evaluation.max_users)
        _require(run, len(rows) > 0, users.height, purpose, f"{split}_share")
        matrices |= {files.fold_in(split): known[rows], files.targets(split): targets[rows]}
    return matrices


def _users_to_rank(users: "pl.DataFrame", split: str, max_users: int) -> "np.ndarray":
    """The rows of the split's users who have targets, in their order; of more than `max_users`, the first by hash."""
    import polars as pl

    found = users.filter(pl.col("split") == split, pl.col("n_targets") > 0)
    if len(found) > max_users:
        get_run_logger().info(
            f"of {len(found):,} {split} users {max_users:,} are ranked, as evaluation.max_users says"
        )
        found = found.bottom_k(max_users, by="position")
    return found["user_idx"].sort().to_numpy()


def _csr(pairs: "pl.DataFrame", shape: tuple[int, int], weight: str = "weight") -> "csr_array":
    """A float32 CSR matrix from pairs that are sorted by user_idx and item_idx."""
    import numpy as np
    from scipy import sparse

    index = sparse.get_index_dtype(maxval=max(len(pairs), *shape))
    indptr = np.zeros(shape[0] + 1, dtype=index)
    np.cumsum(np.bincount(pairs["user_idx"].to_numpy(), minlength=shape[0]), out=indptr[1:])
    return sparse.csr_array((pairs[weight].to_numpy(), pairs["item_idx"].to_numpy().astype(index), indptr), shape)


def _require(run: Run, is_there: bool, n_users: int, purpose: str, key: str) -> None:
    if not is_there:
        now = getattr(run.config.holdout, key)
        raise InputError(
            f"of {n_users:,} users there is none to {purpose} who has two interactions that count; change "
            f"holdout.{key} (now {now}) or bring more data"
        )
