"""The programs of `host`: self-test, benchmark, run_infer with a board; and its import."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import host.arguments
import isa
from compiler.estimate import estimate
from evaluation.forecaster import BACKENDS, Forecaster
from golden.integer_model import IntegerModel
from golden.vectors import write_golden
from host import bench, errors, find_bitfile, selftest
from host.table import Table
from host.virtual_board import Fault, VirtualBoard, write_overlay
from isa.package import Package
from model.args import ModelArgs
from tests.compiled_models import SMALL, compile_random
from tests.virtual_boards import keep_pynq_state_in

ROOT = Path(__file__).resolve().parents[1]
MODELS = {
    "mixing": SMALL | {"instance_norm": True},
    "independent": SMALL | {"channel_mode": "independent", "num_channels": 5},
}


@pytest.fixture(scope="module", autouse=True)
def pynq_state(tmp_path_factory):
    keep_pynq_state_in(tmp_path_factory.mktemp("pynq"))


@pytest.fixture(scope="module")
def models():
    return {name: compile_random(ModelArgs(**args), build="small") for name, args in MODELS.items()}


@pytest.fixture(scope="module")
def bitfile(tmp_path_factory):
    return str(write_overlay(tmp_path_factory.mktemp("overlay")))


@pytest.fixture(scope="module")
def served():
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:
        yield board


@pytest.fixture
def board(served):
    yield served
    served.clear_faults()


@pytest.fixture
def flags(board, bitfile):
    return ["--board", f"127.0.0.1:{board.port}", "--bitfile", bitfile]


@pytest.fixture
def golden(tmp_path, models):
    """A folder of golden folders for the small build."""

    for name, model in models.items():
        folder = tmp_path / "golden" / name
        folder.mkdir(parents=True)
        package = model.package
        shape = (package.n_sequences, package.n_positions, package.token_bytes)
        tokens = np.random.default_rng(0).integers(
            -128, 128, (3 * package.iterations, *shape), dtype=np.int8
        )
        forecast = IntegerModel(package, model.build).run(tokens)
        package.write(folder / "package.bin")
        tokens.tofile(folder / "input.bin")
        forecast.astype("<i2").tofile(folder / "forecast.bin")
    return tmp_path / "golden"


# ------------------------------------------------------------------------------ self-test


def test_a_good_board_passes(flags, golden, capsys):
    assert selftest.main([*flags, "--golden", str(golden)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Self-test, build small" and out[-1] == "PASSED"
    # All, one by one, all: 3 x 3 forecasts of 3 x 8 int16, in beats of 8.
    rows = {line.split("  ")[0]: line.split() for line in out[2:-1]}
    assert rows["mixing"][1:3] == ["ok", "27"]
    assert rows["independent"][1:3] == ["ok", "45"]
    assert rows["recovery from an error"][4] == "ok"


def test_packages_of_other_builds_are_left_out(flags, golden, capsys):
    package = compile_random(ModelArgs(**SMALL)).package
    shape = (package.n_sequences, package.n_positions, package.token_bytes)
    write_golden(golden / "larger", package, np.zeros((package.iterations, *shape), np.int8))
    assert selftest.main([*flags, "--golden", str(golden)]) == 0
    assert re.search(r"larger +for build default", capsys.readouterr().out)
    assert selftest.main([*flags, "--golden", str(golden / "larger")]) == 1  # nothing is compared
    assert "no package is loaded" in capsys.readouterr().out


def test_golden_folders_of_the_repository(tmp_path, models, monkeypatch):
    """Those that `make golden` writes are found and fit."""
    package = compile_random(ModelArgs(**SMALL)).package
    shape = (package.n_sequences, package.n_positions, package.token_bytes)
    write_golden(tmp_path / "one", package, np.zeros((2 * package.iterations, *shape), np.int8))
    monkeypatch.setattr(host.arguments, "_GOLDEN", (tmp_path / "none", tmp_path))
    (folder,) = host.arguments.golden_folders(None)
    vectors = selftest.Vectors(folder)
    assert (vectors.name, vectors.n_forecasts) == ("one", 2)


def test_one_wrong_bit_fails(flags, golden, capsys):
    path = golden / "mixing" / "forecast.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1  # beat 6 of 9
    path.write_bytes(data)
    assert selftest.main([*flags, "--golden", str(golden)]) == 1
    out = capsys.readouterr().out
    assert "all in one run: 1 of 9 beats differ, the first is beat 6: found " in out
    assert out.splitlines()[-1] == "FAILED"
    assert out.count("  ok  ") == 1 and out.count("FAILED\n") == 2 + 1


def test_padding_is_compared_too():
    right = np.zeros((4, 16), np.uint8)
    wrong = right.copy()
    wrong[3, 15] = 1
    assert selftest.compare(right, right, "it") == 4
    with pytest.raises(
        selftest.SelfTestError, match="it: 1 of 4 beats differ, the first is beat 3"
    ):
        selftest.compare(wrong, right, "it")
    with pytest.raises(selftest.SelfTestError, match="it: found 3 beats, expected 4"):
        selftest.compare(wrong[:3], right, "it")


@pytest.mark.parametrize("fault", [Fault.MM2S_SLAVE_ERROR, Fault.S2MM_DECODE_ERROR])
def test_a_bad_dma_fails(flags, golden, board, fault, capsys):
    board.inject(fault)
    assert selftest.main([*flags, "--golden", str(golden / "mixing")]) == 1
    assert f"mixing: DMA {fault.channel.upper()}: " in capsys.readouterr().out


def test_a_board_that_loses_nothing_fails_the_recovery(flags, golden, capsys, monkeypatch):
    """An accelerator that takes a packet that is too short does not notice errors."""
    monkeypatch.setattr(selftest, "BEAT_BYTES", 0)
    assert selftest.main([*flags, "--golden", str(golden / "mixing")]) == 1
    assert (
        "recovery from an error: an input that is a beat short was taken" in capsys.readouterr().out
    )


@pytest.mark.parametrize("file", ["input.bin", "forecast.bin"])
def test_vectors_that_do_not_belong_together(flags, golden, capsys, file):
    path = golden / "mixing" / file
    path.write_bytes(path.read_bytes()[:-1])
    assert selftest.main([*flags, "--golden", str(golden)]) == 1
    assert "mixing: input or forecast is not the package's: " in capsys.readouterr().out
    path.write_bytes(b"")
    assert selftest.main([*flags, "--golden", str(golden)]) == 1


def test_nothing_to_compare(flags, golden, capsys, tmp_path):
    (golden / "mixing" / "input.bin").unlink()
    assert selftest.main([*flags, "--golden", str(golden)]) == 2
    assert "mixing/input.bin: no such file" in capsys.readouterr().err
    assert selftest.main([*flags, "--golden", str(tmp_path / "none")]) == 2


def test_no_board(bitfile, golden, capsys, board):
    package = str(golden / "mixing" / "package.bin")
    programs = (selftest, ["--golden", str(golden)], 2), (bench, ["--package", package], 2)
    for program, flags, code in programs:
        assert program.main(["--board", "127.0.0.1:1", "--bitfile", bitfile, *flags]) == code
        assert "no board answers at 127.0.0.1:1" in capsys.readouterr().err


def test_no_bitstream(monkeypatch, tmp_path, golden, board, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--board", f"127.0.0.1:{board.port}", "--golden", str(golden)]
    assert selftest.main(arguments) == 2
    assert "found none of cmamba.bit, build/bitstream/cmamba.bit, " in capsys.readouterr().err
    write_overlay(tmp_path)
    assert find_bitfile() == "cmamba.bit"
    assert selftest.main(arguments) == 0


def test_the_board_that_pynq_finds(golden, bitfile):
    """PYNQ_REMOTE_DEVICES, as pynq's documentation says; the port is always the same."""
    with VirtualBoard("small", host="127.0.0.77", memory_bytes=64 << 20):
        result = subprocess.run(
            [
                *(sys.executable, "-m", "host.selftest", "--bitfile", bitfile),
                *("--golden", str(golden / "mixing")),
            ],
            cwd=ROOT,
            env=os.environ | {"PYNQ_REMOTE_DEVICES": "127.0.0.77"},
            capture_output=True,
            text=True,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("PASSED\n")


def test_a_virtual_board_of_its_own(golden, capsys):
    assert selftest.main(["--virtual", "small", "--golden", str(golden / "mixing")]) == 0
    assert capsys.readouterr().out.endswith("PASSED\n")


def test_a_virtual_board_that_does_not_start(golden, capsys):
    with pytest.raises(SystemExit) as stopped:
        selftest.main(["--virtual", "huge", "--golden", str(golden)])
    assert stopped.value.code == 2
    assert "found 'huge', expected one of [" in capsys.readouterr().err
    with (
        pytest.raises(errors.BoardConnectionError, match=r"has not started: .*invalid choice"),
        host.arguments.virtual_board("huge"),
    ):
        pass


# ------------------------------------------------------------------------------ benchmark


def test_bench(flags, golden, capsys):
    package = golden / "mixing" / "package.bin"
    arguments = ["--package", str(package), "--batch", "1,3", "--repeats", "2"]
    assert bench.main([*flags, *arguments]) == 0
    load, title, head, *rows = capsys.readouterr().out.splitlines()
    assert load.startswith(f"load of mixing, {package.stat().st_size:,} bytes: ")
    assert title == "mixing, accelerator at 250.0 MHz, median"
    assert head.split("  ")[-2:] == ["batch 1", "batch 3"]
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    values = {name: [float(v.replace(",", "")) for v in row] for name, *row in cells}
    steps = [v for k, v in values.items() if k in bench.STEPS.values()]
    assert len(steps) == len(bench.STEPS)
    for column in (0, 1):
        total = values["forecast, all steps"][column]
        assert 0.5 * total < sum(step[column] for step in steps) < 1.5 * total
        assert (
            0
            < values["of which cycles at the clock"][column]
            < values["wait for the hardware"][column]
        )


def test_bench_of_the_driver_alone(golden, capsys):
    """No board is needed, and nothing waits for one."""
    package = golden / "mixing" / "package.bin"
    arguments = ["--package", str(package), "--batch", "1,3", "--repeats", "2"]
    assert bench.main(["--driver", "small", *arguments]) == 0
    _, title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "mixing, the driver without a board, median"
    assert head.split()[0] == "us"
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    values = {name: [float(v.replace(",", "")) for v in row] for name, *row in cells}
    steps = [values[name] for name in bench.STEPS.values()]
    for column, n in enumerate((1, 3)):
        total = values["forecast, all steps"][column]
        assert 0 < sum(step[column] for step in steps) < 1.5 * total
        assert values["a window"][column] == pytest.approx(total / n, abs=0.1)
    logic = estimate(Package.read(package), isa.build("small")).single / 250
    assert values["the logic, estimated, a window"] == [pytest.approx(logic, abs=0.1)] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--driver", "--virtual"],
        ["--batch", "0"],
        ["--batch", "1,x"],
        ["--repeats", "0"],
        ["--virtual", "--board"],
    ],
)
def test_wrong_arguments_of_the_bench(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        bench.main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("program", [selftest, bench])
def test_help(program, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: python -m {program.__name__}") and "--board IP[:PORT]" in out


def test_tables():
    table = Table("<t>", ("", "ab"), [("x", "1"), ("long", "22222")])
    assert str(table) == "<t>\n         ab\nx         1\nlong  22222"
    assert "<caption>&lt;t&gt;</caption>" in table._repr_html_()


# ------------------------------------------------------------------------------ back end


def test_the_back_end(models, board, bitfile):
    model = models["independent"]
    options = {"address": f"127.0.0.1:{board.port}", "bitfile": bitfile}
    forecaster = Forecaster(model.package, "board", **options)
    np.testing.assert_array_equal(forecaster(model.windows.numpy()), model.forecast())
    with pytest.raises(errors.BoardConnectionError):
        Forecaster(model.package, "board", **options | {"address": "127.0.0.1:1"})


def test_the_back_end_takes_what_run_infer_gives(monkeypatch, tmp_path, capsys):
    import run_infer
    from model.io import save_checkpoint
    from tests.compiled_models import random_model, random_windows

    args = ModelArgs(**SMALL)
    model, x = random_model(args), random_windows(args, 2)
    save_checkpoint(model, tmp_path / "model.safetensors")
    np.savez(tmp_path / "x.npz", x=x.numpy())
    seen = {}

    def board(package, address=None, bitfile=None):
        seen.update(address=address, bitfile=bitfile)
        if address is None:
            raise errors.BoardTimeoutError("it does not move")
        return BACKENDS["int8"](package)

    monkeypatch.setitem(BACKENDS, "board", board)
    command = ["--weights", str(tmp_path / "model.safetensors"), "--input", str(tmp_path / "x.npz")]
    command += ["--backend", "board"]
    assert run_infer.main([*command, "--board", "1.2.3.4:5", "--bitfile", "x.bit"]) == 0
    assert seen == {"address": "1.2.3.4:5", "bitfile": Path("x.bit")}
    assert "board against fp32: largest difference" in capsys.readouterr().out
    assert run_infer.main(command) == 1
    assert capsys.readouterr().err == "error: it does not move\n"
    for option in ("--board", "--bitfile"):
        with pytest.raises(SystemExit) as stopped:
            run_infer.main([*command, "--backend", "int8", option, "1.2.3.4"])
        assert stopped.value.code == 2


@pytest.mark.slow
def test_run_infer_on_a_virtual_board(tmp_path, bitfile):
    """The default build, as a user would."""
    import run_infer
    from model.io import save_checkpoint
    from tests.compiled_models import random_model, random_windows

    args = ModelArgs(**SMALL)
    save_checkpoint(random_model(args), tmp_path / "model.safetensors")
    np.savez(tmp_path / "x.npz", x=random_windows(args, 3).numpy())
    command = ["--weights", str(tmp_path / "model.safetensors"), "--input", str(tmp_path / "x.npz")]
    with VirtualBoard("default", port=0) as board:
        where = ["--board", f"127.0.0.1:{board.port}", "--bitfile", bitfile]
        for backend, more in (("int8", []), ("board", where)):
            output = ["--output", str(tmp_path / f"{backend}.npz")]
            assert run_infer.main([*command, *output, "--backend", backend, *more]) == 0
    with np.load(tmp_path / "int8.npz") as expected, np.load(tmp_path / "board.npz") as found:
        np.testing.assert_array_equal(found["y"], expected["y"])


# ------------------------------------------------------------------------------ import


def python(script, *flags):
    """A fresh interpreter in which some packages cannot be imported."""
    blocker = """
        import importlib.abc, sys
        class Blocker(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in BLOCKED or name in BLOCKED:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    """
    program = textwrap.dedent(blocker) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, *flags, "-c", program], cwd=ROOT, capture_output=True, text=True
    )


