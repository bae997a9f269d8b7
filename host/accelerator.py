"""The driver: `Accelerator` loads packages and forecasts on a ZCU102.

It is written on `pynq` and knows no difference between the board it runs on, a board on the network
(PYNQ.remote) and the virtual board: Overlay, MMIO, and buffers with flush and invalidate are the
same in all three. What differs is the price. Over a network a register access costs half a
millisecond, so a forecast makes few of them; and there are no interrupts, so the driver polls.

How a forecast runs:

    host            prepare: quantize into the buffer, flush
    DMA S2MM        armed first: it has room for every beat that comes
    DMA MM2S        started next: the patches wait at s_axis
    accelerator     started last, so that its watchdog does not measure the host
    host            polls the accelerator, reads ERROR, both DMA states and the length received
    host            invalidate, dequantize

After an error nothing is known about what is left in the DMA and the streams. The next load or
forecast then first settles the hardware (`Accelerator._settle`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pynq

from golden import isa
from golden.builds import fitting_build
from golden.errors import PackageError
from golden.host import HostSide
from golden.package import Package
from golden.streams import BEAT_BYTES, AcceleratorError, StreamShape
from host.buffers import Buffer, BufferPool
from host.capabilities import Capabilities, read_capabilities
from host.dma import IDLE, Dma, describe
from host.errors import (
    BoardConnectionError,
    BoardError,
    BoardTimeoutError,
    DmaError,
    NotLoadedError,
    OtherBuildError,
    OverlayError,
    accelerator_error,
)
from host.profile import Profile, Times
from host.remote import add_deadlines, connection_errors
from rtl.regs import registers as reg

_LOAD, _RUN = 1, 2

# A batch is cut where its buffers would be larger: 16 MiB are 100,000 patches of ETTh1.
_MAX_BUFFER = 1 << 24
# Loads do not count what they have done; a virtual board loads more beats than this a second.
_LOAD_BEATS_A_SECOND = 2_000
# The driver gives up where the accelerator's own watchdog has not ended a run so many times over:
# once for the run, once for the rest of a packet, once for the bus.
_WATCHDOGS = 8
# After so many failures in a row the bitstream is downloaded again.
_MAX_FAILURES = 2
# Room for what is left on m_axis: one beat, and what the DMA holds.
_SCRATCH_BYTES = 4096


@dataclass
class _Loaded:
    """A package in the accelerator."""

    package: Package
    shape: StreamShape
    buffer: Buffer  # weights that do not fit are fetched from here during runs
    host: HostSide | None = None

    @property
    def token_row(self) -> int:
        """Bytes of a token in the input stream."""
        return -(-self.shape.token_bytes // BEAT_BYTES) * BEAT_BYTES

    @property
    def bytes_in(self) -> int:
        """Bytes that a forecast takes."""
        shape = self.shape
        return shape.iterations * shape.n_sequences * shape.n_positions * self.token_row

    @property
    def bytes_out(self) -> int:
        """Bytes that a forecast gives."""
        row = -(-2 * self.shape.forecast_elements // BEAT_BYTES) * BEAT_BYTES
        return self.shape.iterations * self.shape.n_sequences * row


@dataclass
class _Run:
    """One transfer out and one back."""

    n_forecasts: int
    source: Buffer
    sink: Buffer
    finished: bool = False
    error: BaseException | None = None
    abandoned: bool = field(default=False)


class Accelerator:
    """The accelerator of a bitstream.

    Args:
        bitfile: the bitstream; its .hwh lies beside it. It is downloaded.
        device: pynq device, for example of `host.connect`; by default pynq's active one, which is
            the board itself, or the first of PYNQ_REMOTE_DEVICES.
        timeout: seconds in which something must move, whatever the speed of the board.
        watchdog_cycles: cycles after which the hardware ends a run in which nothing completes.

    Attributes:
        overlay: the `pynq.Overlay`.
        capabilities: what the registers say about the build.
        package: the loaded package, or None.
        times: where the seconds of the last forecast, run or stream went.

    For one thread. Use it as a context manager, or `close` it: its buffers are a board's scarce
    memory.

    Raises:
        OverlayError: the bitstream does not have one accelerator and one AXI DMA.
        RegisterError: the registers hold what makes no sense.
        BoardError: there is no board, or it does not answer.
        OSError: no such bitstream.
    """

    def __init__(
        self,
        bitfile: str | Path = "cmamba.bit",
        *,
        device: Any = None,
        timeout: float = 5.0,
        watchdog_cycles: int = 1_000_000,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout: found {timeout}, expected seconds above 0")
        if not 1 <= watchdog_cycles < 1 << 32:
            raise ValueError(
                f"watchdog_cycles: found {watchdog_cycles}, expected 1 to {(1 << 32) - 1}"
            )
        self._device = device or _active_device()
        add_deadlines(self._device)
        self._timeout = timeout
        self._watchdog_cycles = watchdog_cycles
        self._pool: BufferPool | None = None
        self._loaded: _Loaded | None = None
        self._active: _Run | None = None
        self._stale = False
        self._failures = 0
        self._last_forecasts = 0
        self._clock_mhz: float | None = None
        self.times = Times()
        with connection_errors(self._device), _as_active(self._device):
            self.overlay = pynq.Overlay(str(bitfile), device=self._device, download=False)
            core = _find(self.overlay.ip_dict, "cmamba", "the accelerator")
            dma = _find(self.overlay.ip_dict, "axi_dma", "the AXI DMA")
            if int(dma["parameters"].get("c_include_sg", 0)):
                raise OverlayError(
                    f"{dma['fullpath']}: found scatter-gather, expected the simple mode"
                )
            if "WATCHDOG_CYCLES" not in (core.get("registers") or ("WATCHDOG_CYCLES",)):
                raise OverlayError(
                    f"{core['fullpath']} is {core['type']} and lacks WATCHDOG_CYCLES, expected the "
                    "registers of the RTL: an export of Vitis HLS has others (make bitstream "
                    "CORE=rtl)"
                )
            self.overlay.download()
            self._registers = self._mmio(core)
            self._dma = Dma(self._mmio(dma), dma["parameters"], timeout)
            self.capabilities: Capabilities = read_capabilities(self._registers.read)
            self._pool = BufferPool(self._device, self._dma.address_bits)
            self._prepare_hardware()

    def _mmio(self, ip: dict[str, Any]) -> pynq.MMIO:
        return pynq.MMIO(ip["phys_addr"], ip["addr_range"], device=self._device)

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs and free the buffers. Closing twice is fine."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        self._loaded = None
        with connection_errors(self._device):
            if self._active is not None or self._stale:
                self._dma.reset()  # it must not write into memory that is free
            pool.close()

    @property
    def package(self) -> Package | None:
        return None if self._loaded is None else self._loaded.package

    # ------------------------------------------------------------------------ packages

    def load(self, package: Package | bytes | str | Path) -> None:
        """Load a package, in place of the one before.

        Everything about it is checked against the limits that the board's registers state before
        the hardware is touched; a package that fails leaves the one before in place.

        Args:
            package: a package, the content of a package file, or its path.

        Raises:
            PackageError: it is damaged, or not for this board; an OtherBuildError where a board
                with another build would take it.
            AcceleratorError: the hardware refused it, or could not read it. None is loaded then.
            BoardError: the board does not work.
            OSError: no such file.
        """
        pool = self._open()
        package, data = self._checked(package)
        with connection_errors(self._device):
            self._finish_active()
            before, self._loaded = self._loaded, None
            if before is not None:
                pool.release(before.buffer)
            self._settle()
            buffer = pool.acquire(-(-len(data) // BEAT_BYTES) * BEAT_BYTES)
            try:
                buffer.array[: len(data)] = np.frombuffer(data, np.uint8)
                buffer.array[len(data) :] = 0
                buffer.flush()
                self._load(buffer, f"package of {len(data)} bytes refused")
            except BaseException:
                pool.release(buffer)
                raise
            self._loaded = _Loaded(package, StreamShape.of_header(data), buffer)

    def _checked(self, package: Package | bytes | str | Path) -> tuple[Package, bytes]:
        """The package and its file's content, fit for this board."""
        try:
            package, data = _read(package, self.capabilities.build)
        except PackageError as error:
            build = _other_build(package)
            if build is None:
                raise
            raise OtherBuildError(error, build) from None
        minor = next(f for f in isa.HEADER.fields if f.name == "version_minor")
        found = int.from_bytes(data[: isa.HEADER_BYTES], "little") >> minor.lsb & minor.maximum
        major, expected = self.capabilities.version
        if found > expected:
            raise PackageError(
                "BAD_VERSION",
                f"header field version: found {major}.{found}, expected {major}.{expected} of the "
                "board or an older minor version",
            )
        return package, data

    def _load(self, buffer: Buffer, what: str) -> None:
        beats = buffer.nbytes // BEAT_BYTES
        with self._unsettled():
            self._command(
                {
                    reg.GMEM_LO: buffer.address & 0xFFFFFFFF,
                    reg.GMEM_HI: buffer.address >> 32,
                    reg.PACKAGE_BEATS: beats,
                    reg.MODE: _LOAD,
                }
            )
            self._wait("a load to end", dma=False, allowance=beats / _LOAD_BEATS_A_SECOND)
            error = self._registers.read(reg.ERROR) & reg.ERROR_CODE
            if error == isa.ERRORS["TIMEOUT"]:
                # What the memory has been asked for may come during the next load, and delay it.
                self._failures = _MAX_FAILURES
            if error:
                raise accelerator_error(error, what)
        self._failures = 0

    # ------------------------------------------------------------------------ forecasts

    def forecast(self, x: np.ndarray) -> np.ndarray:
        """Forecast a batch of windows: one transfer out and one back, unless it is very large.

        Args:
            x: float32 [n, V, L].

        Returns:
            float32 [n, V, H].

        Raises:
            NotLoadedError: no package is loaded.
            ValueError: an input of another shape, or one that is not finite.
            AcceleratorError: the hardware ended the run with an error.
            BoardError: the board does not work.
        """
        (y,) = self.stream([x])
        return y

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Forecast batch after batch. While the hardware works on one, the host prepares the next.

        A forecast is yielded when the batch after it has been started, or when there is none.
        An array may change once the next one is asked for. Other calls may come in between, but
        for `load`.

        Args:
            batches: float32 [n, V, L] each.

        Yields:
            float32 [n, V, H] each, in order.

        Raises:
            As `forecast`.
        """
        self._open()
        loaded = self._need_package()
        if loaded.host is None:
            loaded.host = HostSide(loaded.package)
        host = loaded.host
        self.times = Times()

        def checked() -> Iterator[np.ndarray]:
            for x in batches:
                x = np.asarray(x, np.float32)
                if x.ndim != 3:
                    host.check(x)  # says so
                if len(x) == 0:
                    raise ValueError("input: found 0 windows, expected at least 1")
                yield x

        def encode(x: np.ndarray) -> tuple[np.ndarray, Any]:
            with self.times.measure("quantize"):
                return host.encode(x)

        def decode(beats: np.ndarray, statistics: Any) -> np.ndarray:
            with self.times.measure("dequantize"):
                return host.decode(loaded.shape.forecasts(beats), statistics)

        return self._stream(loaded, checked(), 1, encode, decode)

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """Forecasts from tokens to int16, without the host's conversions.

        Args:
            tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes], n_iterations a
                multiple of the package's `iterations`.

        Returns:
            int16 [n_iterations, n_sequences, forecast_elements].

        Raises:
            As `forecast`.
        """
        beats = self.run_beats(tokens)
        return self._need_package().shape.forecasts(beats)

    def run_beats(self, tokens: np.ndarray) -> np.ndarray:
        """As `run`, but the output stream as it came: beats uint8 [n, 16]."""
        self._open()
        loaded = self._need_package()
        tokens = loaded.shape.check(tokens)
        self.times = Times()
        (beats,) = self._stream(
            loaded,
            iter([tokens]),
            loaded.shape.iterations,
            lambda part: (part, None),
            lambda beats, _: beats.reshape(-1, BEAT_BYTES).copy(),  # the buffer is used again
        )
        return beats

    def _stream(
        self,
        loaded: _Loaded,
        batches: Iterator[np.ndarray],
        rows: int,
        encode: Callable[[np.ndarray], tuple[np.ndarray, Any]],
        decode: Callable[[np.ndarray, Any], np.ndarray],
    ) -> Iterator[np.ndarray]:
        """Batches in parts that fit a transfer, `rows` of an array a forecast, two in work."""
        limit = min(self._dma.max_bytes, _MAX_BUFFER)
        largest = max(loaded.bytes_in, loaded.bytes_out)
        if largest > self._dma.max_bytes:
            raise ValueError(
                f"package: a forecast takes a transfer of {largest} bytes, expected at most the "
                f"{self._dma.max_bytes} of the DMA"
            )
        step = max(1, limit // largest) * rows

        def parts() -> Iterator[tuple[np.ndarray, bool]]:
            for batch in batches:
                for start in range(0, len(batch), step):
                    yield batch[start : start + step], start + step >= len(batch)

        done: list[np.ndarray] = []
        for y, is_last in self._double_buffered(loaded, parts(), encode, decode):
            done.append(y)
            if is_last:
                yield done[0] if len(done) == 1 else np.concatenate(done)
                done.clear()

    def _double_buffered(
        self,
        loaded: _Loaded,
        parts: Iterator[tuple[np.ndarray, bool]],
        encode: Callable[[np.ndarray], tuple[np.ndarray, Any]],
        decode: Callable[[np.ndarray, Any], np.ndarray],
    ) -> Iterator[tuple[np.ndarray, bool]]:
        running: tuple[_Run, Any, bool] | None = None
        try:
            for part, is_last in parts:
                tokens, rest = encode(part)
                with connection_errors(self._device):
                    run = self._prepare(loaded, tokens)
                    try:
                        if running is not None:
                            self._finish(running[0])
                        self._start(run)
                    except BaseException:
                        self._release(run)
                        raise
                before, running = running, (run, rest, is_last)
                if before is not None:
                    yield self._result(loaded, before, decode)
            if running is not None:
                with connection_errors(self._device):
                    self._finish(running[0])
                before, running = running, None
                yield self._result(loaded, before, decode)
        finally:
            if running is not None and self._pool is not None:
                running[0].abandoned = True
                if running[0].finished:
                    self._release(running[0])

    def _result(
        self,
        loaded: _Loaded,
        run: tuple[_Run, Any, bool],
        decode: Callable[[np.ndarray, Any], np.ndarray],
    ) -> tuple[np.ndarray, bool]:
        run, rest, is_last = run
        try:
            return decode(run.sink.array, rest), is_last
        finally:
            self._release(run)

    # ------------------------------------------------------------------------ one run

    def _prepare(self, loaded: _Loaded, tokens: np.ndarray) -> _Run:
        """Buffers, and the tokens in one of them."""
        pool = self._open()
        if loaded is not self._loaded:
            raise BoardError("a stream was under way when another package was loaded")
        self._settle()
        n_forecasts = len(tokens) // loaded.shape.iterations
        source = pool.acquire(n_forecasts * loaded.bytes_in)
        try:
            sink = pool.acquire(n_forecasts * loaded.bytes_out)
        except BaseException:
            pool.release(source)
            raise
        run = _Run(n_forecasts, source, sink)
        try:
            with self.times.measure("copy"):
                rows = run.source.array.view(np.int8).reshape(-1, loaded.token_row)
                rows[:, : loaded.shape.token_bytes] = tokens.reshape(len(rows), -1)
                rows[:, loaded.shape.token_bytes :] = 0
            with self.times.measure("send"):
                run.source.flush()
        except BaseException:
            self._release(run)
            raise
        return run

    def _start(self, run: _Run) -> None:
        self._finish_active()
        self._settle()
        with self._unsettled(), self.times.measure("registers"):
            self._dma.receive.transfer(run.sink.address, run.sink.nbytes)
            self._dma.send.transfer(run.source.address, run.source.nbytes)
            self._command({reg.N_FORECASTS: run.n_forecasts, reg.MODE: _RUN})
        self._active = run

    def _finish(self, run: _Run) -> None:
        """Wait for a run that has been started, and make its result readable."""
        if not run.finished:
            run.finished = True
            self._active = None
            try:
                with self._unsettled():
                    self._collect(run)
            except BaseException as error:
                run.error = error
            if run.abandoned:
                self._release(run)
        if run.error is not None:
            raise run.error

    def _finish_active(self) -> None:
        """A stream that was left, or is interrupted by another call, may have a run under way. An
        error is left for the stream."""
        if self._active is not None:
            with suppress(AcceleratorError, BoardError):
                self._finish(self._active)

    def _collect(self, run: _Run) -> None:
        with self.times.measure("hardware"):
            self._wait("a run to end", dma=True)
        with self.times.measure("registers"):
            error = self._registers.read(reg.ERROR) & reg.ERROR_CODE
            if error == isa.ERRORS["TIMEOUT"]:  # a DMA that stopped is the cause, and says more
                self._dma.send.check()
                self._dma.receive.check()
            if error:
                raise accelerator_error(
                    error,
                    f"run of {run.n_forecasts} forecasts ended after "
                    f"{self._registers.read(reg.ENTRIES_LO)} entries of the schedule; "
                    f"{self._dma_state()}",
                )
            for channel in (self._dma.send, self._dma.receive):
                self._wait_idle(channel)
            found = self._dma.receive.transferred
            if found != run.sink.nbytes:
                raise DmaError(
                    "S2MM",
                    (),
                    f"received {found} bytes, expected {run.sink.nbytes}: beats are lost",
                )
        self._failures = 0
        self._last_forecasts = run.n_forecasts
        with self.times.measure("receive"):
            run.sink.invalidate()

    def _release(self, run: _Run) -> None:
        if self._pool is not None:
            self._pool.release(run.source)
            self._pool.release(run.sink)

    # ------------------------------------------------------------------------ hardware

    def _command(self, arguments: dict[int, int]) -> None:
        """Write the arguments, start."""
        for address, value in arguments.items():
            self._registers.write(address, value)
        self._registers.write(reg.CTRL, reg.CTRL_START)

    def _busy(self) -> bool:
        control = self._registers.read(reg.CTRL)
        return control & (reg.CTRL_START | reg.CTRL_IDLE) != reg.CTRL_IDLE

    def _wait(self, what: str, *, dma: bool, allowance: float = 0.0) -> None:
        """Until the accelerator is idle.

        At first it polls as fast as it can. Later it rests as long as a poll takes, so as not to
        hold up a virtual board, or for a twentieth of the time so far, but not above 10 ms.

        Args:
            what: what is waited for.
            dma: look for errors of the DMA, which leave the accelerator waiting.
            allowance: seconds beyond the timeout in which no progress can be seen.

        Raises:
            BoardTimeoutError: nothing has moved for the timeout, or the hardware's watchdog does
                not end what has come to nothing.
            DmaError: as it says.
        """
        begin = looked = moved = time.monotonic()
        before: tuple[int, ...] = ()
        cycles_of_entry = 0
        while True:
            polled = time.monotonic()
            if not self._busy():
                return
            status = (self._dma.send.check(), self._dma.receive.check()) if dma else ()
            now = time.monotonic()
            if now - begin > 1e-3:
                time.sleep(min(max(now - polled, 0.05 * (now - begin)), 0.01))
            if now - looked < self._timeout / 10:
                continue
            looked = now
            entries, cycles = map(self._registers.read, (reg.ENTRIES_LO, reg.CYCLES_LO))
            if before[:1] != (entries,):
                cycles_of_entry = cycles
            if before != (entries, cycles, *status):
                before, moved = (entries, cycles, *status), now
            idle_cycles = (cycles - cycles_of_entry) % (1 << 32)
            if now - moved > self._timeout + allowance:
                found = f"nothing has moved for {now - moved:.1f} s"
            elif idle_cycles > _WATCHDOGS * self._watchdog_cycles:
                found = (
                    f"nothing has completed for {idle_cycles} cycles, and the watchdog of "
                    f"{self._watchdog_cycles} does not end it"
                )
            else:
                continue
            raise BoardTimeoutError(
                f"waited for {what}, but {found}: {entries} entries and {cycles} cycles counted; "
                f"{self._dma_state()}"
            )

    def _dma_state(self) -> str:
        dma = self._dma
        return f"DMA MM2S {describe(dma.send.status)}, S2MM {describe(dma.receive.status)}"

    def _wait_idle(self, channel: Any) -> None:
        """The rest of a transfer, when the accelerator has taken or given all of it."""
        end = time.monotonic() + self._timeout
        while not (status := channel.check()) & IDLE:
            if time.monotonic() > end:
                raise BoardTimeoutError(
                    f"the run has ended, but DMA {channel.name} has not for {self._timeout:g} s: "
                    f"{describe(status)}"
                )

    @contextmanager
    def _unsettled(self) -> Iterator[None]:
        """What runs in here leaves unknown state behind if it is left by an exception."""
        try:
            yield
        except BaseException:
            self._stale = True
            self._failures += 1
            raise

    def _settle(self) -> None:
        """After an error: bring the hardware to where the next run finds nothing of the last one.

        1. The DMA is reset. It forgets what it was told and the beats inside, which cuts off a
           packet that is on its way to the accelerator, and writes nowhere any more.
        2. An accelerator that still runs gets a beat with TLAST. One that waits for input ends with
           TLAST_EARLY; one that has failed and drops the rest of a packet sees its end. One that
           waits for something else ends by its watchdog. A package stays loaded.
        3. One beat may be left: what m_axis offers stays until it is taken, as AXI4-Stream demands,
           and would be the first of the next forecast. S2MM takes it to a scratch buffer, and
           another reset makes the DMA forget that too.

        Where this fails, or did not help the call before, the bitstream is downloaded again.
        """
        if not self._stale:
            return
        if self._failures < _MAX_FAILURES:
            with suppress(BoardError):
                self._end_run()
                self._stale = False
                return
        self._download()

    def _end_run(self) -> None:
        pool, dma = self._open(), self._dma
        dma.reset()
        scratch = pool.acquire(_SCRATCH_BYTES)
        try:
            room = scratch.nbytes - BEAT_BYTES  # the last beat is the one to send
            if self._busy():
                dma.receive.transfer(scratch.address, room)
                dma.send.transfer(scratch.address + room, BEAT_BYTES)
                self._wait("the accelerator to stop", dma=False)
                dma.reset()
            dma.receive.transfer(scratch.address, room)
            for _ in range(8):  # many times as long as a beat needs
                self._busy()
            dma.reset()
        finally:
            pool.release(scratch)

    def _download(self) -> None:
        """The last resort. The package is loaded again, from the buffer that it is still in."""
        loaded, self._loaded = self._loaded, None
        with _as_active(self._device):
            self.overlay.download()
        self._prepare_hardware()
        self._stale = False
        self._failures = 0
        if loaded is not None:
            try:
                self._load(loaded.buffer, "package refused that had been loaded")
            except BaseException:
                self._open().release(loaded.buffer)
                raise
            self._loaded = loaded

    def _prepare_hardware(self) -> None:
        """After a download."""
        self._dma.reset()
        self._registers.write(reg.WATCHDOG_CYCLES, self._watchdog_cycles)

    # ------------------------------------------------------------------------ counters

    def profile(self) -> Profile:
        """The counters of the last run, and the clock."""
        self._open()

        with connection_errors(self._device):
            if self._clock_mhz is None:
                with _as_active(self._device):
                    self._clock_mhz = float(pynq.Clocks.fclk0_mhz)

            def read(low: int) -> int:
                read = self._registers.read
                return read(low) | read(low + 4) << 32

            return Profile(
                n_forecasts=self._last_forecasts,
                clock_mhz=self._clock_mhz,
                cycles=read(reg.CYCLES_LO),
                entries=read(reg.ENTRIES_LO),
                busy={unit: read(reg.BUSY_0_LO + 8 * i) for i, unit in enumerate(isa.UNITS)},
            )

    # ------------------------------------------------------------------------ small things

    def _open(self) -> BufferPool:
        if self._pool is None:
            raise BoardError("the accelerator is closed")
        return self._pool

    def _need_package(self) -> _Loaded:
        if self._loaded is None:
            raise NotLoadedError(isa.ERRORS["NOT_LOADED"], "no package is loaded")
        return self._loaded


def _active_device() -> Any:
    try:
        return pynq.Device.active_device
    except RuntimeError as error:
        raise BoardConnectionError(
            f"no board: {error}. On a PC, set PYNQ_REMOTE_DEVICES to the IP of a board, or give "
            "device=host.connect('IP')"
        ) from error


@contextmanager
def _as_active(device: Any) -> Iterator[None]:
    """Where pynq does not pass a device on: it means the active one, and sets the clocks of the
    first board that it has met, so that a second one would keep those that it booted with."""
    before = vars(pynq.Device).get("_active_device")
    pynq.Device.active_device = device
    if "_real_instance" in vars(pynq.Clocks):
        del pynq.Clocks._real_instance
    if hasattr(pynq.Clocks, "set_device"):  # not in PYNQ 3, which knows its own board only
        pynq.Clocks.set_device(device)
    try:
        yield
    finally:
        if before is not None:
            pynq.Device.active_device = before


def _read(package: Package | bytes | str | Path, build: isa.Build | None) -> tuple[Package, bytes]:
    """The package and its file's content. Raises PackageError, also where it is not for `build`."""
    if isinstance(package, Package):
        if build is not None:
            package.validate(build)
        return package, package.to_bytes()
    name = "package"
    if isinstance(package, (str, Path)):
        name, package = str(package), Path(package).read_bytes()
    data = bytes(package)
    return Package.from_bytes(data, name, build), data


def _other_build(package: Package | bytes | str | Path) -> str | None:
    """The build that takes a package which the board's does not; None where there is none."""
    try:
        return fitting_build(_read(package, None)[0])
    except PackageError:
        return None


def _find(ip_dict: dict[str, dict[str, Any]], core: str, what: str) -> dict[str, Any]:
    """The one IP whose name in vendor:library:name:version is `core`."""
    types = {name: str(ip["type"]) for name, ip in ip_dict.items()}
    found = [name for name, vlnv in types.items() if vlnv.split(":")[2:3] == [core]]
    if len(found) != 1:
        listed = ", ".join(f"{name} ({vlnv})" for name, vlnv in types.items()) or "nothing"
        raise OverlayError(
            f"the bitstream has {len(found)} IPs of the type *:*:{core}:* ({what}), expected 1; "
            f"found {listed}"
        )
    return ip_dict[found[0]]
