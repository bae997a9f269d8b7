"""The register model of the AXI DMA, and the memory and faults it works with."""

from collections import deque
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.virtual_board.dma import (
    BURSTS_AHEAD,
    S2MM_OFFSET,
    AxiDma,
    Control,
    DmaUsageError,
    Register,
    Status,
)
from host.virtual_board.faults import Fault, Faults
from host.virtual_board.memory import HIGH_BASE, PAGE, DecodeError, Memory, OutOfMemoryError
from rtl.simulator import Simulator

BASE, SIZE = 0x7000_0000, 1 << 16
BURST_BEATS = 4
RUN, RESET = int(Control.RUN_STOP), int(Control.RESET)
MM2S, S2MM = 0, S2MM_OFFSET
ERRORS = Status.INTERNAL_ERROR | Status.SLAVE_ERROR | Status.DECODE_ERROR


class FakeStreams:
    """What is at the DMA's streams: takes and offers beats when a test says so."""

    def __init__(self):
        self.queue, self.taken = deque(), []
        self.offered, self.received = deque(), []
        self.room = 0

    # ---- as the DMA sees it

    @property
    def to_send(self):
        return len(self.queue)

    def send(self, data, last):
        data = bytes(data)
        parts = [data[i : i + 16] for i in range(0, len(data), 16)]
        self.queue += [(part, last and i == len(parts) - 1) for i, part in enumerate(parts)]

    def withdraw(self):
        self.queue.clear()

    def set_room(self, beats, stop_at_last):
        assert stop_at_last
        self.room = beats

    def receive(self):
        beats, self.received = self.received, []
        data = np.frombuffer(b"".join(b for b, _ in beats), np.uint8).reshape(-1, 16)
        return data, np.array([last for _, last in beats], bool), np.zeros(len(beats))

    # ---- as the test sees it

    def take(self, n):
        self.taken += [self.queue.popleft() for _ in range(min(n, len(self.queue)))]

    def offer(self, data):
        beats = [data[i : i + 16] for i in range(0, len(data), 16)]
        self.offered += [(beat, i == len(beats) - 1) for i, beat in enumerate(beats)]

    def move(self, n):
        """Up to n beats from what is offered to the DMA."""
        while n and self.room and self.offered:
            beat = self.offered.popleft()
            self.received.append(beat)
            self.room = 0 if beat[1] else self.room - 1
            n -= 1


class Bench:
    def __init__(self, length_bits=26):
        self.memory = Memory(BASE, np.arange(SIZE, dtype=np.uint32).astype(np.uint8))
        self.streams, self.faults = FakeStreams(), Faults()
        self.dma = AxiDma(
            self.memory,
            self.streams,
            length_bits=length_bits,
            burst_beats=BURST_BEATS,
            faults=self.faults.event,
        )
        self.now = 0

    def read(self, channel, register):
        return self.dma.read(channel + register)

    def write(self, channel, register, value):
        self.dma.write(channel + register, value)

    def status(self, channel):
        return Status(self.read(channel, Register.STATUS))

    def start(self, channel, address, length):
        self.write(channel, Register.CONTROL, RUN)
        self.write(channel, Register.ADDRESS, address & 0xFFFFFFFF)
        self.write(channel, Register.ADDRESS_MSB, address >> 32)
        self.write(channel, Register.LENGTH, length)

    def run(self, steps=1000, beats=3):
        """Move everything that can be moved, `beats` in a step."""
        for _ in range(steps):
            self.now += 1
            self.dma.advance(self.now)
            self.streams.take(beats)
            self.streams.move(beats)
        self.dma.advance(self.now)


@pytest.fixture
def bench():
    return Bench()


# ------------------------------------------------------------------------------ registers


@pytest.mark.parametrize("channel", [MM2S, S2MM])
def test_registers_after_reset(bench, channel):
    assert bench.read(channel, Register.CONTROL) == 0x0001_0002
    assert bench.read(channel, Register.STATUS) == Status.HALTED
    assert bench.read(channel, Register.LENGTH) == 0
    assert all(bench.dma.read(offset) == 0 for offset in range(0x5C, 0x200, 4))


