"""What a stage tries again: only what may pass by itself."""

import errno
import os
from typing import Any

from tasks.errors import WarehouseBusy

PASSING = (errno.EIO, errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT)


def may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether the stage met with somebody who had the events open, or with a file system that did not answer.

    Libraries raise errors of their own then, in which the system's words stand.
    """
    try:
        state.result()
    except WarehouseBusy:
        return True
    except Exception as error:
        words = (os.strerror(code) for code in PASSING)
        return getattr(error, "errno", None) in PASSING or any(said in str(error) for said in words)
    return False


RETRIES = {"retries": 3, "retry_delay_seconds": [1, 5, 20], "retry_condition_fn": may_pass}
