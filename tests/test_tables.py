"""Tables of functions, and the functions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compiler.tables import int8_table, int16_table, uint16_table
from model.quantization.activations import sigmoid, silu, softplus
from model.quantization.affine import Affine


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (silu, torch.nn.functional.silu),
        (sigmoid, torch.sigmoid),
        (softplus, torch.nn.functional.softplus),
    ],
)
def test_functions_agree_with_torch_and_do_not_overflow(ours, theirs):
    x = np.concatenate([np.linspace(-50, 50, 1001), [-1e300, -1e4, 0.0, 1e4, 1e300]])
    with np.errstate(all="raise", under="ignore"):
        y = ours(x)
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(silu, torch.nn.functional.silu), (sigmoid, torch.sigmoid)]
)
def test_small_values_keep_their_digits(ours, theirs):
    """A tensor may be small all over, as behind a SiLU of values far below zero."""
    x = np.linspace(-700, -1, 700)
    np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).numpy(), rtol=1e-12, atol=0.0)


@given(st.floats(1e-6, 1e3), st.integers(-128, 127), st.floats(1e-6, 1e3))
def test_tables_hold_the_nearest_value_of_every_input(step, zero_point, scale):
    source = Affine(step, zero_point)
    x = (np.arange(-128, 128) - zero_point) * step
    target = Affine(scale, -7)
    table = int8_table(silu, source, target)
    assert table.dtype == np.int8
    np.testing.assert_array_equal(table, target.quantize(silu(x)))

    unsigned = uint16_table(softplus, source, scale)
    assert unsigned.dtype == np.uint16
    wanted = np.minimum(softplus(x) / scale, 65535)
    assert np.abs(unsigned - wanted).max() <= 0.5

    signed = int16_table(silu, source, scale)
    assert signed.dtype == np.uint16  # the bits
    wanted = np.clip(silu(x) / scale, -32768, 32767)
    assert np.abs(signed.view(np.int16) - wanted).max() <= 0.5
