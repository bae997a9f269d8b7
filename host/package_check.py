"""A package, checked against the board's limits before the hardware sees it."""

from __future__ import annotations

from pathlib import Path

import isa
from compiler.schedule.check import ScheduleError, check_schedule
from host.capabilities import Capabilities
from host.errors import OtherBuildError
from isa.errors import PackageError
from isa.fitting import first_fitting
from isa.package import Package


def check_package(
    package: Package | bytes | str | Path, capabilities: Capabilities
) -> tuple[Package, bytes]:
    """The package and its file's content, fit for this board.

    Beyond the rules of a loader, which the hardware has too, the waits of the schedule have to
    suffice: with too few, forecasts would depend on the timing of the units.

    Args:
        package: a package, the content of a package file, or its path.
        capabilities: what the board's registers state.

    Raises:
        PackageError: it is damaged, or not for this board; an OtherBuildError where a board with
            another build would take it.
        OSError: no such file.
    """
    try:
        package, data = _read(package, capabilities.build)
    except PackageError as error:
        build = _other_build(package)
        if build is None:
            raise
        raise OtherBuildError(error, build) from None
    try:
        check_schedule(package, capabilities.build)
    except ScheduleError as error:
        raise PackageError("BAD_SCHEDULE", str(error)) from None
    minor = next(f for f in isa.HEADER.fields if f.name == "version_minor")
    found = int.from_bytes(data[: isa.HEADER_BYTES], "little") >> minor.lsb & minor.maximum
    major, expected = capabilities.version
    if found > expected:
        raise PackageError(
            "BAD_VERSION",
            f"header field version: found {major}.{found}, expected {major}.{expected} of the "
            "board or an older minor version",
        )
    return package, data


def _read(package: Package | bytes | str | Path, build: isa.Build | None) -> tuple[Package, bytes]:
    """The package and its file's content. Raises PackageError, also where it is not for `build`."""
    if isinstance(package, Package):
        if build is not None:
            package.validate(build)
        return package, package.to_bytes()
    name = "package"
    if isinstance(package, (str, Path)):
        name, package = str(package), Path(package).read_bytes()
    data = bytes(package)
    return Package.from_bytes(data, name, build), data


def _other_build(package: Package | bytes | str | Path) -> str | None:
    """The build that takes a package which the board's does not; None where there is none."""
    try:
        return first_fitting(_read(package, None)[0])
    except PackageError:
        return None
