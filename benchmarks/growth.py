"""How seconds per epoch and peak memory grow with users, items, interactions, factors and batch, one at a time.

Generated interactions (Zipf items); each point is a process of its own, the median of three epochs after a first one.
Exponents are slopes of log(seconds) and log(memory over an idle process) from the smallest to the largest value.
`python benchmarks/growth.py`
"""

import statistics

import numpy as np
from scipy import sparse

from measured import Measured, in_a_process

BASE = {"users": 20_000, "items": 5_000, "per_user": 50, "factors": 128, "batch": 512}
STEPS = {
    "users": (10_000, 20_000, 40_000, 80_000),
    "items": (2_500, 5_000, 10_000, 20_000, 40_000),
    "per_user": (25, 50, 100, 200),
    "factors": (32, 64, 128, 256, 512),
    "batch": (128, 256, 512, 1024, 2048, 4096),
}


def main() -> None:
    print(f"base: {BASE}\n{'varied':<10}{'value':>8}{'s/epoch':>10}{'peak (MB)':>11}")
    for name, values in STEPS.items():
        points = []
        for value in values:
            points.append(in_a_process(measure, BASE | {name: value}))
            print(f"{name:<10}{value:8,}{points[-1][0]:10.3f}{points[-1][1]:11,.0f}", flush=True)
        span = np.log(values[-1] / values[0])
        exponents = [np.log(last / first) / span for first, last in zip(points[0], points[-1], strict=True)]
        print(f"{name:<10}exponents: seconds {exponents[0]:.2f}, memory {exponents[1]:.2f}", flush=True)


def measure(at: dict[str, int]) -> tuple[float, float]:
    import elsa_core

    config = elsa_core.TrainConfig(
        factors=at["factors"], batch_size=at["batch"], n_epochs=4, device="cpu", strategy="default"
    )
    with Measured() as all_of_it:
        X = generate(at["users"], at["items"], at["per_user"])
        history = elsa_core.fit(X, config).history
    return statistics.median(epoch["seconds"] for epoch in history[2:]), all_of_it.megabytes


def generate(n_users: int, n_items: int, per_user: int) -> sparse.csr_array:
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, n_items + 1)
    columns = rng.choice(n_items, (n_users, per_user), p=weights / weights.sum())
    indptr = np.arange(n_users + 1) * per_user
    X = sparse.csr_array((np.ones(columns.size, np.float32), columns.ravel(), indptr), (n_users, n_items))
    X.sum_duplicates()
    X.data[:] = 1
    return X


if __name__ == "__main__":
    main()
