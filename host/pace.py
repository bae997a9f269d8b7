"""How often a wait polls the board."""

from __future__ import annotations

import time

_FAST_SECONDS = 1e-3  # a forecast of a small model is over by then
_LONGEST_REST = 0.01


class Pace:
    """The rests of one wait.

    At first there are none. Later it rests as long as a poll takes, so as not to hold up a virtual
    board, or for a twentieth of the time so far, but not above 10 ms.

    Attributes:
        begin: of the wait, as `time.monotonic` counts.
    """

    def __init__(self) -> None:
        self.begin = self._polling = time.monotonic()

    def rest(self) -> float:
        """Called after a poll. Returns when that ended, as `time.monotonic` counts."""
        now = time.monotonic()
        if now - self.begin > _FAST_SECONDS:
            time.sleep(min(max(now - self._polling, 0.05 * (now - self.begin)), _LONGEST_REST))
        self._polling = time.monotonic()
        return now