@pytest.mark.parametrize("channel", [MM2S, S2MM])
def test_run_and_stop(bench, channel):
    bench.write(channel, Register.CONTROL, RUN)
    assert bench.status(channel) == 0  # running, and idle only after a transfer
    bench.write(channel, Register.CONTROL, 0)
    assert bench.status(channel) == Status.HALTED


def test_a_transfer_ends_before_its_channel_halts(bench):
    bench.start(MM2S, BASE, 64)
    bench.write(MM2S, Register.CONTROL, 0)
    assert bench.status(MM2S) == 0
    bench.run()
    assert bench.status(MM2S) == Status.HALTED | Status.IOC_IRQ
    assert len(bench.streams.taken) == 4


@pytest.mark.parametrize("channel", [MM2S, S2MM])
def test_length_has_no_effect_on_a_halted_channel(bench, channel):
    bench.write(channel, Register.ADDRESS, BASE)
    bench.write(channel, Register.LENGTH, 64)
    assert bench.read(channel, Register.LENGTH) == 64
    bench.write(channel, Register.CONTROL, RUN)
    bench.streams.offer(bytes(64))
    bench.run()
    assert bench.status(channel) == 0
    assert not bench.dma.active and not bench.streams.taken


@pytest.mark.parametrize("channel", [MM2S, S2MM])
def test_a_length_beyond_the_register_starts_nothing(bench, channel):
    bench.start(channel, BASE, 1 << 26)
    assert bench.read(channel, Register.LENGTH) == 0 and not bench.dma.active
    bench.start(channel, BASE, 1 << 26 | 32)
    assert bench.read(channel, Register.LENGTH) == 32 and bench.dma.active


@pytest.mark.parametrize("channel, name", [(MM2S, "mm2s"), (S2MM, "s2mm")])
def test_what_is_undefined_on_a_board_is_refused(bench, channel, name):
    with pytest.raises(DmaUsageError, match=f"{name}: address 0x70000008 is not a multiple of 16"):
        bench.start(channel, BASE + 8, 64)
    assert not bench.dma.active
    bench.start(channel, BASE, 64)
    with pytest.raises(DmaUsageError, match=f"{name}: LENGTH written while a transfer is active"):
        bench.write(channel, Register.LENGTH, 16)


def test_interrupt_bits_are_cleared_by_writing_one(bench):
    bench.start(MM2S, BASE, 16)
    bench.run()
    done = Status.IDLE | Status.IOC_IRQ
    assert bench.status(MM2S) == done
    bench.write(MM2S, Register.STATUS, Status.ERROR_IRQ | Status.IDLE | Status.HALTED)
    assert bench.status(MM2S) == done
    bench.write(MM2S, Register.STATUS, Status.IOC_IRQ)
    assert bench.status(MM2S) == Status.IDLE


@pytest.mark.parametrize("by", [MM2S, S2MM])
def test_reset_of_either_channel_resets_both(bench, by):
    bench.streams.offer(bytes(160))
    bench.start(MM2S, BASE, 4096)
    bench.start(S2MM, BASE + 4096, 160)
    before = bench.memory.at(BASE + 4096, 160).copy()
    bench.run(steps=1)
    bench.streams.move(3)  # taken, but not written yet
    bench.write(by, Register.CONTROL, RESET)
    for channel in (MM2S, S2MM):
        assert bench.status(channel) == Status.HALTED
        assert bench.read(channel, Register.CONTROL) == 0x0001_0002
        assert bench.read(channel, Register.ADDRESS) == 0
    taken, moved = len(bench.streams.taken), len(bench.streams.offered)
    bench.run()
    assert len(bench.streams.taken) == taken  # nothing of what MM2S had read comes later
    assert len(bench.streams.offered) == moved  # and S2MM takes nothing
    np.testing.assert_array_equal(bench.memory.at(BASE + 4096 + 48, 112), before[48:])


# ------------------------------------------------------------------------------ transfers


