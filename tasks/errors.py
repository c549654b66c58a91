"""What a person can put right: each is shown as one message, without a traceback, and has its own exit code."""


class InputError(ValueError):
    """The configuration or the data cannot be used as they are. The message says where and what to do."""

    exit_code = 2


class ValidationFailed(InputError):
    """A blocking expectation about the events does not hold; nothing was trained or published."""

    exit_code = 4


class WarehouseBusy(InputError):
    """Another run is writing to the warehouse."""

    exit_code = 5


class RunUnderWay(WarehouseBusy):
    """Another run has the warehouse's lock."""
