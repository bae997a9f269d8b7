"""PYNQ.remote's gRPC services, answered by a `Board`.

Arguments and results are the messages of its .proto files. Errors that a reply has a `msg` for
become RuntimeError at the client, the others RpcError.
"""

from __future__ import annotations

import logging
import re
from contextlib import ExitStack

import grpc
from pynq.remote import (
    buffer_pb2,
    buffer_pb2_grpc,
    mmio_pb2,
    mmio_pb2_grpc,
    remote_device_pb2,
    remote_device_pb2_grpc,
)

from host.virtual_board.board import AddressError, Board
from host.virtual_board.calls import Messages
from host.virtual_board.clients import Clients
from host.virtual_board.clock import ClosedError
from host.virtual_board.dma import DmaUsageError
from host.virtual_board.fabric import FabricError
from host.virtual_board.files import (
    MAX_FILE_BYTES,
    SMALL_FILE_BYTES,
    FileRefusedError,
    TooManyFilesError,
)
from host.virtual_board.memory import Buffer, OutOfMemoryError
from host.virtual_board.overlay import NotOurOverlayError

CHUNK_BYTES = 2 << 20  # of a stream; gRPC's limit for a message is 4 MiB
_MMIO_ERRORS = (AddressError, DmaUsageError, FabricError, ClosedError)
_CODES = grpc.StatusCode
_log = logging.getLogger(__name__)


class RemoteDevice(remote_device_pb2_grpc.RemoteDeviceServicer):
    """Files and programming."""

    def __init__(self, board: Board) -> None:
        self._files = board.files

    def existsfile(self, request, context):
        return remote_device_pb2.ExistsFileResponse(exists=self._files.exists(request.file_path))

    def readfile(self, request, context):
        start = 0
        try:
            # Nothing but the part is kept for a client that takes its time.
            while part := self._files.read(request.file_path)[start : start + CHUNK_BYTES]:
                yield remote_device_pb2.ReadFileResponse(data=part)
                start += len(part)
        except FileNotFoundError as error:
            context.abort(_CODES.NOT_FOUND, str(error))

    def writefile(self, request_iterator, context):
        try:
            file = self._receive(request_iterator)
            if file is not None:
                self._files.write(*file)
        except FileRefusedError as error:
            context.abort(_CODES.PERMISSION_DENIED, str(error))
        except TooManyFilesError as error:
            context.abort(_CODES.RESOURCE_EXHAUSTED, str(error))
        except FileNotFoundError as error:
            context.abort(_CODES.NOT_FOUND, str(error))
        except (NotOurOverlayError, ClosedError) as error:
            context.abort(_CODES.FAILED_PRECONDITION, str(error))
        return remote_device_pb2.WriteFileResponse()

    def _receive(self, requests: Messages) -> tuple[str, bytes] | None:
        """Path and content of a file; None if it has not come to its end."""
        path, content = None, bytearray()
        with ExitStack() as stack:
            for request in requests:
                if path is None:
                    path = request.file_path
                    self._files.check_writable(path)
                if request.file_path != path:
                    raise FileRefusedError(f"{path} and {request.file_path[:99]!r} in one stream")
                is_small = len(content) <= SMALL_FILE_BYTES
                content += request.data
                if is_small and len(content) > SMALL_FILE_BYTES:
                    stack.enter_context(self._files.receive_large())
                if len(content) > MAX_FILE_BYTES:
                    raise FileRefusedError(f"{path}: more than {MAX_FILE_BYTES} bytes")
            return (path, bytes(content)) if path is not None and requests.is_whole() else None

    def _unsupported(self, request, context):
        context.abort(_CODES.UNIMPLEMENTED, "not used by pynq's client, and not supported")

    download = set_pl_clk = shutdown = _unsupported

    def set_bitstream_attrs(self, request, context):
        # As on a board, whose server only notes both: a firmware file of this name stays.
        return remote_device_pb2.SetBitstreamAttrsResponse()


