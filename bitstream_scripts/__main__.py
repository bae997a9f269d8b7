"""``python -m bitstream_scripts``: run Vivado from sources to a bitstream and print its reports."""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from pathlib import Path

import isa
from bitstream_scripts import flow, generate, vivado
from bitstream_scripts.clocks import Clock, clock_of
from bitstream_scripts.design import CORES, DESIGN
from bitstream_scripts.strategies import STRATEGIES, TRIED
from common import command_line

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build/bitstream"


def _clock(text: str) -> Clock:
    try:
        return clock_of(float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 1 if there is no bitstream."""
    parser = argparse.ArgumentParser(
        prog="python -m bitstream_scripts",
        description="Build cmamba.bit, cmamba.hwh and cmamba.xsa with Vivado "
        f"{DESIGN.board.vivado} or later, in build/bitstream.",
    )
    parser.add_argument("--core", choices=CORES, default="rtl", help="accelerator")
    parser.add_argument("--build", choices=sorted(isa.builds()), default="default")
    parser.add_argument(
        "--frequency",
        type=_clock,
        default=clock_of(DESIGN.clock.frequency_mhz),
        metavar="MHZ",
        help=f"PL clock 0; default {DESIGN.clock.frequency_mhz}",
    )
    parser.add_argument("--synthesis", default="Flow_PerfOptimized_high", help="strategy")
    parser.add_argument(
        "--strategy",
        dest="strategies",
        action="append",
        choices=STRATEGIES,
        metavar="NAME",
        help=f"of implementation, one of {', '.join(STRATEGIES)}; may be given again, the best "
        f"counts; default: {', '.join(TRIED)}",
    )
    parser.add_argument("--jobs", type=int, help="processes of Vivado; default: as memory allows")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="go on where synthesis did not make what was designed, and write a bitstream at the "
        "clock asked for even if timing is not met",
    )
    args = parser.parse_args(argv)
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}, expected at least 1")
    settings = flow.Settings(
        core=args.core,
        build=args.build,
        clock=args.frequency,
        synthesis=args.synthesis,
        strategies=tuple(dict.fromkeys(args.strategies or TRIED)),
        jobs=args.jobs,
        keep=args.keep,
    )

    try:
        program = vivado.find(board_files=True)
        export = Path("build/vitis") / args.build / "cmamba_top.zip"
        if args.core == "hls" and not (ROOT / export).is_file():
            raise flow.FlowError(
                f"{export} does not exist; run `make csynth export BUILD={args.build}` first"
            )
        generate.require_current()
        flow.build_bitstream(program, settings, OUT)
    except (flow.FlowError, vivado.VivadoError, ValueError, OSError) as error:
        print(f"bitstream: {error}", file=sys.stderr)
        return 1
    if (OUT / "cmamba.xsa").is_file():
        print(f"{OUT / 'cmamba.bit'}, with cmamba.hwh and cmamba.xsa")
    else:
        print(f"{OUT / 'cmamba.bit'}, with cmamba.hwh; no cmamba.xsa, see {OUT / 'export.log'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
