"""What ranking the validation users costs an epoch: a tenth of all users, or evaluation.max_users of them.

PYTHONPATH=. python benchmarks/max_users.py [users, 1000000 if not given] [items, 100000]: generated, 20 items each;
seconds of one epoch's gradient steps, and of the ranking at 100 by the model after it (medians of three rankings).
"""

import statistics
import sys
import time

import numpy as np
from scipy import sparse

from elsa_core import TrainConfig, fit
from elsa_core.metrics import validation_ndcg
from tasks.settings.evaluation import EvaluationSettings

PER_USER, REPEATS = 20, 3


def generated(n_users: int, n_items: int) -> sparse.csr_array:
    """Items by popularity (Zipf), weights 1: (n_users, n_items)."""
    rng = np.random.default_rng(0)
    item = np.minimum((n_items * rng.random(n_users * PER_USER) ** 3).astype(np.int64), n_items - 1)
    pairs = np.ones(len(item), dtype=np.float32), item, np.arange(0, len(item) + 1, PER_USER)
    X = sparse.csr_array(pairs, (n_users, n_items))
    X.sum_duplicates()
    X.data[:] = 1
    return X


def main(n_users: int, n_items: int) -> None:
    X = generated(n_users, n_items)
    model = fit(X, TrainConfig(factors=64, n_epochs=1, strategy="default"))
    gradient = model.history[-1]["seconds"]
    print(f"{n_users:,} users x {n_items:,} items; gradient steps of an epoch {gradient:.1f} s")
    for n in (EvaluationSettings().max_users, n_users // 10):
        held_out = X[:n]
        seconds = []
        for _ in range(REPEATS if n < n_users // 10 else 1):
            started = time.perf_counter()
            validation_ndcg(model, (held_out, held_out), 100)
            seconds.append(time.perf_counter() - started)
        ranking = statistics.median(seconds)
        print(f"ranking {n:,} users: {ranking:.1f} s, {ranking / gradient:.2f} of the gradient steps", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("1000000", "100000")))
