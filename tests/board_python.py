"""Environments with the versions of an SD card of PYNQ, made with a Python of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from host.board_package import ROOT, Image

FOLDER = ROOT / "build/board_python"
# pynqmetadata 0.2.0 imports a module that pycparser 3.0 does not have, and pynqutils one of
# setuptools that is to go.
ALSO = ("pycparser<3", "setuptools<81")


def environment(image: Image) -> Path:
    """The Python of an environment with pynq and NumPy of an image.

    It is made once, which takes minutes, and kept. Skips the test where this machine has no such
    Python, and fails it where the packages cannot be had; both say what is missing.
    """
    folder = FOLDER / f"python{image.python}-pynq{image.pynq}-numpy{image.numpy}"
    python = folder / "bin/python"
    ready = folder / ".ready"
    if ready.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([_interpreter(image.python), "-m", "venv", str(folder)], image)
    pins = (f"pynq=={image.pynq}", f"numpy=={image.numpy}", *ALSO)
    _run([str(python), "-m", "pip", "install", "--quiet", *pins], image)
    ready.touch()
    return python


def _run(command: list[str], image: Image) -> None:
    environment = os.environ | {"PYNQ_REMOTE": "1", "PIP_USER": "0"}  # what a PC needs of pynq
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        said = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
        pytest.fail(
            f"pynq {image.pynq} with NumPy {image.numpy} on Python {image.python} cannot be "
            f"installed: {said[-1]}",
            pytrace=False,
        )


def _interpreter(version: str) -> str:
    """Of the variable PYTHON_3_10, on PATH, or of pyenv."""
    variable = f"PYTHON_{version.replace('.', '_')}"
    if chosen := os.environ.get(variable):
        if not _is(chosen, version):
            pytest.fail(f"{variable}: {chosen} is no Python {version}", pytrace=False)
        return chosen
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    installed = sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")))
    for candidate in (f"python{version}", *installed):
        if _is(candidate, version):
            return candidate
    pytest.skip(
        f"no Python {version} on PATH or of pyenv, for pynq on it: "
        f"pyenv install {version}, or name one in {variable}"
    )


def _is(python: str, version: str) -> bool:
    """Whether a command is a Python of this version that can make environments."""
    code = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    return result.stdout.strip() == version
