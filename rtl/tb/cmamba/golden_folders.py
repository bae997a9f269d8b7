"""Runs golden folders (`golden.vectors`) on the accelerator; for ``python -m rtl.tb.cmamba``.

Every folder is loaded once, without a reset between two of them, and run twice: all forecasts back
to back, then the first one alone, with TLAST_EACH. What is compared is as in csim: every
instruction's tensor where there is a trace, and always the output stream. The environment gives
SIM_FOLDERS, separated by os.pathsep, and SIM_RESULTS, a file for a line of JSON about each folder.
"""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cocotb
import numpy as np
from cocotb.simtime import get_sim_time

from isa.package import Package, PackageError
from isa.streams import AcceleratorError
from rtl.tb import trace
from rtl.tb.accelerator import PERIOD_NS
from rtl.tb.cmamba.bench import BUILD, Bench, reader


@dataclass
class Result:
    """What became of one folder."""

    name: str
    forecasts: int = 0
    load_cycles: int = 0
    single: int = 0  # cycles of one forecast, from its start to done
    together: int = 0  # of all forecasts of the run back to back
    tensors: int = 0
    values: int = 0
    mismatches: int = 0
    cycles: int = 0  # that were simulated
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


def cycle():
    """Cycles since the simulation began."""
    return round(get_sim_time("ns")) // PERIOD_NS


class Folder:
    """A golden folder, read again and checked against its own package."""

    def __init__(self, path):
        self.package = Package.read(path / "package.bin", build=BUILD)
        self.data = (path / "package.bin").read_bytes()
        p = self.package
        self.tokens = self._read(path / "input.bin", "i1", p.n_positions, p.token_bytes)
        self.forecast = self._read(path / "forecast.bin", "<i2", p.forecast_elements)
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        self.tensors = [
            np.fromfile(path / item["file"], np.dtype(item["dtype"]).newbyteorder("<")).reshape(
                item["shape"]
            )
            for item in manifest["tensors"]
        ]
        if len(self.tensors) != len(p.instructions):
            raise ValueError(f"{path}/manifest.json: expected {len(p.instructions)} tensors")

    def _read(self, path, dtype, *shape):
        values = np.fromfile(path, dtype)
        return values.reshape(-1, self.package.n_sequences, *shape)


async def run_folder(bench, path, result):
    """Load and run one folder."""
    golden = Folder(path)
    iterations = golden.package.iterations
    result.forecasts = len(golden.tokens) // iterations
    begin = cycle()
    await bench.accelerator.load(golden.data)
    result.load_cycles = cycle() - begin
    for first_only in (False, True):
        n = iterations if first_only else len(golden.tokens)
        begin = cycle()
        forecast = await bench.accelerator.run(golden.tokens[:n], tlast_each=first_only)
        cycles = cycle() - begin
        if reader() is not None:
            (run,) = reader().runs()
            cycles = run.end - run.begin
            tensors = [tensor[:n] for tensor in golden.tensors]
            report = trace.compare(golden.package, run, tensors, bench.memories)
            result.tensors = report.tensors
            result.values += report.values
            result.mismatches += report.mismatches
            result.errors += report.errors
        _compare_forecast(golden, forecast, result)
        if first_only:
            result.single = cycles
        else:
            result.together = cycles


def _compare_forecast(golden, forecast, result):
    wrong = np.argwhere(forecast != golden.forecast[: len(forecast)])
    result.values += forecast.size
    result.mismatches += len(wrong)
    if len(wrong):
        at = tuple(wrong[0])
        result.errors.append(
            f"m_axis, iteration {at[0]}, sequence {at[1]}, element {at[2]}: expected "
            f"{golden.forecast[at]}, got {forecast[at]} "
            f"({len(wrong)} of {forecast.size} values differ)"
        )


@cocotb.test()
async def run_golden_folders(dut):
    bench = Bench(dut)
    # Packages of the compiler finish something every few thousand cycles.
    bench.accelerator.watchdog_cycles = 1_000_000
    await bench.reset()
    failed = []
    with open(os.environ["SIM_RESULTS"], "w", encoding="utf-8") as file:
        for path in map(Path, os.environ["SIM_FOLDERS"].split(os.pathsep)):
            result = Result(path.name)
            begin, started = cycle(), time.perf_counter()
            try:
                await run_folder(bench, path, result)
            except (
                *(AcceleratorError, AssertionError, PackageError, trace.TraceError),
                *(OSError, ValueError, KeyError),
            ) as error:
                result.errors.append(f"{type(error).__name__}: {error}")
                await bench.reset()
            result.cycles = cycle() - begin
            result.seconds = time.perf_counter() - started
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()
            if result.errors:
                failed.append(path.name)
    assert not failed, f"failed: {', '.join(failed)}"
