"""The primitives against exact rational arithmetic in Python integers."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import isa
from golden import arithmetic
from golden.arithmetic import Params
from isa import decay_tables
from isa.words import CONV_PARAM_DTYPE, PARAM_DTYPE
from tests import reference

INT8 = st.integers(-128, 127)
INT16 = st.integers(-(1 << 15), (1 << 15) - 1)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
MULTIPLIER = st.integers(-(1 << 17), (1 << 17) - 1)
SHIFT = st.integers(0, 48)


def tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def words(n: int, dtype: np.dtype = PARAM_DTYPE, **columns: object) -> np.ndarray:
    """Parameter words: identity unless said otherwise."""
    array = np.zeros(n, dtype)
    array["multiplier"] = 1
    for name, column in columns.items():
        array[name] = column
    return array


@st.composite
def random_words(draw: st.DrawFn, n: int, dtype: np.dtype = PARAM_DTYPE) -> np.ndarray:
    def column(strategy: st.SearchStrategy[int], bits: int = 0) -> list:
        return draw(st.lists(strategy, min_size=n, max_size=n))

    array = words(
        n,
        dtype,
        bias=column(st.integers(-(1 << 17), 1 << 17)),
        multiplier=column(MULTIPLIER),
        shift=column(SHIFT),
        zero_point=column(INT8),
    )
    if "taps" in dtype.names:
        array["taps"] = draw(rows(n, rows(8, INT8)))
    return array


def rows(n: int, element: st.SearchStrategy[int]) -> st.SearchStrategy[list[int]]:
    return st.lists(element, min_size=n, max_size=n)


# ------------------------------------------------------------------------------ shifts and ranges


def test_rne_shift_is_exhaustively_right_for_small_values():
    x = torch.arange(-2100, 2101)
    for shift in range(13):
        expected = [round(Fraction(v, 1 << shift)) for v in x.tolist()]
        assert arithmetic.rne_shift(x, shift).tolist() == expected
        assert arithmetic.rne_shift(x, tensor(shift)).tolist() == expected


@given(st.lists(st.tuples(st.integers(-(1 << 60), 1 << 60), st.integers(0, 60)), min_size=1))
def test_rne_shift_for_large_values_and_one_shift_for_each(pairs):
    x, shift = (tensor(column) for column in zip(*pairs, strict=True))
    expected = [round(Fraction(a, 1 << s)) for a, s in pairs]
    assert arithmetic.rne_shift(x, shift).tolist() == expected


@given(st.integers(1, 48), st.integers(-1000, 1000))
def test_rne_shift_takes_ties_to_the_even_neighbour(shift, k):
    tie = tensor([(2 * k + 1) << (shift - 1)])
    y = arithmetic.rne_shift(tie, shift).item()
    assert y % 2 == 0
    assert abs(y - Fraction(2 * k + 1, 2)) == Fraction(1, 2)


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_saturate_clamps_both_ways(bits):
    top = 1 << (bits - 1)
    x = tensor([-(1 << 40), -top - 1, -top, 0, top - 1, top, 1 << 40])
    assert arithmetic.saturate(x, bits).tolist() == [-top, -top, -top, 0] + [top - 1] * 3


@given(st.lists(st.tuples(INT32, MULTIPLIER, SHIFT, INT8), min_size=1))
def test_requantize_is_exact(cases):
    a, multiplier, shift, zero_point = (tensor(column) for column in zip(*cases, strict=True))
    params = Params(torch.zeros_like(a), multiplier, shift, zero_point)
    expected = [round(Fraction(x * m, 1 << s)) + z for x, m, s, z in cases]
    assert arithmetic.requantize(a, params).tolist() == expected


def test_requantize_extremes():
    extremes = [-(1 << 31), (1 << 31) - 1]
    for multiplier in (-(1 << 17), (1 << 17) - 1):
        for shift in (0, 1, 47, 48):
            params = Params.from_array(
                words(2, multiplier=multiplier, shift=shift, zero_point=-128)
            )
            expected = [round(Fraction(x * multiplier, 1 << shift)) - 128 for x in extremes]
            assert arithmetic.requantize(tensor(extremes), params).tolist() == expected


# ------------------------------------------------------------------------------ functions


def test_decay_tables_are_rounded_powers_of_two():
    assert list(decay_tables.HIGH) == reference.exp2_table(64)
    assert list(decay_tables.LOW) == reference.exp2_table(4096)


def test_decay_is_what_the_tables_say_for_every_exponent():
    t = [*range((18 << 12) + 200), (1 << 20) - 1, 1 << 20, (1 << 32) - 1, 1 << 32]
    assert arithmetic.decay(tensor(t)).tolist() == [reference.decay(v) for v in t]


def test_decay_is_close_to_the_power_of_two():
    t = torch.arange(18 << 12)
    exact = 65536 * 2.0 ** (-t.double() / 4096)
    assert (arithmetic.decay(t) - exact).abs().max() < 1.6
    assert arithmetic.decay(tensor([0])).item() == 65536


SQUARE_SUMS = sorted(
    {
        max(1, min((1 << 48) - 1, (1 << bit) + offset))
        for bit in range(49)
        for offset in (-2, -1, 0, 1, 2)
    }
)


def check_reciprocal_sqrt(sums: list[int]) -> None:
    r, e = (column.tolist() for column in arithmetic.reciprocal_sqrt(tensor(sums)))
    for s, r_, e_ in zip(sums, r, e, strict=True):
        assert (r_, e_) == reference.reciprocal_sqrt(s)
        # The definition, literally: the largest integer below 2^17 with r^2 m <= 2^64.
        m = s >> (2 * e_) if e_ >= 0 else s << (-2 * e_)
        assert 1 << 30 <= m < 1 << 32
        assert r_ * r_ * m <= 1 << 64
        assert r_ + 1 == 1 << 17 or (r_ + 1) ** 2 * m > 1 << 64


def test_reciprocal_sqrt_at_powers_of_two():
    check_reciprocal_sqrt(SQUARE_SUMS)


def test_reciprocal_sqrt_where_the_square_just_fits():
    roots = np.random.default_rng(0).integers(1 << 16, 1 << 17, 500).tolist()
    sums = [(1 << 64) // (r * r) + offset for r in roots for offset in (-1, 0, 1)]
    check_reciprocal_sqrt([s for s in sums if s < 1 << 32])


@given(st.lists(st.integers(1, (1 << 48) - 1), min_size=1))
def test_reciprocal_sqrt_is_the_largest_integer(sums):
    check_reciprocal_sqrt(sums)


# ------------------------------------------------------------------------------ instructions


def test_linear_with_the_largest_products_does_not_overflow():
    n = 65535  # the longest reduction, at its worst
    x = torch.full((1, n), -128)
    for weight, acc in ((-128, 1 << 14), (127, -128 * 127)):
        params = Params.from_array(words(1, shift=16, bias=(1 << 30) - 1 if weight < 0 else 0))
        total = n * acc + params.bias.item()
        y = arithmetic.linear(x, torch.full((1, n), weight), params, wide=True)
        assert y.item() == reference.clamp(round(Fraction(total, 1 << 16)), 16)


@given(st.data(), st.integers(1, 6), st.integers(1, 4), st.booleans(), st.booleans())
def test_linear(data, n_in, n_out, wide, relu):
    x = data.draw(rows(n_in, INT8))
    weight = data.draw(rows(n_out, rows(n_in, INT8)))
    word = data.draw(random_words(n_out))
    addend = data.draw(st.none() | rows(n_out, INT16))
    partial = data.draw(st.none() | rows(n_out, st.integers(-(1 << 30), 1 << 30)))
    expected = []
    for o in range(n_out):
        acc = int(word["bias"][o]) + sum(a * b for a, b in zip(weight[o], x, strict=True))
        acc += partial[o] if partial else 0
        y = reference.requantize(acc, word[o]) + (addend[o] if addend else 0)
        y = reference.clamp(y, 16 if wide else 8)
        expected.append(max(y, int(word["zero_point"][o])) if relu else y)
    y = arithmetic.linear(
        tensor([x]),
        tensor(weight),
        Params.from_array(word),
        None if addend is None else tensor([addend]),
        partial=None if partial is None else tensor([partial]),
        wide=wide,
        relu=relu,
    )
    assert y.tolist() == [expected]


@given(st.data(), st.integers(1, 4), st.integers(1, 8))
def test_conv(data, n, kernel):
    window = data.draw(rows(kernel, rows(n, INT8)))
    word = data.draw(random_words(n, CONV_PARAM_DTYPE))
    table = data.draw(rows(256, INT8))
    y = arithmetic.conv(
        tensor([window]), tensor(word["taps"][:, :kernel]), Params.from_array(word), tensor(table)
    )
    assert y.tolist() == [reference.conv(window, word, table)]


@given(st.data(), st.integers(1, 3), st.sampled_from([1, 2, 4, 64]))
def test_scan_step(data, n, states):
    draw = data.draw
    h = draw(rows(n, rows(states, st.integers(-(1 << 23), (1 << 23) - 1))))
    u, z, dt = (draw(rows(n, INT8)) for _ in range(3))
    b, c = (draw(rows(states, INT8)) for _ in range(2))
    rates = np.array(draw(rows(n, rows(states, st.integers(0, 65535)))), np.int64)
    word = draw(random_words(n))
    word["bias"] = word["bias"].clip(-131071, 131071)
    softplus = draw(rows(256, st.integers(0, 65535)))
    silu = draw(rows(256, INT16))
    fields = {
        "u_zero_point": draw(INT8),
        "exp_shift": draw(st.integers(0, 31)),
        "state_shift": draw(st.integers(0, 16)),
        "skip_shift": draw(st.integers(0, 20)),
        "y_shift": draw(st.integers(0, 40)),
    }
    y, new = arithmetic.scan_step(
        *(tensor([part]) for part in (h, u, z, dt, b, c)),
        tensor(rates),
        Params.from_array(word),
        tensor(softplus),
        tensor(silu),
        **fields,
    )
    instruction = isa.Instruction("SCAN", fields)
    expected = reference.scan_step(h, u, z, dt, b, c, rates, word, softplus, silu, instruction)
    assert y.tolist() == [expected]
    assert new.tolist() == [h]


@pytest.mark.parametrize("u", [-128, 127])
@pytest.mark.parametrize("b", [-128, 127])
@pytest.mark.parametrize("h", [-(1 << 23), (1 << 23) - 1])
def test_scan_step_saturates_at_its_extremes(u, b, h):
    u_zero_point = 127 if u < 0 else -128
    fields = {
        "u_zero_point": u_zero_point,
        "exp_shift": 31,
        "state_shift": 0,
        "skip_shift": 20,
        "y_shift": 0,
    }
    word = words(1, bias=131071, multiplier=-(1 << 17), shift=31)
    state = [[h] * 64]
    arguments = ([u], [127], [127], [b] * 64, [b] * 64)
    y, new = arithmetic.scan_step(
        tensor([state]),
        *(tensor([part]) for part in arguments),
        torch.zeros(1, 64, dtype=torch.int64),  # no decay
        Params.from_array(word),
        torch.full((256,), 65535),
        torch.full((256,), -(1 << 15)),
        **fields,
    )
    expected = reference.scan_step(
        state,
        *arguments,
        np.zeros((1, 64), np.int64),
        word,
        [65535] * 256,
        [-(1 << 15)] * 256,
        isa.Instruction("SCAN", fields),
    )
    assert y.tolist() == [expected]
    assert new.tolist() == [state]
    top = (1 << 23) - 1
    assert set(new.flatten().tolist()) <= {-top - 1, top}


@given(st.data(), st.integers(1, 8), st.booleans(), st.integers(1, (1 << 32) - 1))
def test_norm(data, n, wide, eps):
    x = data.draw(rows(n, INT16))
    word = data.draw(random_words(n))
    y = arithmetic.norm(tensor([x]), eps, Params.from_array(word), wide=wide)
    assert y.tolist() == [reference.norm(x, eps, word, 16 if wide else 8)]


@pytest.mark.parametrize(("value", "n", "eps"), [(0, 5, 1), (-32768, 4096, 1), (1, 1, 0xFFFFFFFF)])
def test_norm_of_extreme_rows(value, n, eps):
    word = words(n, multiplier=(1 << 17) - 1, shift=30)
    x = [value] * n
    y = arithmetic.norm(tensor([x]), eps, Params.from_array(word), wide=True)
    assert y.tolist() == [reference.norm(x, eps, word, 16)]


def test_norm_is_close_to_the_real_one():
    rng = np.random.default_rng(0)
    x = rng.integers(-20000, 20001, (50, 128))
    # y = x * sqrt(n) / sqrt(sum of squares), in steps of 2^-12
    word = words(128, multiplier=round(128**0.5 * 2**12), shift=23)
    y = arithmetic.norm(tensor(x), 1, Params.from_array(word), wide=True).numpy() / 2**12
    exact = x / np.sqrt((x.astype(float) ** 2).mean(-1, keepdims=True))
    assert np.abs(y - exact).max() < 2.5e-4


@given(st.data(), st.integers(1, 4), st.integers(1, 5))
def test_pool(data, n, tokens):
    x = data.draw(rows(tokens, rows(n, INT16)))
    word = data.draw(random_words(2))
    columns = list(zip(*x, strict=True))
    expected = [
        [reference.clamp(reference.requantize(sum(c), word[0]), 8) for c in columns],
        [reference.clamp(reference.requantize(max(c), word[1]), 8) for c in columns],
    ]
    x = tensor(x)
    y = arithmetic.pool(x.sum(0)[None], x.amax(0)[None], Params.from_array(word))
    assert y.tolist() == [expected]


@given(st.data(), st.integers(1, 6))
def test_scale(data, n):
    x = data.draw(rows(n, INT16))
    logit = data.draw(rows(n, INT8))
    table = data.draw(rows(256, st.integers(0, 65535)))
    expected = [
        reference.clamp(round(Fraction(v * table[q + 128], 1 << 16)), 16)
        for v, q in zip(x, logit, strict=True)
    ]
    assert arithmetic.scale(tensor([x]), tensor([logit]), tensor(table)).tolist() == [expected]


def test_leading_dimensions_are_a_batch():
    rng = np.random.default_rng(1)
    x = tensor(rng.integers(-(1 << 15), 1 << 15, (3, 4, 6)))
    params = Params.from_array(words(6, multiplier=99999, shift=30))
    y = arithmetic.norm(x, 7, params)
    assert torch.equal(y[2, 1], arithmetic.norm(x[2, 1], 7, params))
