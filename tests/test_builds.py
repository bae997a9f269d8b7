"""Which build a package runs on, and which golden folders `make csim` gives to each."""

import dataclasses
import sys

import numpy as np
import pytest

from golden import builds, isa
from golden.builds import build_of_folder, fitting_build
from golden.errors import PackageError
from tests.program_builder import deep_package, random_package


@pytest.fixture(scope="module")
def packages():
    """A package for each build, by its name."""
    rng = np.random.default_rng(3)
    return {
        "default": random_package(rng, "default"),
        "deep": deep_package(),
        "small": random_package(rng, "small"),
    }


@pytest.fixture
def folders(packages, tmp_path):
    """Golden folders of the same names, as far as the choice of a build reads them."""
    for name, package in packages.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "package.bin").write_bytes(package.to_bytes())
    return tmp_path


def test_every_build_has_its_packages(packages):
    assert {name: fitting_build(package) for name, package in packages.items()} == {
        name: name for name in isa.builds()
    }


def test_package_of_no_build(packages):
    """The error is what is wrong for the first build."""
    package = packages["deep"]
    with pytest.raises(PackageError) as too_large:
        package.validate("default")
    first, *others = package.instructions[::-1]
    assert first.opcode == "SEND"
    wrong = isa.Instruction("SEND", {**first.fields, "n": 0})
    broken = dataclasses.replace(package, instructions=(*others[::-1], wrong))
    with pytest.raises(PackageError) as in_deep:
        broken.validate("deep")
    with pytest.raises(PackageError) as found:
        fitting_build(broken, "odd.bin")
    assert found.value.code_name == too_large.value.code_name
    assert found.value.detail == f"odd.bin: {too_large.value.detail}" != in_deep.value.detail


def test_folders_without_a_right_package_go_to_the_first_build(folders):
    assert build_of_folder(folders / "nothing") == "default"
    (folders / "deep/package.bin").write_bytes(b"noise")
    assert build_of_folder(folders / "deep") == "default"


def test_command_line_lists_the_folders_of_a_build(folders, monkeypatch, capsys):
    paths = [str(folders / name) for name in ("small", "deep", "nothing", "default")]
    listed = {"default": paths[2:], "deep": paths[1:2], "small": paths[:1]}
    for build, expected in listed.items():
        monkeypatch.setattr(sys, "argv", ["builds", build, *paths])
        assert builds.main() == 0
        assert capsys.readouterr().out.split() == expected
    monkeypatch.setattr(sys, "argv", ["builds", "huge", *paths])
    with pytest.raises(SystemExit) as exit_:
        builds.main()
    assert exit_.value.code == 2
    assert "invalid choice: 'huge'" in capsys.readouterr().err
