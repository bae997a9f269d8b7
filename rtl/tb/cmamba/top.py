"""Builds the whole accelerator, ours or an export with the same ports, and runs suites on it.

Ours comes with the trace (``rtl/tb/trace``). A build is made once and shared by the suites, which
may run at the same time, each in a folder of its own.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cocotb_tools.runner import get_results, get_runner

from rtl.tb.accelerator import register_map
from rtl.tb.simulate import (
    BUILD,
    MODULE_FOLDERS,
    RTL,
    WAVES,
    fst_arguments,
    packages,
    simulation_seed,
    use_verilator,
)

PORTS = ("ap_clk", "ap_rst_n", "s_axis_TDATA", "m_axis_TDATA", "m_axi_gmem_ARADDR", "interrupt")


class Top:
    """A compiled top.

    Args:
        build: build of ``builds.toml`` that ours is compiled for; another must be equal to.
        rtl: folder of other Verilog or SystemVerilog, searched with its subfolders; ours if None.

    Attributes:
        name: of the module.
        folder: of what was compiled.
        traced: whether it writes traces.

    Raises:
        ValueError: the folder has no module with the accelerator's ports, or several.
        RuntimeError: Verilator or the C++ compiler failed.
    """

    def __init__(self, build: str = "small", rtl: Path | None = None) -> None:
        self.build = build
        self.traced = rtl is None
        self.header: Path | None = None
        waves = "-waves" if WAVES else ""
        if rtl is None:
            self.name = "cmamba"
            self.folder = BUILD / f"cmamba-{build}{waves}"
            sources = [*packages(build), RTL / "cmamba.sv", RTL / "tb/trace/trace.sv"]
            arguments = [arg for path in MODULE_FOLDERS for arg in ("-y", str(path))]
        else:
            self.name, sources, arguments = find_top(rtl)
            self.folder = BUILD / f"other-{self.name}{waves}"
            self.header = next(iter(sorted(rtl.rglob("x*_hw.h"))), None)
        self._compile(sources, arguments)

    def _compile(self, sources: Sequence[Path], arguments: Sequence[str]) -> None:
        use_verilator()
        optimize = "OPT_FAST=-O1" if self.build == "small" else "OPT_FAST=-O2"
        os.environ["MAKEFLAGS"] += f" {optimize}"
        with _alone(self.folder.with_suffix(".lock")):
            get_runner("verilator").build(
                sources=sources,
                hdl_toplevel=self.name,
                build_args=[
                    # The runner asks for every signal to be visible, which costs most of the speed.
                    *("--no-public-flat-rw", "--public-depth", "1"),
                    # Before the reset registers hold anything: `unique case` may find two matches.
                    "--no-assert-case",
                    *(fst_arguments() if WAVES else []),
                    *arguments,
                ],
                build_dir=self.folder,
                always=True,
                waves=WAVES,
                timescale=("1ns", "1ps"),
            )

    def run(
        self,
        suite: str,
        *,
        test_filter: str | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> tuple[int, int]:
        """Run the cocotb tests of a module in a new simulation.

        Args:
            suite: name of the module, in this folder.
            test_filter: regular expression, run only the tests whose names match.
            env: environment variables for the tests, beside SIM_BUILD and SIM_TRACE,
                the trace's file where it writes one.
            folder: where results, trace and waves go.

        Returns:
            (tests, of these failed).

        Raises:
            AssertionError: under pytest, a test failed; see `simulation_seed`.
        """
        folder = folder or self.folder / suite
        folder.mkdir(parents=True, exist_ok=True)
        variables = {
            "SIM_BUILD": self.build,
            "PYTHONWARNINGS": "ignore::DeprecationWarning",  # of cocotbext-axi
            **(env or {}),
        }
        plusargs = []
        if self.traced:
            trace = folder / "trace.txt"
            trace.unlink(missing_ok=True)
            plusargs.append(f"+trace={trace}")
            variables["SIM_TRACE"] = str(trace)
        if self.header is not None:
            register_map(self.header)  # what is wrong with it is said here
            variables["SIM_REGISTERS"] = str(self.header)
        with simulation_seed() as seed:
            # Registers and memories that a reset does not reach start with anything.
            plusargs += ["+verilator+rand+reset+2", f"+verilator+seed+{seed}"]
            results = get_runner("verilator").test(
                test_module=f"rtl.tb.cmamba.{suite}",
                hdl_toplevel=self.name,
                hdl_toplevel_lang="verilog",
                build_dir=self.folder,
                test_dir=folder,
                results_xml=str(folder / "results.xml"),
                seed=seed,
                waves=WAVES,
                test_filter=test_filter,
                plusargs=plusargs,
                extra_env=variables,
            )
        return get_results(results)


def find_top(rtl: Path) -> tuple[str, list[Path], list[str]]:
    """(name of the top, source files, arguments of Verilator) of RTL that is not ours.

    Raises:
        ValueError: not one module in the folder has the ports of the accelerator.
    """
    if not rtl.is_dir():
        raise ValueError(f"{rtl}: expected a folder of Verilog files")
    # Packages before what imports them; ours are found in this order by their names.
    files = sorted(
        (f for suffix in ("v", "sv", "vlt") for f in rtl.rglob(f"*.{suffix}")),
        key=lambda f: (not f.stem.endswith("_pkg"), f.stem != "cmamba_pkg", f.name),
    )
    tops = {}
    for file in files:
        text = file.read_text(errors="replace")
        for name, body in re.findall(r"\bmodule\s+(\w+)(.*?)\bendmodule\b", text, re.DOTALL):
            if all(re.search(rf"\b{port}\b", body) for port in PORTS):
                tops[name] = file
    if len(tops) != 1:
        found = ", ".join(tops) or "none"
        raise ValueError(f"{rtl}: expected one module with ports {', '.join(PORTS)}, found {found}")
    (name,) = tops
    # Generated code is not written for -Wall, and data files are beside the modules.
    includes = sorted({f"-I{file.parent}" for file in files})
    return name, files, ["-Wno-fatal", "-Wno-lint", "-Wno-style", *includes]


@contextmanager
def _alone(lock: Path):
    """Keep other processes out of a build."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
