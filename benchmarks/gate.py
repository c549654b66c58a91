"""How often the gate stops models that are as good as the published one, and ones made worse on purpose.

`python benchmarks/gate.py mtg`: one pair of models, each night a random set of test users; writes docs/gate.png.
`python benchmarks/gate.py demo`: the demo's ratings, each night a new holdout and two trainings; needs the data.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

import elsa_core
from datasets import as_matrix, hide, mtg_pairs
from tasks.model.gate import Comparison, compare
from tasks.model.segments import history_bands, popularity_bands
from tasks.run.run import Run
from tasks.settings.config import Config

N_NIGHTS, LOSSES, SIZES = 200, (0.005, 0.01, 0.015, 0.02, 0.03, 0.05), (140, 500, 2000, 6900)
K = 100
Values = dict[str, np.ndarray]  # nDCG@K of the test users (users,), by segment; nan outside


def mtg() -> None:
    from datetime import datetime

    rng = np.random.default_rng(0)
    X = as_matrix(mtg_pairs(datetime.max))
    order = rng.permutation(X.shape[0])
    train, validation, (fold_in, targets) = split(X, order, 14_000, rng)
    config = elsa_core.TrainConfig(factors=256, batch_size=1024, device="cpu")
    models = [elsa_core.fit(train, replace(config, seed=seed), validation) for seed in (0, 1)]
    popularity = np.bincount(train.indices, minlength=X.shape[1])
    values = [in_segments(model, fold_in, targets, popularity) for model in models]
    means = [each["all"].mean() for each in values]
    print(f"{len(targets.indptr) - 1:,} test users; nDCG@{K} of two seeds: {means[0]:.4f}, {means[1]:.4f}")
    worse = {loss: worsened(models[0], loss, fold_in, targets, popularity) for loss in LOSSES}
    shares = {}
    print(
        f"\nshare of {N_NIGHTS} nights rejected, by number of test users\nloss        "
        + "".join(f"{n:>10,}" for n in SIZES)
    )
    for max_loss, undecided in ((0.01, "pass"), (0.0, "pass"), (0.01, "reject")):
        print(f"max_loss {max_loss:.0%}, undecided: {undecided}")
        rules = {"max_loss": max_loss, "undecided": undecided}
        for loss in (0.0, *LOSSES):
            shares[max_loss, undecided, loss] = [
                np.mean([rejected(rules, loss, values, worse, n, night) for night in range(N_NIGHTS)]) for n in SIZES
            ]
            print(
                f"  {loss:6.1%}    " + "".join(f"{share:10.3f}" for share in shares[max_loss, undecided, loss]),
                flush=True,
            )
    draw(shares)
    for seed in range(5):
        shuffled = train[:, np.random.default_rng(seed).permutation(X.shape[1])]
        model = elsa_core.fit(shuffled, replace(config, factors=64, n_epochs=3, strategy="default"))
        print(f"trained on shuffled ids: {beside_popularity(model, train, fold_in, targets)}", flush=True)


def rejected(rules: dict, loss: float, values: list[Values], worse: dict[float, Values], n: int, night: int) -> bool:
    """One night with n test users. Without a loss, each user's values of two equal models are swapped at random."""
    rng = np.random.default_rng(night)
    users = rng.choice(len(values[0]["all"]), n, replace=False)
    ours, theirs = (values[1], values[0]) if loss == 0 else (worse[loss], values[0])
    swap = rng.random(n) < (0.5 if loss == 0 else 0)
    return is_rejected(
        rules | {"seed": night},
        {name: np.where(swap, theirs[name][users], ours[name][users]) for name in ours},
        {name: np.where(swap, ours[name][users], theirs[name][users]) for name in ours},
    )


def is_rejected(rules: dict, ours: Values, theirs: Values) -> bool:
    """What the gate says of the comparisons with the champion."""
    rules = dict(rules)
    config = Config.model_validate({"seed": rules.pop("seed"), "gate": rules})
    limits = {"all": config.gate.max_loss}
    comparisons = [
        Comparison("no loss", name, ours[name], theirs[name], limits.get(name, config.gate.segments.max_loss))
        for name in ours
    ]
    return not all(check.passed for check in compare(Run(config, "night"), comparisons))


def in_segments(model, fold_in: sparse.csr_array, targets: sparse.csr_array, popularity: np.ndarray) -> Values:
    rules = Config().gate.segments
    items, _ = model.recommend(fold_in, K)
    everyone = elsa_core.evaluate(items, targets, [K])[f"ndcg@{K}"]
    names = iter(rules.band_names())
    values = {"all": everyone}
    for band in history_bands(fold_in, rules.history):
        values[next(names)] = np.where(band, everyone, np.nan)
    for band in popularity_bands(popularity, rules.popularity):
        values[next(names)] = elsa_core.evaluate(items, targets, [K], among=band)[f"ndcg@{K}"]
    return values


