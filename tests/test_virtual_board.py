"""The virtual ZCU102 as PYNQ.remote clients see it, good and bad ones; small build."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import grpc
import numpy as np
import pynq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynq.pl_server.embedded_device import bit2bin, parse_bit_header
from pynq.pl_server.remote_device import RemoteDevice
from pynq.remote import (
    buffer_pb2,
    buffer_pb2_grpc,
    mmio_pb2,
    mmio_pb2_grpc,
    remote_device_pb2,
    remote_device_pb2_grpc,
)

import isa
import rtl.simulator
from bitstream_scripts.design import DESIGN
from golden.integer_model import IntegerModel
from golden.random_programs import random_package
from host.virtual_board import VirtualBoard, overlay, server, services, write_overlay
from host.virtual_board.__main__ import main
from host.virtual_board.calls import Call, Calls, Limits, Messages
from host.virtual_board.clients import Clients
from host.virtual_board.files import FPGA_MANAGER, MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES
from rtl.regs import registers as reg
from rtl.simulator import SimulationError
from tests import attacks
from tests.virtual_boards import RawClient, connect, keep_pynq_state_in, wait_until

pytestmark = pytest.mark.filterwarnings("ignore")  # pynq's own
BUILD = isa.build("small")
IDLE_SECONDS = 2.0
MEMORY_BYTES = 64 << 20


@pytest.fixture(scope="module")
def bit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlay")
    keep_pynq_state_in(folder)
    return write_overlay(folder)


@pytest.fixture(scope="module")
def board(bit):
    with VirtualBoard(
        "small", port=0, memory_bytes=MEMORY_BYTES, limits=Limits(idle_seconds=IDLE_SECONDS)
    ) as board:
        yield board


@pytest.fixture
def device(board):
    yield connect(board)
    board.clear_faults()
    board.set_stalls(0)
    board.set_memory_latency(40)


@pytest.fixture
def client(device, bit):
    return RawClient(device, bit)


@pytest.fixture(scope="module")
def package():
    return random_package(np.random.default_rng(1), BUILD)


def tokens_for(package, n_forecasts=2, seed=0):
    n = package.iterations * n_forecasts
    shape = (n, package.n_sequences, package.n_positions, package.token_bytes)
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


def model_run(package, tokens):
    return IntegerModel(package, BUILD).run(tokens)


def works(client, package):
    """The board still does what it is for."""
    assert client.load(package) == 0
    tokens = tokens_for(package)
    np.testing.assert_array_equal(client.run(tokens), model_run(package, tokens))


# ------------------------------------------------------------------------------ overlay


def test_the_bitstream_is_an_ordinary_one(bit):
    header = parse_bit_header(bit.read_bytes())
    assert header["part"] == DESIGN.board.part
    assert header["design"] == f"{DESIGN.board.block_design}_wrapper"
    assert len(header["data"]) % 4 == 0
    first = bit.read_bytes()
    assert write_overlay(bit.parent).read_bytes() == first
    assert not list(bit.parent.glob(".cmamba*"))


def test_the_bitstream_changes_with_the_description(bit, monkeypatch):
    before = overlay.bitstream()
    monkeypatch.setattr(overlay, "hwh_of", lambda design, core: "another description")
    assert overlay.bitstream() != before


def test_overlay(client):
    ips = {name: ip["type"] for name, ip in client.overlay.ip_dict.items()}
    assert ips["cmamba_0"] == DESIGN.accelerator.vlnv
    assert ips["axi_dma_0"] == "xilinx.com:ip:axi_dma:7.1"
    assert client.overlay.ip_dict["cmamba_0"]["phys_addr"] == DESIGN.accelerator.base
    version = client.overlay.cmamba_0.register_map.VERSION
    assert (version.MAJOR, version.MINOR) == isa.VERSION
    assert int(client.overlay.cmamba_0.register_map.TILE.TILE_OUT) == BUILD.tile_out
    assert client.overlay.axi_dma_0.register_map.MM2S_DMACR.RS == 1
    assert client.overlay.is_loaded()


def test_clocks(client):
    from pynq.ps import Clocks

    assert abs(Clocks.fclk0_mhz - DESIGN.clock.frequency_mhz) < 1
    Clocks.fclk0_mhz = 100
    assert abs(Clocks.fclk0_mhz - 100) < 1
    assert Clocks.cpu_mhz > 1000


def test_programming_resets_the_logic(client, package, bit):
    works(client, package)
    client.write(reg.N_FORECASTS, 77)
    again = RawClient(client.device, bit)
    assert again.read(reg.N_FORECASTS) == 0
    again.start(2, {reg.N_FORECASTS: 1})
    assert again.wait() == isa.ERRORS["NOT_LOADED"]


def test_registers_of_logic_that_is_not_there():
    with VirtualBoard("small", port=0, memory_bytes=MEMORY_BYTES) as board:
        mmio = pynq.MMIO(DESIGN.accelerator.base, 0x1000, device=connect(board))
        for access in (lambda: mmio.read(0), lambda: mmio.write(0, 1)):
            with pytest.raises(RuntimeError, match="0xa0000000 is in the PL, which is not progr"):
                access()
        assert not board.moving


def download(device, content, name="x.bin", flags=b"0"):
    device.write_file(f"/lib/firmware/{name}", content)
    device.write_file(f"{FPGA_MANAGER}/flags", flags)
    device.write_file(f"{FPGA_MANAGER}/firmware", name.encode())


def test_other_bitstreams_are_refused(client, package, bit):
    ours = bit2bin(bit.read_bytes())
    other = bytearray(ours)
    other[-1] ^= 1
    for content, flags, message in (
        (bytes(40), b"0", "a bitstream of 40 bytes that is not the virtual board's"),
        (bytes(other), b"0", "written for another version of the design"),
        (ours, b"1", "partial bitstreams are not supported"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            download(client.device, content, flags=flags)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert message in caught.value.details()
        assert client.device.read_file(f"{FPGA_MANAGER}/state") == b"write error\n"
    with pytest.raises(grpc.RpcError, match=r"/lib/firmware/none\.bin: no such file"):
        client.device.write_file(f"{FPGA_MANAGER}/firmware", b"none.bin")
    works(client, package)  # it goes on as it was
    download(client.device, ours)
    assert client.device.read_file(f"{FPGA_MANAGER}/state") == b"operating\n"


def test_a_firmware_of_its_name_stays(device, bit):
    """As on a board: pynq's client uploads it only if the board has none of this name."""
    device.write_file("/lib/firmware/cmamba.bin", b"the one before")
    with pytest.raises(grpc.RpcError, match="a bitstream of 14 bytes that is not the virtual"):
        RawClient(device, bit)
    device.write_file("/lib/firmware/cmamba.bin", bit2bin(bit.read_bytes()))


