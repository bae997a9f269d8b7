"""Errors of positions: figures, table and plot."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from torch import nn

from model.metrics import torch_forecaster
from model.position_error import distances, plot_cdf, predict_positions, summarize, write_table


class Track:
    """Windows of one frame, which is the position and an error to the right."""

    seq_len, num_features = 1, 3

    def __init__(self, count):
        self.y = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
        self.errors = np.arange(1, count + 1, dtype=np.float32)

    def __len__(self):
        return len(self.y)

    def batch(self, indices):
        x = np.concatenate([self.y, self.errors[:, None]], axis=1)
        return x[indices, None], self.y[indices].copy()

    def name(self, index):
        return f"walk:{index}"


class Right(nn.Module):
    """Reads the position from the frame and goes wrong by its third feature."""

    def __init__(self):
        super().__init__()
        self.step = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x[:, 0, :2] + self.step * x[:, 0, 2:])


def test_figures_by_hand():
    windows, model = Track(10), Right()
    found, true = predict_positions(torch_forecaster(model), windows, batch_size=4)
    assert np.array_equal(true, windows.y) and model.training
    errors = distances(found, true)
    np.testing.assert_allclose(errors, np.arange(1, 11))
    figures = {"mean": 5.5, "median": 5.5, "p80": 8.2, "p90": 9.1}
    assert summarize(errors) == pytest.approx(figures)
    assert distances(np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]])) == pytest.approx(5)


def test_a_position_that_is_not_finite():
    windows = Track(10)
    windows.errors[7] = np.nan
    with pytest.raises(ValueError, match=r"position of window 7 \(walk:7\) is \[nan, nan\]"):
        predict_positions(torch_forecaster(Right()), windows, batch_size=4)


def test_table(tmp_path):
    windows = Track(3)
    found, true = predict_positions(torch_forecaster(Right()), windows)
    write_table(tmp_path / "errors.csv", windows, found, true)
    rows = list(csv.DictReader((tmp_path / "errors.csv").open()))
    assert [row["window"] for row in rows] == ["walk:0", "walk:1", "walk:2"]
    assert rows[2] == {
        **{"window": "walk:2", "x": "4.0000", "y": "5.0000"},
        **{"x_found": "7.0000", "y_found": "5.0000", "error": "3.0000"},
    }


def test_plot_is_a_png_of_the_distribution(tmp_path, monkeypatch):
    drawn = {}
    step = Axes.step
    monkeypatch.setattr(
        Axes,
        "step",
        lambda self, x, y, **kw: drawn.update({kw["label"]: (x, y)}) or step(self, x, y, **kw),
    )
    plot_cdf(tmp_path / "cdf.png", {"val": np.array([3.0, 1.0, 2.0, 4.0]), "test": np.ones(2)})
    assert (tmp_path / "cdf.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert drawn["val"][0].tolist() == [1, 2, 3, 4]
    assert drawn["val"][1].tolist() == [0.25, 0.5, 0.75, 1]
    assert list(drawn) == ["val", "test"]
