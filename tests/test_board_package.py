"""The archive for the board: what is in it, and that it works where nothing else is."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pytest

import isa
from golden.cases import CASES, CHECKPOINT_CASES
from golden.host import HostSide
from golden.integer_model import IntegerModel
from host import board_package
from host.virtual_board import VirtualBoard, write_overlay
from isa.package import Package
from model.args import ModelArgs
from tests import board_python
from tests.archives import unpack
from tests.compiled_models import SMALL, compile_random

ROOT = board_package.ROOT


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """A folder with one golden folder, `small`, of a package for the small build."""
    folder = tmp_path_factory.mktemp("golden")
    package = compile_random(ModelArgs(**SMALL), build="small").package
    windows = np.random.default_rng(0).standard_normal((1, SMALL["num_channels"], SMALL["seq_len"]))
    tokens = HostSide(package).tokens(windows)
    forecast = IntegerModel(package, "small").run(tokens)
    (folder / "small").mkdir()
    (folder / "small/package.bin").write_bytes(package.to_bytes())
    (folder / "small/input.bin").write_bytes(tokens.tobytes())
    (folder / "small/forecast.bin").write_bytes(forecast.astype("<i2").tobytes())
    return folder


def pack(golden: Path, output: Path, *arguments: str) -> int:
    """Run the program without a bitstream, unless `arguments` name a folder with one."""
    return board_package.main(
        [
            *("--golden", str(golden), "--output", str(output), "--package", "small"),
            *("--bitstream", str(output.parent / "none"), *arguments),
        ]
    )


@pytest.fixture
def unpacked(golden, tmp_path):
    assert pack(golden, tmp_path / "board.tar.gz") == 0
    unpack(tmp_path / "board.tar.gz", tmp_path / "empty")
    (folder,) = (tmp_path / "empty").iterdir()
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_driver_and_nothing_else_is_in_it(unpacked):
    found = files(unpacked)
    assert {"host/accelerator.py", "isa/package.py", "rtl/regs/registers.py"} <= found
    assert {"INSTALL.md", "LICENSE", "MANIFEST.json"} <= found
    assert {f"packages/small/{name}" for name in board_package.PACKAGE_FILES} <= found
    for folder in ("host/virtual_board", "rtl/simulator", "rtl/tb", "hls", "tests", "model/data"):
        assert not any(path.startswith(folder) for path in found), folder
    assert not {"golden/integer_model.py", "model/cmamba.py", "host/board_package.py"} & found


def test_modules_are_those_of_the_repository(unpacked):
    for path in files(unpacked):
        if path.endswith(".py"):
            assert (unpacked / path).read_bytes() == (ROOT / path).read_bytes()


def test_manifest(unpacked):
    manifest = json.loads((unpacked / "MANIFEST.json").read_text())
    assert manifest["instruction_set"] == ".".join(map(str, isa.VERSION))
    assert [(image["python"], image["pynq"]) for image in manifest["images"]] == [
        ("3.10", "3.1.2"),
        ("3.12", "4.0.0"),
    ]
    assert manifest["packages"] == ["small"]
    assert manifest["bitstream"] is False
    listed = manifest["files"]
    assert set(listed) == files(unpacked) - {"MANIFEST.json"}
    for path, entry in listed.items():
        data = (unpacked / path).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_the_same_bytes_every_time(golden, tmp_path):
    again = tmp_path / "golden"
    shutil.copytree(golden, again)
    for path in again.rglob("*"):
        os.utime(path, (0, 0))
    assert pack(golden, tmp_path / "a.tar.gz") == 0
    assert pack(again, tmp_path / "b.tar.gz") == 0
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


# Runs in the unpacked folder. After pynq and numpy, with all that they load, nothing else that is
# installed can be imported.
PROBE = """
import sys
import grpc, numpy, pynq, pynq.pl_server.remote_device

there = {name.split(".")[0] for name in sys.modules} | sys.stdlib_module_names
OURS = {"common", "compiler", "golden", "hls", "host", "isa", "model", "rtl"}
there |= OURS
assert "torch" not in there and "pytest" not in there

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in there:
            raise ImportError(f"{name} is not on the board")