def test_selftest_of_pynq(board, bit, tmp_path):
    arguments = ["--ip", board.address, "--port", str(board.port), "--bitstream", str(bit)]
    run = "import host.remote_device, runpy\n"
    run += "runpy.run_module('pynq.remote.selftest', {}, '__main__')"
    result = subprocess.run(
        [sys.executable, "-c", run, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    verdicts = [line.strip() for line in result.stdout.splitlines() if line.startswith("  [")]
    failed = [line for line in verdicts if not line.startswith("[PASS]")]
    assert failed == ["[FAIL] no AXI GPIO in the overlay to MMIO-test"], result.stdout
    assert len(verdicts) == 11


# ------------------------------------------------------------------------------ forecasts


@pytest.mark.parametrize("seed", range(2))
def test_forecasts_equal_the_integer_model(client, board, seed):
    """A package loaded and run by raw accesses: as fast as it goes, and with delays everywhere."""
    for stalls, latency in ((0, 40), (0.4, 300)):
        board.set_stalls(stalls)
        board.set_memory_latency(latency)
        package = random_package(np.random.default_rng([seed, latency]), BUILD)
        tokens = tokens_for(package, n_forecasts=3, seed=seed)
        assert client.load(package) == 0
        np.testing.assert_array_equal(client.run(tokens), model_run(package, tokens))


def test_the_clock_runs_only_while_something_moves(client, board, package):
    def rests():
        wait_until(lambda: not board.moving)
        cycles = board.cycles
        time.sleep(0.05)
        assert board.cycles == cycles

    rests()
    assert client.load(package) == 0
    rests()
    client.dma.recvchannel.transfer(client.buffer(64))  # waits for a run that nobody starts
    rests()
    client.dma.sendchannel.transfer(client.buffer(65536))  # what nobody takes
    rests()
    before = board.cycles
    for _ in range(10):
        client.read(reg.VERSION)
    assert 0 < board.cycles - before < 200
    # A run that waits for its patches is at work: its watchdog counts.
    client.dma.mmio.write(0, 4)
    client.dma.sendchannel.start()
    client.start(2, {reg.WATCHDOG_CYCLES: 3000, reg.N_FORECASTS: 1})
    assert client.wait() == isa.ERRORS["TIMEOUT"]
    rests()


def test_done_is_seen_once(client, board, package):
    """The bits of CTRL that reading clears, though the board itself looks at them."""
    assert client.load(package) == 0
    assert client.read(reg.CTRL) & (reg.CTRL_DONE | reg.CTRL_IDLE) == reg.CTRL_IDLE
    client.start(2, {reg.N_FORECASTS: 0})
    wait_until(lambda: not board.moving)
    assert client.read(reg.CTRL) == reg.CTRL_DONE | reg.CTRL_IDLE | reg.CTRL_READY
    assert client.read(reg.CTRL) == reg.CTRL_IDLE


def test_several_boards_and_clients(bit):
    """Two boards at once, one of them with two clients that share it."""
    packages = [random_package(np.random.default_rng([9, i]), BUILD) for i in range(2)]
    with ExitStack() as stack:
        boards = [
            stack.enter_context(VirtualBoard("small", host, port=0, memory_bytes=MEMORY_BYTES))
            for host in ("127.0.0.1", "127.0.0.2")
        ]
        clients = [RawClient(connect(board), bit) for board in boards]
        onlooker = connect(boards[0])

        def forecast(i):
            tokens = tokens_for(packages[i], seed=i)
            assert clients[i].load(packages[i]) == 0
            for _ in range(2):
                expected = model_run(packages[i], tokens)
                np.testing.assert_array_equal(clients[i].run(tokens), expected)

        def look():
            mmio = pynq.MMIO(DESIGN.accelerator.base, 0x1000, device=onlooker)
            for i in range(50):
                assert mmio.read(reg.VERSION) == isa.VERSION[0] << 16 | isa.VERSION[1]
                buffer = pynq.allocate((1000,), "u1", target=onlooker)
                buffer[:] = i
                buffer.sync_to_device()
                buffer[:] = 0
                buffer.sync_from_device()
                assert (buffer == i).all()

        with ThreadPoolExecutor(3) as pool:
            for future in [pool.submit(forecast, 0), pool.submit(forecast, 1), pool.submit(look)]:
                future.result()


# ------------------------------------------------------------------------------ faults


def recover(client):
    client.dma.mmio.write(0, 4)
    client.dma.sendchannel.start()
    client.dma.recvchannel.start()


@pytest.mark.parametrize(
    "fault, status, message",
    [
        ("mm2s-slave-error", 0x4021, "DMA channel not started"),
        ("mm2s-decode-error", 0x4041, "DMA channel not started"),
    ],
)
def test_mm2s_faults(client, board, package, fault, status, message):
    assert client.load(package) == 0
    board.inject(fault)
    client.begin(tokens_for(package))
    assert client.wait() == isa.ERRORS["TIMEOUT"]
    assert client.dma.mmio.read(0x04) == status
    with pytest.raises(RuntimeError, match=message):
        client.dma.sendchannel.wait()
    recover(client)
    works(client, package)


@pytest.mark.parametrize(
    "fault, status", [("s2mm-slave-error", 0x4031), ("s2mm-decode-error", 0x4051)]
)
def test_s2mm_faults(client, board, package, fault, status):
    assert client.load(package) == 0
    board.inject(fault)
    client.begin(tokens_for(package, n_forecasts=4))
    assert client.wait() in (isa.ERRORS["TIMEOUT"], isa.ERRORS["OK"])
    assert client.dma.mmio.read(0x34) == status
    recover(client)
    drain(client)
    works(client, package)


def drain(client):
    """Take what is left on m_axis, which a real board keeps as well."""
    client.dma.recvchannel.transfer(client.buffer(4096))
    time.sleep(0.1)
    recover(client)


def test_a_dropped_beat_ends_the_run(client, board, package):
    assert client.load(package) == 0
    board.inject("mm2s-dropped-beat")
    client.begin(tokens_for(package, n_forecasts=3))
    assert client.wait() == isa.ERRORS["TLAST_EARLY"]
    recover(client)
    drain(client)
    works(client, package)


def test_a_receiver_that_hangs(client, board, package):
    assert client.load(package, watchdog_cycles=5000) == 0
    board.inject("s2mm-hang", after=1)
    tokens = tokens_for(package, n_forecasts=4)
    np.testing.assert_array_equal(client.run(tokens), model_run(package, tokens))
    client.begin(tokens)
    assert client.wait() in (isa.ERRORS["TIMEOUT"], isa.ERRORS["OK"])
    assert client.dma.mmio.read(0x34) & 0x73 == 0  # neither halted, nor idle, nor an error
    recover(client)
    drain(client)
    works(client, package)


def test_memory_that_fails(client, board, package):
    board.inject("gmem-slave-error", after=1)
    assert client.load(package) == 0
    assert client.load(package) == isa.ERRORS["BUS_ERROR"]
    works(client, package)


def test_mistakes_with_the_dma_are_reported(client, package):
    buffer = client.buffer(4096)
    with pytest.raises(RuntimeError, match=r"mm2s: address 0x[0-9a-f]+8 is not a multiple of 16"):
        client.dma.mmio.write(0x18, buffer.physical_address + 8)
        client.dma.mmio.write(0x28, 64)
    client.dma.recvchannel.transfer(buffer)
    with pytest.raises(RuntimeError, match="s2mm: LENGTH written while a transfer is active"):
        client.dma.mmio.write(0x58, 64)
    recover(client)
    # One byte more than LENGTH can hold is 0 bytes, which start nothing.
    client.dma.mmio.write(0x18, buffer.physical_address)
    client.dma.mmio.write(0x28, 1 << 26)
    assert client.dma.mmio.read(0x28) == 0
    assert client.dma.mmio.read(0x04) == 0
    works(client, package)


def test_a_broken_simulation_is_reported(client, board, package, monkeypatch, caplog, bit):
    assert client.load(package) == 0
    wait_until(lambda: not board.moving)
    with monkeypatch.context() as patch:

        def fail(*_):
            raise SimulationError("m_axi: a burst that crosses 4 KiB")

        patch.setattr(board._simulator, "run", fail)
        client.write(reg.CTRL, reg.CTRL_START)
        wait_until(lambda: caplog.records)
    message = "the simulation has ended: m_axi: a burst that crosses 4 KiB; download the overlay"
    assert message in caplog.text
    for access in (
        lambda: client.read(reg.CTRL),
        lambda: client.write(reg.CTRL, 1),
        lambda: client.dma.mmio.read(4),
    ):
        with pytest.raises(RuntimeError, match=message):
            access()
    works(RawClient(client.device, bit), package)


def test_a_register_that_is_not_answered_is_reported(client, board, monkeypatch):
    def fail(*_):
        raise SimulationError("s_axi_control: not answered")

    with monkeypatch.context() as patch:
        patch.setattr(board._simulator, "read_register", fail)
        patch.setattr(board._simulator, "write_register", fail)
        for access in (lambda: client.read(reg.CTRL), lambda: client.write(reg.MODE, 1)):
            with pytest.raises(RuntimeError, match="s_axi_control: not answered"):
                access()
    assert client.read(reg.ERROR) == 0


# ------------------------------------------------------------------------------ files


def test_files(device):
    device.write_file("/tmp/a b.bin", b"123")
    assert device.read_file("/tmp/a b.bin") == b"123"
    device.write_file("/tmp/a b.bin", bytes(5 << 20))
    assert device.read_file("/tmp/a b.bin") == bytes(5 << 20)
    assert device.exists_file("/tmp/a b.bin").exists
    assert not device.exists_file("/etc/passwd").exists
    for path, named in (("/etc/passwd", "/etc/passwd"), ("x" * 100_000, "x" * 128)):
        with pytest.raises(grpc.RpcError) as caught:
            device.read_file(path)
        assert caught.value.details() == f"{named}: no such file on the board"


@pytest.mark.parametrize("client_is_gone", [False, True])
def test_a_file_that_breaks_off_is_not_written(board, client_is_gone):
    """gRPC ends the messages as if the client had, and tells only the callback."""
    path = f"/tmp/broken_{client_is_gone}"

    class Context:
        def add_callback(self, callback):
            self.callback = callback
            return True

    def messages(context):
        request = remote_device_pb2.WriteFileRequest(file_path=path, data=b"half")
        yield request.SerializeToString()
        if client_is_gone:
            context.callback()

    context = Context()
    requests = Messages(
        messages(context),
        remote_device_pb2.WriteFileRequest.FromString,
        context,
        Call(context, Limits()),
    )
    services.RemoteDevice(board).writefile(requests, context)
    assert board.files.exists(path) != client_is_gone


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/lib/firmware/../../etc/passwd",
        "/lib/firmware/",
        "/lib/firmware/..",
        "/lib/firmware/.hidden",
        "/lib/firmware/a/b.bin",
        "//lib/firmware/x.bin",
        "lib/firmware/x.bin",
        "/tmp/../lib/firmware/x.bin",
        "/tmp/a\nb",
        "/tmp/" + "x" * 100_000,
        "/proc/version",
        f"{FPGA_MANAGER}/state",
        "",
    ],
)
def test_other_paths_cannot_be_written(device, path):
    with pytest.raises(grpc.RpcError) as caught:
        device.write_file(path, b"x")
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "cannot be written: only /lib/firmware/NAME" in caught.value.details()


