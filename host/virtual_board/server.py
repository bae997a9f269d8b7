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
from host.virtual_board.clients import Streams

DEFAULT_PORT = 7967
# One call occupies one worker. Streams, which depend on their client to come to an end, may not
# occupy all of them.
WORKERS = 16
MAX_STREAMS = 8
STREAM_IDLE_SECONDS = 20.0
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port in use is an error
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.server_handshake_timeout_ms", 5000),
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
        stream_idle_seconds: a client's stream in which nothing happens for so long is cancelled.

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
        stream_idle_seconds: float = STREAM_IDLE_SECONDS,
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
        self._streams = Streams(MAX_STREAMS, stream_idle_seconds)
        self._server = grpc.server(
            ThreadPoolExecutor(WORKERS, thread_name_prefix="grpc"),
            options=_OPTIONS,
            maximum_concurrent_rpcs=WORKERS,
        )
        remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server(
            services.RemoteDevice(self, self._streams), self._server
        )
        mmio_pb2_grpc.add_MmioServicer_to_server(services.Mmio(self), self._server)
        buffer_pb2_grpc.add_RemoteBufferServicer_to_server(
            services.RemoteBuffer(self, self._streams), self._server
        )
        self.port = self._server.add_insecure_port(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        )
        self._server.start()

    def close(self) -> None:
        """Stop the server and the clock, within a second or so, whatever clients are doing."""
        self._server.stop(grace=0.2).wait(2)
        self._streams.close()
        super().close()

    def __enter__(self) -> VirtualBoard:
        return self

    def __exit__(self, *_) -> None:
        self.close()
