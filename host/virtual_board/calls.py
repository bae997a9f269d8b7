"""Calls of clients, and their ends where the client does not go on with what it has begun.

Every call is watched from its first byte, those of a single message included: a client may send the
headers of such a call and then nothing. What is counted is the time for which the board waits for
the client, never the time that the board itself takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

# Where all calls are taken, one that the board has waited for so long, at less than this rate,
# gives way to another one.
LINGERING_SECONDS = 0.25
LINGERING_RATE = 1 << 20
# How long a call waits for that.
ADMISSION_SECONDS = 1.0


class Limits(NamedTuple):
    """What a call may take.

    Attributes:
        idle_seconds: time in which nothing comes, or is taken.
        total_seconds: time from its begin to its end.
        bytes_per_second: the slowest rate at which a call goes on. A client may be behind it by
            `idle_seconds`.
    """

    idle_seconds: float = 20.0
    total_seconds: float = 120.0
    bytes_per_second: float = 64 << 10


class Call:
    """A call that the board works on, or waits for the client of."""

    def __init__(self, context: grpc.ServicerContext, limits: Limits) -> None:
        self._context = context
        self._limits = limits
        self._ended = threading.Event()
        if not context.add_callback(self._ended.set):
            self._ended.set()
        self._begin = time.monotonic()
        self._credit = limits.idle_seconds
        self._bytes = self._waited = 0.0
        self._waiting_since: float | None = self._begin

    def wait(self) -> None:
        """From now on the board waits for the client."""
        self._waiting_since = time.monotonic()

    def go_on(self, nbytes: int) -> None:
        """The client has sent, or taken, so much."""
        waited = self._waits(time.monotonic())
        earned = nbytes / self._limits.bytes_per_second
        self._credit = min(self._limits.idle_seconds, self._credit - waited + earned)
        self._waiting_since = None
        self._waited += waited
        self._bytes += nbytes

    def _waits(self, now: float) -> float:
        """For how long it has; 0 while the board is at work."""
        since = self._waiting_since
        return 0.0 if since is None else now - since

    def is_overdue(self, now: float) -> bool:
        """Whether it has used up what it may take."""
        too_long = now - self._begin > self._limits.total_seconds
        return too_long or self._waits(now) > self._credit

    def lingers(self, now: float) -> float:
        """By how many seconds it holds up others that wait to be let in; 0 if it does not."""
        waits = self._waits(now)
        due = LINGERING_SECONDS + self._bytes / LINGERING_RATE
        return max(0.0, self._waited + waits - due) if waits else 0.0

    def cancel(self) -> None:
        """End it from our side."""
        self._ended.set()
        self._context.cancel()

    def is_whole(self) -> bool:
        """Whether it is the client who said that there are no more messages.

        When the client is gone, gRPC also ends the messages, and says why a moment later.
        """
        return not self._ended.wait(0.05)


class Calls:
    """The calls of one kind that are served at once.

    Args:
        limit: how many.
        limits: of each.
    """

    def __init__(self, limit: int, limits: Limits) -> None:
        self._limit = limit
        self._limits = limits
        self._condition = threading.Condition()
        self._open: set[Call] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="calls", daemon=True)
        self._thread.start()

    def begin(self, context: grpc.ServicerContext) -> Call:
        """A call is let in, as soon as there is room; aborts it if there comes to be none."""
        call = None
        until = time.monotonic() + ADMISSION_SECONDS
        with self._condition:
            while not self._has_room() and (left := until - time.monotonic()) > 0:
                self._condition.wait(min(left, LINGERING_SECONDS / 4))
            if self._has_room():
                call = Call(context, self._limits)
                self._open.add(call)
        if call is None:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {self._limit} calls at once"
            )
        return call

    def _has_room(self) -> bool:
        if len(self._open) < self._limit:
            return True
        now = time.monotonic()
        slowest = max(self._open, key=lambda call: call.lingers(now))
        if not slowest.lingers(now):
            return False
        slowest.cancel()
        self._open.remove(slowest)
        return True

    def end(self, call: Call) -> None:
        """It has come to its end."""
        with self._condition:
            self._open.discard(call)
            self._condition.notify()

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """End the thread that watches."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(self._limits.idle_seconds / 8):
            now = time.monotonic()
            with self._condition:
                for call in self._open:
                    if call.is_overdue(now):
                        call.cancel()


class Messages(Iterator[Any]):
    """The messages of a call, decoded here.

    Where gRPC decodes, a message that is none leaves a call that never ends behind.
    """

    def __init__(
        self,
        messages: Iterator[bytes],
        decode: Callable[[bytes], Any],
        context: grpc.ServicerContext,
        call: Call,
    ) -> None:
        self._messages = messages
        self._decode = decode
        self._context = context
        self._call = call

    def __next__(self) -> Any:
        data = b""
        self._call.wait()
        try:
            data = next(self._messages)
        finally:
            self._call.go_on(len(data))
        try:
            return self._decode(data)
        except DecodeError:
            self._context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"{len(data)} bytes that are not the message"
            )

    def is_whole(self) -> bool:
        """Whether all that the client wanted to send has come (`Call.is_whole`)."""
        return self._call.is_whole()


class WatchedCalls(grpc.ServerInterceptor):
    """Lets calls of all methods in through `Calls`.

    Args:
        single: for methods of one message each way.
        streams: for those that have several.
    """

    def __init__(self, single: Calls, streams: Calls) -> None:
        self._single = single
        self._streams = streams

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        is_stream = handler.request_streaming or handler.response_streaming
        calls = self._streams if is_stream else self._single
        # On the wire a single message is a stream of one.
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                lambda messages, context: _stream(handler, calls, messages, context),
                response_serializer=handler.response_serializer,
            )
        return grpc.stream_unary_rpc_method_handler(
            lambda messages, context: _single(handler, calls, messages, context),
            response_serializer=handler.response_serializer,
        )


def _single(
    handler: grpc.RpcMethodHandler,
    calls: Calls,
    messages: Iterator[bytes],
    context: grpc.ServicerContext,
) -> Any:
    call = calls.begin(context)
    try:
        requests = Messages(messages, handler.request_deserializer, context, call)
        if handler.request_streaming:
            return handler.stream_unary(requests, context)
        return handler.unary_unary(_only(requests, context), context)
    finally:
        calls.end(call)


def _stream(
    handler: grpc.RpcMethodHandler,
    calls: Calls,
    messages: Iterator[bytes],
    context: grpc.ServicerContext,
) -> Iterator[Any]:
    call = calls.begin(context)
    try:
        requests = Messages(messages, handler.request_deserializer, context, call)
        for response in handler.unary_stream(_only(requests, context), context):
            call.wait()
            yield response
            call.go_on(response.ByteSize())
    finally:
        calls.end(call)


def _only(requests: Messages, context: grpc.ServicerContext) -> Any:
    for request in requests:
        return request
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a call without its message")