def test_what_is_not_supported_says_so(device, caplog):
    stub = device._stub["device"]
    for call in (
        lambda: stub.download(iter([remote_device_pb2.DownloadRequest(buffer=b"x")])),
        lambda: stub.set_pl_clk(remote_device_pb2.SetPlClkRequest()),
        lambda: stub.shutdown(remote_device_pb2.ShutdownRequest()),
    ):
        with pytest.raises(grpc.RpcError, match="not supported"):
            call()
    stub.writefile(iter([]))  # writes nothing
    assert not caplog.records


def test_files_are_bounded(device, board):
    with pytest.raises(grpc.RpcError, match=f"/tmp/huge: more than {MAX_FILE_BYTES} bytes"):
        device.write_file("/tmp/huge", bytes(MAX_FILE_BYTES + 1))
    for i in range(MAX_FILES + 3):
        device.write_file(f"/tmp/{i}", b"x")
    assert not device.exists_file("/tmp/2").exists and device.exists_file("/tmp/3").exists
    for i in range(5):
        device.write_file(f"/tmp/large{i}", bytes(MAX_FILE_BYTES))
    kept = MAX_TOTAL_BYTES // MAX_FILE_BYTES
    assert [i for i in range(5) if device.exists_file(f"/tmp/large{i}").exists] == [
        *range(5 - kept, 5)
    ]
    for i in range(MAX_FILES):
        device.write_file(f"/tmp/{i}", b"x")
    requests = [
        remote_device_pb2.WriteFileRequest(file_path=path, data=b"x")
        for path in ("/tmp/a", "/tmp/b")
    ]
    with pytest.raises(grpc.RpcError, match="/tmp/a and '/tmp/b' in one stream"):
        device._stub["device"].writefile(iter(requests))


