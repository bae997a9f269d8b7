"""A board on the network."""

from __future__ import annotations

import errno
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
from pynq.remote import buffer_pb2_grpc, mmio_pb2_grpc, remote_device_pb2_grpc

from host.virtual_board import services
from host.virtual_board.board import DEFAULT_MEMORY_BYTES, Board
from host.virtual_board.calls import Calls, Limits, WatchedCalls
from host.virtual_board.clients import Clients

DEFAULT_PORT = 7967
# One call occupies one worker, also while it waits to be let in. Streams may not occupy all.
MAX_SINGLE = 8
MAX_STREAMS = 8
WORKERS = 2 * (MAX_SINGLE + MAX_STREAMS)
MAX_CONNECTIONS = 128
CONNECTION_IDLE_SECONDS = 600.0
OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port in use is an error
    ("grpc.max_receive_message_length", 4 << 20),
    # A message of 4 MiB may unpack to 4 GiB, and is unpacked before anything looks at it.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.per_message_decompression", 0),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.http2.bdp_probe", 0),  # it would let a client have more in flight
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.max_connection_idle_ms", int(1000 * CONNECTION_IDLE_SECONDS)),
)


def _check_free(host: str, port: int) -> None:
    """Raises OSError if the address cannot be listened on. gRPC would tell its log why, not us."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno in errno.errorcode else error
        raise OSError(f"cannot listen on {host}:{port}: {reason}") from None
    except OverflowError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error}") from None


class VirtualBoard(Board):
    """A virtual ZCU102 that PYNQ.remote clients can use, as a context manager.

    Args:
        build: which build of the accelerator is in the PL.
        core: "rtl", or "hls" for the one that Vitis HLS makes.
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        memory_bytes: DDR that clients can allocate.
        high_addresses: small buffers lie where no master reaches them, as those of XRT 2.17 do.
        seed: of random stalls.
        limits: of the calls of clients.

    Attributes:
        address: the address listened on.
        port: the port listened on.

    Raises:
        ImportError: the build is not compiled.
        OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        build: str = "default",
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        core: str = "rtl",
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        high_addresses: bool = False,
        seed: int = 1,
        limits: Limits = Limits(),  # noqa: B008, it cannot be changed
    ) -> None:
        _check_free(host, port)
        super().__init__(
            build,
            core=core,
            memory_bytes=memory_bytes,
            high_addresses=high_addresses,
            seed=seed,
        )
        self.address = host
        clients = Clients()
        self._single = Calls(MAX_SINGLE, limits)
        self._streams = Calls(MAX_STREAMS, limits)
        self._server = grpc.server(
            ThreadPoolExecutor(WORKERS, thread_name_prefix="grpc"),
            interceptors=(WatchedCalls(self._single, self._streams),),
            options=OPTIONS,
            maximum_concurrent_rpcs=WORKERS,
        )
        remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server(
            services.RemoteDevice(self), self._server
        )
        mmio_pb2_grpc.add_MmioServicer_to_server(services.Mmio(self), self._server)
        buffer_pb2_grpc.add_RemoteBufferServicer_to_server(
            services.RemoteBuffer(self, clients), self._server
        )
        self.port = self._server.add_insecure_port(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        )
        clients.port = self.port
        self._server.start()

    def close(self) -> None:
        """Stop the server and the clock, within a second or so, whatever clients are doing."""
        self._server.stop(grace=0.2).wait(2)
        self._single.close()
        self._streams.close()
        super().close()

    def __enter__(self) -> VirtualBoard:
        return self

    def __exit__(self, *_) -> None:
        self.close()
