"""What the driver refuses of a package beyond the rules of a loader."""

import dataclasses

import numpy as np
import pytest

import isa
from golden.random_programs import NO_WAIT, random_package, shuffled
from host.capabilities import Capabilities
from host.package_check import check_package
from isa.package import PackageError

BUILD = isa.build("small")
BOARD = Capabilities(isa.VERSION, BUILD)


@pytest.mark.parametrize("form", [lambda package: package, lambda package: package.to_bytes()])
def test_a_schedule_whose_result_depends_on_timing(form):
    """A loader takes it: its entries name what exists, and their counts are right."""
    rng = np.random.default_rng(11)
    package = shuffled(random_package(rng, largest=6), rng)
    check_package(form(package), BOARD)
    schedule = package.schedule.copy()
    schedule["wait"] = NO_WAIT
    package = dataclasses.replace(package, schedule=schedule)
    package.validate(BUILD)
    with pytest.raises(PackageError, match=r"BAD_SCHEDULE: entry \d+ \(.*\) may ") as caught:
        check_package(form(package), BOARD)
    assert caught.value.code_name == "BAD_SCHEDULE"


def test_a_schedule_that_deadlocks():
    package = random_package(np.random.default_rng(3), largest=6)
    schedule = package.schedule.copy()
    unit = package.instructions[schedule["instruction"][-1]].unit
    schedule["wait"][0, unit] = package.phases["unit_entries"][0, unit]
    package = dataclasses.replace(package, schedule=schedule)
    package.validate(BUILD)
    with pytest.raises(PackageError, match=r"BAD_SCHEDULE: entry 0 .* deadlock, waits for entry"):
        check_package(package, BOARD)
