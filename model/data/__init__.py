"""Multivariate series for forecasting: reading, splits, standardization, windows, data sets."""

from model.data.csv_series import (
    DataError,
    Series,
    Splits,
    Standardizer,
    Windows,
    ett_lengths,
    ratio_lengths,
    read_csv_series,
    split_series,
    spread,
)
from model.data.datasets import DATASETS, DEFAULT_DATASET, load_dataset

__all__ = [
    "DATASETS",
    "DEFAULT_DATASET",
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
