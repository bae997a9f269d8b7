"""Which build of the accelerator a package runs on.

python -m golden.builds BUILD FOLDER...    print those golden folders that run on BUILD
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from golden import isa
from golden.errors import PackageError
from golden.package import Package


def fitting_build(package: Package, name: str = "package") -> str:
    """The first build of ``builds.toml`` whose rules the package keeps.

    Args:
        package: any.
        name: what error messages call it.

    Raises:
        PackageError: no build's; says what is wrong for the first.
    """
    first: PackageError | None = None
    for build in isa.builds():
        try:
            package.validate(build)
        except PackageError as error:
            first = first or error
        else:
            return build
    raise PackageError(first.code_name, f"{name}: {first.detail}")


def build_of_folder(folder: Path) -> str:
    """The build that a golden folder runs on.

    That is the first one where there is no package or none that runs, so that who runs it there
    says what is wrong.
    """
    try:
        return fitting_build(Package.read(folder / "package.bin"))
    except (OSError, PackageError):
        return next(iter(isa.builds()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("build", choices=list(isa.builds()))
    parser.add_argument("folders", nargs="*", type=Path)
    args = parser.parse_args()
    print(*(folder for folder in args.folders if build_of_folder(folder) == args.build))
    return 0


if __name__ == "__main__":
    sys.exit(main())