@settings(deadline=None)
@given(
    beat=st.integers(0, 100),
    length=st.integers(1, 3000),
    steps=st.lists(st.integers(0, 9), max_size=20),
    latency=st.integers(0, 30),
)
def test_mm2s_sends_the_bytes_and_one_tlast(beat, length, steps, latency):
    bench = Bench()
    bench.dma.mm2s.latency = latency
    bench.start(MM2S, BASE + 16 * beat, length)
    for n in steps:
        bench.run(steps=1, beats=n)
        assert bench.streams.to_send <= (BURSTS_AHEAD + 1) * BURST_BEATS
        done = Status.IDLE in bench.status(MM2S)
        assert done == (16 * len(bench.streams.taken) >= length)
    bench.run()
    data, last = zip(*bench.streams.taken, strict=True)
    assert b"".join(data) == bench.memory.at(BASE + 16 * beat, length).tobytes()
    assert list(last) == [False] * (len(last) - 1) + [True]
    assert bench.read(MM2S, Register.LENGTH) == length


@settings(deadline=None)
@given(
    beats=st.integers(1, 200),
    length=st.integers(1, 4000),
    step=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_s2mm_writes_a_packet_that_fits_and_refuses_the_others(beats, length, step, seed):
    bench = Bench()
    packet = np.random.default_rng(seed).bytes(16 * beats)
    before = bench.memory.at(BASE, SIZE).copy()
    bench.start(S2MM, BASE + 32, length)
    bench.streams.offer(packet)
    bench.streams.offer(bytes(16))  # another packet, which has to wait
    bench.run(steps=400, beats=step)
    fits = len(packet) <= length
    written = min(len(packet), length)
    assert bench.memory.at(BASE + 32, written).tobytes() == packet[:written]
    after = bench.memory.at(BASE, SIZE)
    np.testing.assert_array_equal(after[:32], before[:32])
    np.testing.assert_array_equal(after[32 + written :], before[32 + written :])
    if fits:
        assert bench.status(S2MM) == Status.IDLE | Status.IOC_IRQ
        assert bench.read(S2MM, Register.LENGTH) == len(packet)
        assert len(bench.streams.offered) == 1
    else:
        assert bench.status(S2MM) == Status.HALTED | Status.INTERNAL_ERROR | Status.ERROR_IRQ
        assert bench.read(S2MM, Register.CONTROL) & RUN == 0


@pytest.mark.parametrize("address", [0, BASE - 16, BASE + SIZE, BASE + SIZE - 16, 0x10_7000_0000])
def test_no_memory_at_an_address_is_a_decode_error(bench, address):
    for channel, errors in (
        (MM2S, Status.DECODE_ERROR),
        (S2MM, Status.DECODE_ERROR | Status.INTERNAL_ERROR),
    ):
        bench.streams.offer(bytes(32))
        bench.start(channel, address, 32)
        bench.run()
        assert bench.status(channel) & ERRORS == errors
        assert Status.HALTED in bench.status(channel)


WRITES = st.tuples(
    st.just("write"),
    st.sampled_from([c + r for c in (MM2S, S2MM) for r in Register]),
    st.one_of(
        st.sampled_from([0, RUN, RESET, BASE, BASE + SIZE - 32, 16, 100, 0x7000, 0xFFFFFFFF]),
        st.integers(0, 2**32 - 1),
    ),
)
MOVES = st.tuples(st.just("move"), st.integers(0, 20), st.just(0))
PACKETS = st.tuples(st.just("offer"), st.integers(1, 20).map(lambda beats: 16 * beats), st.just(0))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(WRITES, MOVES, PACKETS), max_size=40))
def test_any_sequence_of_accesses_leaves_a_consistent_state(operations):
    bench = Bench()
    channels = {MM2S: bench.dma.mm2s, S2MM: bench.dma.s2mm}
    errors = {MM2S: Status(0), S2MM: Status(0)}
    for kind, a, b in operations:
        reset = False
        if kind == "write":
            reset = a in (MM2S, S2MM) and bool(b & RESET)
            with suppress(DmaUsageError):
                bench.dma.write(a, b)
        elif kind == "move":
            bench.run(steps=1, beats=a)
        else:
            bench.streams.offer(bytes(a))
        for channel, model in channels.items():
            status, control = bench.status(channel), bench.read(channel, Register.CONTROL)
            assert not (Status.HALTED in status and Status.IDLE in status)
            assert not model.active or not status & (Status.HALTED | Status.IDLE)
            assert Status.HALTED not in status or not control & RUN
            assert not status & ERRORS or Status.HALTED in status
            # An error stays until a reset, whatever is written.
            assert reset or errors[channel] & ~status == 0
            errors[channel] = status & ERRORS
            assert control & 0b1110 == Control.RESERVED
            assert bench.read(channel, Register.LENGTH) < 1 << 26
            assert bench.read(channel, Register.ADDRESS_MSB) <= 0xFF
    bench.write(MM2S, Register.CONTROL, RESET)
    bench.streams.taken.clear()
    bench.start(MM2S, BASE, 100)
    bench.run()
    assert b"".join(d for d, _ in bench.streams.taken) == bench.memory.at(BASE, 100).tobytes()


