"""The training loop: start, epochs, early stopping, checkpoints."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from elsa_core.checkpoint import State, fingerprint, load, save
from elsa_core.closed_form import cosine_loss
from elsa_core.device import resolve_device
from elsa_core.elsa import Elsa
from elsa_core.linear import LinearModel
from elsa_core.metrics import Validation, validation_ndcg
from elsa_core.sparse_product import trainable_rows
from elsa_core.start import spectral_start, unit_rows, warm_start
from elsa_core.train_config import Epoch, TrainConfig, TrainingError, check_trainable

# Adam moves an element of W by about lr, so this size of W's elements makes lr mean the same with 10 factors and with
# 1,000. What an earlier model learned is ten times as large, and turns ten times as slowly.
START_SIZE, WARM_START_SIZE = 0.6, 6.0


def ignore(epoch: Epoch) -> None:
    pass


def fit(
    X: sparse.csr_array,
    config: TrainConfig,
    validation: Validation | None = None,
    *,
    epochs: int | None = None,
    earlier: LinearModel | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] = ignore,
) -> Elsa:
    """Trains ELSA on X (users, items), non-negative; users with fewer than two interactions carry no gradient.

    validation  (fold_in, targets), both (validation users, items); early stopping needs it
    epochs      stop after so many of the n_epochs (to repeat what early stopping found, on the same schedule)
    earlier     a model over the same items to start from (see LinearModel.reindex), instead of the spectral start
    checkpoint  a file for the state after each epoch: a killed training goes on from it to the same result, and
                removes it at the end
    on_epoch    called after each epoch, for progress

    Raises TrainingError for data or settings that cannot be trained on, and when the loss explodes.
    """
    X = trainable_rows(X)
    check_trainable(X, config, validation, epochs, earlier)
    training = Training(X, config, validation, earlier)
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


class Training:
    """A training between two epochs: weights W, the optimiser, the history, and the best weights so far."""

    def __init__(
        self, X: sparse.csr_array, config: TrainConfig, validation: Validation | None, earlier: LinearModel | None
    ):
        started = time.perf_counter()
        self.config, self.validation = config, validation
        device = resolve_device(config.device)
        if earlier is None:
            start, size = spectral_start(X, config.factors, config.seed, device), START_SIZE
        else:
            A = torch.from_numpy(earlier.item_embeddings).to(device)
            start, size = warm_start(X, A, config.seed), WARM_START_SIZE
        self.W = size * config.factors**0.5 * start
        self.X = rows_of_length_one(X)
        self.optimizer = torch.optim.Adam([self.W], lr=config.lr, fused=True)
        self.per_epoch = -(-X.shape[0] // config.batch_size)
        self.history: list[Epoch] = []
        self.best_epoch, self.best_ndcg, self.best = 0, -math.inf, self.W
        self.start_seconds = time.perf_counter() - started

    def run_epoch(self, epoch: int) -> None:
        """One pass over the users (none in epoch 0), and its place in the history."""
        started = time.perf_counter()
        loss = self._pass_over_users(epoch) if epoch else None
        seconds = time.perf_counter() - started if epoch else self.start_seconds
        ndcg = None
        if self.validation is not None:
            ndcg = validation_ndcg(self._model_of(self.W), self.validation, self.config.k)
        self.history.append(Epoch(epoch, loss, ndcg, seconds, self.X.shape[0] / seconds if epoch else None))
        if ndcg is None or self.config.strategy == "default" or ndcg > self.best_ndcg:
            self.best_epoch, self.best_ndcg, self.best = epoch, -math.inf if ndcg is None else ndcg, self.W.clone()

    def is_out_of_patience(self) -> bool:
        is_stopping = self.config.strategy == "early_stopping"
        return is_stopping and len(self.history) - 1 - self.best_epoch >= self.config.patience

    def model(self) -> Elsa:
        """The model of the best epoch; with the strategy 'default', of the last."""
        return self._model_of(self.best)

    def state(self) -> State:
        """What `restore` needs to go on."""
        return {
            "W": self.W,
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(entry) for entry in self.history],
            "best": (self.best_epoch, self.best_ndcg, self.best),
        }

    def restore(self, state: State) -> None:
        self.W.copy_(state["W"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**entry) for entry in state["history"]]
        self.best_epoch, self.best_ndcg, best = state["best"]
        self.best = best.to(self.W.device)

    def _model_of(self, W: torch.Tensor) -> Elsa:
        history = [asdict(entry) for entry in self.history]
        return Elsa(unit_rows(W).cpu().numpy(), history, self.best_epoch, self.config.device)

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
        loss = float(total.item() / n_users)
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


def rows_of_length_one(X: sparse.csr_array) -> sparse.csr_array:
    """X with rows of length 1, in float32; lengths in float64, so that no weight is too large or too small for it."""
    X = X.astype(np.float64)
    largest = np.repeat(X.max(axis=1).toarray(), np.diff(X.indptr))
    X.data /= largest
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)))
    X.data /= np.repeat(lengths, np.diff(X.indptr))
    return X.astype(np.float32)
