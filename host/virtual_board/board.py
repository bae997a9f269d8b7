"""The board without its network: files, memory, registers, and what programs the PL."""

from __future__ import annotations

import logging

from bitstream_scripts.design import DESIGN
from common.errors import CmambaError
from host.virtual_board import overlay
from host.virtual_board.clock import Clock
from host.virtual_board.fabric import Fabric
from host.virtual_board.faults import Fault, Faults
from host.virtual_board.files import Files
from host.virtual_board.hls_core import HlsCore
from host.virtual_board.memory import PAGE, Memory
from host.virtual_board.processor import BLOCK_BYTES, BLOCKS, ProcessorRegisters
from rtl.simulator import Simulator

DEFAULT_MEMORY_BYTES = 512 << 20
# First address and size of what has registers.
_FABRIC = tuple((ip.base, ip.range) for ip in (DESIGN.accelerator, DESIGN.dma))
_REGISTERS = (*_FABRIC, *((base, BLOCK_BYTES) for base in BLOCKS))
_log = logging.getLogger(__name__)


class AddressError(CmambaError, ValueError):
    """An address where the board has no registers."""


class Board:
    """A ZCU102 with the design of ``bitstream_scripts``. May be used by several threads.

    Args:
        build: which build of the accelerator is in the PL.
        core: "rtl", or "hls" for the one that Vitis HLS makes.
        memory_bytes: DDR that clients can allocate, at the end of what the masters reach. A DMA
            transfer or a read outside of it is answered with DECERR.
        high_addresses: small buffers lie where no master reaches them, as those of XRT 2.17 do.
        seed: of random stalls.

    Raises:
        ImportError: the build is not compiled.
        ValueError: ``memory_bytes`` is not a multiple of a page within the DDR.
    """

    def __init__(
        self,
        build: str = "default",
        *,
        core: str = "rtl",
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        high_addresses: bool = False,
        seed: int = 1,
    ) -> None:
        ddr = DESIGN.memory
        if memory_bytes % PAGE or not 0 < memory_bytes < ddr.range:
            raise ValueError(
                f"memory: found {memory_bytes} bytes, expected a multiple of {PAGE} "
                f"below {ddr.range}"
            )
        base = ddr.base + ddr.range - memory_bytes
        self.name = DESIGN.board.name
        self.build = build
        self.core = core
        if core == "hls":
            self._simulator = HlsCore(build, memory_base=base, memory_bytes=memory_bytes)
        else:
            self._simulator = Simulator(
                build, memory_base=base, memory_bytes=memory_bytes, seed=seed
            )
        self.memory = Memory(base, self._simulator.memory, high_addresses=high_addresses)
        self.files = Files(self.name, self._program)
        self._faults = Faults()
        self._fabric = Fabric(self._simulator, self.memory, DESIGN, self._faults)
        self._processor = ProcessorRegisters()
        self._programmed = False
        self._clock = Clock(self._fabric)

    def close(self) -> None:
        """Stop the clock. The board cannot be used afterwards."""
        self._clock.close()

    # ---- the programmable logic ----

    def _program(self, name: str, content: bytes, partial: bool) -> None:
        if partial:
            raise overlay.NotOurOverlayError(f"{name}: partial bitstreams are not supported")
        overlay.check_firmware(content, self.core)
        self._clock.call(self._fabric.reset)
        self._programmed = True
        _log.info("programmed with %s", name)

    @property
    def cycles(self) -> int:
        """Cycles that the clock of the PL has run."""
        return self._simulator.cycles

    @property
    def moving(self) -> bool:
        """Whether the clock of the PL runs."""
        return self._fabric.moving

    # ---- registers ----

    def check_range(self, address: int, size: int) -> None:
        """Raises AddressError unless one block of registers has these bytes."""
        inside = any(base <= address and address + size <= base + n for base, n in _REGISTERS)
        if size < 1 or not inside:
            raise AddressError(f"the board has no registers at {address:#x} of {size} bytes")

    def read(self, address: int) -> int:
        """Read a 32-bit register.

        Raises:
            AddressError: there is none, or it is in the PL, which is not programmed.
            FabricError: the RTL has broken a rule of its interfaces.
        """
        if self._in_fabric(address):
            return self._clock.call(lambda: self._fabric.read(address))
        return self._processor.read(address)

    def write(self, address: int, value: int) -> None:
        """Write a 32-bit register.

        Raises:
            AddressError: there is none, or it is in the PL, which is not programmed.
            DmaUsageError: the result would be undefined on a board.
            FabricError: the RTL has broken a rule of its interfaces.
        """
        if self._in_fabric(address):
            self._clock.call(lambda: self._fabric.write(address, value))
        else:
            self._processor.write(address, value)

    def _in_fabric(self, address: int) -> bool:
        self.check_range(address, 4)
        if not any(base <= address < base + n for base, n in _FABRIC):
            return False
        if not self._programmed:
            raise AddressError(f"{address:#x} is in the PL, which is not programmed")
        return True

    # ---- what can be made worse ----

    def inject(self, fault: Fault | str, after: int = 0) -> None:
        """Let a fault happen once, after so many transfers or starts that go well (`Faults`)."""
        self._faults.inject(fault, after)

    def clear_faults(self) -> None:
        """Forget the faults that have not happened yet."""
        self._faults.clear()

    def set_stalls(self, probability: float) -> None:
        """Probability, in every cycle, that a handshake on a bus or stream is delayed."""
        self._simulator.set_stalls(
            ar=probability, r=probability, s_axis=probability, m_axis=probability
        )

    def set_memory_latency(self, cycles: int) -> None:
        """Cycles from an address to the first beat of memory; 40 at first."""
        self._clock.call(lambda: self._fabric.set_memory_latency(cycles))
