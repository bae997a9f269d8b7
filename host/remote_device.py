"""pynq's client of a board on the network, as the driver needs it. Imports pynq and gRPC.

It differs from `pynq.pl_server.remote_device.RemoteDevice` in three ways:

1. Its channel gives every call a deadline, those that find out what the board is included. pynq's
   client waits for an answer for ever.
2. The .hwh beside the bitstream counts. pynq keeps what it has parsed under the content of the .bit
   alone, in its own package, and takes that from then on.
3. A download uploads the bitstream. pynq's client leaves a firmware file of its name that is on the
   board as it is, so that the board would be programmed with an older one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from pynq.pl_server.device import Device
from pynq.pl_server.embedded_device import CacheMetadataError
from pynq.pl_server.remote_device import (
    FIRMWARE,
    RemoteBitfileHandler,
    RemoteBuffer,
    RemoteDevice,
)
from pynq.remote import buffer_pb2_grpc, mmio_pb2_grpc, remote_device_pb2_grpc

RemoteBuffer.device = None  # as PynqBuffer in `host.device`: for numpy 2

_STUBS = {
    "device": remote_device_pb2_grpc.RemoteDeviceStub,
    "mmio": mmio_pb2_grpc.MmioStub,
    "buffer": buffer_pb2_grpc.RemoteBufferStub,
}
with suppress(ImportError):  # pynq 3.1 has no GPIO over the network
    from pynq.remote import gpio_pb2_grpc

    _STUBS["gpio"] = gpio_pb2_grpc.GpioStub


class _Details(grpc.ClientCallDetails):
    """Those of a call, with another deadline."""

    def __init__(self, details: grpc.ClientCallDetails, timeout: float) -> None:
        self.method, self.metadata, self.timeout = details.method, details.metadata, timeout
        self.credentials, self.wait_for_ready = details.credentials, details.wait_for_ready
        self.compression = details.compression


class _Deadline(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Ends every call after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def _intercept(self, call: Any, details: grpc.ClientCallDetails, request: Any) -> Any:
        return call(_Details(details, self.seconds), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _intercept


class _Client:
    """In the place of pynq's GrpcChannel, which has no interceptor."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel


class _BitfileHandler(RemoteBitfileHandler):
    def _get_cache(self) -> Any:
        raise CacheMetadataError("the .hwh beside the bitstream counts")


class BoardDevice(RemoteDevice):
    """A board on the network.

    Args:
        host: name or IP.
        port: of its server.
        connect_seconds: deadline of a connection, and of each call made here.
        call_seconds: deadline of each later call.

    Raises:
        grpc.RpcError: nothing answers there, or not as a board does.
        RuntimeError: it answers, but is no board.
    """

    def __init__(
        self, host: str, port: int, *, connect_seconds: float, call_seconds: float
    ) -> None:
        # Not that of RemoteDevice, whose first calls would be on a channel of its own.
        Device.__init__(self, f"{host}:{port}")
        self.ip_addr, self.port = host, port
        deadline = _Deadline(connect_seconds)
        address = f"[{host}]" if ":" in host else host
        channel = grpc.insecure_channel(
            f"dns:///{address.replace('%', '%25')}:{port}",
            options=(
                # Also how long a connection may take to be made: less than the call that waits for
                # it, which then ends with the cause.
                ("grpc.min_reconnect_backoff_ms", int(800 * connect_seconds)),
                ("grpc.enable_http_proxy", 0),  # it is for the web, a board is in the same network
            ),
        )
        self.client = _Client(grpc.intercept_channel(channel, deadline))
        self._stub = {name: stub(self.client.channel) for name, stub in _STUBS.items()}
        try:
            if not self.exists_file("/proc/version").exists:  # pynq fails to say so
                raise RuntimeError("its server knows no /proc/version")
            self.arch = self.get_arch()
            self.name = self.get_board_name()
        except UnicodeDecodeError as error:
            channel.close()
            raise RuntimeError(
                f"its server describes a board by what is no text: {error}"
            ) from None
        except BaseException:
            channel.close()
            raise
        self.capabilities = {"REMOTE": True}
        deadline.seconds = self.call_seconds = call_seconds

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        return _BitfileHandler(bitfile_name).get_parser(partial=partial)

    def gen_cache(self, bitstream: Any, parser: Any = None) -> None:
        """Nothing: what pynq keeps in its package would be read by nobody."""

    def download(self, bitstream: Any, parser: Any = None) -> None:
        if not bitstream.partial:
            name = f"{Path(bitstream.bitfile_name).stem}.bin"
            self.write_file(FIRMWARE + name, parser.bin_data)
        super().download(bitstream, parser)
