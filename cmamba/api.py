"""`fit`, `load`, and what they return: what the commands do, for Python.

Data are a CSV, or a table of pandas, which is read as the CSV that it is written as: with the dates
in its index, or in a column.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from common.atomic_write import require_writable
from evaluation.forecaster import Forecaster
from golden.cases import compile_on
from golden.onnx_graph import write_onnx
from isa.package import Package, files_to_write
from model import train_forecast
from model.data import CsvOptions, Splits
from model.data.datasets import DATASETS
from model.inputs import compilable, load_splits
from model.io import load_model, save_checkpoint
from model.metrics import ForecastFn, evaluate, in_batches, require_finite, torch_forecaster
from model.quantization.calibrate import calibration_windows
from model.quantization.parameters import is_prepared
from model.regressor_args import RegressorArgs
from model.series_forecast import forecast_frame, read_series_windows

Data = str | os.PathLike | pd.DataFrame

BACKENDS = ("fp32", "int8")
# What `fit` says itself, and what belongs to a command.
_NOT_OF_FIT = {"data", "out", "forecast_len", "qat"}


def fit(
    data: Data,
    horizon: int,
    *,
    out: str | os.PathLike | None = None,
    verbose: bool = True,
    **options: object,
) -> Model:
    """Trains a forecaster, and keeps the epoch that is best on the validation rows.

    Args:
        data: a CSV or a table, with dates and a column for each variable, or the name of a data
            set; its rows are cut in time order into those of training, validation and test.
        horizon: time steps to forecast, a multiple of 8.
        out: checkpoint to write, .safetensors; with `resume=True` an interrupted training goes on.
        verbose: print what the command prints.
        options: those of ``python -m model.train_forecast`` with underscores, such as `epochs=5`,
            `seq_len=192`, `model="published"`, `date_column="time"`.

    Raises:
        DataError: the data cannot be read, or are too short.
        TrainingError: a loss is not finite.
        TypeError: an option that there is not.
        ValueError: an option's value.
        OSError: a file cannot be read or written.
    """
    if unknown := options.keys() - (train_forecast.option_names() - _NOT_OF_FIT):
        raise TypeError(f"fit: unknown option {', '.join(sorted(unknown))}")
    given = {n: value for n, value in options.items() if value is not None and value is not False}
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(_file(data))
        if out is None:
            out = Path(stack.enter_context(tempfile.TemporaryDirectory()), "model.safetensors")
        argv = [f"--data={path}", f"--out={out}", f"--forecast-len={horizon}"]
        for name, value in given.items():
            option = f"--{name.replace('_', '-')}"
            argv.append(option if value is True else f"{option}={value}")
        if not verbose:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        loop = train_forecast.train(argv)
        return Model(load_model(loop.out, kind=type(loop.model)), loop.splits)


def load(weights: str | os.PathLike, data: Data | None = None) -> Model:
    """A forecaster of a checkpoint.

    Args:
        weights: .safetensors, .npz, .pt or .pth, with the model's arguments.
        data: what it was trained on, which int8 is calibrated on; a checkpoint of
            quantization-aware training needs none.

    Raises:
        CheckpointError: the file is no checkpoint.
        DataError: other data than the checkpoint names, or they cannot be read.
        ValueError: a regressor, or data that do not fit the model.
        OSError: a file cannot be read.
    """
    model = load_model(Path(weights), kind=nn.Module)
    if isinstance(model.args, RegressorArgs):
        raise ValueError(f"{weights}: a regressor, expected a forecaster")
    if data is None:
        return Model(model)
    with _file(data) as path:
        return Model(model, load_splits(model, path, say=_say_nothing))


class Model:
    """A trained forecaster.

    Attributes:
        network: the PyTorch module, float32 [B, V, L] -> [B, V, H] on the standardized scale.
    """

    def __init__(self, network: nn.Module, splits: Splits | None = None) -> None:
        self.network = network
        self._splits = splits

    def predict(
        self, data: Data, *, backend: str = "fp32", every: int | None = None, **options: str
    ) -> pd.DataFrame:
        """Forecasts what comes after the last row, in the units of the data.

        Args:
            data: a CSV or a table of the variables that the model was trained on.
            backend: fp32, or int8, which gives the bits of the board.
            every: also from each `every`-th row before the last.
            options: how a CSV is read, as `run_infer.py` has them: `fill="previous"`.

        Returns:
            A row for each step of the horizon, a column for each variable. The index has the dates;
            with `every`, also `origin`, the last date that a forecast has seen.

        Raises:
            DataError: the data cannot be read, are too short, or have another frequency.
            TypeError: an option that there is not.
            ValueError: an unknown back end, other variables, values that float32 does not hold, or
                `int8` of a model whose data are not known.
            OSError: the file cannot be read.
        """
        forecast = self._forecaster(backend)
        if every is not None and every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        with _file(data) as path:
            windows = read_series_windows(
                Path(path),
                self.network.args,
                CsvOptions(**options),
                self.network.record,
                every,
                _say_nothing,
            )
        y = in_batches(forecast, windows.x)
        require_finite(y, windows.series.name, "the model")
        return forecast_frame(windows, y)

    def evaluate(self, backend: str = "fp32") -> dict[str, float]:
        """'mse' and 'mae' over the test rows, on the standardized scale.

        Raises ValueError as `predict`, and where the data of the model are not known.
        """
        return evaluate(self._forecaster(backend), self._data().test)

    @cached_property
    def package(self) -> Package:
        """The model in int8, compiled for the board, and calibrated on its training rows unless
        training has left it its number formats.

        Raises CompileError where no build holds it, ValueError where its data are not known.
        """
        model = compilable(self.network)
        # What is learned needs no windows.
        windows = torch.empty(0) if is_prepared(model) else calibration_windows(self._data())
        return compile_on(model, windows)

    def export(self, path: str | os.PathLike) -> None:
        """Writes the package for the board, with copies for people beside it; or, where the name
        ends in .onnx, the same as an ONNX graph.

        Raises as `package`, and OSError.
        """
        path = Path(path)
        is_onnx = path.suffix == ".onnx"
        for file in [path] if is_onnx else files_to_write(path):
            require_writable(file, new_folder=True)
        package = self.package
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_onnx:
            write_onnx(package, path)
        else:
            package.write(path)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a checkpoint, which `load` and all commands read: .safetensors, .npz or .pt.

        Raises CheckpointError for another suffix, and OSError.
        """
        save_checkpoint(self.network, path)

    def _data(self) -> Splits:
        if self._splits is None:
            raise ValueError("the model's training data are not known: load it with data=")
        return self._splits

    def _forecaster(self, backend: str) -> ForecastFn:
        if backend not in BACKENDS:
            raise ValueError(
                f"backend: found {backend!r}, expected {' or '.join(BACKENDS)}; run_infer.py has "
                "the others"
            )
        return self._int8 if backend == "int8" else torch_forecaster(self.network)

    @cached_property
    def _int8(self) -> Forecaster:
        return Forecaster(self.package)


@contextlib.contextmanager
def _file(data: Data) -> Iterator[str]:
    """The CSV of some data: a path, or the name of a data set; a table is written to a file that
    is removed afterwards."""
    if not isinstance(data, pd.DataFrame):
        name = os.fspath(data)
        if name not in DATASETS and not Path(name).is_file():
            raise FileNotFoundError(f"{name}: no such file")
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        # A number of each row is no date.
        data.to_csv(path, index=not isinstance(data.index, pd.RangeIndex))
        yield str(path)


def _say_nothing(_: str) -> None:
    """In place of the line on how a CSV was read."""
