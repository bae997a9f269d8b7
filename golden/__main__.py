"""Write the golden packages and the accuracy report: `python -m golden`, or `make golden`."""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

import isa
from common import command_line, exit_status
from common.atomic_write import require_writable_folder
from common.errors import REPORTED
from compiler.estimate import estimate
from compiler.estimate import summary_table as cycle_table
from evaluation import accuracy
from golden.cases import CASES, build_case
from golden.series import write_series
from golden.vectors import golden_tokens, write_golden
from isa.fitting import fitting_build
from model.data import DataError, Splits


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        prog="python -m golden",
        description="Compile the golden packages, write their tensors, and report what int8 costs.",
    )
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; none: all"
    )
    parser.add_argument("--output", type=Path, default=Path("build/golden"), help="folder")
    parser.add_argument(
        "--no-accuracy", action="store_true", help="golden tensors only, no test-split evaluation"
    )
    args = parser.parse_args(argv)
    unknown = set(args.cases) - set(names)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}, expected {', '.join(names)}")

    require_writable_folder(args.output)
    measured, cycles, missing = [], {}, []
    chosen = [case for case in CASES if not args.cases or case.name in args.cases]
    progress = tqdm(chosen, unit="package", disable=None)
    for case in progress:
        progress.set_postfix_str(case.name)
        try:
            compiled = build_case(case)
            more = []
            if isinstance(compiled.splits, Splits):
                more.append(lambda folder, case=compiled: write_series(case, folder / "series.npz"))
            if compiled.splits is not None and not args.no_accuracy:
                measured.append(accuracy.measure(compiled))
                more.append(partial(accuracy.write, measured[-1]))
            tokens = golden_tokens(compiled)
            write_golden(args.output / case.name, compiled.package, tokens, more)
        except DataError as error:
            missing.append(f"{case.name}: not written: {error}")
            continue
        except REPORTED as error:
            return exit_status.report(f"error: {case.name}", error)
        build = fitting_build(compiled.package)
        cycles.setdefault(build, {})[case.name] = estimate(compiled.package, isa.build(build))
    for line in missing:
        print(line, file=sys.stderr)
    if measured:
        print(
            "\nAccuracy on the test split (per instruction: accuracy.txt and accuracy.png beside "
            "each package)\n"
        )
        print(accuracy.summary_tables(measured))
    print("\nCycles\n")
    print("\n\n".join(cycle_table(e, isa.build(build)) for build, e in cycles.items()))
    print(f"\n{sum(map(len, cycles.values()))} golden packages in {args.output}")
    return 1 if missing and args.cases else 0  # a case asked for by name must be there


if __name__ == "__main__":
    sys.exit(main())
