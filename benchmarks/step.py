"""One training step: ELSA's closed form beside the same loss through its dense output, by autograd.

Generated interactions (Zipf items), equal weights and batch; median seconds of a step with its backward pass, and the
bytes that each output or intermediate of the loss takes. `python benchmarks/step.py`
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import normalize

from elsa_core.closed_form import UserProduct, cosine_loss

N_USERS, N_ITEMS, PER_USER, BATCH, REPEATS = 512, 12_000, 90, 512, 9


def main() -> None:
    X = generate(np.random.default_rng(0))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; batch {BATCH} × {N_ITEMS} items, nnz {X.nnz:,}"
    )
    print("factors   closed form (ms)   dense (ms)   dense / closed form")
    for factors in (10, 64, 256, 1024):
        W = torch.randn(N_ITEMS, factors, generator=torch.Generator().manual_seed(0)).requires_grad_()
        ours, dense = (1000 * seconds(loss, W, X) for loss in (closed_form, through_the_dense_output))
        print(f"{factors:7} {ours:18.1f} {dense:12.1f} {dense / ours:21.1f}", flush=True)


def generate(rng: np.random.Generator) -> sparse.csr_array:
    weights = 1 / np.arange(1, N_ITEMS + 1)
    rows = [rng.choice(N_ITEMS, PER_USER, replace=False, p=weights / weights.sum()) for _ in range(N_USERS)]
    indptr = np.arange(N_USERS + 1) * PER_USER
    return sparse.csr_array(
        (np.ones(N_USERS * PER_USER, np.float32), np.concatenate(rows), indptr), (N_USERS, N_ITEMS)
    )


def closed_form(W: torch.Tensor, X: sparse.csr_array) -> torch.Tensor:
    A = normalize(W)
    lengths = torch.from_numpy(np.asarray(X.multiply(X).sum(axis=1)))
    return cosine_loss(UserProduct.apply(A, X), A.T @ A, lengths)


def through_the_dense_output(W: torch.Tensor, X: sparse.csr_array) -> torch.Tensor:
    A, x = normalize(W), torch.from_numpy(X.toarray())
    return (normalize(x @ A @ A.T - x) - normalize(x)).square().sum(dim=1).mean()


def seconds(loss: Callable, W: torch.Tensor, X: sparse.csr_array) -> float:
    times = []
    for _ in range(REPEATS + 1):
        W.grad = None
        start = time.perf_counter()
        loss(W, X).backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