def test_without_pynq():
    """The package can be imported and says what is missing; so can its exceptions."""
    result = python(
        """
        import importlib.util
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *a: None if name == "pynq" else find_spec(name, *a)
        BLOCKED = {"pynq", "grpc"}
        sys.meta_path.insert(0, Blocker())
        import host
        from host import DmaError, BadCrcError, Profile, Capabilities
        from host.errors import BoardError
        for name in ("Accelerator", "connect"):
            try:
                getattr(host, name)
            except ImportError as error:
                print(error)
        """
    )
    assert result.returncode == 0, result.stderr
    for text in (result.stderr, *result.stdout.splitlines()):
        assert "the driver needs the package pynq (4.0.0), which is not installed" in text
        assert "PYNQ_REMOTE=1 pip install --no-deps --group pynq" in text
    assert result.stdout.splitlines()[0].startswith("host.Accelerator: ")
    assert len(result.stdout.splitlines()) == 2


def test_the_driver_needs_numpy_and_pynq_only():
    """As on the board: nothing that trains, compiles or simulates."""
    result = python(
        """
        BLOCKED = {"torch", "pandas", "scipy", "matplotlib", "safetensors", "pybind11"}
        BLOCKED |= {"rtl.simulator", "hls", "bitstream_scripts", "host.virtual_board"}
        before = set(sys.modules)
        sys.meta_path.insert(0, Blocker())
        import host, host.accelerator, host.selftest, host.bench
        from host import Accelerator, connect
        ours = ("common", "isa", "golden", "model", "rtl", "host", "tests")
        print(*sorted(name for name in sys.modules if name.partition(".")[0] in ours))
        """
    )
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert {"host.accelerator", "isa.rules", "rtl.regs.registers", "model.args"} <= loaded
    from host.board_package import driver_modules, import_closure

    assert loaded - set(import_closure(driver_modules())) <= {"rtl", "rtl.regs"}  # no __init__.py


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'host' has no attribute 'Driver'"):
        host.Driver  # noqa: B018
    assert set(errors.__all__) < set(host.__all__)
