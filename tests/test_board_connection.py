"""Connections to what is no board, or one that fails: every wait ends, with an error that says why.

Bitstreams and their .hwh that are damaged or do not belong together are here as well.
"""

import os
import re
import socket
import struct
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pynq
import pytest
from pynq.pl_server.remote_device import RemoteDevice as PynqRemoteDevice
from pynq.remote import buffer_pb2, mmio_pb2, remote_device_pb2, remote_device_pb2_grpc

import host.remote
from bitstream_scripts.design import DESIGN
from host import errors
from host.accelerator import Accelerator
from host.bitfile import DEVICE, read_header
from host.device import active_device
from host.remote import connect, parse_address
from host.remote_device import BoardDevice
from host.virtual_board import VirtualBoard, services, write_overlay
from host.virtual_board.board import Board
from tests.local_board import LocalDevice
from tests.virtual_boards import keep_pynq_state_in

SECONDS = 1.6  # gRPC takes up to 1.2 s for a connection, whatever it is told


@pytest.fixture(scope="module", autouse=True)
def pynq_state(tmp_path_factory):
    keep_pynq_state_in(tmp_path_factory.mktemp("pynq"))


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(host.remote, "CONNECT_SECONDS", SECONDS)


@pytest.fixture
def no_device(monkeypatch):
    """pynq has not looked for devices yet."""
    monkeypatch.delattr(pynq.Device, "_devices", raising=False)
    monkeypatch.delattr(pynq.Device, "_active_device", raising=False)
    yield
    for name in {"_devices", "_active_device"} & vars(pynq.Device).keys():
        delattr(pynq.Device, name)


@pytest.fixture(scope="module")
def served():
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:
        yield board


@pytest.fixture
def address(served):
    return f"127.0.0.1:{served.port}"


@pytest.fixture
def bitfile(tmp_path):
    return write_overlay(tmp_path / "overlay")


# ------------------------------------------------------------------------------ no board there


@contextmanager
def listening(talk):
    """The port of a server that calls `talk` with each connection, and keeps it open."""
    server, kept = socket.create_server(("127.0.0.1", 0)), []

    def accept():
        while True:
            try:
                kept.append(server.accept()[0])
                talk(kept[-1])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in kept:
            connection.close()


def says_nothing(connection):
    pass


def reads(connection):
    threading.Thread(
        target=lambda: all(iter(lambda: connection.recv(999), b"")), daemon=True
    ).start()


def web_server(connection):
    connection.recv(999)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def ssh(connection):
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


def hangs_up(connection):
    connection.close()


def greets_only(connection):
    """An HTTP/2 server that answers no call."""
    connection.sendall(struct.pack(">I", 0)[1:] + b"\x04" + bytes(5))


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (says_nothing, "it takes the connection and says nothing"),
        (reads, "it takes the connection and says nothing"),
        (web_server, "what listens there is a web server"),
        (ssh, "what listens there does not speak gRPC"),
        (hangs_up, "UNAVAILABLE: "),
        (greets_only, "no answer for 1.6 s"),
    ],
)
def test_what_listens_is_no_board(talk, message):
    with listening(talk) as port:
        begin = time.monotonic()
        with pytest.raises(errors.BoardConnectionError) as caught:
            connect(f"127.0.0.1:{port}")
        assert time.monotonic() - begin < SECONDS + 2
    text = str(caught.value)
    assert text.startswith(f"no board answers at 127.0.0.1:{port}: {message}")
    assert "\n" not in text


