"""elsarec and elsa_core with equal factors, batch, lr and epochs: test nDCG@100, seconds of training.

mtg-decklists, batch 512, lr 0.1, four epochs; elsa_core's learning rate falls over them.
`python benchmarks/equal_settings.py [factors …]`
"""

import random
import sys
import time

import numpy as np
import torch
import torch._dynamo  # what any torch optimiser imports on first use
from elsa import ELSA
from scipy import sparse

import elsa_core
from datasets import Split, mtg_decklists

BATCH, LR, EPOCHS = 512, 0.1, 4


def main() -> None:
    split = mtg_decklists()
    print(f"{'factors':>7}{'elsarec':>18}{'elsa_core':>18}   (nDCG@100, seconds)")
    for factors in map(int, sys.argv[1:] or ("10", "64", "256", "1024")):
        measured = [f"{fit(split, factors):18}" for fit in (elsarec, closed_form)]
        print(f"{factors:7}{''.join(measured)}", flush=True)


def elsarec(split: Split, factors: int) -> str:
    torch.manual_seed(0)
    random.seed(0)
    started = time.perf_counter()
    model = ELSA(split.train.shape[1], factors, device=torch.device("cpu"), lr=LR)
    model.fit(sparse.csr_matrix(split.train), batch_size=BATCH, epochs=EPOCHS, shuffle=True, verbose=False)
    seconds = time.perf_counter() - started
    vectors = torch.nn.functional.normalize(next(model.parameters()).detach()).numpy()
    return result(elsa_core.Elsa(vectors, [], 0), split, seconds)


def closed_form(split: Split, factors: int) -> str:
    config = elsa_core.TrainConfig(
        factors=factors, batch_size=BATCH, lr=LR, n_epochs=EPOCHS, device="cpu", strategy="default"
    )
    started = time.perf_counter()
    model = elsa_core.fit(split.train, config)
    return result(model, split, time.perf_counter() - started)


def result(model: elsa_core.Elsa, split: Split, seconds: float) -> str:
    items, _ = model.recommend(split.test[0], 100)
    ndcg = np.mean(elsa_core.evaluate(items, split.test[1], [100])["ndcg@100"])
    return f"{ndcg:10.4f}{seconds:8.1f}"


if __name__ == "__main__":
    main()