sys.meta_path.insert(0, Block())
"""


def probe(folder: Path, script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROBE + textwrap.dedent(script)],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_works_alone(unpacked):
    """The driver's modules import, and the package is read and its input encoded."""
    (unpacked / "tomllib.py").write_text("raise ImportError('Python 3.10 has no tomllib')\n")
    result = probe(
        unpacked,
        """
        import importlib, json, pathlib
        import numpy as np
        sys.modules.pop("tomllib", None)
        for name in json.loads(pathlib.Path("MANIFEST.json").read_text())["files"]:
            if name.endswith(".py"):
                importlib.import_module(name[:-3].replace("/", ".").removesuffix(".__init__"))
        from golden.host import HostSide
        from isa.package import Package
        from host import Accelerator
        package = Package.read("packages/small/package.bin", "small")
        HostSide(package).tokens(np.zeros((1, 3, 24), np.float32))
        here = str(pathlib.Path.cwd())
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in OURS and module.__file__:
                assert module.__file__.startswith(here), module.__file__
        print("alone")
        """,
    )
    assert result.stdout == "alone\n", result.stderr


def test_the_probe_sees_what_is_not_there(unpacked):
    (unpacked / "golden/host.py").write_text("import torch\n")
    assert "torch is not on the board" in probe(unpacked, "import host.accelerator").stderr
    (unpacked / "isa/streams.py").unlink()
    assert "No module named 'isa.streams'" in probe(unpacked, "import host").stderr


