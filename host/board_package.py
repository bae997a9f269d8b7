"""One archive with everything for the board: ``python -m host.board_package`` (make board-package).

    cmamba-board/
      INSTALL.md               what to do with it on the board; more in host/README.md
      MANIFEST.json            versions, and SHA-256 and size of every other file
      host/ isa/ golden/ ...      the driver and the modules that it imports, no others
      packages/NAME/           package.bin, input.bin and forecast.bin for the self-test, and
                               series.npz, data to forecast
      notebooks/               where there are notebooks
      cmamba.bit cmamba.hwh    where a bitstream has been built

The same sources give the same bytes.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import ast
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import isa
from common import command_line, exit_status
from common.atomic_write import atomic_write

ROOT = Path(__file__).resolve().parents[1]
NAME = "cmamba-board"
# Packages of the repository, and what else the driver may import: PYNQ's image has it.
OURS = ("common", "compiler", "golden", "hls", "host", "isa", "model", "rtl")
THIRD_PARTY = {"IPython", "grpc", "matplotlib", "numpy", "pynq"}


class Image(NamedTuple):
    """What an SD card of a release of PYNQ has: versions that exist together."""

    pynq: str
    python: str
    numpy: str


# Of Ubuntu 22.04 and 24.04 (host/INSTALL.md has the sources, and says what has been tested).
IMAGES = (
    Image(pynq="3.1.2", python="3.10", numpy="1.21.5"),
    Image(pynq="4.0.0", python="3.12", numpy="1.26.4"),
)
# The oldest Python of an image.
PYTHON = (3, 10)
# Of the standard library, what came later.
NEWER = {
    *("tomllib", "contextlib.chdir", "datetime.UTC", "enum.StrEnum", "enum.verify"),
    *("hashlib.file_digest", "itertools.batched", "typing.LiteralString", "typing.Never"),
    *("typing.NotRequired", "typing.Required", "typing.Self", "typing.Unpack"),
    *("typing.assert_never", "typing.override"),
}
# Of numpy, what came later than 1.21, the oldest of an image; ruff refuses what left with numpy 2.
NEWER_NUMPY = {
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_count"),
    *("bitwise_invert", "bitwise_left_shift", "bitwise_right_shift", "bool", "concat"),
    *("cumulative_prod", "cumulative_sum", "dtypes", "exceptions", "from_dlpack", "isdtype"),
    *("long", "matrix_transpose", "matvec", "permute_dims", "pow", "strings", "trapezoid"),
    *("ulong", "unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack"),
    *("vecdot", "vecmat"),
}
# Modules of host/ that run on a PC only; what they need is not on a board.
PC_ONLY = {"host.board_package", "host.notebook"}
# From shipped checkpoints.
PACKAGES = (
    "nyc_weather",
    "nyc_weather_qat",
    "etth1_mixing",
    "etth1_independent",
    "etth1_published",
)
PACKAGE_FILES = ("package.bin", "input.bin", "forecast.bin")
SERIES_FILE = "series.npz"  # of a model with data
BITSTREAM_FILES = ("cmamba.bit", "cmamba.hwh")
# Name in the archive: file of the repository.
TEXTS = {
    "INSTALL.md": "host/INSTALL.md",
    "LICENSE": "LICENSE",
    "host/README.md": "host/README.md",
    "host/fast_path.cpp": "host/fast_path.cpp",
}


# ------------------------------------------------------------------------------- modules


def driver_modules(root: Path = ROOT) -> list[str]:
    """The modules that a board starts from: those directly in host/, without PC_ONLY."""
    names = sorted(f"host.{path.stem}" for path in (root / "host").glob("*.py"))
    names = ["host" if name == "host.__init__" else name for name in names]
    return [name for name in names if name not in PC_ONLY]


def import_closure(modules: Iterable[str], root: Path = ROOT) -> dict[str, Path]:
    """Every module of the repository that some modules import, by name; they themselves too.

    Imports inside functions count, those for type checkers only do not.

    Raises:
        ValueError: a module uses what a board does not have, or is no Python of the board's
            version; with its file.
    """
    found: dict[str, Path] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        path = _file(name, root)
        if name in found or path is None:
            continue
        found[name] = path
        todo += [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=PYTHON)
        except SyntaxError as error:
            version = ".".join(map(str, PYTHON))
            raise ValueError(f"{path}: line {error.lineno} is not Python {version}") from None
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and ast.unparse(node.value) in ("np", "numpy")
                and node.attr in NEWER_NUMPY
            ):
                raise ValueError(
                    f"{path}: line {node.lineno} uses numpy.{node.attr}, which numpy 1.21 lacks"
                )
        for imported, line, is_guarded in _imports(tree):
            top = imported.split(".")[0]
            if top in OURS:
                todo.append(imported)
            elif imported in NEWER and not is_guarded:
                raise ValueError(f"{path}: line {line} imports {imported}, which Python 3.10 lacks")
            elif top not in sys.stdlib_module_names and top not in THIRD_PARTY:
                raise ValueError(f"{path}: line {line} imports {top}, which no board has")
    return found


def _file(name: str, root: Path) -> Path | None:
    """File of a module; None for a folder without one, and for a name inside of a module."""
    path = root.joinpath(*name.split("."))
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def _imports(tree: ast.Module) -> Iterable[tuple[str, int, bool]]:
    """(module, line, inside of a function) of every import that runs."""
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        node, guarded = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += [(child, guarded) for child in node.orelse]
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: a relative import is not followed")
            yield node.module or "", node.lineno, guarded
            # A name may be a module.
            yield from ((f"{node.module}.{a.name}", node.lineno, guarded) for a in node.names)
        guarded = guarded or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        todo += [(child, guarded) for child in ast.iter_child_nodes(node)]


# ------------------------------------------------------------------------------- contents


def contents(
    golden: Path, bitstream: Path, packages: Iterable[str] = PACKAGES, root: Path = ROOT
) -> dict[str, bytes]:
    """Path in the archive and contents of every file but the manifest.

    Args:
        golden: folder of the golden folders (make golden).
        bitstream: folder of cmamba.bit and cmamba.hwh; neither or both are there.
        packages: names of the golden folders to include.
        root: of the repository.

    Raises:
        FileNotFoundError: a golden folder or half a bitstream is missing.
        ValueError: the driver imports what no board has.
    """
    files: dict[str, bytes] = {}
    for path in import_closure(driver_modules(root), root).values():
        files[str(path.relative_to(root))] = path.read_bytes()
    # Python 3.10 reads no TOML (isa).
    for path in sorted((root / "isa").glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        files[f"isa/{path.stem}.json"] = json.dumps(table, indent=1).encode()
    for path in sorted((root / "host/notebooks").glob("*.ipynb")):
        files[f"notebooks/{path.name}"] = path.read_bytes()
    for name in packages:
        for file in PACKAGE_FILES:
            files[f"packages/{name}/{file}"] = (golden / name / file).read_bytes()
        if (golden / name / SERIES_FILE).is_file():
            files[f"packages/{name}/{SERIES_FILE}"] = (golden / name / SERIES_FILE).read_bytes()
    if any((bitstream / file).exists() for file in BITSTREAM_FILES):
        for file in BITSTREAM_FILES:
            files[file] = (bitstream / file).read_bytes()
    for name, source in TEXTS.items():
        if (root / source).is_file():
            files[name] = (root / source).read_bytes()
    return files


def manifest(files: Mapping[str, bytes], commit: str | None) -> bytes:
    """Versions, and SHA-256 and size of every file, as JSON."""
    document = {
        "commit": commit,
        "instruction_set": ".".join(map(str, isa.VERSION)),
        "images": [image._asdict() for image in IMAGES],
        "bitstream": BITSTREAM_FILES[0] in files,
        "packages": sorted({path.split("/")[1] for path in files if path.startswith("packages/")}),
        "files": {
            path: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in sorted(files.items())
        },
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz in which all that could differ from run to run is fixed."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as out:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"{NAME}/{path}")
            entry.size = len(data)
            entry.mode = 0o644
            out.addfile(entry, io.BytesIO(data))
    return gzip.compress(tar.getvalue(), mtime=0)


def _commit() -> str | None:
    """The commit of the sources, with + if they differ from it; None outside of git."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return result.stdout.strip() or None


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0; 1: the archive cannot be written; 2: what should be in it is not there."""
    parser = argparse.ArgumentParser(
        prog="python -m host.board_package",
        description="Pack driver, packages, notebook and bitstream for the board.",
    )
    parser.add_argument("--golden", type=Path, default=ROOT / "build/golden")
    parser.add_argument("--bitstream", type=Path, default=ROOT / "build/bitstream")
    parser.add_argument("--output", type=Path, default=ROOT / f"build/{NAME}.tar.gz")
    parser.add_argument(
        "--package",
        dest="packages",
        action="append",
        help=f"golden folder to include; may be given again ({', '.join(PACKAGES)})",
    )
    args = parser.parse_args(argv)
    packages = args.packages or [n for n in PACKAGES if (args.golden / n).is_dir()]
    left_out = [] if args.packages else [n for n in PACKAGES if n not in packages]
    try:
        if not packages:
            raise FileNotFoundError(f"no golden packages in {args.golden}: run `make golden`")
        files = contents(args.golden, args.bitstream, packages)
        files["MANIFEST.json"] = manifest(files, _commit())
        args.output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(args.output) as file:
            file.write(archive(files))
    except (OSError, ValueError) as error:
        return exit_status.report("board-package", error)
    for name in left_out:
        print(f"package {name}: left out, {args.golden / name} does not exist (make golden)")
    if BITSTREAM_FILES[0] not in files:
        print(f"bitstream: none in {args.bitstream}, copy cmamba.bit and cmamba.hwh to the board")
    if not any(path.startswith("notebooks/") for path in files):
        print("notebook: none")
    print(f"{args.output}: {len(files)} files, {args.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
