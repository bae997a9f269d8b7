"""Scales, multipliers and weights against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.quantization.affine import (
    LEAST_SCALE,
    MAX_SHIFT,
    Affine,
    affine_int8,
    multiplier,
    quantize_weight,
    room_for_bias,
    symmetric,
    weight_scales,
)

LARGEST = 2**17 - 1
RATIOS = st.floats(2.0**-70, 2.0**17, exclude_max=True) | st.floats(0.0, 4.0)
# Ends of a range, down to the smallest float32.
ENDS = st.just(0.0) | st.floats(1e-45, 1e12) | st.floats(1e-45, 1e-12)


# ------------------------------------------------------------------------------ multiplier


@given(RATIOS, st.sampled_from([1, -1]))
def test_no_multiplier_is_nearer(ratio, sign):
    m, shift = multiplier(sign * ratio)
    assert abs(m) <= LARGEST and 0 <= shift <= MAX_SHIFT
    error = abs(m / 2.0**shift - sign * ratio)
    for other_shift in range(MAX_SHIFT + 1):
        other = np.clip(np.rint(ratio * 2.0**other_shift), 0, LARGEST)
        assert error <= abs(other / 2.0**other_shift - ratio)


@given(st.floats(2.0**-32, LARGEST))
def test_a_multiplier_has_17_bits_of_precision(ratio):
    m, shift = multiplier(ratio)
    assert 2**16 <= m < 2**17
    assert abs(m / 2.0**shift / ratio - 1.0) <= 2.0**-17


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (65536, 16)),
        (-1.0, (-65536, 16)),
        (0.5, (65536, 17)),
        (1.0 - 2.0**-20, (65536, 16)),  # rounds up to the next power of two
        (2.0**-32, (65536, 48)),
        (2.0**-48, (1, 48)),
        (2.0**-50, (0, 48)),
        (65536.0, (65536, 0)),
        (131071.0, (131071, 0)),
        (131071.9, (131071, 0)),
        (-1e30, (-131071, 0)),
    ],
)
def test_multipliers_at_the_ends(ratio, expected):
    assert multiplier(ratio) == expected


@given(
    st.floats(LARGEST, 1e30),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**15), 2**15 - 1),
)
def test_a_saturated_multiplier_changes_no_result(ratio, accumulator, addend):
    def result(factor):
        return int(np.clip(accumulator * factor + addend, -(2**15), 2**15 - 1))

    m, shift = multiplier(ratio)
    assert result(m >> shift) == result(int(ratio))


# ------------------------------------------------------------------------------ scales


@given(ENDS, ENDS, st.booleans())
def test_int8_range_has_an_exact_zero_and_half_a_step_of_error(below, above, power_of_two):
    low, high = -below, above
    affine = affine_int8(low, high, power_of_two)
    assert affine.dequantize(affine.quantize(np.zeros(1)))[0] == 0.0
    assert -128 <= affine.zero_point <= 127
    x = np.linspace(low, high, 257)
    error = np.abs(affine.dequantize(affine.quantize(x)) - x)
    # The zero point is rounded, so an end may be half a step outside the grid.
    assert error.max() <= affine.scale * (1.0 + 1e-9)
    inside = (x >= affine.dequantize(-128)) & (x <= affine.dequantize(127))
    assert error[inside].max(initial=0.0) <= affine.scale * (0.5 + 1e-9)
    if power_of_two:
        assert np.frexp(affine.scale)[0] == 0.5
    if high > low:
        exact = max((high - low) / 255, LEAST_SCALE)
        assert exact <= affine.scale <= (2.0 if power_of_two else 1.0) * exact


@given(ENDS, st.sampled_from([8, 16]), st.booleans())
def test_symmetric_range(max_abs, bits, power_of_two):
    affine = symmetric(max_abs, bits, power_of_two)
    assert affine.zero_point == 0
    x = np.array([-max_abs, max_abs])
    q = affine.quantize(x)
    assert abs(q).max() <= 2 ** (bits - 1) - 1
    assert np.abs(affine.dequantize(q) - x).max() <= affine.scale * (0.5 + 1e-9)
    if power_of_two:
        assert np.frexp(affine.scale)[0] == 0.5


def test_a_tensor_that_is_always_zero_gets_the_unit_range():
    for affine in (affine_int8(0.0, 0.0), affine_int8(0.0, 0.0, True)):
        assert affine == Affine(2.0**-7, 0, 8)
    assert symmetric(0.0, 16) == Affine(2.0**-15, 0, 16)


def test_scales_are_numbers_that_float32_holds():
    least, tiny = LEAST_SCALE, 1e-44
    assert least == 2.0**-126
    for power_of_two in (False, True):
        assert affine_int8(-tiny, tiny, power_of_two).scale == least
        assert symmetric(tiny, 16, power_of_two).scale == least
        assert weight_scales(np.full((1, 3), tiny), power_of_two).tolist() == [least]
    no_weights, bias = np.zeros((1, 3)), np.array([1e-35])
    assert room_for_bias(no_weights, bias, 1.0, np.ones(1)).tolist() == [least]


def test_quantize_rounds_ties_to_even_and_saturates():
    affine = Affine(0.5, 3)
    assert affine.quantize(np.array([0.25, 0.75, -0.25, 1e9, -1e9])).tolist() == [
        3,
        5,
        3,
        127,
        -128,
    ]


# ------------------------------------------------------------------------------ weights

MATRICES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.floats(-1e6, 1e6).map(lambda x: 0.0 if abs(x) < 1e-30 else x),
)


@given(MATRICES, st.booleans())
def test_weights_have_a_scale_for_each_output(weight, power_of_two):
    scales = weight_scales(weight, power_of_two)
    q = quantize_weight(weight, scales)
    assert q.shape == weight.shape and scales.shape == (len(weight),)
    assert np.abs(q).max() <= 127
    per_row = scales.reshape(-1, *[1] * (weight.ndim - 1))
    assert (np.abs(q * per_row - weight) <= 0.5 * per_row * (1 + 1e-9)).all()
    for row, row_q, scale in zip(weight, q, scales, strict=True):
        if row.any():
            assert np.abs(row_q).max() >= (64 if power_of_two else 127)
        else:
            assert scale == 1.0 and not row_q.any()


def test_an_outlier_costs_its_own_output_only():
    weight = np.random.default_rng(0).standard_normal((3, 16))
    alone = quantize_weight(weight, weight_scales(weight))
    weight[1, 4] = 1e6
    scales = weight_scales(weight)
    together = quantize_weight(weight, scales)
    np.testing.assert_array_equal(together[[0, 2]], alone[[0, 2]])
    assert together[1].tolist() == [0] * 4 + [127] + [0] * 11
    assert scales[1] == 1e6 / 127
