"""ELSA, the scalable linear shallow autoencoder for implicit feedback, and its evaluation, as a library.

Vančura, Alves, Kasalický, Kordík: Scalable Linear Shallow Autoencoder for Collaborative Filtering, RecSys 2022.
"""

from elsa_core.device import DeviceError, resolve_device
from elsa_core.diversity import Capped, capped
from elsa_core.ease import Ease, EaseError, ease_gigabytes, fit_ease
from elsa_core.evaluate import evaluate, relative_lift, simultaneous_changes
from elsa_core.load import load
from elsa_core.model import Model
from elsa_core.popularity import Popularity
from elsa_core.residual import ResidualConfig, ResidualError, fit_residual
from elsa_core.train import Epoch, TrainConfig, TrainingError, fit

__all__ = [
    "Capped",
    "DeviceError",
    "Ease",
    "EaseError",
    "Epoch",
    "Model",
    "Popularity",
    "ResidualConfig",
    "ResidualError",
    "TrainConfig",
    "TrainingError",
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
