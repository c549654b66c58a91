"""The training loop: start, epochs, early stopping, checkpoints."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy import sparse

from elsa_core.checkpoint import fingerprint, load, save
from elsa_core.closed_form import cosine_loss
from elsa_core.device import resolve_device
from elsa_core.evaluate import validation_ndcg
from elsa_core.model import Model
from elsa_core.sparse_product import trainable_rows
from elsa_core.start import spectral_start, unit_rows, warm_start

# Adam moves an element of W by about lr, so this size of W's elements makes lr mean the same with 10 factors and with
# 1,000. What an earlier model learned is ten times as large, and turns ten times as slowly.
START_SIZE, WARM_START_SIZE = 0.6, 6.0


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


def ignore(epoch: Epoch) -> None:
    pass


def fit(
    X: sparse.csr_array,
    config: TrainConfig,
    validation: tuple[sparse.csr_array, sparse.csr_array] | None = None,
    *,
    epochs: int | None = None,
    earlier: Model | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> Model:
    """Trains ELSA on X (users, items), non-negative; users with fewer than two interactions carry no gradient.

    validation  (fold_in, targets), both (validation users, items); early stopping needs it
    epochs      stop after so many of the n_epochs (to repeat what early stopping found, on the same schedule)
    earlier     a model over the same items to start from (see Model.reindex), instead of the spectral start
    checkpoint  a file for the state after each epoch: a killed training goes on from it to the same result, and
                removes it at the end
    on_epoch    called after each epoch, for progress

    Raises TrainingError for data or settings that cannot be trained on, and when the loss explodes.
    """
    X = trainable_rows(X)
    _check(X, config, validation, epochs, earlier)
    training = _Training(X, config, validation, earlier)
    key = "" if checkpoint is None else fingerprint([X, *(validation or ())], training.W, config, epochs)
    if checkpoint is not None and (state := load(checkpoint, key)) is not None:
        training.restore(state)
    for epoch in range(len(training.history), (config.n_epochs if epochs is None else epochs) + 1):
        if training.is_out_of_patience():
            break
        training.run_epoch(epoch)
        on_epoch(training.history[-1])
        if checkpoint is not None:
            save(checkpoint, key, training.state())
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return training.model()


class _Training:
    """A training between two epochs: weights W, the optimiser, the history, and the best weights so far."""

    def __init__(self, X: sparse.csr_array, config: TrainConfig, validation: tuple | None, earlier: Model | None):
        started = time.perf_counter()
        self.config, self.validation = config, validation
        device = resolve_device(config.device)
        if earlier is None:
            start, size = spectral_start(X, config.factors, config.seed, device), START_SIZE
        else:
            start, size = (
                warm_start(X, torch.from_numpy(earlier.item_embeddings).to(device), config.seed),
                WARM_START_SIZE,
            )
        self.W = size * config.factors**0.5 * start
        self.X = _rows_of_length_one(X)
        self.optimizer = torch.optim.Adam([self.W], lr=config.lr, fused=True)
        self.per_epoch = -(-X.shape[0] // config.batch_size)
        self.history: list[Epoch] = []
        self.best_epoch, self.best_ndcg, self.best = 0, -np.inf, self.W
        self.start_seconds = time.perf_counter() - started

    def run_epoch(self, epoch: int) -> None:
        """One pass over the users (none in epoch 0), and its place in the history."""
        started = time.perf_counter()
        loss = self._pass_over_users(epoch) if epoch else None
        seconds = time.perf_counter() - started if epoch else self.start_seconds
        ndcg = (
            None
            if self.validation is None
            else validation_ndcg(self._model_of(self.W), self.validation, self.config.k)
        )
        self.history.append(Epoch(epoch, loss, ndcg, seconds, self.X.shape[0] / seconds if epoch else None))
        if ndcg is None or self.config.strategy == "default" or ndcg > self.best_ndcg:
            self.best_epoch, self.best_ndcg, self.best = epoch, ndcg, self.W.clone()

    def is_out_of_patience(self) -> bool:
        is_stopping = self.config.strategy == "early_stopping"
        return is_stopping and len(self.history) - 1 - self.best_epoch >= self.config.patience

    def model(self) -> Model:
        """The model of the best epoch; with the strategy 'default', of the last."""
        return self._model_of(self.best)

    def state(self) -> dict:
        """What `restore` needs to go on."""
        return {
            "W": self.W,
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(entry) for entry in self.history],
            "best": (self.best_epoch, self.best_ndcg, self.best),
        }

    def restore(self, state: dict) -> None:
        self.W.copy_(state["W"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**entry) for entry in state["history"]]
        self.best_epoch, self.best_ndcg, best = state["best"]
        self.best = best.to(self.W.device)

    def _model_of(self, W: torch.Tensor) -> Model:
        history = [asdict(entry) for entry in self.history]
        return Model(unit_rows(W).cpu().numpy(), history, self.best_epoch, self.config.device)

    def _pass_over_users(self, epoch: int) -> float:
        """Mean loss over the users. Their order and the learning rate follow from the epoch alone."""
        config, n_users = self.config, self.X.shape[0]
        order = np.random.default_rng([config.seed, epoch]).permutation(n_users)
        total = torch.zeros((), device=self.W.device)
        for step in range(self.per_epoch):
            users = order[step * config.batch_size : (step + 1) * config.batch_size]
            done = ((epoch - 1) * self.per_epoch + step) / (config.n_epochs * self.per_epoch)
            self.optimizer.param_groups[0]["lr"] = config.lr * (1 - done)
            total += self.step(users) * len(users)
        loss = total.item() / n_users
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {epoch} at lr={config.lr}; the likely cause is a learning "
                f"rate that is too high: try lr={config.lr / 10:g}"
            )
        return loss

    def step(self, users: np.ndarray) -> torch.Tensor:
        """One gradient step on W. The loss sees its rows' directions A, so its gradient only turns rows."""
        lengths = self.W.norm(dim=1, keepdim=True).clamp_(min=torch.finfo(self.W.dtype).tiny)
        A = self.W / lengths
        loss, grad = cosine_loss(self.X[users], A)
        along = (grad * A).sum(dim=1, keepdim=True)
        self.W.grad = grad.addcmul_(along, A, value=-1).div_(lengths)
        self.optimizer.step()
        return loss


def _rows_of_length_one(X: sparse.csr_array) -> sparse.csr_array:
    """X with rows of length 1, in float32; lengths in float64, so that no weight is too large or too small for it."""
    X = X.astype(np.float64)
    largest = np.repeat(X.max(axis=1).toarray(), np.diff(X.indptr))
    X.data /= largest
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)))
    X.data /= np.repeat(lengths, np.diff(X.indptr))
    return X.astype(np.float32)


def _check(
    X: sparse.csr_array, config: TrainConfig, validation: tuple | None, epochs: int | None, earlier: Model | None
) -> None:
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
