"""Builds the wheel: the Python parts as one package, `cmamba`. pyproject.toml says the rest.

In the repository the folders are packages of their own, and programs run from its root. In
site-packages, where a name such as `model` could be anybody's, they lie inside of `cmamba`, and
what they import of each other is imported from there.
"""

import re
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

try:
    import tomllib
except ImportError:
    sys.exit("cmamba: found Python {}.{}, expected 3.11 to 3.14".format(*sys.version_info))

ROOT = Path(__file__).resolve().parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("common", "isa", "model", "compiler", "golden", "evaluation")
# Programs for the repository itself.
LEFT_OUT = {f"cmamba.{name}" for name in ("evaluation.demo", "golden.__main__", "isa.generate")}
BUILD = Path("build/wheel")

# All of the repository, that a name of it which is not in the wheel is nobody else's.
NAMES = "|".join(PROJECT["tool"]["ruff"]["lint"]["isort"]["known-first-party"])
FROM = re.compile(rf"^( *from )(?=({NAMES})[. ])(?!cmamba\b)", re.M)
IMPORT = re.compile(rf"^( *)(?=import ({NAMES})$)", re.M)


class BuildPy(build_py):
    """Copies the modules, and lets them import each other from `cmamba`."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [each for each in found if f"{package}.{each[1]}" not in LEFT_OUT]

    def build_module(self, module: str, module_file: str, package: str) -> tuple[str, bool]:
        target, copied = super().build_module(module, module_file, package)
        text = Path(module_file).read_text(encoding="utf-8")
        text = FROM.sub(r"\1cmamba.", text)
        Path(target).write_text(IMPORT.sub(r"\1from cmamba ", text), encoding="utf-8")
        return target, copied


def packages() -> dict[str, str]:
    """The folder of each package of the wheel."""
    inner = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")}
    folders = sorted(str(path.relative_to(ROOT)) for path in inner)
    return {"cmamba": "cmamba", **{f"cmamba.{f.replace('/', '.')}": f for f in folders}}


shutil.rmtree(BUILD, ignore_errors=True)  # may hold modules that are no more
BUILD.mkdir(parents=True)
setup(
    packages=[*packages()],
    package_dir=packages(),
    package_data={"cmamba.isa": ["*.toml"]},
    # The tested versions, and those after them.
    install_requires=[
        requirement.replace("==", ">=") for requirement in PROJECT["dependency-groups"]["runtime"]
    ],
    cmdclass={"build_py": BuildPy},
    options={"build": {"build_base": str(BUILD)}, "egg_info": {"egg_base": str(BUILD)}},
)
