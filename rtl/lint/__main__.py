"""Read every build with slang and Yosys, and check the rules of rtl/README.md."""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import os
import sys
from pathlib import Path

import isa
from common import command_line
from rtl.lint import Finding, check, elaborate_with_yosys, read
from rtl.synth import yosys
from rtl.synth.hierarchy import DSP_MODEL, sources
from rtl.tb.simulate import MODELS, ROOT, RTL

LOGS = ROOT / "build/lint"

# What PeakRDL writes is as it is; that slang and Yosys read it without an error is enough.
GENERATED = (RTL / "regs/cmamba_regs.sv", RTL / "regs/cmamba_regs_pkg.sv")


def _benches() -> list[Path]:
    """What is only simulated or proven: wrappers of modules, and the model of the DSP."""
    return sorted([*RTL.glob("tb/*/*.sv"), *RTL.glob("formal/*.sv")])


def lint(build: str, log: Path) -> list[Finding]:
    """Findings of slang and of the rules in one build; Yosys' errors are raised.

    Raises:
        YosysError: it refuses something.
    """
    design = sources(build)
    models = {path.name: path for path in MODELS.glob("*.sv")}
    synthesized = read([*design, DSP_MODEL], ["SYNTHESIS"], ["cmamba"], GENERATED)
    ruled = {str(path) for path in design if path not in GENERATED}
    findings = {
        *synthesized.findings,
        *(found for found in check(synthesized) if found.path in ruled),
        # As simulators read it, with benches, proofs and assertions; and with the fast models.
        *read([*design, *_benches()], generated=GENERATED).findings,
        *read([models.get(path.name, path) for path in design], generated=GENERATED).findings,
    }
    elaborate_with_yosys([*design, DSP_MODEL], "cmamba", DSP_MODEL.stem, log)
    return sorted(findings)


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Run the lint; exit status 0 without findings, 1 with findings."""
    parser = argparse.ArgumentParser(prog="python -m rtl.lint", description=__doc__)
    parser.parse_args(argv)
    findings: set[Finding] = set()
    errors: list[str] = []
    LOGS.mkdir(parents=True, exist_ok=True)
    for build in isa.builds():
        try:
            findings.update(lint(build, LOGS / f"{build}.log"))
        except yosys.YosysError as error:
            errors.append(f"{build}: {error}")
    for found in sorted(findings):
        print(f"{os.path.relpath(found.path)}:{found.line}: error: {found.message}")
    for error in errors:
        print(error)
    return 1 if findings or errors else 0


if __name__ == "__main__":
    sys.exit(main())
