"""A night that starts from an earlier night's model beside one that starts from the spectrum.

mtg-decklists up to two dates; the second night's model is fitted both ways, with early stopping, and ranks the same
validation users. `python benchmarks/warm_start.py`
"""

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import torch._dynamo  # noqa: F401  what any torch optimiser imports on first use

import elsa_core
from datasets import as_matrix, hide, mtg_pairs

TONIGHT = datetime(2026, 8, 1)
EARLIER = {"a week": datetime(2026, 7, 25), "a month": datetime(2026, 7, 1), "14 months": datetime(2025, 6, 1)}
CONFIG = elsa_core.TrainConfig(device="cpu")


def main() -> None:
    for factors in (64, 256):
        config = replace(CONFIG, factors=factors)
        items, X, validation = night(TONIGHT)
        show(f"{factors} factors, spectrum", elsa_core.fit(X, config, validation))
        for ago, date in EARLIER.items():
            their_items, theirs, their_validation = night(date)
            found = np.searchsorted(items, their_items).clip(max=len(items) - 1)
            positions = np.where(items[found] == their_items, found, -1)
            earlier = elsa_core.fit(theirs, config, their_validation).reindex(positions, len(items))
            n_new = len(items) - (positions >= 0).sum()
            show(
                f"{factors} factors, {ago} ago, {n_new} new items",
                elsa_core.fit(X, config, validation, earlier=earlier),
            )


def night(date: datetime) -> tuple[np.ndarray, object, tuple]:
    """(item ids, training matrix, validation users) until then; the same users are held out every night."""
    pairs = mtg_pairs(date)
    held_out = pairs["user_id"].hash(seed=0) % 20 == 0
    known = pairs.filter(~held_out)
    items = known["item_id"].unique().sort()
    theirs = pairs.filter(held_out, pl.col("item_id").is_in(items.implode()))
    shown_and_hidden = hide(as_matrix(theirs, items), np.random.default_rng(0))
    return items.to_numpy(), as_matrix(known, items), shown_and_hidden


def show(name: str, model: elsa_core.Elsa) -> None:
    curve = " ".join(f"{entry['ndcg']:.4f}" for entry in model.history)
    best, seconds = model.history[model.best_epoch]["ndcg"], sum(entry["seconds"] for entry in model.history)
    print(f"{name:<44} best {best:.4f}, {seconds:5.1f} s in {len(model.history) - 1} epochs: {curve}", flush=True)


if __name__ == "__main__":
    main()
