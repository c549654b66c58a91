"""The sparse part: what it adds for how many neighbours and factors, and how its fit grows.

`python benchmarks/residual.py table`   mtg-decklists: test nDCG@100, seconds and peak memory of the fit of S alone
`python benchmarks/residual.py growth`  generated items, one ridge and dropout, m = 100: seconds and peak memory
"""

import sys

from growth import generate

from datasets import gowalla, mtg_decklists
from measured import Measured, in_a_process

FACTORS, NEIGHBORS = (64, 256, 1024), (25, 50, 100, 200, 400)
ITEMS = (12_500, 25_000, 50_000, 100_000, 200_000)


def main() -> None:
    {"table": table, "growth": growth}[sys.argv[1] if len(sys.argv) > 1 else "growth"]()


def table() -> None:
    print("mtg-decklists: factors, m, test nDCG@100, fit (s), peak over the data (MB)")
    for factors in FACTORS:
        for neighbors, *measured in in_a_process(row_of_table, factors):
            print(f"{factors:6}{neighbors:6}{{:9.4f}}{{:9.1f}}{{:9,.0f}}".format(*measured), flush=True)


def row_of_table(factors: int) -> list[tuple]:
    import elsa_core

    def ndcg(model: elsa_core.Model) -> float:
        items, _ = model.recommend(split.test[0], 100)
        return elsa_core.evaluate(items, split.test[1], [100])["ndcg@100"].mean()

    split = mtg_decklists()
    config = elsa_core.TrainConfig(factors=factors, batch_size=1024, device="cpu")
    with Measured() as fit:
        low_rank = elsa_core.fit(split.train, config, split.validation)
    rows = [(0, ndcg(low_rank), fit.seconds, fit.megabytes)]
    for neighbors in NEIGHBORS:
        with Measured() as fit:
            model = elsa_core.fit_residual(
                split.train, low_rank, elsa_core.ResidualConfig(neighbors), split.validation
            )
        rows.append((neighbors, ndcg(model), fit.seconds, fit.megabytes))
    return rows


def growth() -> None:
    print("items, interactions, stored in S, seconds, peak over the data (MB)")
    for n_items in (None, *ITEMS):
        measured = in_a_process(one_fit, n_items)
        print("{:9,}{:13,}{:13,}{:9.1f}{:9,.0f}".format(*measured), flush=True)


def one_fit(n_items: int | None) -> tuple:
    """Gowalla without a number of items; else users in proportion to the items, 27 interactions each."""
    import elsa_core

    X = gowalla().test[0] if n_items is None else generate(n_items, n_items, 27)
    config = elsa_core.TrainConfig(factors=64, batch_size=1024, n_epochs=1, device="cpu", strategy="default")
    low_rank = elsa_core.fit(X, config)
    with Measured() as fit:
        model = elsa_core.fit_residual(X, low_rank, elsa_core.ResidualConfig(100, (30.0,), (0.5,)))
    return X.shape[1], X.nnz, model.residual.nnz, fit.seconds, fit.megabytes


if __name__ == "__main__":
    main()