# ------------------------------------------------------------------------ memory and registers


def test_buffers(device, board):
    before = board.memory.buffers
    shape = (3, 1 << 19)
    with pynq.allocate(shape, "i4", target=device) as buffer:
        values = np.random.default_rng(0).integers(-(2**31), 2**31, shape).astype("i4")
        buffer[:] = values
        buffer.sync_to_device()
        buffer[:] = 0
        buffer.sync_from_device()
        np.testing.assert_array_equal(buffer, values)
        assert buffer.physical_address == buffer.virtual_address
        assert board.memory.buffers == before + 1
    assert board.memory.buffers == before
    for use in (buffer.flush, buffer.invalidate, lambda: buffer.physical_address):
        with pytest.raises(
            RuntimeError, match=r"there is no buffer '\w{32}', or it has been freed"
        ):
            use()
    stub = device._stub["buffer"]
    with pytest.raises(grpc.RpcError, match="there is no buffer 'x'"):
        list(stub.read(buffer_pb2.BufferReadRequest(buffer_id="x")))
    assert stub.cacheable(buffer_pb2.CacheableRequest(buffer_id="x")).msg


def test_allocations_are_bounded(device, board):
    for size in (0, MEMORY_BYTES + 1, 1 << 30):
        with pytest.raises(grpc.RpcError) as caught:
            device.allocate((size,), "u1")
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    stub = device._stub["buffer"]
    with pytest.raises(grpc.RpcError, match="a buffer has at least 1 byte, asked for -1"):
        stub.allocate(buffer_pb2.AllocateRequest(size=-1))
    names = []
    with pytest.raises(grpc.RpcError, match="buffers are in use"):
        for _ in range(5000):
            names.append(stub.allocate(buffer_pb2.AllocateRequest(size=1)).buffer_id)
    assert len(names) > 900
    for name in names:
        stub.freebuffer(buffer_pb2.FreeBufferRequest(buffer_id=name))
    too_long = [
        buffer_pb2.BufferWriteRequest(
            buffer_id=stub.allocate(buffer_pb2.AllocateRequest(size=16)).buffer_id, data=bytes(17)
        )
    ]
    assert "17 bytes written to a buffer of 16" in stub.write(iter(too_long)).msg


