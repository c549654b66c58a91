"""Users ranked per second, k = 100 with seen items removed, beside implicit, faiss and a bare matrix product.

Random unit vectors, 10,000 users with 60 seen items each; the median of REPEATS rounds, in each of which all take
turns. The bare product computes the scores and selects nothing: the limit. faiss cannot remove seen items, so it
fetches k + 60. `python benchmarks/topk.py`
"""

import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
import torch
from implicit.cpu.topk import topk as implicit_topk
from scipy import sparse
from torch.nn.functional import normalize

from elsa_core.topk import top_k

N_USERS, N_SEEN, K, REPEATS = 10_000, 60, 100, 5


def main() -> None:
    print(f"{torch.get_num_threads()} threads\nitems   factors  " + "  ".join(f"{name:>14}" for name in PEERS))
    for n_items, factors in ((8_000, 64), (8_000, 256), (40_000, 64), (40_000, 256), (200_000, 128)):
        rng = np.random.default_rng(0)
        users, items = (
            normalize(torch.from_numpy(rng.standard_normal((n, factors), dtype=np.float32)))
            for n in (N_USERS, n_items)
        )
        columns = np.sort(rng.integers(0, n_items, (N_USERS, N_SEEN)), axis=1).ravel()
        seen = sparse.csr_matrix(
            (np.ones(len(columns), np.float32), columns, np.arange(N_USERS + 1) * N_SEEN), (N_USERS, n_items)
        )
        times = {name: [] for name in PEERS}
        for _ in range(REPEATS):
            for name, rank in PEERS.items():
                times[name].append(seconds(rank, users, items, seen))
        medians = {name: statistics.median(taken) for name, taken in times.items()}
        cells = (f"{N_USERS / taken:8,.0f} ({medians['bare product'] / taken:.2f})" for taken in medians.values())
        print(f"{n_items:7,} {factors:8}  " + "  ".join(f"{cell:>14}" for cell in cells), flush=True)


def elsa_core_rank(users: torch.Tensor, items: torch.Tensor, seen: sparse.csr_matrix) -> None:
    top_k(users, items, K, exclude=(sparse.csr_array(seen),))


def bare_product(users: torch.Tensor, items: torch.Tensor, seen: sparse.csr_matrix) -> None:
    block = 2**23 // len(items)
    buffer = torch.empty(block, len(items))
    for first in range(0, len(users), block):
        rows = users[first : first + block]
        torch.mm(rows, items.T, out=buffer[: len(rows)])


def implicit_rank(users: torch.Tensor, items: torch.Tensor, seen: sparse.csr_matrix) -> None:
    implicit_topk(items.numpy(), users.numpy(), K, filter_query_items=seen, num_threads=torch.get_num_threads())


def faiss_rank(users: torch.Tensor, items: torch.Tensor, seen: sparse.csr_matrix) -> None:
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items.numpy())
    index.search(users.numpy(), K + N_SEEN)


PEERS: dict[str, Callable] = {
    "elsa_core": elsa_core_rank, "implicit": implicit_rank, "faiss": faiss_rank, "bare product": bare_product,
}  # fmt: skip


def seconds(rank: Callable, *of: object) -> float:
    started = time.perf_counter()
    rank(*of)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
