"""Writes a few real input windows to an .npz: `python -m model.data.sample`.

The default makes `data/test_data.npz`: key `x`, [8,8,96] float32, windows evenly spaced over the
test split of the default data set, standardized. The same data give the same bytes.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from pathlib import Path

import numpy as np

from common import command_line
from common.atomic_write import atomic_write, require_writable
from model.data.csv_options import CsvOptions, add_csv_options, csv_options
from model.data.datasets import DATA_FOLDER, DATASETS, DEFAULT_DATASET, data_files, load_dataset
from model.data.errors import DataError


def write_sample(
    path: Path,
    dataset: str,
    seq_len: int,
    forecast_len: int,
    count: int,
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
) -> tuple:
    """Writes `count` test windows as key `x` [count,V,L]; returns the shape. Raises: DataError."""
    windows = load_dataset(dataset, seq_len, forecast_len, options=options).test
    if not 1 <= count <= len(windows):
        raise DataError(f"{dataset}: {count} windows asked for, the test split has {len(windows)}")
    x, _ = windows.batch(np.linspace(0, len(windows) - 1, count).astype(int))
    with atomic_write(path) as file:
        np.savez(file, x=x)
    return x.shape


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.data.sample", description=__doc__)
    parser.add_argument(
        "--data", default=DEFAULT_DATASET, help=f"{', '.join(sorted(DATASETS))} or a CSV file"
    )
    parser.add_argument("--seq-len", type=int, default=96, help="L (default: 96)")
    parser.add_argument("--forecast-len", type=int, default=24, help="H (default: 24)")
    parser.add_argument("--count", type=int, default=8, help="number of windows (default: 8)")
    parser.add_argument("--output", type=Path, default=DATA_FOLDER / "test_data.npz")
    add_csv_options(parser)
    args = parser.parse_args(argv)
    options = csv_options(args)
    command_line.require_distinct([args.output], {"--data": data_files(args.data)})
    require_writable(args.output)
    shape = write_sample(
        args.output, args.data, args.seq_len, args.forecast_len, args.count, options
    )
    print(f"{args.output}: x {list(shape)} float32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