def test_memory_of_clients_that_are_gone_is_used_again(device, board):
    before = board.memory.buffers
    kept = device.allocate((1 << 20,), "u1")
    kept[:] = 7
    kept.flush()
    # A connection of its own: channels of a process share one.
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(f"{board.address}:{board.port}", options) as channel:
        stub = buffer_pb2_grpc.RemoteBufferStub(channel)
        for _ in range(3):
            stub.allocate(buffer_pb2.AllocateRequest(size=20 << 20))
        with pytest.raises(grpc.RpcError, match="no 20971520 contiguous bytes"):
            device.allocate((20 << 20,), "u1")
        assert board.memory.buffers == before + 4

    def allocated():
        with suppress(grpc.RpcError):
            return device.allocate((20 << 20,), "u1") is not None

    wait_until(allocated)
    assert board.memory.buffers == before + 1
    kept.sync_from_device()
    assert (kept == 7).all()


def test_a_client_that_comes_back_has_its_buffers(device, board):
    """By another connection, after its own has ended; another client is short of memory then."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    names = []
    with grpc.insecure_channel(f"{board.address}:{board.port}", options) as channel:
        stub = buffer_pb2_grpc.RemoteBufferStub(channel)
        for _ in range(2):
            allocated = stub.allocate(buffer_pb2.AllocateRequest(size=20 << 20))
            names.append(allocated.buffer_id)
    with grpc.insecure_channel(f"{board.address}:{board.port}", options) as channel:
        stub = buffer_pb2_grpc.RemoteBufferStub(channel)
        assert not stub.flush(buffer_pb2.FlushRequest(buffer_id=names[0])).msg
        with pytest.raises(grpc.RpcError, match="no 41943040 contiguous bytes"):
            device.allocate((40 << 20,), "u1")
        for name in names:
            assert not stub.invalidate(buffer_pb2.InvalidateRequest(buffer_id=name)).msg
            stub.freebuffer(buffer_pb2.FreeBufferRequest(buffer_id=name))


def test_another_client_at_the_same_port_is_another_one(monkeypatch):
    sockets = {}
    monkeypatch.setattr(Clients, "_connections", lambda self: sockets)
    clients, peer = Clients(), "ipv4:127.0.0.1:40000"
    place = (ipaddress.ip_address("127.0.0.1"), 40000)
    sockets[place] = 1
    first = clients.of(peer)
    assert clients.of(peer) is first and not clients.gone([first])
    sockets[place] = 2
    second = clients.of(peer)
    assert second is not first and clients.gone([first, second]) == [first]
    # It comes back by a port of its own, and is there again.
    sockets[place[0], 40001] = 3
    clients.has_come(first, "ipv4:127.0.0.1:40001")
    assert clients.gone([first, second]) == []
    assert clients.of("ipv4:127.0.0.1:40001") is first and clients.of(peer) is second
    # One that is gone before anybody has looked.
    assert len(clients.gone([clients.of("ipv4:127.0.0.1:40002")])) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_connections_are_found(host):
    """On `::` those of IPv4, too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
    other = ("127.0.0.1" if host == "::" else host, server.getsockname()[1])
    with server, socket.create_connection(other) as connection:
        accepted, (address, port, *_) = server.accept()
        with accepted:
            clients = Clients()
            clients.port = server.getsockname()[1]
            quoted = address.replace(":", "%3A")
            peer = f"ipv6:%5B{quoted}%5D:{port}" if ":" in host else f"ipv4:{address}:{port}"
            assert clients.of(peer).connection == os.fstat(accepted.fileno()).st_ino
            assert port == connection.getsockname()[1]


@pytest.mark.parametrize(
    "address, size", [(0, 4), (0xA000_0000, 0x1004), (0xA001_FFFC, 8), (0xA000_0000, 0)]
)
def test_addresses_without_registers(device, address, size):
    with pytest.raises(RuntimeError, match="the board has no registers at"):
        pynq.MMIO(address, size, device=device)


def test_a_mapping_ends_where_it_was_said_to(client):
    mmio = client.device.mmap(DESIGN.accelerator.base, 0x20)
    assert mmio.read(reg.GMEM_HI) == 0
    for access in (lambda: mmio.read(0x20), lambda: mmio.write(0x1C, bytes(8))):
        with pytest.raises(RuntimeError, match=r"bytes at offset 0x\w+ of a mapping of 0x20 bytes"):
            access()


