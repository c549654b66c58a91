"""ELSA, the scalable linear shallow autoencoder for implicit feedback, and its evaluation, as a library.

Vančura, Alves, Kasalický, Kordík: Scalable Linear Shallow Autoencoder for Collaborative Filtering, RecSys 2022.
"""

from elsa_core.bootstrap import relative_lift, simultaneous_changes
from elsa_core.device import DeviceError, resolve_device
from elsa_core.diversity import Capped, capped
from elsa_core.ease import Ease, EaseError, ease_gigabytes, fit_ease
from elsa_core.elsa import Elsa
from elsa_core.linear import LinearModel, Recommender
from elsa_core.metrics import Validation, evaluate
from elsa_core.popularity import Popularity
from elsa_core.residual import ResidualConfig, fit_residual
from elsa_core.ridge import ResidualError
from elsa_core.saved import load
from elsa_core.train import fit
from elsa_core.train_config import Epoch, TrainConfig, TrainingError

__all__ = [
    "Capped",
    "DeviceError",
    "Ease",
    "EaseError",
    "Elsa",
    "Epoch",
    "LinearModel",
    "Popularity",
    "Recommender",
    "ResidualConfig",
    "ResidualError",
    "TrainConfig",
    "TrainingError",
    "Validation",
    "capped",
    "ease_gigabytes",
    "evaluate",
    "fit",
    "fit_ease",
    "fit_residual",
    "load",
    "relative_lift",
    "resolve_device",
    "simultaneous_changes",
]
