"""After an error nothing is known about what is left in the DMA and the streams: the way out.

The next load or run first settles the hardware, so that it finds nothing of the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from host.buffers import BufferPool
from host.core import Core
from host.dma import Dma
from host.errors import BoardError
from isa.streams import BEAT_BYTES

# After so many failures in a row the bitstream is downloaded again.
_MAX_FAILURES = 2
# Room for what is left on m_axis: one beat, and what the DMA holds.
_SCRATCH_BYTES = 4096


class Recovery:
    """
    Args:
        core, dma: the hardware.
        pool: where scratch buffers come from.
        download: the last resort; calls `settled` when the bitstream is in place.

    Attributes:
        stale: the state of the hardware is unknown.
    """

    def __init__(
        self, core: Core, dma: Dma, pool: BufferPool, download: Callable[[], None]
    ) -> None:
        self._core = core
        self._dma = dma
        self._pool = pool
        self._download = download
        self._failures = 0
        self.stale = False

    @contextmanager
    def unsettled(self) -> Iterator[None]:
        """What runs in here leaves unknown state behind if it is left by an exception."""
        try:
            yield
        except BaseException:
            self.stale = True
            self._failures += 1
            raise

    def succeeded(self) -> None:
        """A load or a run has ended well."""
        self._failures = 0

    def settled(self) -> None:
        """The hardware is as after a download."""
        self.stale = False
        self._failures = 0

    def distrust(self) -> None:
        """After the error that now follows, only a download helps."""
        self._failures = _MAX_FAILURES

    def settle(self) -> None:
        """After an error: bring the hardware to where the next run finds nothing of the last one.

        Where `_end_run` fails, or did not help the call before, the bitstream is downloaded again.
        """
        if not self.stale:
            return
        if self._failures < _MAX_FAILURES:
            with suppress(BoardError):
                self._end_run()
                self.stale = False
                return
        self._download()

    def _end_run(self) -> None:
        """End what is under way, and drop what is left of it.

        1. The DMA is reset. It forgets what it was told and the beats inside, which cuts off a
           packet that is on its way to the accelerator, and writes nowhere any more.
        2. An accelerator that still runs gets a beat with TLAST. One that waits for input ends with
           TLAST_EARLY; one that has failed and drops the rest of a packet sees its end. One that
           waits for something else ends by its watchdog. A package stays loaded.
        3. One beat may be left: what m_axis offers stays until it is taken, as AXI4-Stream demands,
           and would be the first of the next forecast. S2MM takes it to a scratch buffer, and
           another reset makes the DMA forget that too.
        """
        core, dma = self._core, self._dma
        dma.reset()
        scratch = self._pool.acquire(_SCRATCH_BYTES)
        try:
            room = scratch.nbytes - BEAT_BYTES  # the last beat is the one to send
            if core.busy():
                dma.receive.transfer(scratch.address, room)
                dma.send.transfer(scratch.address + room, BEAT_BYTES)
                core.wait("the accelerator to stop", dma=False)
                dma.reset()
            dma.receive.transfer(scratch.address, room)
            for _ in range(8):  # many times as long as a beat needs
                core.busy()
            dma.reset()
        finally:
            self._pool.release(scratch)