@settings(max_examples=60)
@given(
    name=st.one_of(
        st.text(max_size=60),
        st.builds("0x{:x}:0x{:x}".format, st.integers(0, 2**64), st.integers(0, 2**70)),
        st.sampled_from(["0xa0000000:0x1000", "0xa0010000:0x10000", "0xfffffffffffffffc:0x10"]),
    ),
    offset=st.integers(0, 2**64 - 1),
    data=st.binary(max_size=40),
)
def test_any_access_is_answered(board, bit, name, offset, data):
    with grpc.insecure_channel(f"{board.address}:{board.port}") as channel:
        stub = mmio_pb2_grpc.MmioStub(channel)
        request = mmio_pb2.ReadRequest(mmio_id=name, offset=offset, length=len(data))
        assert stub.read(request, timeout=5).msg or offset < 0x10000
        request = mmio_pb2.WriteRequest(mmio_id=name, offset=offset, data=data)
        assert stub.write(request, timeout=5).msg or offset < 0x10000
        got = stub.get_mmio(mmio_pb2.GetMmioRequest(base_addr=offset, length=len(data)), timeout=5)
        assert got.msg or (len(data) > 0 and got.mmio_id)


def test_registers_by_words_of_any_number(client):
    write = client.device._stub["mmio"].write
    name = f"{DESIGN.accelerator.base:#x}:0x1000"
    data = (5).to_bytes(4, "little") + (6).to_bytes(4, "little")
    assert not write(mmio_pb2.WriteRequest(mmio_id=name, offset=reg.GMEM_LO, data=data)).msg
    assert (client.read(reg.GMEM_LO), client.read(reg.GMEM_HI)) == (5, 6)
    for wrong in (b"", b"123", b"12345"):
        assert (
            "expected a multiple of 4" in write(mmio_pb2.WriteRequest(mmio_id=name, data=wrong)).msg
        )


# ------------------------------------------------------------------------------ hostile clients


def raw_connection(board):
    return socket.create_connection((board.address, board.port), timeout=5)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4096),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        # A frame of headers that promises more than it has.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000ffffff0104"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000") + bytes(9000),
    ],
)
def test_connections_that_do_not_speak_grpc(board, client, package, start):
    connections = [raw_connection(board) for _ in range(20)]
    for connection in connections:
        connection.sendall(start)
    works(client, package)
    for connection in connections:
        connection.close()
    assert client.read(reg.ERROR) == 0


@pytest.mark.parametrize(
    "method",
    ["/mmio.Mmio/read", "/buffer.RemoteBuffer/write", "/remote_device.RemoteDevice/writefile"],
)
@pytest.mark.parametrize("message", [b"\xff" * 50, b"\x0a\x7fabc", os.urandom(200)])
def test_messages_that_are_no_messages(board, client, method, message):
    with grpc.insecure_channel(f"{board.address}:{board.port}") as channel:
        kind = channel.unary_unary if "Mmio" in method else channel.stream_unary
        call = kind(method, request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError, match="bytes that are not the message") as caught:
            call(message if "Mmio" in method else iter([message]), timeout=5)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert client.read(reg.ERROR) == 0


def test_messages_beyond_the_limit(board, client):
    stub = client.device._stub["device"]
    request = remote_device_pb2.WriteFileRequest(file_path="/tmp/x", data=bytes(5 << 20))
    with pytest.raises(grpc.RpcError) as caught:
        stub.writefile(iter([request]))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.read(reg.ERROR) == 0


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_refused(board, client, compression):
    """Whatever they would unpack to."""
    address = f"{board.address}:{board.port}"
    with grpc.insecure_channel(address, compression=compression) as channel:
        stub = remote_device_pb2_grpc.RemoteDeviceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.existsfile(remote_device_pb2.ExistsFileRequest(file_path="x" * 1000), timeout=5)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert client.read(reg.ERROR) == 0


def test_no_more_connections_than_the_limit(board, client):
    connections = [raw_connection(board) for _ in range(server.MAX_CONNECTIONS + 20)]
    for connection in connections:
        connection.sendall(attacks.PREFACE + attacks.frame(attacks.SETTINGS, 0, 0))
    assert client.read(reg.ERROR) == 0

    def closed(connection):
        with suppress(ConnectionResetError):
            return connection.recv(1 << 16) == b""
        return True

    assert sum(closed(connection) for connection in connections) >= 20
    for connection in connections:
        connection.close()
    assert connect(board).name == "ZCU102"


def test_a_connection_without_calls_is_closed(bit, monkeypatch):
    """Its client makes another one when it calls again, and has its buffers."""
    limits = dict(server.OPTIONS) | {"grpc.max_connection_idle_ms": 500}
    monkeypatch.setattr(server, "OPTIONS", tuple(limits.items()))
    with VirtualBoard("small", port=0, memory_bytes=MEMORY_BYTES) as board:
        client = RawClient(connect(board), bit)
        buffer = client.buffer(20 << 20)
        with (
            attacks.Connection((board.address, board.port)) as connection,
            pytest.raises(ConnectionError, match="closed"),
        ):
            connection.wait_for(attacks.DATA)
        buffer.flush()
        with pytest.raises(grpc.RpcError, match="contiguous bytes"):
            connect(board).allocate((60 << 20,), "u1")
        buffer.invalidate()


