"""What Vivado made of the export of Vitis HLS: resources and timing as those of ``rtl.synth``.

    python -m bitstream_scripts.hls_export --flow syn

Run by ``make export FLOW=syn`` (or impl) behind Vitis HLS, which has run Vivado on the core alone
and left its reports in build/reports. Exit status 1: timing is missed, or a share of the device is
above its limit.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import isa
from bitstream_scripts.clocks import clock_of
from bitstream_scripts.design import DESIGN
from bitstream_scripts.reports import Reports, summarize
from common import command_line
from hls import budget

ROOT = Path(__file__).resolve().parents[1]
TOP = "cmamba_top"


class Flow(NamedTuple):
    """What Vitis HLS lets Vivado do.

    Attributes:
        stage: in the names of the reports.
        what: in words.
        kinds: slacks that count; before routing, hold means nothing.
    """

    stage: str
    what: str
    kinds: tuple[str, ...]


FLOWS = {
    "syn": Flow("synth", "synthesized", ("setup", "pulse")),
    "impl": Flow("routed", "placed and routed", ("setup", "hold", "pulse")),
}


def targets() -> dict[str, float]:
    """Share of the device that a design with this core may take at most, by resource."""
    return {resource.lower(): share for resource, share in budget.LIMITS.items()}


def reports_of(flow: str, folder: Path) -> Reports:
    """The files of a flow (both ``vitis_hls`` and ``vitis-run`` name them so).

    Raises:
        FileNotFoundError: one is not there.
    """
    names = ("utilization_hierarchical", "timing", "timing_paths")
    files = [folder / f"{TOP}_{name}_{FLOWS[flow].stage}.rpt" for name in names]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} does not exist; run `make csynth export FLOW={flow}`, and look into the "
                "log of Vitis HLS for why Vivado has not written it"
            )
    return Reports(*files)


def budget_line(build: str) -> str:
    """The totals of ``make hls-budget``, to compare with."""
    counted = budget.budget(isa.build(build))
    totals = (f"{counted.total(name):,.0f} {name}" for name in ("LUT", "DSP", "BRAM"))
    return f"make hls-budget counts {', '.join(totals)}"


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bitstream_scripts.hls_export",
        description="Resources and timing of the export of Vitis HLS, as those of make synth.",
        epilog=f"The tables are also written as build/synth/{TOP}-BUILD.json.",
    )
    parser.add_argument("--build", default="default", choices=isa.builds())
    parser.add_argument("--flow", required=True, choices=FLOWS)
    args = parser.parse_args(argv)

    flow = FLOWS[args.flow]
    target = ROOT / f"build/synth/{TOP}-{args.build}.json"
    target.unlink(missing_ok=True)
    try:
        files = reports_of(args.flow, ROOT / "build/reports")
        target.parent.mkdir(parents=True, exist_ok=True)
        text, failures = summarize(
            files,
            target,
            {"core": "hls", "build": args.build, "flow": args.flow},
            clock_of(DESIGN.clock.frequency_mhz).period_ns,
            f"by Vivado, {flow.what}",
            targets(),
            flow.kinds,
        )
    except (ValueError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(text)
    print(budget_line(args.build))
    print(target.relative_to(ROOT))
    for line in failures:
        print(f"export: {line}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
