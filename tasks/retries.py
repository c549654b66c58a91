"""What a stage tries again: only what may pass by itself."""

import errno
from typing import Any

from tasks.errors import WarehouseBusy

PASSING = (errno.EIO, errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT)


def may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether the stage met with somebody who had the events open, or with a file system that did not answer."""
    try:
        state.result()
    except WarehouseBusy:
        return True
    except OSError as error:
        return error.errno in PASSING
    except Exception:
        return False
    return False


RETRIES = {"retries": 3, "retry_delay_seconds": [1, 5, 20], "retry_condition_fn": may_pass}
