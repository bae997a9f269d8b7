"""Multivariate series for forecasting: reading, splits, standardization, windows, data sets."""

from model.data.csv_options import CsvOptions
from model.data.csv_reader import read_csv_series
from model.data.csv_series import (
    Series,
    Splits,
    Standardizer,
    Windows,
    ett_lengths,
    ratio_lengths,
    split_series,
    spread,
)
from model.data.datasets import DATASETS, DEFAULT_DATASET, load_dataset
from model.data.errors import DataError

__all__ = [
    "DATASETS",
    "DEFAULT_DATASET",
    "CsvOptions",
    "DataError",
    "Series",
    "Splits",
    "Standardizer",
    "Windows",
    "ett_lengths",
    "load_dataset",
    "ratio_lengths",
    "read_csv_series",
    "split_series",
    "spread",
]