# ------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    "fault, errors",
    [
        (Fault.MM2S_SLAVE_ERROR, Status.SLAVE_ERROR),
        (Fault.MM2S_DECODE_ERROR, Status.DECODE_ERROR),
        (Fault.S2MM_SLAVE_ERROR, Status.SLAVE_ERROR | Status.INTERNAL_ERROR),
        (Fault.S2MM_DECODE_ERROR, Status.DECODE_ERROR | Status.INTERNAL_ERROR),
    ],
)
def test_errors_of_memory_halt_until_reset(bench, fault, errors):
    channel = S2MM if fault.channel == "s2mm" else MM2S
    bench.faults.inject(fault, after=1)
    for expected in (Status(0), errors):
        bench.streams.offer(bytes(320))
        bench.start(channel, BASE, 320)
        bench.run()
        assert bench.status(channel) & ERRORS == expected
    halted = errors | Status.HALTED | Status.ERROR_IRQ
    # The interrupt of the transfer before, which nobody has cleared.
    assert bench.status(channel) & ~Status.IOC_IRQ == halted
    assert len(bench.streams.taken) < 40
    bench.start(channel, BASE, 320)  # RS stays 0
    assert bench.status(channel) & ~Status.IOC_IRQ == halted and not bench.dma.active
    bench.write(channel, Register.CONTROL, RESET)
    bench.streams.offered.clear()
    bench.streams.offer(bytes(320))
    bench.start(channel, BASE, 320)
    bench.run()
    assert bench.status(channel) == Status.IDLE | Status.IOC_IRQ


