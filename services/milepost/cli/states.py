"""States as commands take them."""

from typing import Literal

from milepost.client import State

# How an execution can end.
Ended = Literal[State.SUCCEEDED, State.FAILED, State.CANCELLED]
