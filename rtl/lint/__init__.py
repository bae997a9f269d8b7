"""Reads the RTL as two front ends besides Verilator do, and checks the rules of rtl/README.md.

    python -m rtl.lint

Nobody has run Vivado on this design. So nothing may depend on what one tool tolerates: slang
(`reading.py`) reads every build strictly, with and without SYNTHESIS; Yosys elaborates it with its
own copy of slang and lowers every process; and `rules.py` refuses what Vivado is known to stumble
over.
"""

from rtl.lint.reading import Design, elaborate_with_yosys, read
from rtl.lint.rules import Finding, check

__all__ = ["Design", "Finding", "check", "elaborate_with_yosys", "read"]