@pytest.mark.parametrize("beats", [1, 2, 3, 4, 5, 8, 9, 21])
def test_a_dropped_beat(bench, beats):
    bench.faults.inject("mm2s-dropped-beat")
    bench.start(MM2S, BASE, 16 * beats)
    bench.run()
    data = bench.memory.at(BASE, 16 * beats).tobytes()
    lost = 16 * (beats // 2)
    assert b"".join(d for d, _ in bench.streams.taken) == data[:lost] + data[lost + 16 :]
    assert [last for _, last in bench.streams.taken].count(True) == (beats > 2)
    assert Status.IDLE in bench.status(MM2S)


def test_a_transfer_that_never_completes(bench):
    bench.faults.inject(Fault.S2MM_HANG)
    bench.streams.offer(bytes(32))
    bench.start(S2MM, BASE, 32)
    bench.run()
    assert bench.status(S2MM) == 0 and len(bench.streams.offered) == 2
    bench.write(S2MM, Register.CONTROL, 0)
    assert bench.status(S2MM) == 0  # it waits for the transfer
    bench.write(S2MM, Register.CONTROL, RESET)
    bench.start(S2MM, BASE, 32)
    bench.run()
    assert bench.status(S2MM) == Status.IDLE | Status.IOC_IRQ


def test_faults_happen_once_and_in_turn():
    faults = Faults()
    faults.inject("gmem-slave-error", after=1)
    faults.inject("s2mm-hang")
    faults.inject("mm2s-dropped-beat")
    faults.inject("mm2s-slave-error", after=2)
    assert faults.event("gmem") == set()
    assert faults.event("s2mm") == {Fault.S2MM_HANG}
    assert [faults.event("mm2s") for _ in range(4)] == [
        {Fault.MM2S_DROPPED_BEAT},
        set(),
        {Fault.MM2S_SLAVE_ERROR},
        set(),
    ]
    faults.clear()
    assert faults.event("gmem") == set()
    with pytest.raises(ValueError, match="'no-such' is not a valid Fault"):
        faults.inject("no-such")
    with pytest.raises(ValueError, match="after: found -1"):
        faults.inject("s2mm-hang", after=-1)


def test_the_simulator_forgets_what_is_withdrawn():
    simulator = Simulator("small", memory_bytes=1 << 20)
    simulator.send(bytes(1000))
    simulator.run(50)
    assert simulator.to_send == 63
    simulator.withdraw()
    assert simulator.to_send == 0
    simulator.run(50)
    assert simulator.to_send == 0


# ------------------------------------------------------------------------------ memory


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(1, 9 * PAGE), st.none()), max_size=40), st.data())
def test_buffers_do_not_overlap(sizes, data):
    memory = Memory(BASE, np.zeros(SIZE, np.uint8), max_buffers=12)
    live = []
    for size in sizes:
        if size is None and live:
            memory.free(live.pop(data.draw(st.integers(0, len(live) - 1))).name)
        elif size is not None:
            try:
                live.append(memory.allocate(size))
            except OutOfMemoryError:
                continue
        assert memory.buffers == len(live)
        ordered = sorted(live, key=lambda b: b.address)
        ends = [b.address + b.size for b in ordered]
        assert all(end <= b.address for end, b in zip(ends, ordered[1:], strict=False))
        assert all(b.address >= BASE and b.address % PAGE == 0 for b in live)
        assert not ends or ends[-1] <= BASE + SIZE
    for buffer in live:
        memory.free(buffer.name)
        memory.free(buffer.name)  # once more is no error
    assert memory.allocate(SIZE).address == BASE


def test_small_buffers_at_high_addresses():
    """Clients read and write them, masters find nothing there."""
    memory = Memory(BASE, np.zeros(SIZE, np.uint8), max_buffers=3, high_addresses=True)
    small = [memory.allocate(size) for size in (PAGE, 1)]
    assert [b.address for b in small] == [HIGH_BASE, HIGH_BASE + PAGE]
    large = memory.allocate(PAGE + 1)
    assert large.address == BASE
    for i, buffer in enumerate((*small, large)):
        memory.write(buffer.name, 0, bytes([i + 1]))
    assert [memory.read(b.name, 0, 1) for b in (*small, large)] == [b"\1", b"\2", b"\3"]
    assert memory.at(BASE, 1) == 3
    with pytest.raises(DecodeError, match="no memory at 0x800000000"):
        memory.at(HIGH_BASE, 16)
    memory.free(small[0].name)
    assert memory.allocate(7).address == HIGH_BASE


def test_memory_refuses():
    memory = Memory(BASE, np.zeros(SIZE, np.uint8), max_buffers=2)
    for size in (0, -5):
        with pytest.raises(OutOfMemoryError, match="a buffer has at least 1 byte"):
            memory.allocate(size)
    with pytest.raises(OutOfMemoryError, match="no 65537 contiguous bytes: 0 of 65536 bytes"):
        memory.allocate(SIZE + 1)
    buffer = memory.allocate(10)
    memory.allocate(10)
    with pytest.raises(OutOfMemoryError, match="all 2 buffers are in use"):
        memory.allocate(10)
    with pytest.raises(ValueError, match="12 bytes written to a buffer of 10 bytes"):
        memory.write(buffer.name, 8, b"1234")
    memory.write(buffer.name, 6, b"1234")
    assert memory.read(buffer.name, 0, 100) == bytes(6) + b"1234"
    assert memory.read(buffer.name, 20, 100) == b""
    memory.free(buffer.name)
    for use in (lambda: memory.read(buffer.name, 0, 1), lambda: memory.write(buffer.name, 0, b"1")):
        with pytest.raises(KeyError):
            use()
    with pytest.raises(DecodeError):
        memory.at(BASE + SIZE - 1, 2)
