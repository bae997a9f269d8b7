"""`python -m compiler.export`."""

import re

import numpy as np
import pytest

from compiler.export import main
from isa.package import Package
from model.args import ModelArgs
from model.io import save_checkpoint
from model.registry import args_of_use
from tests.compiled_models import SMALL, learned_model, random_model, random_windows

ARGS = ModelArgs(**SMALL)


@pytest.fixture
def given(tmp_path):
    save_checkpoint(random_model(ARGS), tmp_path / "model.safetensors")
    np.savez(tmp_path / "x.npz", x=random_windows(ARGS).numpy())
    return {
        "weights": tmp_path / "model.safetensors",
        "calibration": tmp_path / "x.npz",
        "output": tmp_path / "out" / "model.bin",
    }


def run(options: dict, *flags: str) -> int:
    return main([str(a) for name, v in options.items() for a in (f"--{name}", v)] + list(flags))


def test_it_writes_the_package_and_its_twins(given, capsys):
    assert run(given) == 0
    folder = given["output"].parent
    assert sorted(p.name for p in folder.iterdir()) == ["model.bin", "model.json", "model.npz"]
    package = Package.read(given["output"], build="default")
    assert package.metadata["model"] == args_of_use(ARGS)
    assert package.metadata["quantization"] == {"method": "mse", "power_of_two": False}
    out = capsys.readouterr().out
    assert "blocks.0.in_proj_u" in out
    assert f"{given['output'].stat().st_size:,} bytes" in out
    assert "every int32 accumulator is proven safe, least headroom" in out


def test_options_reach_the_compiler(given):
    options = given | {"method": "percentile", "build": "small"}
    assert run(options, "--power-of-two") == 0
    package = Package.read(given["output"], build="small")
    assert package.metadata["quantization"] == {"method": "percentile", "power_of_two": True}


def test_calibration_on_a_data_set(given, capsys):
    del given["calibration"]
    model = random_model(ModelArgs(**(SMALL | {"num_channels": 8})))  # as nyc_weather has
    save_checkpoint(model, given["weights"])
    assert run(given | {"dataset": "nyc_weather", "windows": 12}) == 0
    assert "calibrating on 12 windows" in capsys.readouterr().err


def test_learned_formats_are_taken_as_they_are(given):
    model = learned_model(ARGS)
    save_checkpoint(model, given["weights"])
    del given["calibration"]
    assert run(given) == 0
    package = Package.read(given["output"], build="default")
    assert package.metadata["quantization"] == {"method": "learned", "power_of_two": False}
    assert package.metadata["input"]["scale"] == model.q_input.scale.item()
    assert package.metadata["input"]["zero_point"] == round(model.q_input.zero_point.item())


@pytest.mark.parametrize(
    "flags",
    [["--method", "mse"], ["--power-of-two"], ["--windows", "3"], ["--dataset", "nyc_weather"]],
)
def test_learned_formats_are_not_calibrated(given, flags, capsys):
    save_checkpoint(learned_model(ARGS), given["weights"])
    del given["calibration"]
    assert run(given, *flags) == 2
    message = f"error: {flags[0]}: {given['weights']} has learned its formats"
    assert message in capsys.readouterr().err
    assert not given["output"].parent.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "none.pt"}, r"none.pt: no such file"),
        ({"calibration": "none.npz"}, r"none.npz: no such file"),
        ({"build": "huge"}, r"no build 'huge', expected one of"),
        ({"calibration": None, "dataset": "none.csv"}, "none.csv"),
        (
            {"calibration": None, "dataset": "nyc_weather"},
            r"nyc_weather: found 8 variables, expected 3 as the model has",
        ),
        (
            {"calibration": None, "dataset": "nyc_weather", "columns": "a"},
            "'nyc_weather' is read as it is: options of CSV files go with a CSV",
        ),
        ({"columns": "a"}, "--calibration: options of CSV files go with --dataset"),
        ({"calibration": None, "windows": 0}, r"--windows: expected at least 1, found 0"),
        ({"calibration": None, "windows": -1}, r"--windows: expected at least 1, found -1"),
        ({"args": "none.json"}, "none.json"),
    ],
)
def test_bad_input_leaves_nothing(given, change, message, capsys):
    options = {k: v for k, v in (given | change).items() if v is not None}
    assert run(options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(message, error)
    assert not given["output"].parent.exists()


def test_a_model_that_does_not_fit(given, capsys):
    save_checkpoint(random_model(ModelArgs(**(SMALL | {"d_state": 65}))), given["weights"])
    assert run(given) == 2
    assert "error: blocks.0.scan: d_state 65, expected at most 64" in capsys.readouterr().err
    assert not given["output"].parent.exists()


def test_arguments_beside_the_output_are_kept(given, capsys):
    arguments = given["output"].with_suffix(".json")
    arguments.parent.mkdir()
    arguments.write_text(ARGS.to_json())
    assert run(given | {"args": arguments}) == 2
    assert "model.json: expected no file, or the copy of a package" in capsys.readouterr().err
    assert [p.read_text() for p in arguments.parent.iterdir()] == [ARGS.to_json()]


def test_an_output_that_would_be_its_own_twin(given, capsys):
    assert run(given | {"output": given["output"].with_suffix(".json")}) == 2
    assert "model.json: expected another suffix" in capsys.readouterr().err
    assert not given["output"].parent.exists()


@pytest.mark.parametrize("option", ["weights", "calibration"])
def test_an_output_that_is_an_input(given, option, tmp_path, capsys):
    found = given[option]
    before = found.read_bytes()
    link = tmp_path / "link.bin"
    link.symlink_to(found)
    assert run(given | {"output": link}) == 2
    message = f"error: {link}: would be overwritten, and is the file of --{option}; "
    assert capsys.readouterr().err.startswith(message)
    assert found.read_bytes() == before


def test_an_output_that_is_the_data_set(given, tmp_path, capsys):
    data = tmp_path / "data.bin"  # a CSV by any name
    data.write_text("date,a\n")
    del given["calibration"]
    assert run(given | {"dataset": data, "output": data}) == 2
    assert "would be overwritten, and is the file of --dataset" in capsys.readouterr().err
    assert data.read_text() == "date,a\n"
