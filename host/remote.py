"""Boards on the network: pynq's remote devices, with an end to every wait.

pynq's client waits for an answer for ever. Here every call has a deadline, and a board that is gone
or does not answer becomes an exception of `host.errors`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from host.errors import BoardConnectionError, BoardError, BoardTimeoutError

DEFAULT_PORT = 7967
BITFILES = ("cmamba.bit", "build/bitstream/cmamba.bit", "build/overlay/cmamba.bit")
# Of a call. Buffers move in calls of up to 16 MiB.
CALL_SECONDS = 60.0


def connect(address: str) -> Any:
    """The board at IP or IP:PORT, as a pynq device.

    Raises:
        ValueError: not an address.
        BoardConnectionError: nothing answers there, or it is no board.
    """
    import grpc
    from pynq.pl_server.remote_device import RemoteDevice

    host, colon, port = address.rpartition(":")
    if not colon:
        host, port = address, str(DEFAULT_PORT)
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"board: found {address!r}, expected IP or IP:PORT")
    try:
        return RemoteDevice(0, host, int(port), tag=f"{host}:{port}")
    except (RuntimeError, grpc.RpcError) as error:
        raise BoardConnectionError(f"no board answers at {host}:{port}: {error}") from error


def find_bitfile() -> str:
    """The bitstream in this folder, that of `make bitstream`, or that of the virtual board.

    Raises:
        FileNotFoundError: none is there.
    """
    for path in BITFILES:
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(
        f"found none of {', '.join(BITFILES)}; the last is the virtual board's, which `make board` "
        "writes"
    )


def add_deadlines(device: Any) -> None:
    """Let the calls to a remote device end after `CALL_SECONDS`. Other devices stay as they are."""
    if not device.has_capability("REMOTE") or hasattr(device, "_call_seconds"):
        return
    import grpc

    class Details(grpc.ClientCallDetails):
        def __init__(self, details: grpc.ClientCallDetails) -> None:
            self.method, self.metadata = details.method, details.metadata
            self.credentials, self.wait_for_ready = details.credentials, details.wait_for_ready
            self.compression = details.compression
            self.timeout = device._call_seconds if details.timeout is None else details.timeout

    class Deadline(
        grpc.UnaryUnaryClientInterceptor,
        grpc.UnaryStreamClientInterceptor,
        grpc.StreamUnaryClientInterceptor,
    ):
        def _intercept(self, call: Any, details: grpc.ClientCallDetails, request: Any) -> Any:
            return call(Details(details), request)

        intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _intercept

    device._call_seconds = CALL_SECONDS
    channel = grpc.intercept_channel(device.client.channel, Deadline())
    # Each stub is made anew, of its own class, on the channel with deadlines.
    device._stub = {name: type(stub)(channel) for name, stub in device._stub.items()}


@contextmanager
def connection_errors(device: Any) -> Iterator[None]:
    """What pynq and gRPC raise in here, as exceptions of `host.errors`."""
    try:
        yield
    except Exception as error:
        named = _named(error, device)
        if named is None:
            raise
        raise named from error


def _named(error: Exception, device: Any) -> BoardError | None:
    if type(error) is RuntimeError:  # pynq's only exception
        return BoardError(f"pynq reports: {error}")
    if not device.has_capability("REMOTE"):
        return None
    import grpc

    if not isinstance(error, grpc.RpcError):
        return None
    where = f"the board at {device.ip_addr}:{device.port}"
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return BoardTimeoutError(f"{where} has not answered for {CALL_SECONDS:g} s")
    return BoardConnectionError(f"{where}: {error.code().name}: {error.details()}")
