"""Gowalla by LightGCN's protocol: all users, recall@20 = hits / |test|, nDCG@20, seconds, peak memory.

Every hyper-parameter of ELSA is chosen on a split of the training file; the model then trains on all of it with them,
and the test file is looked at once. Beside it EASE with one ridge, in two items × items matrices.
`python benchmarks/gowalla.py [quick]`; quick leaves EASE out (a quarter of an hour).
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy import sparse

import elsa_core
from datasets import gowalla
from measured import Measured, in_a_process

FACTORS, NEIGHBORS = (64, 256), (100, 200)
RIDGE, DROPOUT = (10.0, 30.0, 60.0, 100.0), (0.25, 0.5, 0.6, 0.7, 0.8)
EASE_RIDGE = 300.0
K = 20
Lists = Callable[[sparse.csr_array], np.ndarray]  # (users, K) for the users' shown items


def main() -> None:
    chosen = in_a_process(choose)
    print(f"chosen on a split of the training file: {chosen}")
    print("on the test file: recall@20, nDCG@20, fit, peak over the data")
    for name, fit in {"ELSA alone": elsa_alone, "ELSA + sparse": elsa_and_sparse, "EASE": ease}.items():
        if fit is ease and "quick" in sys.argv:
            continue
        recall, ndcg, seconds, megabytes = in_a_process(on_the_test_file, fit, chosen)
        print(
            f"{name:<15}recall@20 {recall:.4f}  nDCG@20 {ndcg:.4f}  {seconds:7.1f} s {megabytes:8,.0f} MB", flush=True
        )


def choose() -> dict:
    split, best = gowalla(), {"ndcg": 0.0}
    for factors in FACTORS:
        started = time.perf_counter()
        low_rank = elsa_core.fit(split.train, elsa(factors), split.validation)
        print(f"{factors} factors: {time.perf_counter() - started:.0f} s", flush=True)
        for neighbors in NEIGHBORS:
            started = time.perf_counter()
            grid = elsa_core.ResidualConfig(neighbors, RIDGE, DROPOUT, k=K)
            model = elsa_core.fit_residual(split.train, low_rank, grid, split.validation)
            found = {"factors": factors, "epochs": model.best_epoch, "neighbors": neighbors, **model.chosen}
            alone = model.choices[0]["ndcg"]
            print(f"  {found}, alone {alone:.4f}; {time.perf_counter() - started:.0f} s", flush=True)
            best = max(best, found, key=lambda entry: entry["ndcg"])
    return best


def elsa(factors: int) -> elsa_core.TrainConfig:
    return elsa_core.TrainConfig(factors=factors, batch_size=1024, device="cpu", k=K)


def on_the_test_file(fit: Callable, chosen: dict) -> tuple[float, float, float, float]:
    train, test = gowalla().test
    with Measured() as fitting:
        recommend = fit(train, chosen)
    has_targets = np.diff(test.indptr) > 0
    metrics = elsa_core.evaluate(recommend(train)[has_targets], test[has_targets], [K])
    return metrics[f"recall@{K}"].mean(), metrics[f"ndcg@{K}"].mean(), fitting.seconds, fitting.megabytes


def elsa_alone(train: sparse.csr_array, chosen: dict) -> Lists:
    config = replace(elsa(chosen["factors"]), strategy="default")
    model = elsa_core.fit(train, config, epochs=chosen["epochs"])
    return lambda X: model.recommend(X, K)[0]


def elsa_and_sparse(train: sparse.csr_array, chosen: dict) -> Lists:
    config = replace(elsa(chosen["factors"]), strategy="default")
    low_rank = elsa_core.fit(train, config, epochs=chosen["epochs"])
    only = elsa_core.ResidualConfig(chosen["neighbors"], (chosen["ridge"],), (chosen["dropout"],))
    model = elsa_core.fit_residual(train, low_rank, only)
    return lambda X: model.recommend(X, K)[0]


def ease(train: sparse.csr_array, chosen: dict) -> Lists:
    """Steck, WWW 2019, in the memory of two matrices."""
    n_items = train.shape[1]
    gram = torch.zeros(n_items, n_items)
    for first in range(0, n_items, 1024):
        (train[:, first : first + 1024].T @ train).toarray(out=gram.numpy()[first : first + 1024])
    gram.diagonal().add_(EASE_RIDGE)
    factor = torch.linalg.cholesky(gram)
    del gram
    inverse = torch.cholesky_inverse(factor)
    del factor
    B = inverse.div_(-inverse.diagonal().clone()).fill_diagonal_(0).contiguous().numpy()

    def recommend(X: sparse.csr_array) -> np.ndarray:
        items = np.empty((X.shape[0], K), dtype=np.int64)
        for first in range(0, X.shape[0], 256):
            rows = slice(first, first + 256)
            scores = X[rows] @ B
            scores[X[rows].nonzero()] = -np.inf
            items[rows] = np.argsort(-scores, axis=1)[:, :K]
        return items

    return recommend


if __name__ == "__main__":
    main()
