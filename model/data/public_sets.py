"""The public benchmarks known by name: where each is fetched, how it is checked, what it holds.

`etth1`, `etth2` (hourly), `ettm1` and `ettm2` (every 15 minutes): two transformers of the
Electricity Transformer Temperature set (Zhou et al., Informer, AAAI 2021), two years from July 2016
of six load series and the oil temperature; CC BY-ND 4.0.

`weather`: 21 measurements every 10 minutes of 2020 by the station of the Max Planck Institute in
Jena. `electricity`: the hourly load of 321 clients. `traffic`: the hourly occupancy of 862 sensors
on roads of California. They are the files of Autoformer (Wu et al., NeurIPS 2021) and of every
benchmark since, at a pinned revision of their authors' Time-Series-Library; CC BY 4.0.

Each is a file of its own, looked for in the folder CMAMBA_DATA and then in `data/`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from model.data import time_grid
from model.data.csv_reader import read_csv_series
from model.data.csv_series import Series
from model.data.errors import DataError

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"
ETT_COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")

_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
_TSLIB = (
    "https://huggingface.co/datasets/thuml/Time-Series-Library/resolve/"
    "2b66e59ee19dac8f6f19fb5d4997f289fdfea357"
)


@dataclass(frozen=True)
class RemoteFile:
    """A file on the public web, its size in bytes (None: not known before) and its SHA-256."""

    file_name: str
    url: str
    size: int | None
    sha256: str


REMOTE_FILES = {
    "etth1": RemoteFile(
        "ETTh1.csv",
        f"{_ETT}/ETTh1.csv",
        2_589_657,
        "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    ),
    "etth2": RemoteFile(
        "ETTh2.csv",
        f"{_ETT}/ETTh2.csv",
        2_417_960,
        "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b",
    ),
    "ettm1": RemoteFile(
        "ETTm1.csv",
        f"{_ETT}/ETTm1.csv",
        None,
        "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e",
    ),
    "ettm2": RemoteFile(
        "ETTm2.csv",
        f"{_ETT}/ETTm2.csv",
        None,
        "db973ca252c6410a30d0469b13d696cf919648d0f3fd588c60f03fdbdbadd1fd",
    ),
    "weather": RemoteFile(
        "weather.csv",
        f"{_TSLIB}/weather/weather.csv",
        7_235_425,
        "34ee981d07313e51da2a50bb600072c8ae4a69cb4b0651f4cb93a069d7a2ba63",
    ),
    "electricity": RemoteFile(
        "electricity.csv",
        f"{_TSLIB}/electricity/electricity.csv",
        95_581_762,
        "7e45845d54c5219bad0ae6bc1b5316cf8ff9cead5d33fa998a5a51c2e4a497ad",
    ),
    "traffic": RemoteFile(
        "traffic.csv",
        f"{_TSLIB}/traffic/traffic.csv",
        136_478_119,
        "cb06463d56fa17d87f47027cd9389ceae82a69eddee51cdb61480e120dab0b16",
    ),
}
"""Of weather, electricity and traffic sizes and SHA-256 were taken from several public records that
agree, not from the files."""

_VARIABLES = {"weather": 21, "electricity": 321, "traffic": 862}


def split_of(name: str) -> str:
    """The split of the field's papers: 'ett' for the ETT sets, 'ratio' for all other data."""
    return "ett" if name in REMOTE_FILES and name not in _VARIABLES else "ratio"


def public_path(name: str) -> Path:
    """Where the file of a public set is: the folder CMAMBA_DATA, else `data/`.

    Raises: DataError (in neither).
    """
    file_name = REMOTE_FILES[name].file_name
    folders = [DATA_FOLDER]
    if os.environ.get("CMAMBA_DATA"):
        folders.insert(0, Path(os.environ["CMAMBA_DATA"]))
    for folder in folders:
        if (folder / file_name).is_file():
            return folder / file_name
    raise DataError(
        f"{file_name} not found in {' or '.join(str(folder) for folder in folders)}: "
        f"fetch it with `make data DATA={name}` (python -m model.data.fetch {name}), "
        "or set CMAMBA_DATA to a folder that has it"
    )


def read_public(name: str) -> Series:
    """A public set, V variables in the order of its file. Raises: DataError, OSError."""
    path = public_path(name)
    if name not in _VARIABLES:
        return read_csv_series(path, ETT_COLUMNS)
    return _read_in_order(path, _VARIABLES[name])


def _read_in_order(path: Path, variables: int) -> Series:
    """The rows as they stand, one step after the other, which is how all papers take them.

    The dates of weather have an hour that is missing and one that is there twice. Raises:
    DataError.
    """
    try:
        table = pd.read_csv(path, float_precision="round_trip")
        dates = pd.to_datetime(table.pop("date"), format="ISO8601").to_numpy(dtype="datetime64[s]")
        values = table.to_numpy(dtype=np.float64)
    except KeyError:
        raise DataError(f"{path}: row 1: expected a column 'date', found none") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: {error}") from None
    if values.shape[1] != variables or len(values) < 2 or not np.isfinite(values).all():
        missing = int((~np.isfinite(values)).sum())
        raise DataError(
            f"{path}: expected rows of {variables} finite numbers, found {len(values)} rows of "
            f"{values.shape[1]} with {missing} cells that are none; `make data` fetches the file"
        )
    frequency = time_grid.alias_of(pd.Timedelta(dates[1] - dates[0]))
    return Series(path.stem, dates, tuple(table.columns), values, frequency)
