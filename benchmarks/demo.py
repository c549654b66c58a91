"""How the demo's configuration was chosen: nDCG@100 over a grid, on the users that are not test users.

Needs a run of `make nightly`; reads the matrices of the newest one. Each setting is judged on five random fifths of
the users that train and validate; a fifth of each user's items is hidden. The test users are never looked at.
"""

import itertools
from pathlib import Path

import numpy as np
from scipy import sparse

import elsa_core

FACTORS, RATES, N_FOLDS = (32, 64, 128, 256), (0.03, 0.1, 0.3), 5


def main() -> None:
    run = max(path.parent for path in Path("warehouse/runs").glob("*/train.npz"))
    parts = [sparse.load_npz(run / f"{name}.npz") for name in ("train", "validation_fold_in", "validation_targets")]
    X = sparse.vstack([parts[0], parts[1] + parts[2]], format="csr")
    folds = list(split(X, np.random.default_rng(0)))
    print(f"{X.shape[0]} users × {X.shape[1]} items\nfactors    lr   nDCG@100  best epochs")
    for factors, lr in itertools.product(FACTORS, RATES):
        config = elsa_core.TrainConfig(factors=factors, lr=lr, device="cpu")
        models = [elsa_core.fit(train, config, (fold_in, targets)) for train, fold_in, targets in folds]
        best = [max(epoch["ndcg"] for epoch in model.history) for model in models]
        epochs = [model.best_epoch for model in models]
        print(f"{factors:7} {lr:5}   {np.mean(best):.4f}    {epochs}", flush=True)


def split(X: sparse.csr_array, rng: np.random.Generator):
    """(train, fold_in, targets) for each fold of the users with at least five items."""
    users = rng.permutation(np.flatnonzero(np.diff(X.indptr) >= 5))
    for held_out in np.array_split(users, N_FOLDS):
        rows = X[held_out]
        hidden = rows.copy()
        hidden.data = (rng.random(rows.nnz) < 0.2).astype(np.float32)
        hidden.eliminate_zeros()
        has_target = np.flatnonzero(np.diff(hidden.indptr) > 0)
        fold_in = rows[has_target] - hidden[has_target]
        fold_in.eliminate_zeros()
        yield X[np.setdiff1d(np.arange(X.shape[0]), held_out)], fold_in, hidden[has_target]


if __name__ == "__main__":
    main()
