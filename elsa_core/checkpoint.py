"""A training's state between two epochs, on disk, so that a killed training goes on where it was."""

import hashlib
import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from scipy import sparse

from elsa_core.train_config import TrainConfig

State = dict[str, Any]  # tensors, numbers, and lists and dictionaries of them


def fingerprint(
    matrices: list[sparse.csr_array], start: torch.Tensor, config: TrainConfig, epochs: int | None
) -> str:
    """Of everything that decides a training's result: another one's checkpoint is never taken up."""
    digest = hashlib.sha256(json.dumps([asdict(config), epochs, [X.shape for X in matrices]]).encode())
    digest.update(start.cpu().numpy().tobytes())
    for X in matrices:
        for part in (X.indptr, X.indices, X.data):
            digest.update(part.tobytes())
    return digest.hexdigest()


def save(path: Path, of: str, state: State) -> None:
    """Writes the state of the training with the fingerprint `of`; a reader sees the old file or the new one."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)  # a link there would be followed
    torch.save({"fingerprint": of, **state}, unfinished)
    unfinished.replace(path)


def load(path: Path, of: str) -> State | None:
    """The state that `save` wrote for the same fingerprint, or None; an unreadable file counts as none."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError):
        return None
    return state if state["fingerprint"] == of else None
