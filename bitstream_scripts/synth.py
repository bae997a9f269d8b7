"""Synthesize the accelerator alone with Vivado and compare what was inferred with the estimate.

    python -m bitstream_scripts.synth --build deep

Needs no board files. Reports are in build/vivado_synth/BUILD.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from pathlib import Path

import isa
from bitstream_scripts import generate, inference, vivado
from bitstream_scripts.clocks import clock_of
from bitstream_scripts.design import DESIGN
from common import command_line

OUT = Path(__file__).resolve().parents[1] / "build/vivado_synth"


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 1 if something is not as designed."""
    parser = argparse.ArgumentParser(
        prog="python -m bitstream_scripts.synth", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--build", choices=sorted(isa.builds()), default="default")
    args = parser.parse_args(argv)

    try:
        program = vivado.find(board_files=False)
        generate.require_current()
        expected = inference.estimate(args.build)
        out = OUT / args.build
        out.mkdir(parents=True, exist_ok=True)
        log = out / "synth_core.log"
        print(f"synthesis of the accelerator, build {args.build}: see {log}", flush=True)
        settings = {
            "out": out,
            "build": args.build,
            "period": clock_of(DESIGN.clock.frequency_mhz).period_ns,
            "memories": tuple(inference.memories(args.build)),
        }
        with vivado.alone(out):
            vivado.run(program, "synth_core.tcl", settings, log)
        text, wrong = inference.check(out, expected, log)
    except (inference.InferenceError, vivado.VivadoError, ValueError, OSError) as error:
        print(f"vivado-synth: {error}", file=sys.stderr)
        return 1
    print(text)
    print(f"Vivado's reports: {out}/*.rpt")
    for line in wrong or [
        "block RAM, DSP48E2, LUTs as memory and output registers are as designed"
    ]:
        print(line)
    if wrong:
        print(f"vivado-synth: {inference.summary(wrong, log)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
