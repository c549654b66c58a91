"""Where the arithmetic runs.

Products on a GPU keep float32's full precision: TF32 and bf16 stay off until it is measured what they do to metrics.
"""

import torch


class DeviceError(ValueError):
    """A device was asked for that this machine does not have."""


def resolve_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:<n>` or `mps`; `auto` takes a GPU if there is one.

    Raises DeviceError where the named device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"device {name!r} is unknown; it must be auto, cpu, cuda, cuda:<n> or mps")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise DeviceError(
            f"device {name!r} was asked for, but torch {torch.__version__} sees {found} CUDA "
            "devices here; use 'auto' or 'cpu', or install a CUDA build of torch"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            f"device {name!r} was asked for, but torch {torch.__version__} sees no Apple GPU "
            "here; use 'auto' or 'cpu'"
        )
    return device
