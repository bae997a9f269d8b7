"""Boards on the network: their addresses, and their failures as exceptions of `host.errors`.

The client itself is `host.remote_device`, which needs pynq and gRPC; this module needs neither.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from host.errors import (
    BoardAddressError,
    BoardConnectionError,
    BoardError,
    BoardTimeoutError,
)

DEFAULT_PORT = 7967
BITFILES = ("cmamba.bit", "build/bitstream/cmamba.bit", "build/overlay/cmamba.bit")
# Of a connection, and of each call that finds out what the board is.
CONNECT_SECONDS = 5.0
# Of a later call. Buffers move in calls of up to 16 MiB.
CALL_SECONDS = 60.0


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of IP, IP:PORT, NAME, NAME:PORT, or of an IPv6 address: ::1, [::1]:PORT.

    Raises:
        BoardAddressError: not an address.
    """
    host, port = text, str(DEFAULT_PORT)
    if bracketed := re.fullmatch(r"\[(.*)\](?::(.*))?", text):
        host, port = bracketed[1], port if bracketed[2] is None else bracketed[2]
        known = _is_ipv6(host)
    elif not (known := _is_ipv6(text)):
        if ":" in text:
            host, _, port = text.rpartition(":")
        known = re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?", host)
    if not known or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        raise BoardAddressError(
            f"board: found {text!r}, expected IP or IP:PORT (IPv6: [IP]:PORT), or a name for the IP"
        )
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def connect(address: str) -> Any:
    """The board at IP or IP:PORT, as a pynq device.

    Raises:
        BoardAddressError: not an address; a ValueError as well.
        BoardConnectionError: nothing answers there, or it is no board.
    """
    return _connect(*parse_address(address))


def connect_listed() -> Any:
    """The first board that PYNQ_REMOTE_DEVICES names; None where it names none.

    Raises:
        As `connect`.
    """
    listed = [part.strip() for part in os.environ.get("PYNQ_REMOTE_DEVICES", "").split(",")]
    first = next(filter(None, listed), None)
    if first is None:
        return None
    try:
        return connect(first)
    except BoardConnectionError as error:
        raise type(error)(f"PYNQ_REMOTE_DEVICES: {error}") from error


def _connect(host: str, port: int) -> Any:
    import grpc

    from host.remote_device import BoardDevice

    try:
        return BoardDevice(host, port, connect_seconds=CONNECT_SECONDS, call_seconds=CALL_SECONDS)
    except RuntimeError as error:
        raise BoardConnectionError(f"no board at {_where(host, port)}: {error}") from error
    except grpc.RpcError as error:
        raise BoardConnectionError(
            f"no board answers at {_where(host, port)}: {_cause(error, CONNECT_SECONDS)}"
        ) from error


def _where(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# What gRPC says of a connection that does not come about, and what that means.
_MEANINGS = {
    "Failed parsing HTTP/2": "what listens there does not speak gRPC",
    "Trying to connect an http1.x server": "what listens there is a web server",
    "before receiving SETTINGS frame": "it takes the connection and says nothing",
    "tcp handshaker shutdown": "the connection is not taken: a wrong address, or a firewall",
    "errors resolving": "no such name",
}


def _cause(error: Any, seconds: float) -> str:
    """Of a `grpc.RpcError`, in a line."""
    code, details = error.code().name, " ".join(str(error.details()).split())
    if code == "DEADLINE_EXCEEDED":
        return f"no answer for {seconds:g} s"
    if code == "UNIMPLEMENTED":
        return (
            f"what answers there is no PYNQ.remote server, or one of another version than this "
            f"pynq: {details}"
        )
    details = details.rpartition("last error: ")[2]
    meanings = [meaning for phrase, meaning in _MEANINGS.items() if phrase in details]
    return f"{meanings[-1]} ({details})" if meanings else f"{code}: {details}"


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


def with_deadlines(device: Any) -> Any:
    """`device`, or where it is pynq's own client another one of the same board, whose calls end.

    Raises:
        BoardConnectionError: nothing answers there, or it is no board.
    """
    if not device.has_capability("REMOTE"):
        return device
    from host.remote_device import BoardDevice

    return device if isinstance(device, BoardDevice) else _connect(device.ip_addr, device.port)


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
    where = f"the board at {_where(device.ip_addr, device.port)}"
    code = error.code()
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return BoardTimeoutError(f"{where} has not answered for {device.call_seconds:g} s")
    if code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED):
        return BoardError(f"{where} refuses: {error.details()}")
    return BoardConnectionError(f"{where}: {_cause(error, device.call_seconds)}")
