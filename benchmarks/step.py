"""Loss and gradient of one batch: ELSA's closed form beside the same loss through its dense output, by autograd.

Generated interactions (Zipf items), the same vectors and batch for both; median of nine. `python benchmarks/step.py`
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import normalize

from elsa_core.closed_form import cosine_loss

N_USERS, N_ITEMS, PER_USER, BATCH, REPEATS = 512, 12_000, 90, 512, 9


def main() -> None:
    X = generate(np.random.default_rng(0))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; batch {BATCH} × {N_ITEMS:,} items")
    print("factors   closed form (ms)   dense (ms)   dense / closed form")
    for factors in (10, 64, 256, 1024):
        A = normalize(torch.randn(N_ITEMS, factors, generator=torch.Generator().manual_seed(0)))
        ours, dense = (1000 * seconds(step, X, A) for step in (cosine_loss, through_the_dense_output))
        print(f"{factors:7} {ours:18.1f} {dense:12.1f} {dense / ours:21.1f}", flush=True)


def generate(rng: np.random.Generator) -> sparse.csr_array:
    weights = 1 / np.arange(1, N_ITEMS + 1)
    rows = [rng.choice(N_ITEMS, PER_USER, replace=False, p=weights / weights.sum()) for _ in range(N_USERS)]
    indptr = np.arange(N_USERS + 1) * PER_USER
    return sparse.csr_array(
        (np.ones(N_USERS * PER_USER, np.float32), np.concatenate(rows), indptr), (N_USERS, N_ITEMS)
    )


def through_the_dense_output(X: sparse.csr_array, A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    A, x = A.detach().requires_grad_(), torch.from_numpy(X.toarray())
    loss = (normalize(x @ A @ A.T - x) - x).square().sum(dim=1).mean()
    return loss, torch.autograd.grad(loss, A)[0]


def seconds(step: Callable, X: sparse.csr_array, A: torch.Tensor) -> float:
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        step(X, A)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
