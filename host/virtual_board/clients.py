"""Clients that are gone, or do not go on with what they have begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

_TCP_ESTABLISHED = 1


def connected_ports() -> set[int] | None:
    """The ports at the other ends of this machine's TCP connections; None if it is not Linux."""
    if not Path("/proc/net/tcp").exists():
        return None
    ports = set()
    for table in Path("/proc/net").glob("tcp*"):
        for line in table.read_text().splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            if int(state, 16) == _TCP_ESTABLISHED:
                ports.add(int(remote.rpartition(":")[2], 16))
    return ports


class Stream:
    """A stream of a client that a call works on."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context
        self._ended = threading.Event()
        if not context.add_callback(self._ended.set):
            self._ended.set()
        self.alive()

    def alive(self) -> None:
        """The client went on with it."""
        self.since = time.monotonic()

    def cancel(self) -> None:
        """End it from our side."""
        self._ended.set()
        self._context.cancel()

    def is_whole(self) -> bool:
        """Whether it is the client who said that there are no more messages.

        When the client is gone, gRPC also ends the messages, and says why a moment later.
        """
        return not self._ended.wait(0.05)


class Streams:
    """Keeps clients that open streams and do not go on with them from blocking the others.

    Args:
        limit: streams that may be open at once.
        idle_seconds: a stream in which nothing happens for so long is cancelled.
    """

    def __init__(self, limit: int, idle_seconds: float) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._condition = threading.Condition()
        self._open: set[Stream] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="streams", daemon=True)
        self._thread.start()

    @contextmanager
    def open(self, context: grpc.ServicerContext) -> Iterator[Stream]:
        """The stream of a call; aborts the call if there are too many."""
        stream = Stream(context)
        with self._condition:
            full = len(self._open) >= self._limit
            if not full:
                self._open.add(stream)
                self._condition.notify()
        if full:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {self._limit} streams at once"
            )
        try:
            yield stream
        finally:
            with self._condition:
                self._open.remove(stream)

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """End the thread that watches."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _watch(self) -> None:
        with self._condition:
            while not self._closed:
                overdue = time.monotonic() - self._idle_seconds
                for stream in self._open:
                    if stream.since < overdue:
                        stream.cancel()
                self._condition.wait(self._idle_seconds / 4 if self._open else None)
