"""Registers of the processing system that PYNQ touches: clocks, and widths of the AXI ports."""

from __future__ import annotations

# Blocks by their first address (UG1087), each of 64 KiB.
BLOCK_BYTES = 0x1_0000
CRL_APB, CRF_APB, FPD_SLCR, LPD_SLCR = 0xFF5E_0000, 0xFD1A_0000, 0xFD61_0000, 0xFF41_0000
AFI = (*(0xFD36_0000 + i * BLOCK_BYTES for i in range(6)), 0xFF9B_0000)
BLOCKS = (CRL_APB, CRF_APB, FPD_SLCR, LPD_SLCR, *AFI)

# After boot: PLLs at 45 times the 33.33 MHz reference, PL clocks of 100 MHz.
_PLL = 1 << 16 | 90 << 8  # DIV2, FBDIV
_PL_CLOCK = 1 << 24 | 1 << 16 | 15 << 8  # CLKACT, DIVISOR1, DIVISOR0
_INITIAL = {
    CRL_APB + 0x20: _PLL,  # IOPLL_CTRL
    CRL_APB + 0x30: _PLL,  # RPLL_CTRL
    CRF_APB + 0x20: _PLL,  # APLL_CTRL
    CRF_APB + 0x2C: _PLL,  # DPLL_CTRL
    CRF_APB + 0x38: _PLL,  # VPLL_CTRL
    CRF_APB + 0x60: 1 << 8,  # ACPU_CTRL: DIVISOR0
    **{CRL_APB + 0xC0 + 4 * i: _PL_CLOCK for i in range(4)},  # PLi_REF_CTRL
}


class ProcessorRegisters:
    """They keep what is written, and nothing follows from it."""

    def __init__(self) -> None:
        self._values = dict(_INITIAL)

    def read(self, address: int) -> int:
        return self._values.get(address, 0)

    def write(self, address: int, value: int) -> None:
        self._values[address] = value
