"""The training loop: start, epochs, early stopping."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from scipy import sparse

from elsa_core.closed_form import cosine_loss
from elsa_core.device import resolve_device
from elsa_core.evaluate import evaluate
from elsa_core.model import Model
from elsa_core.start import spectral_start, unit_rows

START_LENGTH = 10.0  # of the rows of W: with it, lr = 0.1 turns a row by about 0.01 a step
SCORING_ROWS = 8192  # validation users ranked at a time


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    factors     length r of an item's vector, 1 to n_items
    batch_size  users per training step
    n_epochs    passes over the users; the learning rate falls linearly to 0 over them
    lr          learning rate of NAdam at the start
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
    on_epoch: Callable[[Epoch], None] = ignore,
) -> Model:
    """Trains ELSA on X (users, items), non-negative; users with fewer than two interactions carry no gradient.

    validation  (fold_in, targets), both (validation users, items); early stopping needs it
    epochs      stop after so many of the n_epochs (to repeat what early stopping found, on the same schedule)
    on_epoch    called after each epoch, for progress

    Raises TrainingError for data or settings that cannot be trained on, and when the loss explodes.
    """
    X = _trainable_rows(X)
    _check(X, config, validation, epochs)
    device = resolve_device(config.device)
    started = time.perf_counter()
    W = torch.from_numpy(START_LENGTH * spectral_start(X, config.factors, config.seed)).to(device)
    steps = _Steps(_unit_rows(X), W, config)
    history, best = [], _Best(patience=config.patience)
    for epoch in range((config.n_epochs if epochs is None else epochs) + 1):
        loss = steps.run_epoch(epoch) if epoch else None
        seconds = time.perf_counter() - started
        A = unit_rows(W.detach().cpu().numpy())
        ndcg = (
            None if validation is None else _validation_ndcg(Model(A, [], epoch, config.device), validation, config.k)
        )
        history.append(Epoch(epoch, loss, ndcg, seconds, X.shape[0] / seconds if epoch else None))
        on_epoch(history[-1])
        best.see(history[-1], A)
        if config.strategy == "early_stopping" and best.is_out_of_patience(epoch):
            break
        started = time.perf_counter()
    if config.strategy == "early_stopping" and validation is not None:
        A, epoch = best.item_embeddings, best.epoch
    return Model(A, [asdict(entry) for entry in history], epoch, config.device)


class _Steps:
    """The optimiser's state over all epochs: NAdam, the falling learning rate, the order of users."""

    def __init__(self, X: sparse.csr_array, W: torch.Tensor, config: TrainConfig):
        self.X, self.W, self.config = X, W, config
        self.optimizer = torch.optim.NAdam([W], lr=config.lr)
        self.rng = np.random.default_rng(config.seed)
        self.per_epoch = -(-X.shape[0] // config.batch_size)

    def run_epoch(self, epoch: int) -> float:
        """Mean loss over the users of one pass."""
        order = self.rng.permutation(self.X.shape[0])
        total = torch.zeros((), device=self.W.device)
        for step in range(self.per_epoch):
            users = order[step * self.config.batch_size : (step + 1) * self.config.batch_size]
            done = (epoch - 1) * self.per_epoch + step
            self.optimizer.param_groups[0]["lr"] = self.config.lr * (
                1 - done / (self.config.n_epochs * self.per_epoch)
            )
            total += self.step(users) * len(users)
        loss = total.item() / len(order)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {epoch} at lr={self.config.lr}; the likely cause is a learning "
                f"rate that is too high: try lr={self.config.lr / 10:g}"
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


@dataclass
class _Best:
    """The weights with the highest validation nDCG so far."""

    patience: int
    ndcg: float = -np.inf
    epoch: int = 0
    item_embeddings: np.ndarray | None = None

    def see(self, epoch: Epoch, item_embeddings: np.ndarray) -> None:
        if epoch.ndcg is not None and epoch.ndcg > self.ndcg:
            self.ndcg, self.epoch, self.item_embeddings = epoch.ndcg, epoch.epoch, item_embeddings

    def is_out_of_patience(self, epoch: int) -> bool:
        return self.item_embeddings is not None and epoch - self.epoch >= self.patience


def _validation_ndcg(model: Model, validation: tuple[sparse.csr_array, sparse.csr_array], k: int) -> float:
    fold_in, targets = validation
    items = np.concatenate(
        [
            model.recommend(fold_in[first : first + SCORING_ROWS], k)[0]
            for first in range(0, fold_in.shape[0], SCORING_ROWS)
        ]
    )
    return float(evaluate(items, targets, [k])[f"ndcg@{k}"].mean())


def _trainable_rows(X: sparse.csr_array) -> sparse.csr_array:
    """The rows with at least two interactions, of a copy without stored zeros or repeated pairs."""
    X = sparse.csr_array(X, copy=True)
    X.sum_duplicates()
    X.eliminate_zeros()
    return X[np.diff(X.indptr) >= 2]


def _unit_rows(X: sparse.csr_array) -> sparse.csr_array:
    """X with rows of length 1, in float32; lengths in float64, so that no weight is too large or too small for it."""
    X = X.astype(np.float64)
    largest = np.repeat(X.max(axis=1).toarray(), np.diff(X.indptr))
    X.data /= largest
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)))
    X.data /= np.repeat(lengths, np.diff(X.indptr))
    return X.astype(np.float32)


def _check(X: sparse.csr_array, config: TrainConfig, validation: tuple | None, epochs: int | None) -> None:
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
    if validation is not None and validation[0].shape[0] == 0:
        raise TrainingError("validation holds no users")
    if config.strategy == "early_stopping" and validation is None:
        raise TrainingError(
            "strategy 'early_stopping' needs validation users; pass validation=(fold_in, targets) "
            "or use strategy 'default'"
        )
