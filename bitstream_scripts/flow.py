"""From sources to a bitstream or to a reason: the stages, what a rerun skips, the choice of clock.

    synthesize    sources to synth.dcp, and the check of what was inferred
    implement     synth.dcp to routed.dcp, once for each strategy
    retime        where the clock is missed: timing of the best routed.dcp at slower clocks
    export        bitstream, handoff and platform, at the fastest clock that holds

Each stage is a process of Vivado. What it completes stays as a checkpoint, so a rerun goes on where
the last one ended, whatever ended it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bitstream_scripts import hls_export, inference, reports, vivado
from bitstream_scripts.clocks import Clock, check_handoff, slower_clocks
from bitstream_scripts.strategies import directives
from common.atomic_write import write_text
from common.errors import CmambaError
from rtl.synth.hierarchy import sources
from rtl.synth.resources import targets

ROOT = Path(__file__).resolve().parents[1]
# What checkpoints are made with.
SCRIPTS = (
    *("design.tcl", "tools.tcl", "package_ip.tcl", "block_design.tcl", "inference.tcl"),
    *("synthesize.tcl", "implement.tcl", "strategies.py"),
)
PRODUCTS = ("cmamba.bit", "cmamba.hwh", "cmamba.xsa")
REPORTS = ("utilization.rpt", "timing.rpt", "drc.rpt", "power.rpt", "report.json")


class FlowError(CmambaError, RuntimeError):
    """There is no bitstream; says why."""


@dataclass(frozen=True)
class Settings:
    """What is asked for.

    Attributes:
        core: "rtl", or "hls" for the export of Vitis HLS.
        build: of isa/builds.toml.
        clock: PL clock 0.
        synthesis: strategy of synthesis.
        strategies: of implementation, to try.
        jobs: processes at a time; None as many as memory allows.
        keep: a bitstream even if timing is missed or something was not inferred as designed.
    """

    core: str
    build: str
    clock: Clock
    synthesis: str
    strategies: tuple[str, ...]
    jobs: int | None
    keep: bool


@dataclass(frozen=True)
class Result:
    """A routed design at a clock; `paths` are those of setup, the worst first."""

    strategy: str
    clock: Clock
    timing: reports.Timing
    paths: list[reports.SetupPath]

    @property
    def worst(self) -> str:
        """The worst setup path in words."""
        if not self.paths:
            return "no path is reported"
        path = self.paths[0].path
        return f"{path.source} to {path.destination} ({path.delay:.3f} ns, {path.levels} levels)"


def build_bitstream(program: Path, settings: Settings, out: Path) -> Result:
    """Run the stages; what was exported.

    Args:
        program: Vivado.
        settings: what is asked for.
        out: folder of everything that is written.

    Raises:
        FlowError, VivadoError: there is no bitstream.
        ValueError, OSError: a report of Vivado is not what it should be.
    """
    out.mkdir(parents=True, exist_ok=True)
    with vivado.alone(out):
        # Nothing of an earlier run may look like a result of this one.
        for name in PRODUCTS + REPORTS:
            (out / name).unlink(missing_ok=True)
        _forget_other_checkpoints(program, settings, out)
        _synthesize(program, settings, out)
        best = _best(_implement(program, settings, out))
        chosen, missed = _choose(program, settings, out, best)
        for name in ("utilization", "drc", "power"):
            _copy(out / chosen.strategy / f"{name}.rpt", out / f"{name}.rpt")
        _copy(_timing_path(out, chosen.strategy, chosen.clock), out / "timing.rpt")
        _report(out, settings, chosen, missed)
        if not (chosen.timing.is_met or settings.keep):
            raise FlowError(_reason(chosen, missed))
        _export(program, out, chosen)
        return chosen


# ------------------------------------------------------------------------------- checkpoints


def _origin(program: Path, settings: Settings) -> dict[str, object]:
    """What a checkpoint depends on."""
    files = [ROOT / "bitstream_scripts" / name for name in SCRIPTS]
    if settings.core == "hls":
        files.append(ROOT / "build/vitis" / settings.build / "cmamba_top.zip")
    else:
        files += sources(settings.build)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return {
        "core": settings.core,
        "build": settings.build,
        "mhz": settings.clock.label,
        "synthesis": settings.synthesis,
        "vivado": str(program.resolve()),  # has the release in it
        "sources": digest,
    }


def _forget_other_checkpoints(program: Path, settings: Settings, out: Path) -> None:
    path = out / "origin.json"
    origin = json.dumps(_origin(program, settings), indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == origin:
        return
    path.unlink(missing_ok=True)
    for old in out.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != "lock":
            old.unlink()
    write_text(path, origin)


# ------------------------------------------------------------------------------- stages


def _synthesize(program: Path, settings: Settings, out: Path) -> None:
    expected = inference.estimate(settings.build) if settings.core == "rtl" else None
    if not (out / "synth.dcp").is_file():
        with _timed(f"synthesis, build {settings.build}", out / "synthesize.log"):
            vivado.run(
                program,
                "synthesize.tcl",
                {
                    "out": out,
                    "core": settings.core,
                    "build": settings.build,
                    "frequency": settings.clock.asked_mhz,
                    "period": settings.clock.period_ns,
                    "strategy": settings.synthesis,
                    "jobs": settings.jobs or vivado.processes(8, vivado.SYNTHESIS_GB),
                    "memories": tuple(inference.memories(settings.build)),
                },
                out / "synthesize.log",
            )
    if expected is None:
        print("an export of Vitis HLS: there is no estimate by modules to compare with")
        print(hls_export.budget_line(settings.build))
        return
    try:
        text, wrong = inference.check(out, expected, out / "synthesis.log")
    except ValueError as error:  # a release may have other tables
        text, wrong = "what was inferred is not known", [str(error)]
    print(text, flush=True)
    for line in wrong:
        print(line)
    if wrong and not settings.keep:
        summary = inference.summary(wrong, out / "synthesis.log")
        raise FlowError(f"{summary}; KEEP=1 goes on nevertheless")


def _implement(program: Path, settings: Settings, out: Path) -> list[Result]:
    """The routed designs. A strategy that fails does not count while another one is there."""
    clock, failures, results = settings.clock, [], []

    def implement(strategy: str) -> None:
        folder = out / strategy
        folder.mkdir(exist_ok=True)
        if (folder / "routed.dcp").is_file():
            return
        with _timed(strategy, folder / "implement.log"):
            vivado.run(
                program,
                "implement.tcl",
                {
                    "out": folder,
                    "synthesized": out / "synth.dcp",
                    "clock": clock.label,
                    **directives(strategy),
                },
                folder / "implement.log",
            )

    n = len(settings.strategies)
    workers = settings.jobs or vivado.processes(n, vivado.IMPLEMENTATION_GB)
    memory = vivado.available_gb()
    if memory is not None and memory < vivado.IMPLEMENTATION_GB:
        print(
            f"{memory:.0f} GB of memory are available, implementation may take"
            f" {vivado.IMPLEMENTATION_GB}: if it is killed, a rerun goes on from the checkpoints"
        )
    with ThreadPoolExecutor(min(workers, n)) as pool:
        futures = {pool.submit(implement, s): s for s in settings.strategies}
        try:
            for future in as_completed(futures):
                strategy = futures[future]
                try:
                    future.result()
                except vivado.VivadoError as error:
                    failures.append(str(error))
                    print(f"{strategy}: {error}", flush=True)
                    continue
                result = _result(out, strategy, clock)
                results.append(result)
                timing = result.timing
                print(
                    f"{strategy}: setup slack {timing.setup_slack:.3f} ns,"
                    f" hold slack {timing.hold_slack:.3f} ns at {clock}",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            vivado.end_all()
            raise
    if not results:
        raise FlowError(f"all {n} implementations have failed, the first: {failures[0]}")
    return sorted(results, key=lambda r: settings.strategies.index(r.strategy))


def _best(results: list[Result]) -> Result:
    """Hold violations cannot be mended with a slower clock, so they weigh most."""
    return max(results, key=lambda r: (r.timing.hold_slack >= 0, r.timing.setup_slack))


def _choose(
    program: Path, settings: Settings, out: Path, best: Result
) -> tuple[Result, list[Result]]:
    """The fastest clock at which the design holds, or else the last; and those that were missed."""
    clocks = slower_clocks(best.clock)
    if best.timing.is_met or settings.keep or best.timing.hold_slack < 0 or not clocks:
        return best, [] if best.timing.is_met else [best]
    folder = out / best.strategy
    if not all(_timing_path(out, best.strategy, clock).is_file() for clock in clocks):
        with _timed(f"{best.clock} is missed, timing at slower clocks", folder / "retime.log"):
            vivado.run(
                program,
                "retime.tcl",
                {
                    "out": folder,
                    "clocks": tuple(w for c in clocks for w in (c.label, c.period_ns)),
                },
                folder / "retime.log",
            )
    missed = [best]
    for clock in clocks:
        result = _result(out, best.strategy, clock)
        if result.timing.is_met:
            return result, missed
        missed.append(result)
    return missed[-1], missed


def _export(program: Path, out: Path, chosen: Result) -> None:
    with _timed(f"bitstream of {chosen.strategy} at {chosen.clock}", out / "export.log"):
        try:
            vivado.run(
                program,
                "export.tcl",
                {
                    "out": out,
                    "checkpoint": out / chosen.strategy / "routed.dcp",
                    "frequency": chosen.clock.asked_mhz,
                },
                out / "export.log",
            )
            check_handoff(out / "cmamba.hwh", chosen.clock)
        except BaseException:
            for name in PRODUCTS:
                (out / name).unlink(missing_ok=True)
            raise


# ------------------------------------------------------------------------------- what is said


def _timing_path(out: Path, strategy: str, clock: Clock) -> Path:
    return out / strategy / f"timing_{clock.label}.rpt"


def _result(out: Path, strategy: str, clock: Clock) -> Result:
    path = _timing_path(out, strategy, clock)
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return Result(strategy, clock, reports.parse_timing(text), reports.parse_paths(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _report(out: Path, settings: Settings, chosen: Result, missed: list[Result]) -> None:
    """Write report.json, and print the tables and the clocks."""
    described = {
        "core": settings.core,
        "build": settings.build,
        "asked_mhz": settings.clock.mhz,
        "frequency_mhz": chosen.clock.mhz,
        "strategy": chosen.strategy,
        "missed": [
            {"mhz": r.clock.mhz, "setup_slack_ns": r.timing.setup_slack, "path": r.worst}
            for r in missed
        ],
    }
    try:
        text, _ = reports.summarize(
            reports.Reports(out / "utilization.rpt", out / "timing.rpt", out / "timing.rpt"),
            out / "report.json",
            described,
            chosen.clock.period_ns,
            f"of {chosen.strategy}",
            hls_export.targets() if settings.core == "hls" else targets(settings.build),
        )
    except ValueError as error:  # the bitstream does not need it
        text = f"no report.json: {error}"
    print(text)
    for result in missed:
        if result.timing.setup_slack < 0:
            print(
                f"{result.clock} is missed by {-result.timing.setup_slack:.3f} ns: {result.worst}"
            )
    if chosen.timing.is_met:
        slack = chosen.timing.setup_slack
        print(f"{chosen.clock} holds with {slack:.3f} ns: {chosen.worst}", flush=True)


def _reason(chosen: Result, missed: list[Result]) -> str:
    timing, first = chosen.timing, missed[0]
    if timing.hold_slack < 0:
        return (
            f"hold slack {timing.hold_slack:.3f} ns, {timing.hold_failing} end points, with every"
            " strategy: a slower clock does not mend it; try another STRATEGY="
        )
    slowest = "" if chosen is first else f", and {chosen.clock} by {-timing.setup_slack:.3f} ns"
    return (
        f"timing is not met: {first.clock} is missed by {-first.timing.setup_slack:.3f} ns"
        f"{slowest}, worst path {chosen.worst}; give that path a register, or try another"
        " STRATEGY=; KEEP=1 makes a bitstream nevertheless"
    )


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        shutil.copyfile(source, target)


@contextmanager
def _timed(what: str, log: Path) -> Iterator[None]:
    print(f"{what}: see {log}", flush=True)
    begin = time.monotonic()
    yield
    print(f"{what}: done in {(time.monotonic() - begin) / 60:.1f} min", flush=True)