def worsened(
    model, loss: float, fold_in: sparse.csr_array, targets: sparse.csr_array, popularity: np.ndarray
) -> Values:
    """The model with so much noise on its item vectors that the mean nDCG falls by `loss`."""
    noise = np.random.default_rng(1).standard_normal(model.item_embeddings.shape, dtype=np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    best = elsa_core.evaluate(model.recommend(fold_in, K)[0], targets, [K])[f"ndcg@{K}"].mean()

    def noisy(strength: float):
        vectors = model.item_embeddings + strength * noise
        return replace(model, item_embeddings=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    low, high = 0.0, 1.0
    for _ in range(14):
        strength = (low + high) / 2
        ndcg = elsa_core.evaluate(noisy(strength).recommend(fold_in, K)[0], targets, [K])[f"ndcg@{K}"].mean()
        low, high = (strength, high) if ndcg / best - 1 > -loss else (low, strength)
    print(f"made worse by {1 - ndcg / best:.2%}: noise of {strength:.3f} of a vector's length", flush=True)
    return in_segments(noisy(strength), fold_in, targets, popularity)


def demo() -> None:
    """Two trainings that differ in their seed, on the demo's holdout shares; and one on shuffled ids."""
    ratings = pl.read_parquet("data/movielens/ratings.parquet").filter(pl.col("rating") >= 4)
    pairs = ratings.select(user_id="userId", item_id="movieId").unique()
    pairs = pairs.filter(pl.len().over("item_id") >= 2).filter(pl.len().over("user_id") >= 5)
    X = as_matrix(pairs)
    config = elsa_core.TrainConfig(factors=128, device="cpu")
    n_held_out = {"test": int(0.2 * X.shape[0]), "validation": int(0.1 * X.shape[0])}
    found = {"equal": [], "equal, max_loss 0": [], "shuffled passes": []}
    for night in range(N_NIGHTS):
        rng = np.random.default_rng(night)
        train, validation, test = split(
            X, rng.permutation(X.shape[0]), n_held_out["test"], rng, n_held_out["validation"]
        )
        popularity = np.bincount(train.indices, minlength=X.shape[1])
        ours, theirs = (
            in_segments(elsa_core.fit(train, replace(config, seed=2 * night + one), validation), *test, popularity)
            for one in (0, 1)
        )
        found["equal"].append(is_rejected({"seed": night}, ours, theirs))
        found["equal, max_loss 0"].append(is_rejected({"seed": night, "max_loss": 0.0}, ours, theirs))
        shuffled = elsa_core.fit(
            train[:, rng.permutation(X.shape[1])], replace(config, n_epochs=3, strategy="default")
        )
        found["shuffled passes"].append(beside_popularity(shuffled, train, *test) > 0)
    print(f"{len(ours['all'])} test users a night, {N_NIGHTS} nights")
    for name, verdicts in found.items():
        print(f"{name}: {sum(verdicts)} of {len(verdicts)}")


def beside_popularity(model, train: sparse.csr_array, fold_in: sparse.csr_array, targets: sparse.csr_array) -> float:
    """The lower end of the relative lift over popularity, which must lie above 0."""
    lists = [one.recommend(fold_in, K)[0] for one in (model, elsa_core.Popularity.fit(train))]
    return elsa_core.relative_lift(*(elsa_core.evaluate(items, targets, [K])[f"ndcg@{K}"] for items in lists), 0)[1]


def split(X: sparse.csr_array, order: np.ndarray, n_test: int, rng: np.random.Generator, n_validation: int = 2500):
    """(train, validation, test) of users in that order."""
    test, validation = order[:n_test], order[n_test : n_test + n_validation]
    train = X[np.sort(order[n_test + n_validation :])]
    return train, hide(X[np.sort(validation)], rng), hide(X[np.sort(test)], rng)


def draw(shares: dict) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for panel, undecided in zip(panels, ("pass", "reject"), strict=True):
        for place, n in enumerate(SIZES):
            heights = [shares[0.01, undecided, loss][place] for loss in (0.0, *LOSSES)]
            panel.plot([0, *(100 * loss for loss in LOSSES)], heights, marker="o", label=f"{n:,} test users")
        panel.axhline(0.05, color="grey", linewidth=0.8, linestyle=":")
        panel.axvline(1, color="grey", linewidth=0.8, linestyle=":")
        panel.set(xlabel="true loss of nDCG@100 (%)", title=f"undecided: {undecided}")
    panels[0].set_ylabel("share of nights rejected")
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(Path(__file__).parents[1] / "docs" / "gate.png", dpi=110)


if __name__ == "__main__":
    {"mtg": mtg, "demo": demo}[sys.argv[1]]()
