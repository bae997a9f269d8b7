"""The programmable logic: packages are loaded, and one run after another is made.

How a run goes:

    DMA S2MM        armed first: it has room for every beat that comes
    DMA MM2S        started next: the input waits at s_axis
    accelerator     started last, so that its watchdog does not measure the host
    host            polls the accelerator, reads ERROR, both DMA states and the length received

Another program may load a package, or program the board, in between. GMEM_LO then holds an address
that is not that of this one's package, whose buffer nobody else can have. It is read before a run,
so as not to disturb the other one, and after it, so that no forecast is of a wrong model.

The first load or run after an error settles the hardware before anything else (`host.recovery`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import isa
from host.buffers import Buffer, BufferPool
from host.capabilities import read_capabilities
from host.core import LOAD, RUN, Core
from host.device import as_active, is_programmed
from host.dma import Dma
from host.errors import BoardError, DmaError, OtherProgramError, accelerator_error
from host.overlay import open_overlay
from host.profile import Times
from host.recovery import Recovery
from host.registers import open_registers
from isa.streams import BEAT_BYTES, AcceleratorError
from rtl.regs import registers as reg

# Loads do not count what they have done; a virtual board loads more beats than this a second.
_LOAD_BEATS_A_SECOND = 2_000


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
        bitfile: the bitstream.
        download: program the board with it; otherwise it has been programmed with it before.
        timeout: seconds in which something must move.
        watchdog_cycles: cycles after which the hardware ends a run in which nothing completes.

    Attributes:
        overlay: the `pynq.Overlay`.
        capabilities: what the registers say about the build.
        registers, core, dma: of the accelerator; what drives them; the AXI DMA.
        times: where the seconds of runs go.
        last_forecasts: forecasts of the last run that ended well.

    Raises:
        OverlayError: a file is damaged, or has not one accelerator and one AXI DMA.
        RegisterError: the registers hold what makes no sense.
        BoardError: the board does not work.
        OSError: no such bitstream.
    """

    def __init__(
        self,
        device: Any,
        bitfile: str | Path,
        timeout: float,
        watchdog_cycles: int,
        *,
        download: bool = True,
    ) -> None:
        self._device = device
        self._package: Buffer | None = None  # weights that do not fit are fetched from it in runs
        self._active: Run | None = None
        self.last_forecasts = 0
        self.times = Times()
        with as_active(device):
            self.overlay, ip, dma = open_overlay(bitfile, device)
            if download:
                self.overlay.download()
            elif not is_programmed(device):
                raise BoardError("download=False: the board has not been programmed yet")
            self.registers = open_registers(device, ip)
            self.dma = Dma(open_registers(device, dma), dma["parameters"], timeout)
            self.core = Core(self.registers, self.dma, timeout, watchdog_cycles)
            self.core.introduce()
            self.capabilities = read_capabilities(self.registers.read)
            self._pool = BufferPool(device, self.dma.address_bits)
            self._recovery = Recovery(self.core, self.dma, self._pool, self._download)
            if not download and self.core.busy():
                raise OtherProgramError(
                    "download=False: the accelerator is at work for another program"
                )
            self._prepare_hardware()

    def close(self) -> None:
        """Stop what runs and free the buffers."""
        if self._active is not None or self._recovery.stale:
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
        self.finish_active()
        before, self._package = self._package, None
        if before is not None:
            self._pool.release(before)
        self._recovery.settle()
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
        with self._recovery.unsettled():
            self.core.start(
                {
                    reg.GMEM_LO: buffer.address & 0xFFFFFFFF,
                    reg.GMEM_HI: buffer.address >> 32,
                    reg.PACKAGE_BEATS: beats,
                    reg.MODE: LOAD,
                }
            )
            self.core.wait("a load to end", dma=False, allowance=beats / _LOAD_BEATS_A_SECOND)
            error = self.core.error()
            if error == isa.ERRORS["TIMEOUT"]:
                # What the memory has been asked for may come during the next load, and delay it.
                self._recovery.distrust()
            if error:
                raise accelerator_error(error, what)
        self._recovery.succeeded()

    # ------------------------------------------------------------------------ one run

    def reserve(self, n_forecasts: int, bytes_in: int, bytes_out: int) -> Run:
        """A run with its buffers, to be filled, flushed, started, finished and released.

        Raises:
            BoardError: there is no memory, or the board does not work.
        """
        self._recovery.settle()
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
        self.finish_active()
        self._recovery.settle()
        with self._recovery.unsettled(), self.times.measure("registers"):
            self._check_package()
            self.dma.receive.transfer(run.sink.address, run.sink.nbytes)
            self.dma.send.transfer(run.source.address, run.source.nbytes)
            self.core.start({reg.N_FORECASTS: run.n_forecasts, reg.MODE: RUN})
        self._active = run

    def _check_package(self) -> None:
        """Raises OtherProgramError where the accelerator has not got this program's package. What
        else is not as it was left is unknown then, so that the next load programs the board."""
        package = self._package
        if package is None:  # an error has lost it; the accelerator says so
            return
        found = self.registers.read(reg.GMEM_LO)
        if found == package.address & 0xFFFFFFFF:
            return
        self._package = None
        self._pool.release(package)
        self._recovery.distrust()
        what = f"loaded a package from 0x{found:X}" if found else "programmed the board"
        raise OtherProgramError(
            f"another program has {what} since this one has loaded its own, at "
            f"0x{package.address:X}: let one program at a time use the board, and load again"
        )

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
                with self._recovery.unsettled():
                    self._collect(run)
            except BaseException as error:
                run.error = error
            if run.abandoned:
                self.release(run)
        if run.error is not None:
            raise run.error

    def finish_active(self) -> None:
        """A stream that was left, or is interrupted by another call, may have a run under way. An
        error is left for the stream."""
        if self._active is not None:
            with suppress(AcceleratorError, BoardError):
                self.finish(self._active)

    def _collect(self, run: Run) -> None:
        with self.times.measure("hardware"):
            self.core.wait("a run to end", dma=True)
        with self.times.measure("registers"):
            self._check_package()
            error = self.core.error()
            if error == isa.ERRORS["TIMEOUT"]:  # a DMA that stopped is the cause, and says more
                self.dma.check()
            if error:
                raise accelerator_error(
                    error,
                    f"run of {run.n_forecasts} forecasts ended after "
                    f"{self.core.entries()} entries of the schedule; {self.dma.state()}",
                )
            self.dma.wait_idle()
            found = self.dma.receive.transferred
            if found != run.sink.nbytes:
                raise DmaError(
                    "S2MM",
                    (),
                    f"received {found} bytes, expected {run.sink.nbytes}: beats are lost",
                )
        self._recovery.succeeded()
        self.last_forecasts = run.n_forecasts
        with self.times.measure("receive"):
            run.sink.invalidate()

    # ------------------------------------------------------------------------ recovery

    def _download(self) -> None:
        """The last resort. The package is loaded again, from the buffer that it is still in."""
        package, self._package = self._package, None
        with as_active(self._device):
            self.overlay.download()
        self._prepare_hardware()
        self._recovery.settled()
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
        self.core.prepare()
