"""The accelerator by its registers: it gets commands, and is waited for."""

from __future__ import annotations

from host.dma import Dma
from host.errors import BoardTimeoutError
from host.pace import Pace
from host.progress import Counted, Progress
from host.registers import Registers
from rtl.regs import registers as reg

LOAD, RUN = 1, 2  # in the register MODE


class Core:
    """
    Args:
        registers: of the accelerator.
        dma: at its streams.
        timeout, watchdog_cycles: as those of `host.accelerator.Accelerator`.
    """

    def __init__(
        self, registers: Registers, dma: Dma, timeout: float, watchdog_cycles: int
    ) -> None:
        self._registers = registers
        self._dma = dma
        self._timeout = timeout
        self._watchdog_cycles = watchdog_cycles

    def prepare(self) -> None:
        """After a download: the registers get what they need once."""
        self._registers.write(reg.WATCHDOG_CYCLES, self._watchdog_cycles)

    def introduce(self) -> None:
        """Let the registers say what the accelerator is. One of Vitis HLS writes them when a
        command has ended: after a download it gets one that does nothing, and is refused."""
        if self._registers.read(reg.VERSION) == 0 and not self.busy():
            self.start({reg.MODE: 0})
            self.wait("an empty command to end", dma=False)

    def start(self, arguments: dict[int, int]) -> None:
        """Start a command; its arguments by the addresses of their registers."""
        for address, value in arguments.items():
            self._registers.write(address, value)
        self._registers.write(reg.CTRL, reg.CTRL_START)

    def busy(self) -> bool:
        """Whether a command is under way."""
        control = self._registers.read(reg.CTRL)
        return control & (reg.CTRL_START | reg.CTRL_IDLE) != reg.CTRL_IDLE

    def error(self) -> int:
        """Error code of the last command; 0 where it ended well."""
        return self._registers.read(reg.ERROR) & reg.ERROR_CODE

    def entries(self) -> int:
        """Entries of the schedule that the last run has completed, the lower 32 bits."""
        return self._registers.read(reg.ENTRIES_LO)

    def wait(self, what: str, *, dma: bool, allowance: float = 0.0) -> None:
        """Until no command is under way.

        Args:
            what: what is waited for.
            dma: look for errors of the DMA, which leave the accelerator waiting.
            allowance: seconds beyond the timeout in which no progress can be seen.

        Raises:
            BoardTimeoutError: nothing has moved for the timeout, or the hardware's watchdog does
                not end what has come to nothing.
            DmaError: as it says.
        """
        pace = Pace()
        progress = Progress(pace.begin, self._timeout, allowance, self._watchdog_cycles)
        while self.busy():
            status = self._dma.check() if dma else ()
            now = pace.rest()
            if not progress.due(now):
                continue
            counted = Counted(self.entries(), self._registers.read(reg.CYCLES_LO), status)
            if reason := progress.standstill(now, counted):
                raise BoardTimeoutError(
                    f"waited for {what}, but {reason}: {counted.entries} entries and "
                    f"{counted.cycles} cycles counted; {self._dma.state()}"
                )
