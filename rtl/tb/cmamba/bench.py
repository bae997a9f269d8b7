"""What the suites of the whole accelerator share: a bench that checks everything about a run."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from cocotb.handle import SimHandleBase

import isa
from golden.integer_model import IntegerModel
from isa.package import Package
from isa.streams import AcceleratorError
from rtl.tb import trace
from rtl.tb.accelerator import OUR_REGISTERS, Accelerator, Stalls, register_map
from rtl.tb.streams import PATTERNS

torch.set_num_threads(1)

BUILD = isa.build(os.environ.get("SIM_BUILD", "small"))
REGISTERS = (
    register_map(Path(os.environ["SIM_REGISTERS"]))
    if "SIM_REGISTERS" in os.environ
    else OUR_REGISTERS
)
# An export of Vitis HLS writes what can be read when a command has ended, counts the cycles of the
# run itself only, and does not look at the answers of the bus.
OURS = REGISTERS is OUR_REGISTERS
STALLS = {"none": Stalls()} | {p.__name__: Stalls.all(p) for p in PATTERNS[1:]}
# Where weights do not fit: to load more than the chip of the default build holds takes long.
FEW_STALLS = list(STALLS) if BUILD.name == "small" else ["in_bursts"]


@cache
def reader() -> trace.TraceReader | None:
    """Of the trace of this simulation, if it writes one."""
    return trace.TraceReader(Path(os.environ["SIM_TRACE"])) if "SIM_TRACE" in os.environ else None


class Golden:
    """A package, tokens for some forecasts, and every tensor that they give.

    Attributes:
        data: the package's bytes.
        tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes].
        forecast: int16 [n_iterations, n_sequences, forecast_elements].
        tensors: of each instruction, [n_iterations, rows, n].
    """

    def __init__(self, package: Package, tokens: np.ndarray) -> None:
        self.package, self.tokens = package, tokens
        self.data = package.to_bytes()
        model = IntegerModel(package, BUILD)
        tensors: dict[str, torch.Tensor] = {}
        self.forecast = model.run(tokens, tensors)
        self.tensors = [tensors[name].numpy() for name in model.names]

    @classmethod
    def random(cls, package: Package, rng: np.random.Generator, n_forecasts: int = 2) -> Golden:
        """With tokens over the whole range of int8."""
        p = package
        shape = (p.iterations * n_forecasts, p.n_sequences, p.n_positions, p.token_bytes)
        return cls(package, rng.integers(-128, 128, shape, dtype=np.int8))

    @property
    def n_forecasts(self) -> int:
        return len(self.tokens) // self.package.iterations


class Bench:
    """An accelerator after reset, whose runs are compared with the integer model.

    Attributes:
        report: what `run` has compared in all of its runs.
        last_run: events of the last run, where there is a trace.
        memories: what the trace has written into the activation memories.
    """

    def __init__(self, dut: SimHandleBase, stalls: Stalls | None = None) -> None:
        self.accelerator = Accelerator(dut, stalls, REGISTERS)
        self.report = trace.Report()
        self.last_run: trace.Run | None = None
        self.memories = trace.Memories(BUILD)

    async def reset(self) -> None:
        """Reset, and forget what the trace has shown before."""
        await self.accelerator.reset()
        if reader() is not None:
            reader().runs()

    async def load(self, golden: Golden, address: int = 0x1000) -> None:
        """Load a package."""
        await self.accelerator.load(golden.data, address)

    async def run(self, golden: Golden, *, tlast_each: bool = False) -> None:
        """Run what is loaded, and compare forecasts, every tensor, and the counters.

        AssertionError: names the first values that differ. AcceleratorError: the run has ended with
        an error; its notes say how far it came.
        """
        if reader() is not None:
            self._skip()
        try:
            forecast = await self.accelerator.run(golden.tokens, tlast_each=tlast_each)
        except AcceleratorError as error:
            if reader() is not None:
                error.add_note(str(self._report(golden)))
            raise
        if reader() is not None:
            report = self._report(golden)
            assert not report.errors, f"\n{report}"
            self.report.tensors += report.tensors
            self.report.values += report.values
        wrong = np.argwhere(forecast != golden.forecast)
        assert not len(wrong), (
            f"iteration, sequence, element {wrong[0]}: "
            f"expected {golden.forecast[tuple(wrong[0])]}, got {forecast[tuple(wrong[0])]} "
            f"({len(wrong)} of {forecast.size} values differ)"
        )
        if OURS:
            await self._check_counters(golden)

    def _skip(self) -> None:
        """Runs that ended with an error have written memories, too."""
        for run in reader().runs():
            for event in run.events:
                if isinstance(event, trace.Write):
                    self.memories.write(event)

    def _report(self, golden: Golden) -> trace.Report:
        """Compare every tensor of the run that has just ended."""
        (self.last_run,) = reader().runs()
        return trace.compare(golden.package, self.last_run, golden.tensors, self.memories)

    async def _check_counters(self, golden: Golden) -> None:
        counters = await self.accelerator.read_counters()
        assert counters.entries == len(golden.tokens) * len(golden.package.executed())
        if self.last_run is not None:
            run = self.last_run
            assert counters.cycles == run.end - run.begin
            for unit, name in enumerate(isa.UNITS):
                expected = busy_cycles(run, unit)
                assert counters.busy[name] == expected, f"{name}: {counters.busy[name]} {expected}"


def busy_cycles(run: trace.Run, unit: int) -> int:
    """Cycles in which a unit had an entry: from the one after its start to its completion."""
    busy = until = 0
    for start, done in zip(run.starts[unit], run.dones(unit), strict=True):
        busy += done - max(start.cycle, until)
        until = done
    return busy
