"""The residual: what it adds for how many neighbours and factors, and how its fit grows.

`python benchmarks/residual.py table`   mtg-decklists: test nDCG@100, seconds and peak memory of the fit of S alone
`python benchmarks/residual.py growth`  generated items, one ridge and dropout, m = 100: seconds and peak memory
`python benchmarks/residual.py topk`    users ranked per second with S and without, beside a bare matrix product
`python benchmarks/residual.py kept`    an earlier night's S beside a refitted one, for this run's low-rank part
"""

import statistics
import sys
from dataclasses import replace

import numpy as np
import torch

import elsa_core
from datasets import gowalla, mtg_decklists
from growth import generate
from measured import Measured, in_a_process
from topk import bare_product, seconds
from warm_start import EARLIER, TONIGHT, night

FACTORS, NEIGHBORS = (64, 256, 1024), (25, 50, 100, 200, 400)
ITEMS = (12_500, 25_000, 50_000, 100_000, 200_000)


def main() -> None:
    {"table": table, "growth": growth, "topk": topk, "kept": kept}[sys.argv[1] if len(sys.argv) > 1 else "growth"]()


def table() -> None:
    print("mtg-decklists: factors, m, test nDCG@100, fit (s), peak over the data (MB)")
    for factors in FACTORS:
        for neighbors, *measured in in_a_process(row_of_table, factors):
            print(f"{factors:6}{neighbors:6}{{:9.4f}}{{:9.1f}}{{:9,.0f}}".format(*measured), flush=True)


def row_of_table(factors: int) -> list[tuple]:
    def ndcg(model: elsa_core.Elsa) -> float:
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
    X = gowalla().test[0] if n_items is None else generate(n_items, n_items, 27)
    config = elsa_core.TrainConfig(factors=64, batch_size=1024, n_epochs=1, device="cpu", strategy="default")
    low_rank = elsa_core.fit(X, config)
    with Measured() as fit:
        model = elsa_core.fit_residual(X, low_rank, elsa_core.ResidualConfig(100, (30.0,), (0.5,)))
    return X.shape[1], X.nnz, model.residual.nnz, fit.seconds, fit.megabytes


def topk() -> None:
    """Medians of five rounds in which all take turns; 256 factors, m = 100, k = 100, seen items removed."""
    print("users ranked per second, and the share of a bare product's: low rank, with S")
    for name, X in (("Gowalla", gowalla().test[0]), ("mtg-decklists", mtg_decklists().train)):
        config = elsa_core.TrainConfig(factors=256, batch_size=1024, n_epochs=1, device="cpu", strategy="default")
        only = elsa_core.ResidualConfig(100, (30.0,), (0.5,))
        model, users = elsa_core.fit_residual(X, elsa_core.fit(X, config), only), X[:8192]
        bare = bare_product, torch.from_numpy(model.embed(users)), torch.from_numpy(model.item_embeddings), users
        ways = [bare, (replace(model, residual=None).recommend, users, 100), (model.recommend, users, 100)]
        rounds = [[seconds(*way) for way in ways] for _ in range(5)]
        limit, *taken = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(name, *(f"{users.shape[0] / time:,.0f} ({limit / time:.2f})" for time in taken), flush=True)


def kept() -> None:
    config = elsa_core.TrainConfig(device="cpu")
    items, X, validation = night(TONIGHT)
    for ago, date in EARLIER.items():
        their_items, theirs, their_validation = night(date)
        earlier = elsa_core.fit(theirs, config, their_validation)
        earlier = elsa_core.fit_residual(theirs, earlier, elsa_core.ResidualConfig(), their_validation)
        positions = np.where(np.isin(their_items, items), np.searchsorted(items, their_items), -1)
        earlier = earlier.reindex(positions, len(items))
        with Measured() as training:
            low_rank = elsa_core.fit(X, config, validation, earlier=earlier)
        with Measured() as fitting:
            refitted = elsa_core.fit_residual(X, low_rank, elsa_core.ResidualConfig(), validation)
        taken_over = replace(low_rank, scale=earlier.scale, residual=earlier.residual)
        ndcgs = [elsa_core.evaluate(model.recommend(validation[0], 100)[0], validation[1], [100])["ndcg@100"].mean()
                 for model in (low_rank, taken_over, refitted)]  # fmt: skip
        print(f"{ago:<10} alone, with the earlier S, refitted: {' '.join(f'{ndcg:.4f}' for ndcg in ndcgs)}; "
              f"training {training.seconds:.1f} s, S {fitting.seconds:.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
