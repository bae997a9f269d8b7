"""``python -m bitstream_scripts``: run Vivado from sources to a bitstream and print its reports."""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import isa
from bitstream_scripts import generate, reports
from bitstream_scripts.design import DESIGN, FREQUENCIES_MHZ
from common import command_line

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build/bitstream"

# UG904, "Implementation Strategies": different placements, the first the most common choice.
IMPLEMENTATION = (
    "Performance_ExplorePostRoutePhysOpt",
    "Performance_ExtraTimingOpt",
    "Performance_NetDelay_high",
)


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 1 if there is no bitstream."""
    parser = argparse.ArgumentParser(
        prog="python -m bitstream_scripts",
        description="Build cmamba.bit, cmamba.hwh and cmamba.xsa with Vivado "
        f"{DESIGN.board.vivado} or later, in build/bitstream.",
    )
    parser.add_argument("--core", choices=("rtl", "hls"), default="rtl", help="accelerator")
    parser.add_argument("--build", choices=sorted(isa.builds()), default="default")
    parser.add_argument(
        "--frequency", type=int, default=DESIGN.clock.frequency_mhz, help="PL clock 0, MHz"
    )
    parser.add_argument("--synthesis", default="Flow_PerfOptimized_high", help="strategy")
    parser.add_argument(
        "--strategy",
        dest="strategies",
        action="append",
        help="of implementation; may be given again, the best counts; default: "
        + ", ".join(IMPLEMENTATION),
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes of Vivado")
    parser.add_argument("--keep", action="store_true", help="a bitstream even if timing is not met")
    args = parser.parse_args(argv)
    if args.frequency not in FREQUENCIES_MHZ:
        parser.error(f"--frequency is {args.frequency}, expected 10 to 400")
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}, expected at least 1")
    strategies = args.strategies or list(IMPLEMENTATION)

    vivado = shutil.which("vivado")
    if vivado is None:
        return _fail(
            f"bitstream: vivado is not on PATH; install Vivado {DESIGN.board.vivado} or later"
            " with the ZCU102's board files and source its settings64.sh"
        )
    export = Path("build/vitis") / args.build / "cmamba_top.zip"
    if args.core == "hls" and not (ROOT / export).is_file():
        return _fail(
            f"bitstream: {export} does not exist; run `make csynth export BUILD={args.build}` first"
        )
    if any(
        not path.is_file() or path.read_text(encoding="utf-8") != text
        for path, text in ((ROOT / p, t) for p, t in generate.outputs().items())
    ):
        return _fail("bitstream: bitstream_scripts is not current; run `make design` first")

    OUT.mkdir(parents=True, exist_ok=True)
    settings = {
        "out": str(OUT),
        "core": args.core,
        "build": args.build,
        "frequency": str(args.frequency),
        "synthesis": args.synthesis,
        "implementation": " ".join(f"{{{name}}}" for name in strategies),
        "jobs": str(args.jobs),
        "keep": str(int(args.keep)),
    }
    command = [vivado, "-mode", "batch", "-notrace", "-nojournal", "-log", str(OUT / "vivado.log")]
    command += ["-source", str(ROOT / "bitstream_scripts/build.tcl"), "-tclargs"]
    command += [word for pair in settings.items() for word in pair]
    status = subprocess.run(command, cwd=OUT).returncode

    if (OUT / "timing.rpt").is_file():
        described = {"core": args.core, "build": args.build, "frequency_mhz": args.frequency}
        try:
            tables, _ = reports.summarize(OUT, described, 1000 / args.frequency)
        except (ValueError, OSError) as error:
            return _fail(f"bitstream: {error}")
        print(tables)
    if status:
        return _fail(f"bitstream: Vivado ended with status {status}, see {OUT / 'vivado.log'}")
    print(f"{OUT / 'cmamba.bit'}, with cmamba.hwh and cmamba.xsa")
    return 0


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
