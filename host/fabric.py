"""The programmable logic: its registers and DMA, waits that end, and recovery from errors.

How a run goes:

    DMA S2MM        armed first: it has room for every beat that comes
    DMA MM2S        started next: the input waits at s_axis
    accelerator     started last, so that its watchdog does not measure the host
    host            polls the accelerator, reads ERROR, both DMA states and the length received

After an error nothing is known about what is left in the DMA and the streams. The next load or run
then first settles the hardware (`Fabric._settle`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pynq

from golden import isa
from golden.streams import BEAT_BYTES, AcceleratorError
from host.buffers import Buffer, BufferPool
from host.capabilities import read_capabilities
from host.device import as_active
from host.dma import IDLE, Channel, Dma, describe
from host.errors import BoardError, BoardTimeoutError, DmaError, accelerator_error
from host.overlay import open_overlay
from host.profile import Times
from rtl.regs import registers as reg

_LOAD, _RUN = 1, 2

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
class Run:
    """One transfer out and one back.

    Attributes:
        n_forecasts: how many it makes.
        source, sink: input and output, uint8.
        finished: nothing moves any more, well or not.
        error: how it has failed.
        abandoned: nobody waits for its result.
    """

    n_forecasts: int
    source: Buffer
    sink: Buffer
    finished: bool = False
    error: BaseException | None = None
    abandoned: bool = False


class Fabric:
    """The accelerator and its DMA, with one package and one run under way at most.

    Args:
        device: pynq device. What pynq and gRPC raise comes out as it is: `connection_errors` of
            `host.remote` names it.
        bitfile: the bitstream, which is downloaded.
        timeout: seconds in which something must move.
        watchdog_cycles: cycles after which the hardware ends a run in which nothing completes.

    Attributes:
        overlay: the `pynq.Overlay`.
        capabilities: what the registers say about the build.
        registers, dma: of the accelerator; the AXI DMA.
        times: where the seconds of runs go.
        last_forecasts: forecasts of the last run that ended well.

    Raises:
        OverlayError: the bitstream does not have one accelerator and one AXI DMA.
        RegisterError: the registers hold what makes no sense.
        BoardError: the board does not work.
        OSError: no such bitstream.
    """

    def __init__(
        self, device: Any, bitfile: str | Path, timeout: float, watchdog_cycles: int
    ) -> None:
        self._device = device
        self._timeout = timeout
        self._watchdog_cycles = watchdog_cycles
        self._package: Buffer | None = None  # weights that do not fit are fetched from it in runs
        self._active: Run | None = None
        self._stale = False
        self._failures = 0
        self.last_forecasts = 0
        self.times = Times()
        with as_active(device):
            self.overlay, core, dma = open_overlay(bitfile, device)
            self.overlay.download()
            self.registers = self._mmio(core)
            self.dma = Dma(self._mmio(dma), dma["parameters"], timeout)
            self.capabilities = read_capabilities(self.registers.read)
            self._pool = BufferPool(device, self.dma.address_bits)
            self._prepare_hardware()

    def _mmio(self, ip: dict[str, Any]) -> pynq.MMIO:
        return pynq.MMIO(ip["phys_addr"], ip["addr_range"], device=self._device)

    def close(self) -> None:
        """Stop what runs and free the buffers."""
        if self._active is not None or self._stale:
            self.dma.reset()  # it must not write into memory that is free
        self._pool.close()

    # ------------------------------------------------------------------------ a package

    @property
    def has_package(self) -> bool:
        """Whether the last load has gone well, and no error since then has lost its package."""
        return self._package is not None

    def load(self, data: bytes) -> None:
        """Load the content of a package file, in place of the one before.

        Raises:
            AcceleratorError: the hardware refused it, or could not read it. None is loaded then.
            BoardError: the board does not work.
        """
        self._finish_active()
        before, self._package = self._package, None
        if before is not None:
            self._pool.release(before)
        self._settle()
        buffer = self._pool.acquire(-(-len(data) // BEAT_BYTES) * BEAT_BYTES)
        try:
            buffer.array[: len(data)] = np.frombuffer(data, np.uint8)
            buffer.array[len(data) :] = 0
            buffer.flush()
            self._load(buffer, f"package of {len(data)} bytes refused")
        except BaseException:
            self._pool.release(buffer)
            raise
        self._package = buffer

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
            error = self.registers.read(reg.ERROR) & reg.ERROR_CODE
            if error == isa.ERRORS["TIMEOUT"]:
                # What the memory has been asked for may come during the next load, and delay it.
                self._failures = _MAX_FAILURES
            if error:
                raise accelerator_error(error, what)
        self._failures = 0

    # ------------------------------------------------------------------------ one run

    def reserve(self, n_forecasts: int, bytes_in: int, bytes_out: int) -> Run:
        """A run with its buffers, to be filled, flushed, started, finished and released.

        Raises:
            BoardError: there is no memory, or the board does not work.
        """
        self._settle()
        source = self._pool.acquire(bytes_in)
        try:
            sink = self._pool.acquire(bytes_out)
        except BaseException:
            self._pool.release(source)
            raise
        return Run(n_forecasts, source, sink)

    def release(self, run: Run) -> None:
        """Its buffers may be used for something else."""
        self._pool.release(run.source)
        self._pool.release(run.sink)

    def abandon(self, run: Run) -> None:
        """Release a run that has been started when it has finished."""
        run.abandoned = True
        if run.finished:
            self.release(run)

    def start(self, run: Run) -> None:
        """Start both transfers and the accelerator; a run under way is finished first.

        Raises:
            BoardError: the board does not work.
        """
        self._finish_active()
        self._settle()
        with self._unsettled(), self.times.measure("registers"):
            self.dma.receive.transfer(run.sink.address, run.sink.nbytes)
            self.dma.send.transfer(run.source.address, run.source.nbytes)
            self._command({reg.N_FORECASTS: run.n_forecasts, reg.MODE: _RUN})
        self._active = run

    def finish(self, run: Run) -> None:
        """Wait for a run that has been started, and make its result readable.

        A run that has failed says so each time.

        Raises:
            AcceleratorError: the hardware ended the run with an error.
            BoardError: the board does not work.
        """
        if not run.finished:
            run.finished = True
            self._active = None
            try:
                with self._unsettled():
                    self._collect(run)
            except BaseException as error:
                run.error = error
            if run.abandoned:
                self.release(run)
        if run.error is not None:
            raise run.error

    def _finish_active(self) -> None:
        """A stream that was left, or is interrupted by another call, may have a run under way. An
        error is left for the stream."""
        if self._active is not None:
            with suppress(AcceleratorError, BoardError):
                self.finish(self._active)

    def _collect(self, run: Run) -> None:
        with self.times.measure("hardware"):
            self._wait("a run to end", dma=True)
        with self.times.measure("registers"):
            error = self.registers.read(reg.ERROR) & reg.ERROR_CODE
            if error == isa.ERRORS["TIMEOUT"]:  # a DMA that stopped is the cause, and says more
                self.dma.send.check()
                self.dma.receive.check()
            if error:
                raise accelerator_error(
                    error,
                    f"run of {run.n_forecasts} forecasts ended after "
                    f"{self.registers.read(reg.ENTRIES_LO)} entries of the schedule; "
                    f"{self._dma_state()}",
                )
            for channel in (self.dma.send, self.dma.receive):
                self._wait_idle(channel)
            found = self.dma.receive.transferred
            if found != run.sink.nbytes:
                raise DmaError(
                    "S2MM",
                    (),
                    f"received {found} bytes, expected {run.sink.nbytes}: beats are lost",
                )
        self._failures = 0
        self.last_forecasts = run.n_forecasts
        with self.times.measure("receive"):
            run.sink.invalidate()

    # ------------------------------------------------------------------------ commands and waits

    def _command(self, arguments: dict[int, int]) -> None:
        """Write the arguments, start."""
        for address, value in arguments.items():
            self.registers.write(address, value)
        self.registers.write(reg.CTRL, reg.CTRL_START)

    def _busy(self) -> bool:
        control = self.registers.read(reg.CTRL)
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
            status = (self.dma.send.check(), self.dma.receive.check()) if dma else ()
            now = time.monotonic()
            if now - begin > 1e-3:
                time.sleep(min(max(now - polled, 0.05 * (now - begin)), 0.01))
            if now - looked < self._timeout / 10:
                continue
            looked = now
            entries, cycles = map(self.registers.read, (reg.ENTRIES_LO, reg.CYCLES_LO))
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
        dma = self.dma
        return f"DMA MM2S {describe(dma.send.status)}, S2MM {describe(dma.receive.status)}"

    def _wait_idle(self, channel: Channel) -> None:
        """The rest of a transfer, when the accelerator has taken or given all of it."""
        end = time.monotonic() + self._timeout
        while not (status := channel.check()) & IDLE:
            if time.monotonic() > end:
                raise BoardTimeoutError(
                    f"the run has ended, but DMA {channel.name} has not for {self._timeout:g} s: "
                    f"{describe(status)}"
                )

    # ------------------------------------------------------------------------ recovery

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
        pool, dma = self._pool, self.dma
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
        package, self._package = self._package, None
        with as_active(self._device):
            self.overlay.download()
        self._prepare_hardware()
        self._stale = False
        self._failures = 0
        if package is not None:
            try:
                self._load(package, "package refused that had been loaded")
            except BaseException:
                self._pool.release(package)
                raise
            self._package = package

    def _prepare_hardware(self) -> None:
        """After a download."""
        self.dma.reset()
        self.registers.write(reg.WATCHDOG_CYCLES, self._watchdog_cycles)
