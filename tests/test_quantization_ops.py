"""Quantization in PyTorch: integers as the compiler has them, gradients as LSQ has them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.quantization import cpp, ops
from model.quantization.affine import Affine, quantize_weight, weight_scales

BOTH = pytest.mark.parametrize("module", [ops, cpp])
SCALES = st.floats(1e-6, 1e6)
FLOATS = st.sampled_from([np.float32, np.float64])


def arrays(dtype, **arguments):
    width = np.dtype(dtype).itemsize * 8
    elements = st.floats(width=width, allow_nan=False)
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=0, **arguments), elements=elements)


# ------------------------------------------------------------------------------ integers


@given(data=st.data(), dtype=FLOATS, bits=st.sampled_from([8, 16]), scale=SCALES)
def test_integers_are_those_of_the_compiler(data, dtype, bits, scale):
    x = data.draw(arrays(dtype))
    scale = float(dtype(scale))
    zero_point = data.draw(st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
    affine = Affine(scale, zero_point, bits)
    with np.errstate(over="ignore"):
        expected = affine.quantize(x)
    q = ops.quantize_per_tensor_asym(torch.from_numpy(x), scale, zero_point, bits)
    assert q.dtype == (torch.int8 if bits == 8 else torch.int16)
    np.testing.assert_array_equal(q.numpy(), expected)
    back = ops.dequantize(q, torch.tensor(scale, dtype=torch.float64), zero_point)
    np.testing.assert_array_equal(back.numpy(), affine.dequantize(expected))


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3), elements=st.floats(-9, 9)))
def test_weights_are_those_of_the_compiler(weight):
    scales = weight_scales(weight)
    expected = quantize_weight(weight, scales)
    w = torch.from_numpy(weight)
    for axis in range(w.ndim):
        q = ops.quantize_per_channel_sym(w.movedim(0, axis), torch.from_numpy(scales), axis)
        np.testing.assert_array_equal(q.movedim(axis, 0).numpy(), expected)


@BOTH
def test_ties_go_to_even_and_infinities_saturate(module):
    x = torch.tensor([0.5, 1.5, -0.5, -1.5, 2.5, 126.5, 127.5, -128.5, math.inf, -math.inf])
    q = module.quantize_per_tensor_asym(x, 1.0, 0)
    assert q.tolist() == [0, 2, 0, -2, 2, 126, 127, -128, 127, -128]
    assert module.quantize_per_tensor_asym(x, 1.0, 1)[:4].tolist() == [1, 3, 1, -1]
    assert module.quantize_per_channel_sym(x[None], [1.0])[0, -3:].tolist() == [-127, 127, -127]


@BOTH
@pytest.mark.parametrize("bits", [8, 16])
def test_fake_quantization_is_both_directions_at_once(module, bits):
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    scales = torch.tensor([0.01, 0.02, 0.5])
    q = module.quantize_per_tensor_asym(x, 0.01, 5, bits)
    assert torch.equal(
        module.fake_quantize(x, 0.01, 5, low, high), module.dequantize(q, torch.tensor(0.01), 5)
    )
    q = module.quantize_per_channel_sym(x, scales, bits=bits)
    assert torch.equal(
        module.fake_quantize(x, scales, 0, -high, high, axis=0),
        module.dequantize(q, scales, axis=0),
    )


@BOTH
def test_difference_of_integers_does_not_wrap(module):
    q = torch.tensor([-128, 127], dtype=torch.int8)
    assert module.dequantize(q, 1.0, 127).tolist() == [-255, 0]
    q = torch.tensor([-32768, 32767], dtype=torch.int16)
    assert module.dequantize(q, 2.0, -32768).tolist() == [0, 131070]


@BOTH
def test_dtype_of_a_dequantized_tensor_is_that_of_its_scale(module):
    q = torch.tensor([1, 2], dtype=torch.int8)
    assert module.dequantize(q, 0.1).dtype == torch.float32
    assert module.dequantize(q, torch.tensor(0.1, dtype=torch.float64)).dtype == torch.float64


@BOTH
def test_nan_is_no_integer_but_stays_in_a_fake_quantized_tensor(module):
    x = torch.zeros(3, 4)
    x[1, 2] = x[2, 0] = math.nan
    with pytest.raises(ValueError, match=r"^x\[1, 2\] is NaN"):
        module.quantize_per_tensor_asym(x, 1.0, 0)
    with pytest.raises(ValueError, match=r"^w\[0, 2\] is NaN"):
        module.quantize_per_channel_sym(x.t(), torch.ones(3), axis=1, bits=16)
    with pytest.raises(ValueError, match=r"^x is NaN"):
        module.quantize_per_tensor_asym(torch.tensor(math.nan), 1.0, 0)
    assert torch.equal(module.fake_quantize(x, 1.0, 0, -8, 7).isnan(), x.isnan())


# ------------------------------------------------------------------------------ gradients


def lsq(x, dy, scale, low, high):
    """(dx, dscale) as LSQ has them, element by element: arXiv 1902.08153, eqs. 3 and 5."""
    dx, dscale = [], []
    for value, gradient in zip(x, dy, strict=True):
        v = value / scale
        if v <= low:
            step = low
        elif v >= high:
            step = high
        else:
            step = -v + round(v)
        dx.append(gradient if low < v < high else 0.0)
        dscale.append(gradient * step)
    return dx, math.fsum(dscale)


# Exactly representable, so that ends of the range and ties are met.
EIGHTHS = st.integers(-200, 200).map(lambda i: i / 8)


@BOTH
@given(
    pairs=st.lists(st.tuples(EIGHTHS, EIGHTHS), max_size=40),
    scale=st.sampled_from([0.125, 0.25, 1.0, 0.3]),
    grad_scale=st.floats(0.01, 2.0),
)
def test_gradients_are_those_of_lsq(module, pairs, scale, grad_scale):
    x = torch.tensor([pair[0] for pair in pairs], dtype=torch.float64, requires_grad=True)
    dy = torch.tensor([pair[1] for pair in pairs], dtype=torch.float64)
    s = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    y = module.fake_quantize(x, s, 0, -8, 7, grad_scale=grad_scale)
    dx, ds = torch.autograd.grad(y, (x, s), dy)
    expected_dx, expected_ds = lsq(x.tolist(), dy.tolist(), scale, -8, 7)
    assert dx.tolist() == expected_dx
    assert ds.item() == pytest.approx(grad_scale * expected_ds, rel=1e-12, abs=1e-12)


def smooth(x, scale, zero_point, low, high, rounding):
    """fake_quantize where the rounding only adds what it added at the point of interest."""
    v = x / scale + zero_point
    return torch.where(
        v <= low,
        scale * (low - zero_point),
        torch.where(v >= high, scale * (high - zero_point), scale * (v + rounding - zero_point)),
    )


@BOTH
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_gradients_are_those_of_finite_differences(module, axis):
    """Of all three arguments, the zero point included: the straight-through estimator."""
    torch.manual_seed(0)
    shape = (5, 40)
    parameters = () if axis is None else (shape[axis],)
    x = torch.randn(shape, dtype=torch.float64)
    scale = torch.rand(parameters, dtype=torch.float64) * 0.05 + 0.15
    zero_point = torch.randint(-3, 4, parameters).double()
    beside = (lambda p: p[:, None]) if axis == 0 else (lambda p: p)
    rounding = (x / beside(scale)).round() - x / beside(scale)
    arguments = [t.requires_grad_() for t in (x, scale, zero_point)]
    dy = torch.randn_like(x)
    y = module.fake_quantize(*arguments, -8, 7, axis=axis)
    found = torch.autograd.grad(y, arguments, dy)

    def loss(x, scale, zero_point):
        return (smooth(x, beside(scale), beside(zero_point), -8, 7, rounding) * dy).sum()

    torch.testing.assert_close(loss(*arguments), (y * dy).sum())
    assert 0 < (found[0] == 0).sum() < x.numel() / 2, "some elements, not most, are outside"
    for i, gradient in enumerate(found):
        flat = arguments[i].detach().reshape(-1)
        for j in range(0, len(flat), max(1, len(flat) // 20)):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [a.detach().clone() for a in arguments]
                moved[i].view(-1)[j] += step
                ends.append(loss(*moved))
            slope = (ends[0] - ends[1]) / 2e-6
            assert gradient.reshape(-1)[j].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


@BOTH
def test_zero_point_is_lsq_plus_offset(module):
    """With beta = -scale * zero_point, arXiv 2004.09576: dbeta = dy outside, 0 inside."""
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)
    dy = torch.randn(101, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    zero_point = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    y = module.fake_quantize(x, 0.1, zero_point, -8, 7)
    (dzero_point,) = torch.autograd.grad(y, zero_point, dy)
    v = (x - -0.1 * 3) / 0.1
    dbeta = dy[(v <= -8) | (v >= 7)].sum()
    torch.testing.assert_close(dzero_point, dbeta * -0.1)


@BOTH
def test_a_learned_zero_point_is_rounded(module):
    x = torch.randn(20, generator=torch.Generator().manual_seed(0))
    for learned, rounded in ((2.5, 2), (3.5, 4), (-1.2, -1)):
        found = module.fake_quantize(x, 0.1, torch.tensor(learned), -8, 7)
        assert torch.equal(found, module.fake_quantize(x, 0.1, rounded, -8, 7))


@BOTH
def test_gradient_of_dequantization_is_that_of_finite_differences(module):
    q = torch.randint(-128, 128, (4, 9), dtype=torch.int8)
    scale = torch.rand(4, dtype=torch.float64, requires_grad=True)
    zero_point = torch.tensor([3.0, -4.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: module.dequantize(q, s, zero_point, axis=0), scale)
    dy = torch.randn(4, 9, dtype=torch.float64)
    y = module.dequantize(q, scale, zero_point, axis=0)
    (found,) = torch.autograd.grad(y, zero_point, dy)
    torch.testing.assert_close(found, -scale.detach() * dy.sum(1))


# ------------------------------------------------------------------------------ sums


def tree(values):
    """`ordered_sum` in words: rows of 128, neighbours, and then halves."""
    width = ops.SUM_WIDTH
    rows = [values[i : i + width] for i in range(0, len(values), width)] or [values[:0]]
    rows[-1] = np.concatenate([rows[-1], np.zeros(width - len(rows[-1]), values.dtype)])
    while len(rows) > 1:
        pairs = [a + b for a, b in zip(rows[::2], rows[1::2], strict=False)]
        rows = pairs + (rows[-1:] if len(rows) % 2 else [])
    row = rows[0]
    while len(row) > 1:
        row = row[: len(row) // 2] + row[len(row) // 2 :]
    return row[0]


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 384, 1408, 7 * 128 + 5, 70000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_have_the_order_that_is_written_down(n, dtype):
    terms = torch.randn(3, n, dtype=dtype, generator=torch.Generator().manual_seed(n))
    expected = [tree(channel.numpy()) for channel in terms]
    exact = [math.fsum(channel.tolist()) for channel in terms]
    found = ops.ordered_sum(terms.clone())
    assert found.tolist() == [float(value) for value in expected]
    bound = torch.finfo(dtype).eps * (7 + math.log2(n + 1)) * float(terms.abs().sum(1).max())
    assert all(abs(a - b) <= bound for a, b in zip(found.tolist(), exact, strict=True))


# ------------------------------------------------------------------------------ errors

X, Q = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int8)
MISTAKES = [
    ("quantize_per_tensor_asym", (X.half(), 1.0, 0), TypeError, "x: found torch.float16"),
    ("quantize_per_tensor_asym", ([1.0], 1.0, 0), TypeError, "x: found list"),
    ("quantize_per_tensor_asym", (X, 1.0, 0, 4), ValueError, "bits: found 4, expected 8 or 16"),
    ("quantize_per_tensor_asym", (X, 0.0, 0), ValueError, "scale: found 0.0, expected a positive"),
    ("quantize_per_tensor_asym", (X, math.nan, 0), ValueError, "scale: found nan"),
    ("quantize_per_tensor_asym", (X, math.inf, 0), ValueError, "scale: found inf"),
    ("quantize_per_tensor_asym", (X, [1.0, 1.0], 0), ValueError, "scale: found 2 values"),
    ("quantize_per_tensor_asym", (X, 1.0, 0.5), ValueError, "zero_point: found 0.5"),
    ("quantize_per_tensor_asym", (X, 1.0, 128), ValueError, "an integer from -128 to 127"),
    ("quantize_per_tensor_asym", (X, 1.0, math.nan), ValueError, "zero_point: found nan"),
    ("quantize_per_channel_sym", (X, [1.0, -1.0]), ValueError, r"scale\[1\]: found -1.0"),
    ("quantize_per_channel_sym", (X, [1.0]), ValueError, r"scales: found shape \[1\]"),
    ("quantize_per_channel_sym", (X, [1.0, 1.0], 1), ValueError, r"expected \[3\]"),
    ("quantize_per_channel_sym", (X, 1.0, 2), ValueError, "axis: found 2"),
    ("quantize_per_channel_sym", (X[0, 0], 1.0), ValueError, "axis: found 0"),
    ("dequantize", (X, 1.0), TypeError, "q: found torch.float32, expected a tensor of int8"),
    ("dequantize", (Q, X[0, 0].half()), TypeError, "scale: found torch.float16"),
    ("dequantize", (Q, [1.0, 1.0]), ValueError, "scale: found 2 values"),
    ("dequantize", (Q, 1.0, [0.0], 0), ValueError, "zero_point: found shape"),
    ("fake_quantize", (Q, 1.0, 0, -8, 7), TypeError, "x: found torch.int8"),
    ("fake_quantize", (X, 1.0, 0, 7, 7), ValueError, "low, high: found 7, 7"),
    ("fake_quantize", (X, 1.0, 0, -0.5, 7), ValueError, "low, high: found -0.5, 7"),
    ("fake_quantize", (X, 1.0, 0, -8, 7, -3), ValueError, "axis: found -3"),
    ("fake_quantize", (X, [1.0], 0, -8, 7, 1), ValueError, "scale: found shape"),
]


@BOTH
@pytest.mark.parametrize(("function", "arguments", "error", "message"), MISTAKES)
def test_mistakes_are_named(module, function, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(module, function)(*arguments)
