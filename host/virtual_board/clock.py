"""The thread in which the programmable logic lives."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from common.errors import CmambaError
from host.virtual_board.fabric import Fabric, FabricError

T = TypeVar("T")
_log = logging.getLogger(__name__)


class ClosedError(CmambaError, RuntimeError):
    """The board is being switched off."""


class Clock:
    """Runs the fabric while something moves in it, and what others want of it in between."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._jobs: deque[tuple[Callable[[], object], Future]] = deque()
        self._condition = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._main, name="clock", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises, called in the thread of the fabric.

        Raises:
            ClosedError: `close` has been called.
        """
        future: Future = Future()
        with self._condition:
            if self._closed:
                raise ClosedError("the board is being switched off")
            self._jobs.append((function, future))
            self._condition.notify()
        return future.result()

    def close(self) -> None:
        """Stop, within a step of the fabric."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _main(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._jobs or self._closed or self._fabric.moving)
                jobs, self._jobs = self._jobs, deque()
                closed = self._closed
            for function, future in jobs:
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)
            if closed:
                return
            if self._fabric.moving:
                try:
                    self._fabric.step()
                except FabricError as error:
                    _log.error("%s", error)
                except Exception:  # a defect of ours must not leave everybody waiting
                    self._fabric.moving = False
                    _log.exception("the clock has stopped")
