"""Interactions that a model of four factors learns in a moment."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elsa_core import TrainConfig

config = TrainConfig(factors=4, batch_size=32, n_epochs=4, device="cpu", strategy="default", k=5)


def random_interactions(n_users: int = 200, n_items: int = 30, seed: int = 0) -> sparse.csr_array:
    """Weighted, at least two interactions a user; neighbouring items go together."""
    rng = np.random.default_rng(seed)
    distance = np.abs(rng.uniform(0, n_items, (n_users, 1)) - np.arange(n_items))
    is_liked = rng.random((n_users, n_items)) < 0.8 * np.exp(-((distance / 4) ** 2))
    is_liked[:, :2] |= is_liked.sum(axis=1, keepdims=True) < 2
    return sparse.csr_array(is_liked * rng.uniform(0.5, 2, is_liked.shape).astype(np.float32))


def validation_users() -> tuple[sparse.csr_array, sparse.csr_array]:
    X = random_interactions(60, seed=1).toarray()
    is_target = np.cumsum(X > 0, axis=1) % 2 == 0
    return sparse.csr_array(X * ~is_target), sparse.csr_array(X * is_target)


class LargestTensor(TorchDispatchMode):
    """Records how many elements the largest dense tensor has that any operation takes or returns."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        dense = [tensor for tensor in tensors if tensor.layout == torch.strided]
        self.numel = max([self.numel, *(tensor.numel() for tensor in dense)])
        return out