def test_a_port_that_drops_syn():
    """The queue of a server that accepts nothing is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        with pytest.raises(
            errors.BoardConnectionError, match=r"the connection is not taken: |timed out"
        ):
            connect(f"127.0.0.1:{server.getsockname()[1]}")
        for client in waiting:
            client.close()


def test_nobody_listens():
    with pytest.raises(errors.BoardConnectionError, match=r"127\.0\.0\.1:1: .*Connection refused"):
        connect("127.0.0.1:1")
    with pytest.raises(errors.BoardConnectionError, match=r"no board answers at \[::1\]:1: "):
        connect("[::1]:1")


def test_a_name_that_nobody_has():
    with pytest.raises(errors.BoardConnectionError, match=r"no\.such\.invalid:7967: no such name"):
        connect("no.such.invalid")


# ------------------------------------------------------------------------------ other servers


@contextmanager
def serving(*servicers):
    """The address of a gRPC server with these (function that adds it, servicer)."""
    server = grpc.server(ThreadPoolExecutor(4))
    for add, servicer in servicers:
        add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class Files(remote_device_pb2_grpc.RemoteDeviceServicer):
    """A server that has these files, and of the rest nothing."""

    def __init__(self, files):
        self.files = files

    def existsfile(self, request, context):
        return remote_device_pb2.ExistsFileResponse(exists=request.file_path in self.files)

    def readfile(self, request, context):
        yield remote_device_pb2.ReadFileResponse(data=self.files[request.file_path])


ADD_FILES = remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server


def test_a_grpc_server_of_another_kind():
    with (
        serving() as address,
        pytest.raises(errors.BoardConnectionError, match=r"is no PYNQ\.remote server, or "),
    ):
        connect(address)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "knows no /proc/version"),
        ({"/proc/version": b"\xff\xfe"}, "describes a board by what is no text"),
    ],
)
def test_a_server_without_the_files_of_a_board(files, message):
    with (
        serving((ADD_FILES, Files(files))) as address,
        pytest.raises(errors.BoardConnectionError, match=f"no board at {address}: .*{message}"),
    ):
        connect(address)


def test_a_server_that_stops_in_the_middle_of_an_answer():
    class Stops(Files):
        def readfile(self, request, context):
            yield remote_device_pb2.ReadFileResponse(data=b"Linux")
            context.add_callback(ended.set)
            ended.wait(20)

    ended = threading.Event()
    with (
        serving((ADD_FILES, Stops({"/proc/version": b""}))) as address,
        pytest.raises(errors.BoardConnectionError, match=r"no answer for 1\.6 s"),
    ):
        connect(address)


def test_a_server_that_lacks_calls(bitfile):
    """That of an older PYNQ, which has the files and no overlays."""
    files = Files({"/proc/version": b"Linux aarch64", "/sys/class/fpga_manager/fpga0/state": b"x"})
    files.files["/sys/class/fpga_manager/fpga0/flags"] = b"0"
    with (
        serving((ADD_FILES, files)) as address,
        pytest.raises(errors.BoardConnectionError, match=f"board at {address}: .* another ver"),
    ):
        Accelerator(bitfile, device=connect(address))


@pytest.mark.parametrize(
    ("servicer", "call", "answer", "message"),
    [
        # Fields that an older server does not know are absent.
        ("RemoteBuffer", "allocate", lambda: buffer_pb2.AllocateResponse(), "cannot allocate"),
        ("RemoteBuffer", "_address", lambda: buffer_pb2.AddressResponse(), "found address 0x0"),
        ("Mmio", "get_mmio", lambda: mmio_pb2.GetMmioResponse(), "is not the identifier"),
        ("Mmio", "read", lambda: mmio_pb2.ReadResponse(), "VERSION: found 0"),
    ],
)
def test_answers_that_lack_fields(bitfile, monkeypatch, servicer, call, answer, message):
    monkeypatch.setattr(getattr(services, servicer), call, lambda *_: answer())
    with (
        VirtualBoard("small", port=0, memory_bytes=64 << 20) as board,
        pytest.raises(errors.BoardError, match=message),
    ):
        device = connect(f"127.0.0.1:{board.port}")
        Accelerator(bitfile, device=device, timeout=0.3)._fabric._pool.acquire(16)


def test_a_buffer_that_comes_back_short(bitfile, monkeypatch):
    monkeypatch.setattr(services.RemoteBuffer, "read", lambda *_: iter(()))
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:
        device = connect(f"127.0.0.1:{board.port}")
        with Accelerator(bitfile, device=device) as accelerator:
            buffer = accelerator._fabric._pool.acquire(64)
            with pytest.raises(errors.BoardError, match="reading a buffer of 64 bytes: "):
                buffer.invalidate()


# ------------------------------------------------------------------------------ deadlines


def test_no_call_is_without_a_deadline(served, address, bitfile, monkeypatch):
    """All that a driver calls, from the very first."""
    seen = {}

    def noting(name, call):
        def noted(self, request, context):
            seen[name] = context.time_remaining()
            return call(self, request, context)

        return noted

    for service in (services.RemoteDevice, services.Mmio, services.RemoteBuffer):
        for name, call in list(vars(service).items()):
            if not name.startswith("_"):
                monkeypatch.setattr(service, name, noting(f"{service.__name__}.{name}", call))
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:
        device = connect(f"127.0.0.1:{board.port}")
        assert {
            name for name, left in seen.items() if left is not None and left <= 1.1 * SECONDS
        } == {
            "RemoteDevice.existsfile",
            "RemoteDevice.readfile",
        }
        with Accelerator(bitfile, device=device) as accelerator:
            buffer = accelerator._fabric._pool.acquire(64)
            buffer.flush()
            buffer.invalidate()
    assert len(seen) > 12
    assert all(
        left is not None and left <= 1.1 * host.remote.CALL_SECONDS for left in seen.values()
    ), seen


def test_a_client_of_pynq_gets_one_with_deadlines(served, bitfile):
    device = PynqRemoteDevice(0, served.address, served.port)
    with Accelerator(bitfile, device=device) as accelerator:
        assert isinstance(accelerator.overlay.device, BoardDevice)
        assert (accelerator._device.ip_addr, accelerator._device.port) == ("127.0.0.1", served.port)


def test_a_proxy_is_not_asked(address, monkeypatch):
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert connect(address).name == "ZCU102"


# ------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.2.99", ("192.168.2.99", 7967)),
        ("192.168.2.99:80", ("192.168.2.99", 80)),
        ("pynq", ("pynq", 7967)),
        ("my-board_1.lab.:1", ("my-board_1.lab.", 1)),
        ("::1", ("::1", 7967)),
        ("[::1]", ("::1", 7967)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_addresses(text, expected):
    assert parse_address(text) == expected


NONSENSE = [":", "a:b:c", ":1", "h:", "h:0", "h:70000", "h:1:2", "[::1", "[::1]x", "[h]:1", "a b"]
NONSENSE += ["unix:/x:1", "http://h:1", "h:\uff11", "-h", "h/", "1.2.3.4;5"]


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_for_an_address(text, no_device, monkeypatch):
    with pytest.raises(errors.BoardAddressError, match="expected IP or IP:PORT"):
        connect(text)
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", text)
    with pytest.raises(errors.BoardAddressError, match=r"^PYNQ_REMOTE_DEVICES: board: found '"):
        active_device()


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
@pytest.mark.filterwarnings("ignore:No devices found")
def test_an_empty_list_of_boards(text, no_device, monkeypatch):
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", text)
    with pytest.raises(errors.BoardConnectionError, match="set PYNQ_REMOTE_DEVICES to the IP of a"):
        active_device()


def test_the_first_board_of_the_list(address, no_device, monkeypatch):
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", f" , {address}, no.such.invalid")
    device = active_device()
    assert isinstance(device, BoardDevice) and device.port == int(address.split(":")[1])
    assert active_device() is device is pynq.Device.active_device
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "no.such.invalid")
    assert active_device() is device


def test_a_listed_board_that_does_not_answer(no_device, monkeypatch):
    with listening(says_nothing) as port:
        monkeypatch.setenv("PYNQ_REMOTE_DEVICES", f"127.0.0.1:{port}")
        with pytest.raises(
            errors.BoardConnectionError, match=r"^PYNQ_REMOTE_DEVICES: no board answ"
        ):
            active_device()


def test_an_ipv6_board(bitfile):
    if not socket.has_ipv6:
        pytest.fail("this machine has no IPv6")
    with (
        VirtualBoard("small", "::1", 0, memory_bytes=64 << 20) as board,
        Accelerator(bitfile, device=connect(f"[::1]:{board.port}")) as accelerator,
    ):
        assert accelerator.capabilities.build.name == "small"


# ------------------------------------------------------------------------------ files


@pytest.fixture(scope="module")
def local_board():
    board = Board("small", memory_bytes=64 << 20)
    yield board
    board.close()


def field(letter, text):
    return letter + struct.pack(">H", len(text) + 1) + text + b"\0"


def replaced(data, old, new):
    assert old in data
    return data.replace(old, new)


PART = DESIGN.board.part.encode()
NAME = DESIGN.board.block_design.encode()
WRONG_BITS = {
    "empty": (lambda data: b"", "is empty"),
    "one byte": (lambda data: data[:1], "header is damaged or cut off"),
    "half a header": (lambda data: data[:40], "header is damaged or cut off|is not a bitstream"),
    "no payload": (lambda data: data[: data.index(b"e\0\0\0") + 5], "holds 0 bytes of conf"),
    "a byte less": (lambda data: data[:-1], "not the whole file"),
    "a byte more": (lambda data: data + b"\0", "not the whole file"),
    "text": (lambda data: b"hello, world\n" * 9, "is not a bitstream|header is damaged"),
    "zeros": (lambda data: bytes(999), "is not a bitstream"),
    "odd payload": (
        lambda data: data[: data.index(b"e\0\0\0")] + b"e\0\0\0\x03abc",
        "expected a multiple of 4",
    ),
    "another part": (
        lambda data: replaced(data, field(b"b", PART), field(b"b", b"xczu7ev-ffvc1156-2-e")),
        f"part 'xczu7ev-ffvc1156-2-e', expected {DEVICE}",
    ),
    "another design": (
        lambda data: replaced(
            data, data[data.index(b"a\0") : data.index(b"b\0")], field(b"a", b"base_wrapper;x=1")
        ),
        "describes the design 'cmamba_zcu102', but cmamba.bit holds 'base_wrapper'",
    ),
}
WRONG_HWHS = {
    "empty": (lambda data: b"", "is not a whole XML file"),
    "cut off": (lambda data: data[:-200], "is not a whole XML file"),
    "bytes": (lambda data: b"\xff\x00\x80", "is not a whole XML file"),
    "an encoding": (lambda data: b'<?xml version="1.0" encoding="no"?><a/>', "is not a whole XML"),
    "other XML": (lambda data: b"<a/>", "is not a hardware handoff"),
    "no modules": (
        lambda data: re.sub(rb"<MODULES>.*</MODULES>", b"", data, flags=re.S),
        "cmamba.hwh: pynq cannot read it: |has 0 IPs of the type",
    ),
    "another part": (
        lambda data: replaced(data, b'"xczu9eg"', b'"xczu7ev"'),
        "'xczu7ev', expected",
    ),
    "another design": (
        lambda data: replaced(data, b'"' + NAME + b'"', b'"base"'),
        "describes the design 'base', but cmamba.bit holds 'cmamba_zcu102_wrapper'",
    ),
    "another core": (lambda data: replaced(data, b":cmamba:1.0", b":gizmo:1.0"), "has 0 IPs of"),
    "numbers": (
        lambda data: replaced(data, b'c_include_sg" VALUE="0"', b'c_include_sg" VALUE="zero"'),
        "c_include_sg",
    ),
}


@pytest.mark.parametrize("where", ["network", "board"])
@pytest.mark.parametrize(
    "case", [*(("bit", n) for n in WRONG_BITS), *(("hwh", n) for n in WRONG_HWHS)]
)
def test_a_wrong_file(bitfile, address, local_board, where, case):
    """Found before anything is downloaded; an overlay that was right before changes nothing."""
    device = connect(address) if where == "network" else LocalDevice(local_board)
    Accelerator(bitfile, device=device).close()
    suffix, name = case
    change, message = {"bit": WRONG_BITS, "hwh": WRONG_HWHS}[suffix][name]
    path = bitfile.with_suffix(f".{suffix}")
    path.write_bytes(change(path.read_bytes()))
    device.download = lambda *_: pytest.fail("downloaded")
    with pytest.raises(errors.OverlayError, match=message) as caught:
        Accelerator(bitfile, device=device)
    assert "\n" not in str(caught.value)


def test_any_beginning_of_a_bitstream(bitfile):
    data = bitfile.read_bytes()
    for length in range(len(data)):
        bitfile.write_bytes(data[:length])
        with pytest.raises(errors.OverlayError):
            read_header(bitfile)


def test_any_byte_of_a_header(bitfile):
    """Damaged lengths and letters end as errors, or leave a header that can be read."""
    data = bitfile.read_bytes()
    for at in range(data.index(b"e\0\0\0") + 5):
        for value in (0, 0x41, 0x65, 0x80, 0xFF):
            bitfile.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                read_header(bitfile)
            except errors.OverlayError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", [".bit", ".hwh"])
def test_files_that_cannot_be_read(bitfile, local_board, suffix, tmp_path):
    path = bitfile.with_suffix(suffix)
    device = LocalDevice(local_board)
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        Accelerator(bitfile, device=device)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=path.name):
        Accelerator(bitfile, device=device)
    path.rmdir()
    path.write_bytes(data)
    path.chmod(0)
    with not_root(tmp_path), pytest.raises(PermissionError, match=path.name):
        Accelerator(bitfile, device=device)


@contextmanager
def not_root(folder):
    """Root may read everything; nobody may not."""
    if os.geteuid():
        yield
        return
    for path in (folder, *folder.parents):
        if path.is_relative_to(tempfile.gettempdir()) and path.parent != path.root:
            path.chmod(path.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_other_names(bitfile, local_board):
    for name in ("cmamba.bin", "cmamba.xsa", "cmamba"):
        with pytest.raises(errors.OverlayError, match=r"expected a bitstream, NAME\.bit"):
            Accelerator(bitfile.with_name(name), device=LocalDevice(local_board))


@pytest.mark.parametrize("where", ["network", "board"])
def test_a_corrected_hwh_counts(bitfile, served, address, local_board, where, monkeypatch):
    """The .bit is the same, and pynq has kept what it parsed of the .hwh before."""
    make = {"network": lambda: connect(address), "board": lambda: LocalDevice(local_board)}[where]
    path = bitfile.with_suffix(".hwh")
    right = path.read_text()
    if where == "board":  # whose devices keep it
        monkeypatch.setattr(LocalDevice, "gen_cache", PynqRemoteDevice.gen_cache, raising=False)
        download = LocalDevice.download
        monkeypatch.setattr(
            LocalDevice,
            "download",
            lambda self, bitstream, parser: (
                self.gen_cache(bitstream, parser),
                download(self, bitstream, parser),
            ),
        )
    else:  # and where pynq's own client has kept it
        client = PynqRemoteDevice(0, served.address, served.port)
        pynq.Overlay(str(bitfile), device=client, download=False, gen_cache=True)
    for bits in ("26", "14", "26")[where == "network" :]:
        path.write_text(
            right.replace('c_sg_length_width" VALUE="26"', f'c_sg_length_width" VALUE="{bits}"')
        )
        with Accelerator(bitfile, device=make()) as accelerator:
            assert accelerator._fabric.dma.max_bytes == (1 << int(bits)) - 1
            parameters = accelerator.overlay.ip_dict["axi_dma_0"]["parameters"]
            assert parameters["c_sg_length_width"] == bits


def test_nothing_of_a_remote_overlay_is_kept(bitfile, address, tmp_path, monkeypatch):
    """Neither what pynq parsed nor its state. Both lie in a folder that other tests share."""
    from pynq.pl_server import global_state, remote_device

    monkeypatch.setattr(global_state, "STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(remote_device, "__file__", str(tmp_path / "state/remote_device.py"))
    (tmp_path / "state").mkdir()
    Accelerator(bitfile, device=connect(address)).close()
    assert not list((tmp_path / "state").iterdir())


def test_another_bitstream_of_the_same_name_is_uploaded(bitfile, served, address):
    """pynq's own client leaves a firmware file of this name on the board as it is."""
    served.files.write("/lib/firmware/cmamba.bin", b"that of yesterday")
    with Accelerator(bitfile, device=connect(address)) as accelerator:
        assert accelerator.capabilities.build.name == "small"


def test_a_bitstream_that_the_board_refuses(bitfile, address):
    data = bitfile.read_bytes()
    bitfile.write_bytes(data[:-1] + b"x")
    with pytest.raises(errors.BoardError, match=f"the board at {address} refuses: this overlay"):
        Accelerator(bitfile, device=connect(address))