def test_calls_that_send_nothing_give_way(board, client):
    with attacks.Connection((board.address, board.port)) as connection:
        for path in (attacks.READ, attacks.WRITE_FILE):
            for _ in range(server.MAX_SINGLE):
                connection.call(path)
        connection.wait_for(attacks.SETTINGS)
        begin = time.monotonic()
        client.device.write_file("/tmp/x", b"x")
        assert client.read(reg.ERROR) == 0
        assert time.monotonic() - begin < IDLE_SECONDS


class Caller:
    """The context of a call."""

    def __init__(self):
        self.cancelled = False

    def add_callback(self, callback):
        return True

    def cancel(self):
        self.cancelled = True

    def abort(self, code, details):
        raise RuntimeError(f"{code.name}: {details}")


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_call_goes_on_at_a_rate(clock):
    def ends(seconds, nbytes, total_seconds=1e6):
        """When a call is overdue that sends so many bytes every `seconds`."""
        clock[0] = 0.0
        limits = Limits(idle_seconds=10, total_seconds=total_seconds, bytes_per_second=100)
        call = Call(Caller(), limits)
        while not call.is_overdue(clock[0]) and clock[0] < 1000:
            clock[0] += seconds / 2
            if call.is_overdue(clock[0]):
                break
            clock[0] += seconds / 2
            call.go_on(nbytes)
            call.wait()
        return clock[0]

    assert 10 <= ends(4, 0) <= 14  # messages without data
    assert 40 <= ends(4, 320) <= 50  # loses 0.8 s with each
    assert ends(4, 400) >= 1000
    assert 10 <= ends(30, 100_000) <= 15
    assert 60 <= ends(4, 400, total_seconds=60) <= 64


def test_the_time_of_the_board_does_not_count(clock):
    call = Call(Caller(), Limits(idle_seconds=10))
    call.go_on(5)
    clock[0] = 100
    assert not call.is_overdue(clock[0]) and call.lingers(clock[0]) == 0
    call.wait()
    clock[0] = 109
    assert not call.is_overdue(clock[0]) and call.lingers(clock[0]) > 8
    clock[0] = 111
    assert call.is_overdue(clock[0])


def test_the_call_that_lingers_most_gives_way():
    calls = Calls(2, Limits())
    try:
        idle, busy, late = Caller(), Caller(), Caller()
        calls.begin(idle)
        time.sleep(0.1)
        call = calls.begin(busy)
        begin = time.monotonic()
        calls.begin(late)  # waits until the first one lingers
        assert time.monotonic() - begin < 0.9
        assert (idle.cancelled, busy.cancelled, len(calls)) == (True, False, 2)
        call.go_on(5)  # the board works on it
        calls.begin(Caller())
        assert (late.cancelled, busy.cancelled) == (True, False)
        for running in list(calls._open):
            running.go_on(5)
        with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED: more than 2 calls at once"):
            calls.begin(Caller())
    finally:
        calls.close()


def endless(request, stop):
    yield request
    stop.wait(30)


def test_streams_that_do_not_go_on_are_ended(board, client, package):
    """More of them than the board lets in: others are served, and streams when these have ended."""
    stop = threading.Event()
    name = client.device._stub["buffer"].allocate(buffer_pb2.AllocateRequest(size=16)).buffer_id
    to_file = remote_device_pb2.WriteFileRequest(file_path="/tmp/half", data=b"half")
    to_buffer = buffer_pb2.BufferWriteRequest(buffer_id=name, data=b"half")
    with ExitStack() as stack:
        stack.callback(stop.set)
        calls = []
        for i in range(server.MAX_STREAMS + 6):
            channel = stack.enter_context(grpc.insecure_channel(f"{board.address}:{board.port}"))
            if i % 2:
                stub = remote_device_pb2_grpc.RemoteDeviceStub(channel)
                calls.append(stub.writefile.future(endless(to_file, stop)))
            else:
                stub = buffer_pb2_grpc.RemoteBufferStub(channel)
                calls.append(stub.write.future(endless(to_buffer, stop)))
        wait_until(lambda: sum(call.done() for call in calls) >= 6)
        refused = [call for call in calls if call.done()]
        ended = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
        assert {call.code() for call in refused} <= ended
        assert client.read(reg.ERROR) == 0
        begin = time.monotonic()
        for call in calls:
            assert call.code() in ended
        assert time.monotonic() - begin < 3 * IDLE_SECONDS
        assert not client.device.exists_file("/tmp/half").exists
        works(client, package)


def test_a_reader_that_does_not_read_is_ended(board, client, package):
    big = client.buffer(48 << 20)
    request = buffer_pb2.BufferReadRequest(buffer_id=big.buffer_id)
    calls = [client.device._stub["buffer"].read(request) for _ in range(server.MAX_STREAMS - 1)]
    for call in calls:
        next(call)
    works(client, package)
    time.sleep(2 * IDLE_SECONDS)
    big.freebuffer()
    for call in calls:
        with pytest.raises(grpc.RpcError):
            list(call)
    works(client, package)


KILLED = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np
import host.remote_device
from pynq.pl_server.remote_device import RemoteDevice
from pynq.remote import buffer_pb2, remote_device_pb2
device = RemoteDevice(0, sys.argv[1], int(sys.argv[2]))
def endless(request):
    while True:
        yield request
