"""Who has which buffers, and which clients are gone.

PYNQ.remote has no sessions. A client is known by the names of its buffers, which are tokens: where
one is used from another connection, the client has come back by that one, with all of its buffers.
An address alone says nothing, for another client may have the same port later.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_Place = tuple[_Ip, int]


@dataclass(eq=False)
class Client:
    """One who has buffers.

    Attributes:
        peer: where it has called from last, as gRPC says it: ``ipv4:127.0.0.1:40000``.
        connection: that one, by a number that no other has; None if it was gone at once.
    """

    peer: str
    connection: int | None


class Clients:
    """The clients of a server in this process. May be used by several threads.

    Attributes:
        port: that the server listens on.
    """

    port: int

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: dict[str, Client] = {}

    def of(self, peer: str) -> Client:
        """The client that calls from there; a new one if that is a new connection."""
        connections = self._connections()
        with self._lock:
            self._at = {p: c for p, c in self._at.items() if _is_among(c, connections)}
            if peer not in self._at:
                self._at[peer] = Client(peer, connections.get(_place(peer)))
            return self._at[peer]

    def has_come(self, client: Client, peer: str) -> None:
        """A client has named one of its buffers, from there."""
        if client.peer == peer:
            return
        connection = self._connections().get(_place(peer))
        with self._lock:
            if self._at.get(client.peer) is client:
                del self._at[client.peer]
            client.peer, client.connection = peer, connection
            self._at[peer] = client

    def gone(self, clients: Iterable[Client]) -> list[Client]:
        """Those of some clients that are not connected any more."""
        connections = self._connections()
        return [client for client in clients if not _is_among(client, connections)]

    def _connections(self) -> dict[_Place, int]:
        """What is connected to the server: the inode of its socket by the other end's address."""
        found = {}
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # it has been closed since, or is no connection
                status = os.fstat(int(name))
                if stat.S_ISSOCK(status.st_mode):
                    other = socket.socket(fileno=int(name))
                    try:
                        if other.getsockname()[1:2] == (self.port,):
                            host, port = other.getpeername()[:2]
                            found[_plain(host), port] = status.st_ino
                    finally:
                        other.detach()
        return found


def _is_among(client: Client, connections: dict[_Place, int]) -> bool:
    connection = connections.get(_place(client.peer))
    return connection is not None and connection == client.connection


def _place(peer: str) -> _Place:
    """Of gRPC: ipv4:127.0.0.1:40000, or ipv6:%5B::1%5D:40000."""
    address, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return _plain(address.strip("[]")), int(port)


def _plain(text: str) -> _Ip:
    """An address without its scope; one of IPv4 as such, also where a socket of IPv6 has it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
