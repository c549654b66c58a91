"""Saved models back from disk."""

import json
from pathlib import Path

from elsa_core.ease import Ease
from elsa_core.elsa import Elsa
from elsa_core.linear import LinearModel

KINDS: dict[str, type[LinearModel]] = {"elsa": Elsa, "ease": Ease}


def load(path: Path | str, device: str = "cpu") -> LinearModel:
    """The model that `save` wrote into the folder `path`, to score on `device`."""
    path = Path(path)
    kind = json.loads((path / "model.json").read_text()).get("model", "elsa")
    return KINDS[kind].load(path, device)
