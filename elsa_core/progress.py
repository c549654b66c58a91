"""How a long computation tells where it is."""

from collections.abc import Callable

Progress = Callable[[str, float], None]  # takes the name of the step and the share of it that is done


def no_progress(step: str, share: float) -> None:
    pass
