"""Seconds until validation nDCG@100 reaches what elsarec, the authors' package, reaches after so many epochs.

Ten, if nothing else is said; 256 factors, batch 1024, lr 0.1 on both sides; elsarec as published (NAdam).
Seconds are of training: the start and the epochs, without ranking the validation users, which is the same code for
both, and without imports. elsarec runs once, and each of its epochs counts as long as the median one; elsa_core runs
with three seeds.
`python benchmarks/time_to_quality.py [mtg|gowalla|generated] [epochs]` writes a picture beside this file.
"""

import random
import sys
import time
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch._dynamo  # what any torch optimiser imports on first use
from elsa import ELSA
from scipy import sparse

import elsa_core
from datasets import Split, gowalla, like_movielens_20m, mtg_decklists

FACTORS, BATCH, LR, REPEATS = 256, 1024, 0.1, 3
EPOCHS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
SPLITS = {"mtg": mtg_decklists, "gowalla": gowalla, "generated": like_movielens_20m}
Curve = list[tuple[float, float]]  # (seconds, nDCG@100) after each epoch


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "mtg"
    split = SPLITS[name]()
    print(f"{split.name}: {split.train.shape[0]:,} × {split.train.shape[1]:,}, {split.train.nnz:,} interactions")
    ours = [closed_form(split, seed) for seed in range(REPEATS)]
    for curve in ours:
        show("elsa_core", curve)
    theirs = elsarec(split)
    show("elsarec", theirs)
    goal = theirs[-1][1]
    reached = [next(seconds for seconds, ndcg in curve if ndcg >= goal) for curve in ours]
    print(f"goal {goal:.4f}: elsarec {theirs[-1][0]:.1f} s, elsa_core median {np.median(reached):.1f} s of {reached}")
    print(f"ratio {theirs[-1][0] / np.median(reached):.1f}")
    draw(split, theirs, ours, Path(__file__).with_name(f"time_to_quality_{name}.png"))


def elsarec(split: Split) -> Curve:
    torch.manual_seed(0)
    random.seed(0)
    model = ELSA(split.train.shape[1], FACTORS, device=torch.device("cpu"), lr=LR)
    rows = sparse.csr_matrix(split.train)
    quality, seconds = [], []
    for epoch in range(EPOCHS):
        started = time.perf_counter()
        model.fit(rows, batch_size=BATCH, epochs=1, shuffle=True, verbose=False)
        seconds.append(time.perf_counter() - started)
        vectors = torch.nn.functional.normalize(next(model.parameters()).detach()).numpy()
        items, _ = elsa_core.Elsa(vectors, [], 0).recommend(split.validation[0], 100)
        quality.append(elsa_core.evaluate(items, split.validation[1], [100])["ndcg@100"].mean())
        print(f"  elsarec, epoch {epoch + 1}: {seconds[-1]:.1f} s, nDCG@100 {quality[-1]:.4f}", flush=True)
    return [(np.median(seconds) * (epoch + 1), ndcg) for epoch, ndcg in enumerate(quality)]


def closed_form(split: Split, seed: int) -> Curve:
    config = elsa_core.TrainConfig(
        factors=FACTORS, batch_size=BATCH, lr=LR, n_epochs=EPOCHS, device="cpu", strategy="default", seed=seed
    )
    history = elsa_core.fit(split.train, config, split.validation).history
    return list(
        zip(np.cumsum([entry["seconds"] for entry in history]), [entry["ndcg"] for entry in history], strict=True)
    )


def show(name: str, curve: Curve) -> None:
    print(name, " ".join(f"{seconds:.1f}s:{ndcg:.4f}" for seconds, ndcg in curve), flush=True)


def draw(split: Split, theirs: Curve, ours: list[Curve], path: Path) -> None:
    matplotlib.use("agg")
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for number, curve in enumerate(ours):
        axes.plot(*zip(*curve, strict=True), "o-", ms=3, color="C0", label=None if number else "elsa_core, 3 seeds")
    axes.plot(*zip(*theirs, strict=True), "s-", ms=3, color="C1", label="elsarec")
    axes.axhline(theirs[-1][1], color="0.6", lw=0.8, ls="--")
    axes.set(
        xscale="log", xlabel="seconds of training, 2 shared cores", ylabel="validation nDCG@100", title=split.name
    )
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
