"""The accuracy report, on a small model over real data."""

import dataclasses

import numpy as np
import pytest
import torch

from evaluation import accuracy
from evaluation.accuracy import TensorAccuracy, forecast_table, measure, plot, tensor_table
from evaluation.forecaster import Forecaster
from golden.cases import CHECKPOINTS, Case, CompiledCase, build_case, compile_on
from model.args import ModelArgs
from model.data import Windows, load_dataset
from model.io import load_model
from tests.compiled_models import SMALL, random_model


def shortened(compiled: CompiledCase, count: int) -> CompiledCase:
    """The case with the first `count` windows of its test split only."""
    splits, args = compiled.splits, compiled.model.args
    x, y = splits.test.batch(slice(0, 1))
    rows = np.concatenate([x[0], y[0]], axis=1).T
    more = [splits.test[k][1][:, -1] for k in range(1, count)]
    test = Windows(np.concatenate([rows, more]), args.seq_len, args.forecast_len)
    return dataclasses.replace(compiled, splits=dataclasses.replace(splits, test=test))


@pytest.fixture(scope="module")
def tiny() -> CompiledCase:
    shape = {"num_channels": 8, "topology": "nested", "n_layer": 1, "reduction_ratio": 2}
    args = ModelArgs(**(SMALL | shape))
    splits = load_dataset("nyc_weather", args.seq_len, args.forecast_len)
    model = random_model(args)
    x, _ = splits.train.batch(slice(0, 2000, 100))
    case = Case("tiny", "nyc_weather", lambda: model)
    return shortened(CompiledCase(case, model, splits, compile_on(model, torch.from_numpy(x))), 40)


@pytest.fixture
def int8_back_end(monkeypatch):
    """Both back ends compute the same bits; this one needs no compiler."""
    monkeypatch.setattr(accuracy, "Forecaster", lambda package, backend: Forecaster(package))


def test_report_compares_every_tensor_and_the_forecasts(tiny, int8_back_end):
    result = measure(tiny)
    assert result.name == "tiny" and result.windows == 40
    with torch.no_grad():
        x, y = tiny.splits.test.batch(slice(None))
        fp32 = tiny.model(torch.from_numpy(x)).numpy()
    int8 = Forecaster(tiny.package)(x)
    assert result.fp32["mse"] == pytest.approx(np.square(fp32 - y).mean(), rel=1e-5)
    assert result.int8["mse"] == pytest.approx(np.square(int8 - y).mean(), rel=1e-5)
    assert result.increase == pytest.approx(result.int8["mse"] / result.fp32["mse"] - 1)

    instructions = [i for i in tiny.package.metadata["instructions"] if i["opcode"] != "SEND"]
    assert len(result.tensors) == sum(len(i["tensors"]) for i in instructions)
    names = [t.name for t in result.tensors]
    assert len(set(names)) == len(names)
    block = "c_mamba_blocks.0.patch_mamba.layers.0"
    assert {f"{block}.x_proj B", f"{block}.x_proj C", f"{block}.x_proj dt_low"} <= set(names)
    for t in result.tensors:
        assert t.sqnr > 15, t
        assert t.representable[0] <= 0.0 <= t.representable[1]
        assert t.low < t.high
    output = next(t for t in result.tensors if t.name == "output_layer")
    assert output.saturated == 0.0


def test_zeros_behind_a_relu_are_not_saturated(tiny):
    hidden = [t for t in accuracy.tensor_accuracy(tiny) if t.name.endswith("fc1")]
    assert hidden and all(t.saturated < 0.2 for t in hidden)


def test_tables_and_files(tiny, int8_back_end, tmp_path):
    result = measure(tiny)
    lines = tensor_table(result).splitlines()
    assert len(lines) == 2 + len(result.tensors)
    summary = forecast_table([result, result]).splitlines()
    assert len(summary) == 3 and summary[1].split()[:2] == ["tiny", "40"]
    accuracy.write(result, tmp_path)
    assert (tmp_path / "accuracy.txt").read_text().splitlines() == lines
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_a_tensor_without_signal_or_noise_can_be_plotted(tiny, tmp_path):
    def tensor(name: str, sqnr: float) -> TensorAccuracy:
        return TensorAccuracy(name, "LINEAR", sqnr, 0.0, 0.0, (-1.0, 1.0), 0.0)

    tensors = [tensor("exact", np.inf), tensor("plain", 30.0), tensor("lost", -np.inf)]
    figures = {"mse": 1.0, "mae": 1.0}
    result = accuracy.Accuracy("odd", 1, figures, figures, tensors)
    assert "inf" in tensor_table(result)
    plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_the_shipped_checkpoint_loses_little():
    case = Case(
        "nyc_weather",
        "nyc_weather",
        lambda: load_model(CHECKPOINTS / "nyc_weather.safetensors"),
    )
    compiled = shortened(build_case(case), 100)
    x, y = compiled.splits.test.batch(slice(None))
    with torch.no_grad():
        fp32 = compiled.model(torch.from_numpy(x)).numpy()
    int8 = Forecaster(compiled.package)(x)
    assert np.square(int8 - y).mean() <= 1.01 * np.square(fp32 - y).mean()
    assert min(t.sqnr for t in accuracy.tensor_accuracy(compiled)) > 15
