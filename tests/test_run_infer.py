"""`run_infer.py` on good and bad files, and the help of every command."""

import dataclasses
import importlib
import os
import re
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import isa
import rtl.simulator
import run_infer
from common.exit_status import FAILED, WRONG
from compiler.compile import compile_formats, compile_model
from evaluation.forecaster import BACKENDS, Forecaster
from isa.streams import AcceleratorError
from model.args import ModelArgs
from model.io import load_model, save_checkpoint
from model.quantization import cpp
from model.quantization.calibrate import calibrate
from model.quantization.parameters import learned_formats
from model.quantization.structure import structure_of
from rtl.simulator import SimulationError
from tests.compiled_models import SMALL, learned_model, random_model, random_windows, sqnr

ARGS = ModelArgs(**(SMALL | {"instance_norm": True}))


class Files:
    """A model, its input and its package in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights, self.input = folder / "model.safetensors", folder / "x.npz"
        self.output, self.package = folder / "y.npz", folder / "model.bin"
        self.model, self.x = random_model(ARGS), random_windows(ARGS, 5)
        save_checkpoint(self.model, self.weights)
        np.savez(self.input, x=self.x.numpy())
        ranges = calibrate(self.model, self.model.to_tokens(self.x))
        self.compiled = compile_model(self.model, ranges)
        self.compiled.write(self.package)

    def run(self, *arguments: object, **options: object) -> int:
        given = {"weights": self.weights, "input": self.input, "output": self.output} | options
        flags = [str(a) for name, value in given.items() for a in (f"--{name}", value)]
        return run_infer.main(flags + [str(a) for a in arguments])

    def forecast(self) -> np.ndarray:
        with np.load(self.output) as stored:
            return stored["y"]


@pytest.fixture
def files(tmp_path, monkeypatch) -> Files:
    files = Files(tmp_path)
    files.monkeypatch = monkeypatch
    return files


def test_fp32_writes_the_forecast_of_the_model(files, capsys):
    assert files.run() == 0
    assert capsys.readouterr().out == "input: (5, 3, 24) output: (5, 3, 8)\n"
    with torch.no_grad():
        expected = files.model(files.x).numpy()
    np.testing.assert_array_equal(files.forecast(), expected)
    assert files.forecast().dtype == np.float32
    assert stat.S_IMODE(os.stat(files.output).st_mode) == 0o644


def test_int8_compiles_on_the_spot_and_reports_the_difference(files, capsys):
    assert files.run(backend="int8") == 0
    out = capsys.readouterr().out
    assert "calibrating on the input: 5 windows" in out
    with torch.no_grad():
        reference = files.model(files.x).numpy()
    y = files.forecast()
    np.testing.assert_array_equal(y, Forecaster(files.compiled)(files.x.numpy()))
    assert f"largest difference {np.abs(y - reference).max():.5f}" in out
    assert float(re.search(r"SQNR ([\d.]+) dB", out)[1]) == round(sqnr(reference, y), 1)


@pytest.mark.filterwarnings("error")
def test_the_difference_of_huge_forecasts_has_a_figure(files, capsys):
    np.savez(files.input, x=files.x.numpy() * np.float32(3e18))
    assert files.run(backend="int8") == 0
    assert re.search(r"SQNR [1-9]\d\.\d dB", capsys.readouterr().out)


@pytest.mark.filterwarnings("error")
def test_a_difference_from_nothing():
    x = np.zeros((1, 2, 3), np.float32)
    assert run_infer.difference_in_words(x, x) == "no difference"
    assert run_infer.difference_in_words(x + 1, x).endswith("SQNR -inf dB")


def test_a_package_or_calibration_data_can_be_given(files, capsys):
    assert files.run(backend="int8", package=files.package) == 0
    y = files.forecast()
    assert "calibrating" not in capsys.readouterr().out
    other = files.folder / "calibration.npz"
    np.savez(other, x=random_windows(ARGS, 9, seed=5).numpy())
    assert files.run(backend="int8", calibration=other) == 0
    assert f"calibrating on {other}: 9 windows" in capsys.readouterr().out
    assert not np.array_equal(files.forecast(), y)


def test_nothing_is_written_without_an_output(files, capsys):
    before = sorted(files.folder.iterdir())
    assert run_infer.main(["--weights", str(files.weights), "--input", str(files.input)]) == 0
    assert sorted(files.folder.iterdir()) == before


def test_arguments_can_come_from_a_file(files, capsys):
    weights, args = files.folder / "model.pt", files.folder / "args.json"
    torch.save(files.model.state_dict(), weights)
    assert files.run(weights=weights) == 2
    assert "holds no model arguments; give them with --args" in capsys.readouterr().err
    args.write_text(ARGS.to_json())
    assert files.run(weights=weights, args=args) == 0


@pytest.mark.parametrize("mode", ["fakeq", "cppq"])
def test_fp32_rounds_as_the_integer_program_does(files, mode, capsys):
    assert files.run(backend="int8") == 0
    expected = files.forecast()
    assert files.run(**{"quant-mode": mode}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "calibrating on the input: 5 windows" in lines
    assert re.fullmatch(rf"{mode} against fp32: largest difference .* dB", lines[-1])
    # A step of the forecast, and what float32 leaves of the normalization.
    largest = np.abs(files.x.numpy()).max() * files.compiled.metadata["output"]["scale"]
    np.testing.assert_allclose(files.forecast(), expected, atol=2 * largest)


@pytest.mark.parametrize("mode", ["int8", "fakeq"])
def test_learned_formats_need_no_calibration(files, mode, capsys):
    model = learned_model(ARGS)
    save_checkpoint(model, files.weights)
    option = {"quant-mode": mode} if mode == "fakeq" else {"backend": mode}
    assert files.run(**option) == 0
    out = capsys.readouterr().out
    assert "calibrating" not in out and f"{mode} against fp32" in out
    package = compile_formats(model, learned_formats(structure_of(model)), {})
    largest = np.abs(files.x.numpy()).max() * package.metadata["output"]["scale"]
    expected = Forecaster(package)(files.x.numpy())
    np.testing.assert_allclose(files.forecast(), expected, atol=2 * largest)


def test_quant_mode_goes_with_fp32(files, capsys):
    for options in ({"backend": "int8"}, {"package": files.package}):
        with pytest.raises(SystemExit) as stopped:
            files.run(**{"quant-mode": "fakeq"}, **options)
        assert stopped.value.code == 2
        assert "--quant-mode goes with --backend fp32" in capsys.readouterr().err


def test_options_that_would_be_ignored_are_refused(files, capsys):
    for options, message in (
        ({"package": files.package}, "--package goes with an integer back end"),
        ({"calibration": files.input}, "--calibration goes with an integer back end"),
        (
            {"backend": "int8", "package": files.package, "calibration": files.input},
            "--calibration goes with .* without --package",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            files.run(**options)
        assert stopped.value.code == 2
        assert re.search(message, capsys.readouterr().err)


def rewrite(files: Files, **metadata: object) -> None:
    """The package again, with other values in its metadata."""
    package = files.compiled
    dataclasses.replace(package, metadata=package.metadata | metadata).write(files.package)


def test_what_only_training_reads_may_differ(files):
    """As in packages that an older version has compiled, which held them, but not all."""
    model = files.compiled.metadata["model"]
    assert not {"sigma", "dropout", "head_dropout"} & model.keys()
    rewrite(files, model=model | {"sigma": 0.25, "dropout": 0.5})
    assert files.run(backend="int8", package=files.package) == 0


# ------------------------------------------------------------------------------ bad input


def of_other_shape(files: Files) -> dict[str, object]:
    np.savez(files.input, x=np.zeros((2, 4, 24), np.float32))
    return {}


def of_other_length(files: Files) -> dict[str, object]:
    np.savez(files.input, x=np.zeros((2, 3, 25), np.float32))
    return {}


def not_finite(files: Files) -> dict[str, object]:
    x = files.x.numpy()
    x[1, 2, 3] = np.nan
    np.savez(files.input, x=x)
    return {}


def too_large_to_normalize(files: Files) -> dict[str, object]:
    x = files.x.numpy()
    x[3, 1] *= 1e25
    np.savez(files.input, x=x)
    return {"backend": "int8", "package": files.package}


def weights_that_overflow(files: Files) -> dict[str, object]:
    with torch.no_grad():
        files.model.output_layer.weight.mul_(1e38)
        files.model.norm_f.weight.mul_(1e5)
    save_checkpoint(files.model, files.weights)
    return {}


def no_folder_for_output(files: Files) -> dict[str, object]:
    files.input.unlink()  # not even looked at
    return {"output": files.folder / "none" / "y.npz"}


def damaged_weights(files: Files) -> dict[str, object]:
    files.weights.write_bytes(files.weights.read_bytes()[:-100])
    return {}


def bad_args(files: Files) -> dict[str, object]:
    path = files.folder / "args.json"
    path.write_text('{"d_modle": 16}')
    return {"args": path}


def args_that_are_no_text(files: Files) -> dict[str, object]:
    path = files.folder / "args.json"
    path.write_bytes(b"\xff\xfe\x00")
    return {"args": path}


def other_weights(files: Files) -> dict[str, object]:
    save_checkpoint(random_model(ARGS, seed=7), files.weights)
    return {"backend": "int8", "package": files.package}


def other_model(files: Files) -> dict[str, object]:
    model = random_model(ModelArgs(**(SMALL | {"instance_norm": False})))
    save_checkpoint(model, files.weights)
    return {"backend": "int8", "package": files.package}


def package_without_a_model(files: Files) -> dict[str, object]:
    rewrite(files, model=None)
    return {"backend": "int8", "package": files.package}


def damaged_package(files: Files) -> dict[str, object]:
    data = bytearray(files.package.read_bytes())
    data[5000] ^= 1
    files.package.write_bytes(data)
    return {"backend": "int8", "package": files.package}


def package_of_no_build(files: Files) -> dict[str, object]:
    ranges = calibrate(files.model, files.model.to_tokens(files.x))
    package = compile_model(files.model, ranges, build=isa.build("small"))
    tiles = np.zeros_like(package.weights.reshape(-1, 8, 8))
    dataclasses.replace(package, tile_in=8, tile_out=8, weights=tiles).write(files.package)
    return {"backend": "int8", "package": files.package}


def constant_calibration_of_other_shape(files: Files) -> dict[str, object]:
    path = files.folder / "calibration.npz"
    np.savez(path, x=np.zeros((2, 1, 24), np.float32))
    return {"backend": "int8", "calibration": path}


def calibration_of_learned_formats(files: Files) -> dict[str, object]:
    save_checkpoint(learned_model(ARGS), files.weights)
    return {"backend": "int8", "calibration": files.input}


def extension_not_built(files: Files) -> dict[str, object]:
    files.monkeypatch.setattr(cpp, "FOLDER", files.folder / "none")
    files.monkeypatch.setattr(cpp, "extension", cpp.extension.__wrapped__)
    return {"quant-mode": "cppq"}


def output_is(option, link=None):
    """Prepares an --output that is the file of another option, by its name or by a link."""

    def prepare(files):
        found = getattr(files, option)
        output = found
        if link:
            output = files.folder / "link.npz"
            link(output, found)
        return {"output": output, "backend": "int8", "package": files.package}

    return prepare


BAD = {
    "no weights": (lambda f: {"weights": f.folder / "none.pt"}, r"none\.pt: no such file"),
    "no input": (lambda f: {"input": f.folder / "none.npz"}, r"none\.npz: no such file"),
    "no package": (
        lambda f: {"backend": "int8", "package": f.folder / "none.bin"},
        r"No such file.*none\.bin",
    ),
    "no args": (lambda f: {"args": f.folder / "none.json"}, r"No such file.*none\.json"),
    "other V": (of_other_shape, r"x\.npz: 'x': found shape \[2, 4, 24\].*\[B, 3, 24\]"),
    "other L": (of_other_length, r"x\.npz: 'x': found shape \[2, 3, 25\].*\[B, 3, 24\]"),
    "NaN": (not_finite, r"x\.npz: 'x': found 1 values that are NaN or infinite.*\(1, 2, 3\)"),
    "too large": (
        too_large_to_normalize,
        r"x\.npz: 'x': window 3, variable 1: the variance overflows float32",
    ),
    "overflow": (
        weights_that_overflow,
        r"x\.npz: the FP32 forecast of window 0 is NaN or infinite: .*model\.safetensors",
    ),
    "damaged weights": (damaged_weights, r"model\.safetensors: not a readable"),
    "unknown argument": (bad_args, r"args\.json: ModelArgs: found unknown fields d_modle"),
    "binary arguments": (args_that_are_no_text, r"args\.json: .*decode"),
    "other weights": (
        other_weights,
        r"model\.bin: compiled from another model: metadata field 'weights_sha256' is \w+, exp",
    ),
    "other model": (
        other_model,
        r"model\.bin: compiled from another model: metadata field 'instance_norm' is True, "
        r"expected False as in .*model\.safetensors$",
    ),
    "no model": (package_without_a_model, r"model\.bin: metadata field 'model': ModelArgs: found"),
    "damaged package": (damaged_package, r"BAD_CRC: .*model\.bin: section"),
    "no build": (package_of_no_build, r"BAD_TILE: .*model\.bin: .*tile_in: expected 16"),
    "other calibration": (
        constant_calibration_of_other_shape,
        r"calibration\.npz: 'x': found shape \[2, 1, 24\]",
    ),
    "learned": (
        calibration_of_learned_formats,
        r"--calibration: .*model\.safetensors has learned its number formats",
    ),
    "no extension": (extension_not_built, r"\.so does not exist; `make quantization` builds it$"),
    "no folder": (no_folder_for_output, r"No such file or directory: .*none'$"),
    "a folder": (lambda f: {"output": f.folder}, r"Is a directory: "),
    "the input": (output_is("input"), r"\.npz: would be overwritten, and is the file of --input;"),
    "a link to the weights": (output_is("weights", Path.symlink_to), r"is the file of --weights;"),
    "the package, twice": (output_is("package", Path.hardlink_to), r"is the file of --package;"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_that_names_the_file(files, name, capsys):
    prepare, message = BAD[name]
    options = prepare(files)
    before = sorted(files.folder.iterdir())
    assert files.run(**options) == (FAILED if name == "no extension" else WRONG)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error)
    assert sorted(files.folder.iterdir()) == before  # no output, not even a part of one


def test_an_interrupted_write_keeps_the_old_output(files, monkeypatch):
    assert files.run() == 0
    before, names = files.output.read_bytes(), sorted(files.folder.iterdir())

    def interrupt(file, **arrays):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(run_infer.np, "savez", interrupt)
    assert files.run() == 130
    assert files.output.read_bytes() == before
    assert sorted(files.folder.iterdir()) == names


def test_a_back_end_that_does_not_exist(files, capsys):
    with pytest.raises(SystemExit) as stopped:
        files.run(backend="tpu")
    assert stopped.value.code == 2
    with pytest.raises(ValueError, match="found 'tpu', expected one of"):
        Forecaster(files.compiled, "tpu")


def test_a_back_end_that_is_not_built(files, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(rtl.simulator, "FOLDER", tmp_path)
    assert files.run(backend="rtl", package=files.package) == 1
    error = capsys.readouterr().err
    hint = "`make simulator BUILD=default` builds it"
    assert re.fullmatch(rf"error: .*\.so does not exist; {hint}\n", error)
    assert not files.output.exists()


@pytest.mark.parametrize(
    "error", [AcceleratorError(14, "run of 5 iterations failed"), SimulationError("no interrupt")]
)
def test_a_back_end_that_fails(files, capsys, monkeypatch, error):
    def fail(package):
        raise error

    monkeypatch.setitem(BACKENDS, "hls", fail)
    assert files.run(backend="hls", package=files.package) == 1
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.slow
def test_the_rtl_gives_the_bits_of_the_integer_model(files, capsys):
    assert files.run(backend="int8", package=files.package) == 0
    expected = files.forecast()
    assert files.run(backend="rtl", package=files.package) == 0
    np.testing.assert_array_equal(files.forecast(), expected)


def test_the_weights_of_any_format_fit_the_package(files):
    for suffix in ("pt", "npz"):
        weights = files.folder / f"model.{suffix}"
        save_checkpoint(load_model(files.weights), weights)
        assert files.run(backend="int8", package=files.package, weights=weights) == 0


@pytest.mark.parametrize(
    "module",
    [
        "run_infer",
        "rtl.bench",
        "golden.__main__",
        "evaluation.compare",
        "compiler.estimate",
        "compiler.export",
        "isa.generate",
        "model.train_forecast",
        "model.data.fetch",
    ],
)
def test_help(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(module).main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")