def test_its_selftest_passes_on_a_virtual_board(golden, tmp_path):
    """Bitstream, driver and vectors come from the archive; the board is that of the repository."""
    bitstream = write_overlay(tmp_path / "bitstream").parent
    assert pack(golden, tmp_path / "board.tar.gz", "--bitstream", str(bitstream)) == 0
    unpack(tmp_path / "board.tar.gz", tmp_path)
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:
        result = probe(
            tmp_path / "cmamba-board",
            f"""
            import runpy
            from pynq.pl_server import global_state
            global_state.STATE_DIR = {str(tmp_path)!r}
            sys.argv = ["selftest", "--board", "{board.address}:{board.port}"]
            runpy.run_module("host.selftest", run_name="__main__")
            """,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("PASSED\n")
    assert "small" in result.stdout and "recovery from an error" in result.stdout


FORECAST = """
import json, platform, sys
import numpy as np
import pynq
from host import Accelerator, connect

with Accelerator("cmamba.bit", device=connect(sys.argv[1])) as accelerator:
    accelerator.load("packages/small/package.bin")
    np.save(sys.argv[3], accelerator.forecast(np.load(sys.argv[2])))
print(json.dumps([pynq.__version__, platform.python_version(), np.__version__]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("image", board_package.IMAGES, ids=lambda image: f"pynq {image.pynq}")
def test_it_works_with_the_versions_of_an_image(golden, tmp_path, image):
    """Python, pynq and NumPy of an SD card, on this machine: self-test and forecast."""
    python = board_python.environment(image)
    bitstream = write_overlay(tmp_path / "bitstream").parent
    assert pack(golden, tmp_path / "board.tar.gz", "--bitstream", str(bitstream)) == 0
    unpack(tmp_path / "board.tar.gz", tmp_path)
    folder = tmp_path / "cmamba-board"
    listed = json.loads((folder / "MANIFEST.json").read_text())["images"]
    assert image._asdict() in listed
    package = Package.read(folder / "packages/small/package.bin", "small")
    x = np.random.default_rng(1).standard_normal((5, SMALL["num_channels"], SMALL["seq_len"]))
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:

        def run(*arguments: str) -> str:
            result = subprocess.run(
                [python, *arguments],
                cwd=folder,
                env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert result.returncode == 0, result.stderr
            return result.stdout

        address = f"{board.address}:{board.port}"
        assert run("-m", "host.selftest", "--board", address).endswith("PASSED\n")
        files = (str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
        found = json.loads(run("-W", "ignore", "-c", FORECAST, address, *files).splitlines()[-1])
    assert [found[0], found[1].rpartition(".")[0], found[2]] == [*image]
    host = HostSide(package)
    tokens, statistics = host.encode(np.load(files[0]))
    expected = host.decode(IntegerModel(package, "small").run(tokens), statistics)
    np.testing.assert_array_equal(np.load(files[1]), expected)


def test_a_python_that_this_machine_lacks_is_said(tmp_path, monkeypatch):
    image = board_package.Image(pynq="0.0.1", python="3.99", numpy="1.0")
    with pytest.raises(pytest.skip.Exception, match=r"no Python 3\.99 .* PYTHON_3_99"):
        board_python.environment(image)
    monkeypatch.setenv("PYTHON_3_99", str(tmp_path / "none"))
    with pytest.raises(pytest.fail.Exception, match=r"PYTHON_3_99: .*none is no Python 3\.99"):
        board_python.environment(image)


@pytest.mark.slow
def test_packages_that_cannot_be_had_are_said(tmp_path, monkeypatch):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setenv(f"PYTHON_{version.replace('.', '_')}", sys.executable)
    monkeypatch.setattr(board_python, "FOLDER", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(pytest.fail.Exception, match=r"pynq 0\.0\.1 .* cannot be installed: ERROR"):
        board_python.environment(board_package.Image(pynq="0.0.1", python=version, numpy="1.0"))


# ------------------------------------------------------------------------------- closure


@pytest.fixture
def tree(tmp_path):
    """A small repository: host.a imports golden.b in a function."""
    for path, text in {
        "host/__init__.py": "",
        "host/a.py": "import numpy as np\n\n\ndef f():\n    from golden import b\n",
        "host/board_package.py": "import torch\n",
        "golden/__init__.py": "",
        "golden/b.py": "from __future__ import annotations\nimport os.path\n",
        "golden/unused.py": "import torch\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def closure(tree: Path) -> set[str]:
    return set(board_package.import_closure(board_package.driver_modules(tree), tree))


def test_closure(tree):
    assert closure(tree) == {"host", "host.a", "golden", "golden.b"}


def test_imports_for_type_checkers_do_not_count(tree):
    text = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from golden import unused\n"
    (tree / "golden/b.py").write_text(text)
    assert "golden.unused" not in closure(tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\n", "b.py: line 1 imports torch, which no board has"),
        ("\n\nfrom scipy.linalg import eig\n", "b.py: line 3 imports scipy, which no board has"),
        ("import golden.unused\n", "unused.py: line 1 imports torch"),
        ("import tomllib\n", "imports tomllib, which Python 3.10 lacks"),
        ("import numpy as np\nnp.concat([])\n", "line 2 uses numpy.concat, which numpy 1.21 lacks"),
        ("from typing import Any, Self\n", "imports typing.Self, which Python 3.10 lacks"),
        ("try:\n    pass\nexcept* OSError:\n    pass\n", "b.py: line 4 is not Python 3.10"),
    ],
)
def test_what_no_board_has_is_refused(tree, text, message):
    (tree / "golden/b.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        closure(tree)


# ------------------------------------------------------------------------------- program


def test_a_bitstream_is_packed(golden, tmp_path, capsys):
    bitstream = tmp_path / "bitstream"
    bitstream.mkdir()
    for name in board_package.BITSTREAM_FILES:
        (bitstream / name).write_text(name)
    assert pack(golden, tmp_path / "board.tar.gz", "--bitstream", str(bitstream)) == 0
    with tarfile.open(tmp_path / "board.tar.gz") as tar:
        member = tar.extractfile("cmamba-board/cmamba.bit")
        assert member is not None and member.read() == b"cmamba.bit"
        manifest = json.load(tar.extractfile("cmamba-board/MANIFEST.json"))
    assert manifest["bitstream"] is True
    assert "bitstream: none" not in capsys.readouterr().out

    (bitstream / "cmamba.hwh").unlink()
    assert pack(golden, tmp_path / "half.tar.gz", "--bitstream", str(bitstream)) == 2
    assert "cmamba.hwh" in capsys.readouterr().err
    assert not (tmp_path / "half.tar.gz").exists()


def test_what_is_left_out_is_said(golden, tmp_path, capsys):
    assert pack(golden, tmp_path / "board.tar.gz") == 0
    out = capsys.readouterr().out
    assert f"bitstream: none in {tmp_path / 'none'}" in out
    shutil.copytree(golden / "small", tmp_path / "golden/nyc_weather")
    arguments = ["--golden", str(tmp_path / "golden"), "--output", str(tmp_path / "b.tar.gz")]
    assert board_package.main(arguments) == 0
    assert "package etth1_mixing: left out" in capsys.readouterr().out


def test_every_forecaster_of_the_demo_is_packed():
    assert {case.name for case in CHECKPOINT_CASES} <= set(board_package.PACKAGES)
    assert set(board_package.PACKAGES) <= {case.name for case in CASES}


def test_missing_packages(tmp_path, capsys):
    output = str(tmp_path / "b.tar.gz")
    assert board_package.main(["--golden", str(tmp_path), "--output", output]) == 2
    assert "run `make golden`" in capsys.readouterr().err
    arguments = ["--golden", str(tmp_path), "--output", output, "--package", "none"]
    assert board_package.main(arguments) == 2
    assert "none/package.bin" in capsys.readouterr().err
