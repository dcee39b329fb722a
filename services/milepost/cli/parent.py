"""Ending a service with the `milepost up` that started it, however that came to its end."""

import os
import signal
import threading
import time
from typing import Final

# Set by `milepost up`: standard input is a pipe whose other end only it holds.
VARIABLE: Final = "MILEPOST_PARENT_PIPE"
# Its Kafka and Postgres end at the same moment: an orderly end may wait for them in vain.
_STOP_SECONDS: Final = 3


def follow() -> None:
    """Where a parent asked for it: stop when it is gone, be it by `kill -9`."""
    if os.environ.pop(VARIABLE, None):
        threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_SECONDS)
    os._exit(1)