buffer = device.allocate((1 << 20,), "u1")
big = buffer_pb2.BufferWriteRequest(buffer_id=buffer.buffer_id, data=bytes(64))
file = remote_device_pb2.WriteFileRequest(file_path="/tmp/killed", data=b"x")
calls = [device._stub["buffer"].write.future(endless(big)),
         device._stub["device"].writefile.future(endless(file))]
dma = device.mmap(%d, 0x100)
for channel in (0, 0x30):
    dma.write(channel, 1)
    dma.write(channel + 0x18, buffer.physical_address)
    dma.write(channel + 0x28, 1 << 20)
print("ready", flush=True)
threading.Event().wait()
"""


def test_a_client_that_dies_in_the_middle_of_everything(board, client, package, bit):
    """Two streams and two transfers are open when the process is killed."""
    assert client.load(package) == 0
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED % DESIGN.dma.base, board.address, str(board.port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    client.start(2, {reg.N_FORECASTS: 3})
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not len(board._streams))
    assert not client.device.exists_file("/tmp/killed").exists
    assert client.wait() != 0
    recover(client)
    works(RawClient(client.device, bit), package)


def test_more_calls_than_the_board_takes_are_refused(board, client):
    with grpc.insecure_channel(f"{board.address}:{board.port}") as channel:
        stub = mmio_pb2_grpc.MmioStub(channel)
        request = mmio_pb2.ReadRequest(mmio_id=f"{DESIGN.accelerator.base:#x}:0x1000", offset=0x40)
        calls = [stub.read.future(request) for _ in range(500)]
        codes = {call.code() for call in calls}
    assert grpc.StatusCode.OK in codes
    assert codes <= {
        grpc.StatusCode.OK,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
    assert client.read(reg.ERROR) == 0


# ------------------------------------------------------------------------------ the program


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "host.virtual_board", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def served():
    """`served(*arguments)` starts the program; (process, port)."""
    processes = []

    def start(*arguments):
        process = command("--build", "small", "--port", "0", *arguments)
        processes.append(process)
        line = process.stdout.readline()
        assert line.startswith("virtual ZCU102, build small, on 127.0.0.1:"), process.stderr.read()
        return process, int(line.split(":")[1].split(";")[0])

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_shutdown_in_the_middle_of_a_run(served, bit, package, number):
    process, port = served("--stalls", "0.1", "--seed", "3", "--memory-latency", "100")
    client = RawClient(RemoteDevice(0, "127.0.0.1", port), bit)
    assert client.load(package) == 0
    client.begin(tokens_for(package, n_forecasts=2000))
    stop = threading.Event()
    message = remote_device_pb2.WriteFileRequest(file_path="/tmp/half", data=b"half")
    call = client.device._stub["device"].writefile.future(endless(message, stop))
    assert client.read(reg.CTRL) & reg.CTRL_IDLE == 0
    begin = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=10) == 0
    # Half a second, of which Python takes half; more where the tests share few cores.
    assert time.monotonic() - begin < 10
    stop.set()
    assert call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    errors = [line for line in process.stderr.read().splitlines() if "programmed with" not in line]
    assert errors == []
    with pytest.raises(grpc.RpcError):
        client.read(reg.CTRL)


def test_faults_of_the_command_line(served, bit, package):
    _, port = served("--fault", "gmem-slave-error:1", "--memory", "1")
    client = RawClient(RemoteDevice(0, "127.0.0.1", port), bit)
    assert client.load(package) == 0
    assert client.load(package) == isa.ERRORS["BUS_ERROR"]
    with pytest.raises(grpc.RpcError, match="no 1048577 contiguous bytes"):
        client.buffer((1 << 20) + 1)


def test_a_port_in_use_is_a_line(board):
    process = command("--build", "small", "--port", str(board.port))
    assert process.communicate(timeout=60) == (
        "",
        f"error: cannot listen on 127.0.0.1:{board.port}: Address already in use\n",
    )


def test_errors_of_the_command_line(capsys):
    for arguments, message in (
        (("--port", "99999"), "cannot listen on 127.0.0.1:99999"),
        (("--host", "192.0.2.1", "--port", "0"), "cannot listen on 192.0.2.1:0"),
        (("--memory", "4096", "--port", "0"), "memory: found 4294967296 bytes"),
        (("--fault", "fire"), "found 'fire', expected NAME or NAME:N with a name of mm2s-slave"),
        (("--stalls", "1"), "found 1, expected 0 or more, and less than 1"),
        (("--write-overlay", "/proc/nowhere"), "/proc/nowhere"),
    ):
        try:
            status = main(["--build", "small", *arguments])
        except SystemExit as ended:
            status = ended.code
        assert status == (1 if "cannot listen" in message else 2)
        assert message in capsys.readouterr().err


def test_the_command_writes_the_overlay(tmp_path, bit, capsys):
    main(["--write-overlay", str(tmp_path / "x")])
    assert capsys.readouterr().out == f"{tmp_path / 'x' / 'cmamba.bit'}\n"
    for name in ("cmamba.bit", "cmamba.hwh"):
        assert (tmp_path / "x" / name).read_bytes() == (bit.parent / name).read_bytes()


def test_a_build_that_is_not_compiled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rtl.simulator, "FOLDER", tmp_path)
    assert main(["--build", "deep", "--port", "0"]) == 1
    assert "make simulator" in capsys.readouterr().err
