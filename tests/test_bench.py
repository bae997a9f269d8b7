"""What `make bench` compares the selective scan with, and how it measures memory."""

import torch

from evaluation.bench import indexed_scan, peak_bytes, scans
from model.selective_scan import selective_scan_sequential


def test_indexed_scan_computes_the_selective_scan():
    torch.manual_seed(0)
    shapes = ((2, 9, 5), (2, 9, 5), (5, 3), (2, 9, 3), (2, 9, 3), (5,))
    u, delta, A, B, C, D = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    arguments = (u, delta.abs(), -A.abs(), B, C, D)
    torch.testing.assert_close(indexed_scan(*arguments), selective_scan_sequential(*arguments))


def test_peak_counts_what_is_allocated_at_the_same_time():
    x = torch.zeros(1 << 20)  # 4 MiB
    assert 8 << 20 <= peak_bytes(lambda: (x + 1) + 1) < 9 << 20
    assert 4 << 20 <= peak_bytes(lambda: [float((x + 1)[0]) for _ in range(3)]) < 5 << 20


def test_a_row_has_times_megabytes_and_ratios():
    shape, *columns = scans((2, 5, 4, 3), repeats=1).split()
    assert shape == "2x5x4x3" and len(columns) == 10
    assert all(float(column) >= 0 for column in columns)
