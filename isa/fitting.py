"""Which build of the accelerator a package runs on.

python -m isa.fitting FOLDER...                  a line for each build that is needed: its name
                                                 and the golden folders that run on it,
                                                 as a shell reads them
python -m isa.fitting --build BUILD FOLDER...    the same of that build alone, which may also
                                                 hold what another one is the first to hold
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import isa
from common import command_line
from isa.errors import PackageError
from isa.package import Package


def fitting_build(package: Package, name: str = "package") -> str:
    """The first build of ``builds.toml`` whose rules the package keeps.

    Args:
        package: any.
        name: what error messages call it.

    Raises:
        PackageError: no build's; says what is wrong for the first that has its array.
    """
    build = first_fitting(package)
    if build is None:
        faults = [next(package.faults(build)) for build in isa.builds()]
        fault = next((fault for fault in faults if fault.code_name != "BAD_TILE"), faults[0])
        raise PackageError(fault.code_name, f"{name}: {fault.detail}")
    return build


def first_fitting(package: Package) -> str | None:
    """The first build of ``builds.toml`` whose rules the package keeps; None where it is none's."""
    return next((build for build in isa.builds() if fits(package, build)), None)


def fits(package: Package, build: isa.Build | str) -> bool:
    """Whether the package keeps the rules of a build."""
    return not any(True for _ in package.faults(build))


def build_of_folder(folder: Path) -> str:
    """The build that a golden folder runs on.

    That is the first one where there is no package or none that runs, so that who runs it there
    says what is wrong.
    """
    package = _package_of(folder)
    return (package and first_fitting(package)) or next(iter(isa.builds()))


def folders_of_build(folders: Iterable[Path], build: str) -> list[Path]:
    """Those golden folders that `build` holds. Those that no build holds as well, for the reason
    that `build_of_folder` has."""

    def runs(folder: Path) -> bool:
        package = _package_of(folder)
        return package is None or first_fitting(package) is None or fits(package, build)

    return [folder for folder in folders if runs(folder)]


def _package_of(folder: Path) -> Package | None:
    """None where there is none that can be read."""
    try:
        return Package.read(folder / "package.bin")
    except (OSError, PackageError):
        return None


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 1 if nothing would run."""
    parser = argparse.ArgumentParser(
        prog="python -m isa.fitting",
        description="Print, a line each, the builds that golden folders run on, and the folders.",
    )
    parser.add_argument("--build", choices=list(isa.builds()), help="this build, and what fits it")
    parser.add_argument("folders", nargs="*", type=Path)
    args = parser.parse_args(argv)
    runs: dict[str, list[Path]] = {build: [] for build in isa.builds()}
    if args.build:
        runs[args.build] = folders_of_build(args.folders, args.build)
        left_out = [folder for folder in args.folders if folder not in runs[args.build]]
        if left_out:
            print(f"build {args.build} does not hold", *left_out, file=sys.stderr)
    else:
        for folder in args.folders:
            runs[build_of_folder(folder)].append(folder)
    if not any(runs.values()):
        which = f"build {args.build}" if args.build else "any build"
        print(f"no package for {which}", file=sys.stderr)
        return 1
    for build, folders in runs.items():
        if folders:
            print(build, shlex.join(map(str, folders)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