class Mmio(mmio_pb2_grpc.MmioServicer):
    """Registers. The identifier of a mapping says all about it, so that none has to be kept."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def get_mmio(self, request, context):
        try:
            self._board.check_range(request.base_addr, request.length)
        except AddressError as error:
            return mmio_pb2.GetMmioResponse(msg=str(error))
        name = f"{request.base_addr:#x}:{request.length:#x}"
        return mmio_pb2.GetMmioResponse(status=True, mmio_id=name)

    def read(self, request, context):
        try:
            address = self._address(request.mmio_id, request.offset, 4)
            return mmio_pb2.ReadResponse(status=True, data=self._board.read(address))
        except _MMIO_ERRORS as error:
            return mmio_pb2.ReadResponse(msg=str(error))

    def write(self, request, context):
        data = request.data
        try:
            if not data or len(data) % 4:
                raise AddressError(f"{len(data)} bytes written, expected a multiple of 4")
            address = self._address(request.mmio_id, request.offset, len(data))
            for i in range(0, len(data), 4):
                self._board.write(address + i, int.from_bytes(data[i : i + 4], "little"))
            return mmio_pb2.WriteResponse(status=True)
        except _MMIO_ERRORS as error:
            return mmio_pb2.WriteResponse(msg=str(error))

    @staticmethod
    def _address(name: str, offset: int, size: int) -> int:
        match = re.fullmatch(r"0x([0-9a-f]{1,16}):0x([0-9a-f]{1,16})", name)
        if match is None:
            raise AddressError(f"{name[:40]!r} is not the identifier of a mapping")
        base, length = (int(group, 16) for group in match.groups())
        if offset % 4 or offset + size > length:
            raise AddressError(
                f"{size} bytes at offset {offset:#x} of a mapping of {length:#x} bytes at {base:#x}"
            )
        return base + offset


class RemoteBuffer(buffer_pb2_grpc.RemoteBufferServicer):
    """Contiguous memory. There are no caches: flush and invalidate have nothing to do."""

    def __init__(self, board: Board, clients: Clients) -> None:
        self._memory = board.memory
        self._clients = clients

    def allocate(self, request, context):
        client = self._clients.of(context.peer())
        try:
            try:
                buffer = self._memory.allocate(request.size, client)
            except OutOfMemoryError:
                self._free_abandoned()
                buffer = self._memory.allocate(request.size, client)
        except OutOfMemoryError as error:
            context.abort(_CODES.RESOURCE_EXHAUSTED, str(error))
        return buffer_pb2.AllocateResponse(buffer_id=buffer.name)

    def _free_abandoned(self) -> None:
        """Free the buffers of clients that are gone; they would stay for ever."""
        for client in self._clients.gone(self._memory.owners()):
            n = self._memory.free_all(client)
            _log.info("freed %d buffers of %s, which is not connected any more", n, client.peer)

    def _find(self, name: str, context: grpc.ServicerContext) -> Buffer:
        """The buffer that a client has named. Raises KeyError."""
        buffer = self._memory.find(name)
        if buffer.owner is not None:
            self._clients.has_come(buffer.owner, context.peer())
        return buffer

    def write(self, request_iterator, context):
        name, offset = None, 0
        for request in request_iterator:
            try:
                if name is None:
                    name = request.buffer_id
                    self._find(name, context)
                self._memory.write(name, offset, request.data)
            except KeyError:
                return buffer_pb2.BufferWriteResponse(msg=_gone(name))
            except ValueError as error:
                return buffer_pb2.BufferWriteResponse(msg=str(error))
            offset += len(request.data)
        return buffer_pb2.BufferWriteResponse()

    def read(self, request, context):
        offset = 0
        try:
            self._find(request.buffer_id, context)
            while part := self._memory.read(request.buffer_id, offset, CHUNK_BYTES):
                yield buffer_pb2.BufferReadResponse(data=part)
                offset += len(part)
        except KeyError:
            context.abort(_CODES.NOT_FOUND, _gone(request.buffer_id))

    def freebuffer(self, request, context):
        self._memory.free(request.buffer_id)
        return buffer_pb2.FreeBufferResponse()

    def flush(self, request, context):
        return buffer_pb2.FlushResponse(msg=self._missing(request.buffer_id, context))

    def invalidate(self, request, context):
        return buffer_pb2.InvalidateResponse(msg=self._missing(request.buffer_id, context))

    def physical_address(self, request, context):
        return self._address(request.buffer_id, context)

    def virtual_address(self, request, context):
        return self._address(request.buffer_id, context)

    def cacheable(self, request, context):
        msg = self._missing(request.buffer_id, context)
        return buffer_pb2.CacheableResponse(msg=msg, cacheable=not msg)

    def _address(self, name: str, context: grpc.ServicerContext) -> buffer_pb2.AddressResponse:
        try:
            return buffer_pb2.AddressResponse(address=self._find(name, context).address)
        except KeyError:
            return buffer_pb2.AddressResponse(msg=_gone(name))

    def _missing(self, name: str, context: grpc.ServicerContext) -> str:
        try:
            self._find(name, context)
        except KeyError:
            return _gone(name)
        return ""


def _gone(name: str) -> str:
    return f"there is no buffer {name[:40]!r}, or it has been freed"
