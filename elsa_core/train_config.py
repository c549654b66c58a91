"""How to train, what an epoch brings, and what cannot be trained on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from elsa_core.linear import LinearModel
from elsa_core.metrics import Validation


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    factors     length r of an item's vector, 1 to n_items
    batch_size  users per training step
    n_epochs    passes over the users; the learning rate falls linearly to 0 over them
    lr          learning rate of Adam at the start
    device      auto | cpu | cuda[:n] | mps
    strategy    'default' runs n_epochs; 'early_stopping' watches nDCG@k on the validation users
    patience    epochs without a better nDCG@k before early stopping stops
    k           cut-off of that nDCG
    seed        of the start and of the order of users; two CPU runs with one seed are bitwise equal
    """

    factors: int = 64
    batch_size: int = 512
    n_epochs: int = 20
    lr: float = 0.1
    device: str = "auto"
    strategy: Literal["default", "early_stopping"] = "early_stopping"
    patience: int = 3
    k: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """One pass over the users; epoch 0 is the start, before any step, and has no loss."""

    epoch: int
    loss: float | None
    ndcg: float | None
    seconds: float
    users_per_second: float | None


class TrainingError(ValueError):
    """The data or the settings cannot be trained on, or the loss exploded. The message says what to change."""


def check_trainable(
    X: sparse.csr_array,
    config: TrainConfig,
    validation: Validation | None,
    epochs: int | None,
    earlier: LinearModel | None,
) -> None:
    """Raises TrainingError where X (users with two interactions, items) or the settings cannot be trained on."""
    if X.nnz and not (np.isfinite(X.data).all() and X.data.min() >= 0):
        raise TrainingError("X holds a negative weight, an infinity or a NaN; interactions must be non-negative")
    if X.shape[0] == 0:
        raise TrainingError("no user has two interactions or more: there is nothing to train on")
    if not 1 <= config.factors <= X.shape[1]:
        raise TrainingError(
            f"factors is {config.factors}, but there are {X.shape[1]} items: it must lie between 1 and that"
        )
    if config.batch_size < 1 or config.n_epochs < 1:
        raise TrainingError(
            f"batch_size is {config.batch_size} and n_epochs {config.n_epochs}: both must be 1 or more"
        )
    if epochs is not None and not 0 <= epochs <= config.n_epochs:
        raise TrainingError(f"epochs is {epochs}, but the learning rate is planned for n_epochs={config.n_epochs}")
    if earlier is not None and earlier.item_embeddings.shape != (expected := (X.shape[1], config.factors)):
        raise TrainingError(
            f"the earlier model is of {earlier.item_embeddings.shape} items and factors, not {expected}"
        )
    if validation is not None and validation[0].shape[0] == 0:
        raise TrainingError("validation holds no users")
    if config.strategy == "early_stopping" and validation is None:
        raise TrainingError(
            "strategy 'early_stopping' needs validation users; pass validation=(fold_in, targets) "
            "or use strategy 'default'"
        )
