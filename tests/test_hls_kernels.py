"""Every kernel of the HLS C++, in both builds, against the arithmetic contract in torch."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import isa
from golden import arithmetic
from golden.arithmetic import Params
from hls.bindings import extension
from isa.words import CONV_PARAM_DTYPE, PARAM_DTYPE, pack_words

BUILD = isa.build()
MAX_MULTIPLIER = 2**17 - 1
MAX_BIAS = 2**30 - 1
MAX_SKIP_WEIGHT = 2**17 - 1

# The build with AMD's types takes milliseconds for what the other does in microseconds.
both_builds = pytest.mark.parametrize("native", [False, True], ids=["ap_int", "native"])
few = settings(max_examples=30)

seeds = st.integers(0, 2**32 - 1)
# How data are drawn: uniform, the lowest or highest value only, or a mix of values near the ends.
styles = st.sampled_from(["uniform", "uniform", "edges", "lowest", "highest"])


def draw(rng, style, low, high, shape):
    """int64 of `shape` from low..high."""
    if style == "lowest":
        return np.full(shape, low)
    if style == "highest":
        return np.full(shape, high)
    if style == "edges":
        edges = [v for v in (low, low + 1, -1, 0, 1, high - 1, high) if low <= v <= high]
        return rng.choice(edges, shape)
    return rng.integers(low, high, shape, endpoint=True)


def int8(rng, style, *shape):
    return draw(rng, style, -128, 127, shape).astype(np.int8)


def int16(rng, style, *shape):
    return draw(rng, style, -(2**15), 2**15 - 1, shape).astype(np.int16)


def uint16(rng, style, *shape):
    return draw(rng, style, 0, 2**16 - 1, shape).astype(np.uint16)


def random_params(rng, style, n, scale_bits, max_bias=MAX_BIAS, dtype=PARAM_DTYPE):
    """Parameter words for sums of about scale_bits bits: some saturate, some are ties."""
    params = np.zeros(n, dtype)
    params["bias"] = draw(rng, style, -max_bias, max_bias, n) >> rng.integers(0, 24, n)
    params["multiplier"] = draw(rng, style, -MAX_MULTIPLIER - 1, MAX_MULTIPLIER, n)
    tie = rng.random(n) < 0.3  # a power of two leaves halves to be rounded
    params["multiplier"][tie] = rng.choice([1, 2**10, -(2**10), 2**16, -(2**17)], tie.sum())
    params["shift"] = np.clip(scale_bits + 10 + rng.integers(-8, 9, n), 0, 48)
    params["zero_point"] = draw(rng, style, -128, 127, n)
    return params


def words(params):
    return pack_words(isa.PARAM, params)[:, 0]


def instruction(opcode, **fields):
    """64 bytes of an instruction; what is not given is zero."""
    values = {
        f.name: isa.Operand() if f.operand else 0
        for f in isa.OPCODES[opcode].format.fields
        if f.name != "opcode"
    }
    return isa.Instruction(opcode, values | fields).encode()


def tensor(array):
    return torch.from_numpy(np.asarray(array).astype(np.int64))


def tiles(weight, log2_split):
    """Weight tiles of a matrix, as docs/package.md lays them out: [O * I, tile_out, tile_in]."""
    split, (n_out, n_in) = 1 << log2_split, weight.shape
    outputs, inputs = BUILD.tile_out // split, BUILD.tile_in * split
    padded = np.zeros((-(-n_out // outputs) * outputs, -(-n_in // inputs) * inputs), np.int8)
    padded[:n_out, :n_in] = weight
    grid = padded.reshape(-1, outputs, padded.shape[1] // inputs, split, BUILD.tile_in)
    return np.ascontiguousarray(grid.transpose(0, 2, 3, 1, 4)).reshape(
        -1, BUILD.tile_out, BUILD.tile_in
    )


# ----------------------------------------------------------------------------- primitives


@both_builds
@given(st.integers(-(2**47), 2**47), st.integers(0, 48))
@example(3, 1)
@example(-3, 1)
@example(2**46 + 2**45, 46)
def test_rne_shift(native, x, shift):
    assert extension(native).rne_shift(x, shift) == round(Fraction(x, 2**shift))


@both_builds
@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**17), 2**17 - 1),
    st.integers(0, 48),
    st.integers(-128, 127),
)
@example(-(2**31), -(2**17), 48, 127)
@example(-(2**31), -(2**17), 0, 127)
def test_requantize(native, a, multiplier, shift, zero_point):
    expected = round(Fraction(a * multiplier, 2**shift)) + zero_point
    assert extension(native).requantize(a, multiplier, shift, zero_point) == expected


@both_builds
@given(st.integers(0, 2**20) | st.integers(0, 2**32 - 1))
@example(0)
@example(4095)
@example(18 << 12)
@example(2**32 - 1)
def test_decay(native, t):
    assert extension(native).decay(t) == int(arithmetic.decay(torch.tensor(t)))


@both_builds
@given(st.integers(2**30, 2**32 - 1))
@example(2**30)
@example(2**32 - 1)
@example(2**31)
def test_reciprocal_sqrt(native, m):
    r = extension(native).reciprocal_sqrt(m)
    assert r < 2**17 and r * r * m <= 2**64
    assert r == 2**17 - 1 or (r + 1) ** 2 * m > 2**64
    assert r == int(arithmetic.reciprocal_sqrt(torch.tensor(m))[0])


# ----------------------------------------------------------------------------- LINEAR


@both_builds
@few
@given(
    seed=seeds,
    style=styles,
    n_in=st.integers(1, 150),
    n_out=st.integers(1, 150),
    log2_split=st.integers(0, 2),
    wide=st.integers(0, 1),
    relu=st.integers(0, 1),
    add=st.integers(0, 1),
    positions=st.integers(0, 3),
)
@example(0, "lowest", 16, 64, 0, 0, 0, 0, 0)
@example(0, "highest", 65, 17, 2, 1, 1, 1, 0)
@example(1, "uniform", 1, 1, 2, 0, 0, 0, 3)
def test_linear(native, seed, style, n_in, n_out, log2_split, wide, relu, add, positions):
    rng = np.random.default_rng(seed)
    reduce = positions > 0  # with 0 positions an ordinary matrix-vector product
    weight = int8(rng, style, max(positions, 1), n_out, n_in)
    x = int8(rng, style, len(weight), n_in)
    params = random_params(rng, style, n_out, 8 + 6 * wide)
    addend = int16(rng, style, n_out) if add else None

    # The instruction's data begin somewhere in each memory, between those of others.
    before, gap = rng.integers(0, 4), rng.integers(0, 3)
    param_addr = BUILD.requantize_lanes // 2 * int(rng.integers(0, 6))
    matrices = [tiles(w, log2_split) for w in weight]
    strange = int8(rng, "uniform", 8, BUILD.tile_out, BUILD.tile_in)
    parts = [strange[:before]]
    for matrix in matrices:
        parts += [matrix, strange[:gap]]
    all_params = random_params(rng, "uniform", param_addr + n_out + 5, 8)
    all_params[param_addr : param_addr + n_out] = params
    granule = BUILD.tile_in << log2_split
    offset = granule * int(rng.integers(0, BUILD.row_align // granule))
    row = int8(rng, "uniform", len(weight), offset + -(-n_in // granule) * granule)
    row[:, offset : offset + n_in] = x

    got = extension(native).linear(
        instruction(
            "LINEAR",
            n_positions=positions or 1,
            n_in=n_in,
            n_out=n_out,
            weight_addr=int(before),
            weight_stride=len(matrices[0]) + int(gap),
            param_addr=param_addr,
            log2_split=log2_split,
            wide=wide,
            relu=relu,
            reduce=int(reduce),
            add_enable=add,
        ),
        row,
        offset,
        addend,
        np.concatenate(parts),
        words(all_params),
    )
    partial = sum(tensor(x[p]) @ tensor(weight[p]).T for p in range(len(weight) - 1))
    expected = arithmetic.linear(
        tensor(x[-1]),
        tensor(weight[-1]),
        Params.from_array(params),
        None if addend is None else tensor(addend),
        partial=partial if len(weight) > 1 else None,
        wide=bool(wide),
        relu=bool(relu),
    )
    np.testing.assert_array_equal(got, expected.numpy())


@both_builds
def test_linear_tile_layout(native):
    """One weight that is not zero: it meets the input and the output that docs/package.md says,
    and nothing where it lies beyond the last input or output."""
    rng = np.random.default_rng(0)
    params = np.zeros(70, PARAM_DTYPE)
    params["multiplier"] = 1
    for log2_split in range(3):
        split = 1 << log2_split
        for _ in range(6):
            lane, j = int(rng.integers(BUILD.tile_out)), int(rng.integers(BUILD.tile_in))
            n_i = -(-70 // (BUILD.tile_in * split))
            n_o = -(-70 // (BUILD.tile_out // split))
            tile = int(rng.integers(n_i * n_o))
            weights = np.zeros((n_i * n_o, BUILD.tile_out, BUILD.tile_in), np.int8)
            weights[tile, lane, j] = 1
            group, lane_of_group = divmod(lane, BUILD.tile_out // split)
            output = tile // n_i * (BUILD.tile_out // split) + lane_of_group
            i = (tile % n_i) * BUILD.tile_in * split + group * BUILD.tile_in + j
            x = np.arange(1, 129, dtype=np.int64).astype(np.int8)[None]
            x = np.pad(x, ((0, 0), (0, 64)))
            got = extension(native).linear(
                instruction("LINEAR", n_positions=1, n_in=70, n_out=70, log2_split=log2_split),
                x,
                0,
                None,
                weights,
                words(params),
            )
            expected = np.zeros(70, np.int16)
            if output < 70 and i < 70:
                expected[output] = x[0, i]
            np.testing.assert_array_equal(got, expected)


@both_builds
def test_linear_tiles_from_ddr(native):
    """Tiles behind the weight memory are read from the package."""
    rng = np.random.default_rng(5)
    n_in, n_out = 40, 100
    first = BUILD.capacity["weights"] - 2  # the matrix lies across the end
    weight = int8(rng, "uniform", n_out, n_in)
    x = int8(rng, "uniform", 1, 48)
    params = random_params(rng, "uniform", n_out, 8)
    matrix = tiles(weight, 0)
    got = extension(native).linear(
        instruction("LINEAR", n_positions=1, n_in=n_in, n_out=n_out, weight_addr=first),
        x,
        0,
        None,
        np.concatenate([np.zeros((first, *matrix.shape[1:]), np.int8), matrix]),
        words(params),
    )
    expected = arithmetic.linear(tensor(x[0, :n_in]), tensor(weight), Params.from_array(params))
    np.testing.assert_array_equal(got, expected.numpy())


# ----------------------------------------------------------------------------- CONV


@both_builds
@few
@given(
    seed=seeds,
    style=styles,
    n=st.integers(1, 90),
    kernel=st.integers(1, 8),
    position=st.integers(0, 9),
    pad=st.integers(-128, 127),
)
@example(0, "lowest", 17, 8, 0, -128)
@example(0, "highest", 16, 8, 7, 127)
def test_conv(native, seed, style, n, kernel, position, pad):
    rng = np.random.default_rng(seed)
    window = int8(rng, style, kernel, n)
    param_addr, table = BUILD.conv_lanes * int(rng.integers(0, 4)), int(rng.integers(0, 3))
    params = random_params(rng, style, param_addr + n + 3, 8, dtype=CONV_PARAM_DTYPE)
    params["taps"] = int8(rng, style, len(params), 8)
    tables = int8(rng, "uniform", 3, 256)
    packed = np.stack([words(params), params["taps"].copy().view(np.uint64)[:, 0]], 1)
    got = extension(native).conv(
        instruction(
            "CONV",
            n_positions=16,
            n=n,
            kernel=kernel,
            pad=pad,
            param_addr=param_addr,
            table=table,
        ),
        position,
        window,
        packed,
        tables,
    )
    params = params[param_addr : param_addr + n]
    inside = window.copy()
    inside[: max(kernel - 1 - position, 0)] = pad
    expected = arithmetic.conv(
        tensor(inside),
        tensor(params["taps"][:, :kernel]),
        Params.from_array(params),
        tensor(tables[table]),
    )
    np.testing.assert_array_equal(got, expected.numpy())


# ----------------------------------------------------------------------------- SCAN


@both_builds
@few
@given(
    seed=seeds,
    style=styles,
    n=st.integers(1, 40),
    log2_state=st.integers(0, 6),
    positions=st.integers(1, 3),
    u_zero_point=st.integers(-128, 127),
    exp_shift=st.integers(0, 31),
    state_shift=st.integers(0, 16),
    skip_shift=st.integers(0, 20),
    y_shift=st.integers(0, 40),
    skip_zero_point=st.none() | st.integers(-128, 127),
)
@example(0, "lowest", 5, 4, 3, 127, 0, 0, 20, 0, None)
@example(0, "highest", 5, 4, 3, -128, 31, 0, 20, 0, None)
@example(0, "highest", 3, 6, 2, -128, 31, 16, 0, 40, None)
@example(3, "uniform", 33, 4, 3, -7, 16, 6, 4, 12, None)
@example(0, "lowest", 5, 0, 1, 127, 0, 0, 20, 0, 127)
@example(0, "highest", 5, 0, 1, -128, 31, 0, 20, 12, -128)
@example(3, "uniform", 67, 1, 2, -7, 16, 6, 4, 12, 5)
def test_scan(
    native,
    seed,
    style,
    n,
    log2_state,
    positions,
    u_zero_point,
    exp_shift,
    state_shift,
    skip_shift,
    y_shift,
    skip_zero_point,
):
    rng = np.random.default_rng(seed)
    states = 1 << log2_state
    u, z, dt = (int8(rng, style, positions, n) for _ in range(3))
    bc = int8(rng, style, positions, 2 * states)
    skip = None if skip_zero_point is None else int8(rng, style, positions, n)
    rows = {"param": BUILD.scan_lanes // 16, "decay": BUILD.scan_lanes, "state": BUILD.scan_lanes}
    addr = {name: elements * int(rng.integers(0, 4)) for name, elements in rows.items()}
    params = random_params(rng, style, addr["param"] + n + 5, 20, MAX_SKIP_WEIGHT)
    rates = uint16(rng, style, addr["decay"] + n * states + 5)
    tables = uint16(rng, style if style != "lowest" else "edges", 4, 256)
    softplus, silu = (int(t) for t in rng.integers(0, 4, 2))
    shifts = {
        "exp_shift": exp_shift,
        "state_shift": state_shift,
        "skip_shift": skip_shift,
        "y_shift": y_shift,
    }
    got, state = extension(native).scan(
        instruction(
            "SCAN",
            n_positions=positions,
            n=n,
            log2_state=log2_state,
            u_zero_point=u_zero_point,
            softplus_table=softplus,
            silu_table=silu,
            skip_enable=int(skip is not None),
            skip_zero_point=skip_zero_point or 0,
            **{f"{name}_addr": value for name, value in addr.items()},
            **shifts,
        ),
        u,
        z,
        dt,
        bc,
        skip,
        rates,
        words(params),
        tables,
    )
    h = torch.zeros(n, states, dtype=torch.int64)
    for t in range(positions):
        y, h = arithmetic.scan_step(
            h,
            tensor(u[t]),
            tensor(z[t]),
            tensor(dt[t]),
            tensor(bc[t, :states]),
            tensor(bc[t, states:]),
            tensor(rates[addr["decay"] :][: n * states].reshape(n, states)),
            Params.from_array(params[addr["param"] :][:n]),
            tensor(tables[softplus]),
            tensor(tables[silu].view(np.int16)),
            skip=None if skip is None else tensor(skip[t]) - skip_zero_point,
            u_zero_point=u_zero_point,
            **shifts,
        )
        np.testing.assert_array_equal(got[t], y.numpy())
    np.testing.assert_array_equal(state, h.numpy())


@both_builds
@pytest.mark.parametrize("log2_state", [0, 4, 5, 6])
@pytest.mark.parametrize("skip_enable", [0, 1])
@pytest.mark.parametrize("zero_points", [(0, 0), (-128, 127), (127, -128), (5, -7)])
def test_skip_weights_of_scan(native, log2_state, skip_enable, zero_points):
    """Without a state, each channel is u times its skip weight: the token's, or the parameter's."""
    rng = np.random.default_rng(0)
    n = 100
    u_zero_point, skip_zero_point = zero_points
    u, skip = (int8(rng, "uniform", 2, n) for _ in range(2))
    params = np.zeros(n, PARAM_DTYPE)
    params["bias"] = rng.integers(-255, 256, n)
    params["multiplier"], params["shift"] = 1, 8
    zeros = np.zeros((2, 2 << log2_state), np.int8)
    got, _ = extension(native).scan(
        instruction(
            "SCAN",
            n_positions=2,
            n=n,
            log2_state=log2_state,
            u_zero_point=u_zero_point,
            skip_enable=skip_enable,
            skip_zero_point=skip_zero_point,
        ),
        u,
        u,
        u,
        zeros,
        skip,
        np.zeros(n << log2_state, np.uint16),
        words(params),
        np.ones((1, 256), np.uint16),
    )
    weight = skip.astype(int) - skip_zero_point if skip_enable else params["bias"]
    y = np.clip(weight * (u.astype(int) - u_zero_point), -(2**15), 2**15 - 1)
    np.testing.assert_array_equal(got, np.clip(np.rint(y / 256), -128, 127))


# ----------------------------------------------------------------------------- the vector unit


@both_builds
@few
@given(
    seed=seeds,
    style=styles,
    n=st.integers(1, 150),
    eps=st.integers(1, 2**32 - 1) | st.sampled_from([1, 2, 3, 2**32 - 1]),
    wide=st.integers(0, 1),
    log2_size=st.integers(0, 15),
)
@example(0, "lowest", 150, 1, 1, 15)
@example(0, "highest", 1, 2**32 - 1, 0, 15)
@example(0, "uniform", 1, 1, 0, 0)
def test_norm(native, seed, style, n, eps, wide, log2_size):
    rng = np.random.default_rng(seed)
    x = int16(rng, style, n) >> (15 - log2_size)
    param_addr = int(rng.integers(0, 20))
    params = random_params(rng, style, param_addr + n + 5, 15 + 8 * (1 - wide))
    params["multiplier"] >>= 4
    got = extension(native).norm(
        instruction("NORM", n_positions=1, n=n, eps=eps, wide=wide, param_addr=param_addr),
        x,
        words(params),
    )
    expected = arithmetic.norm(
        tensor(x), eps, Params.from_array(params[param_addr : param_addr + n]), wide=bool(wide)
    )
    np.testing.assert_array_equal(got, expected.numpy())


@both_builds
@few
@given(seed=seeds, style=styles, n=st.integers(1, 90), positions=st.integers(1, 5))
@example(0, "lowest", 16, 5)
@example(0, "highest", 17, 5)
def test_pool(native, seed, style, n, positions):
    rng = np.random.default_rng(seed)
    x = int16(rng, style, positions, n)
    param_addr = int(rng.integers(0, 20))
    params = random_params(rng, style, param_addr + 4, 15)
    mean, maximum = extension(native).pool(
        instruction("POOL", n_positions=positions, n=n, param_addr=param_addr), x, words(params)
    )
    expected = arithmetic.pool(
        tensor(x).sum(0), tensor(x).amax(0), Params.from_array(params[param_addr : param_addr + 2])
    )
    np.testing.assert_array_equal(np.stack([mean, maximum]), expected.numpy())


@both_builds
@few
@given(seed=seeds, style=styles, n=st.integers(1, 150), table=st.integers(0, 2))
@example(0, "lowest", 150, 2)
@example(0, "highest", 16, 0)
def test_scale(native, seed, style, n, table):
    rng = np.random.default_rng(seed)
    x, logit, tables = int16(rng, style, n), int8(rng, style, n), uint16(rng, style, 3, 256)
    got = extension(native).scale(
        instruction("SCALE", n_positions=1, n=n, table=table), x, logit, tables
    )
    expected = arithmetic.scale(tensor(x), tensor(logit), tensor(tables[table]))
    np.testing.assert_array_equal(got, expected.numpy())


@both_builds
@few
@given(
    seed=seeds,
    style=styles,
    n=st.integers(1, 150) | st.just(BUILD.capacity["features"]),
    scale_bits=st.integers(5, 26),
)
@example(0, "lowest", 17, 12)
@example(0, "highest", 17, 12)
@example(0, "lowest", BUILD.capacity["features"], 26)
@example(0, "highest", BUILD.capacity["features"], 26)
@example(0, "uniform", 1, 8)
def test_pool_features(native, seed, style, n, scale_bits):
    rng = np.random.default_rng(seed)
    x = int16(rng, style, n)
    param_addr = int(rng.integers(0, 20))
    params = random_params(rng, style, param_addr + 4, scale_bits)
    got = extension(native).pool_features(
        instruction("POOL_FEATURES", n_positions=1, n=n, param_addr=param_addr), x, words(params)
    )
    expected = arithmetic.pool_features(
        tensor(x), Params.from_array(params[param_addr : param_addr + 2])
    )
    assert list(got) == expected.tolist()


@both_builds
@pytest.mark.parametrize("n", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("place", [0, -1])
def test_pool_features_of_negative_rows(native, n, place):
    """The maximum is one of the row's own elements, wherever it is, and no zero behind them; means
    between two integers go to the even one."""
    x = np.full(n, -100, np.int16)
    x[place] = -90
    params = np.zeros(2, PARAM_DTYPE)
    params["multiplier"], params["shift"] = 1, [0, 2]
    got = extension(native).pool_features(
        instruction("POOL_FEATURES", n_positions=1, n=n), x, words(params)
    )
    assert got == (max(-100 * n + 10, -128), -22)  # -22.5


# Entries that leave halves to be rounded.
TIES = [0x8000, 0x4000, 0xC000, 0xFFFF]


@both_builds
@few
@given(
    seed=seeds,
    style=styles,
    n=st.integers(1, 150),
    wide=st.integers(0, 1),
    logits=st.tuples(*[st.integers(-128, 127) | st.sampled_from([-128, 0, 127])] * 2),
    same_table=st.booleans(),
)
@example(0, "lowest", 150, 1, (-128, 127), False)
@example(0, "highest", 16, 0, (127, -128), False)
@example(1, "uniform", 17, 1, (0, 0), False)
def test_modulate(native, seed, style, n, wide, logits, same_table):
    rng = np.random.default_rng(seed)
    x, addend = int16(rng, style, n), int16(rng, style, n)
    tables = uint16(rng, style if style != "lowest" else "edges", 3, 256)
    tables[rng.random(tables.shape) < 0.3] = rng.choice(TIES)
    scale_table, shift_table = (1, 1) if same_table else (0, 2)
    param_addr = int(rng.integers(0, 20))
    params = random_params(rng, style, param_addr + 3, 16 - 8 * wide)
    got = extension(native).modulate(
        instruction(
            "MODULATE",
            n_positions=1,
            n=n,
            param_addr=param_addr,
            scale_table=scale_table,
            shift_table=shift_table,
            wide=wide,
        ),
        x,
        *logits,
        addend,
        words(params),
        tables,
    )
    scale, shift = (logit + 128 for logit in logits)
    expected = arithmetic.modulate(
        tensor(x),
        tensor(tables[scale_table])[scale],
        tensor(tables[shift_table].view(np.int16))[shift],
        tensor(addend),
        Params.from_array(params[param_addr : param_addr + 1]),
        wide=bool(wide),
    )
    np.testing.assert_array_equal(got, expected.numpy())


@both_builds
@pytest.mark.parametrize("wide", [0, 1])
def test_modulate_at_the_ends(native, wide):
    """The largest values of either sign, which need all bits of the sum, and saturate."""
    ends = [-(2**15), -(2**15) + 1, -1, 0, 1, 2**15 - 2, 2**15 - 1]
    x, addend = (np.array(v, np.int16).ravel() for v in np.meshgrid(ends, ends))
    tables = np.zeros((2, 256), np.uint16)
    tables[0, :5] = [0, 1, 0x7FFF, 0x8000, 0xFFFF]
    tables[1, :4] = [0, 1, 0x7FFF, 0x8000]
    limit = 2**15 if wide else 2**7
    seen = set()
    for multiplier, shift, zero_point in [(1, 0, 0), (-(2**17), 17, 127), (2**17 - 1, 26, -128)]:
        params = np.zeros(1, PARAM_DTYPE)
        params["multiplier"], params["shift"] = multiplier, shift
        params["zero_point"] = zero_point
        params["bias"] = 1 << 29  # not used
        for a, b in np.ndindex(5, 4):
            got = extension(native).modulate(
                instruction("MODULATE", n_positions=1, n=len(x), shift_table=1, wide=wide),
                x,
                a - 128,
                b - 128,
                addend,
                words(params),
                tables,
            )
            factor, offset = int(tables[0, a]), int(tables[1].view(np.int16)[b])
            exact = [
                round(Fraction(int(xd) * factor, 1 << 16) + offset + int(ad))
                for xd, ad in zip(x, addend, strict=True)
            ]
            exact = [round(Fraction(v * multiplier, 1 << shift)) + zero_point for v in exact]
            assert got.tolist() == [min(max(v, -limit), limit - 1) for v in exact]
            seen |= set(got.tolist())
    assert {-limit, limit - 1} < seen


# ----------------------------------------------------------------------------- mistakes


def test_mistakes_are_value_errors():
    module = extension()
    params = np.zeros(8, np.uint64)
    weights = np.zeros((1, BUILD.tile_out, BUILD.tile_in), np.int8)
    row = np.zeros((1, 16), np.int8)
    linear = instruction("LINEAR", n_positions=1, n_in=4, n_out=8)
    misplaced = instruction("LINEAR", n_positions=1, n_in=4, n_out=4, param_addr=4)
    assert module.linear(linear, row, 0, None, weights, params).shape == (8,)
    wrong = [
        ("64 bytes", linear[:10], row, 0, None, weights, params),
        ("opcode 2", instruction("CONV"), row, 0, None, weights, params),
        ("x: expected an array of int8", linear, row.astype(float), 0, None, weights, params),
        ("x: expected an array of int8", linear, None, 0, None, weights, params),
        ("x: expected shape", linear, row[0], 0, None, weights, params),
        ("x: expected elements", linear, row[:, :7], 0, None, weights, params),
        ("x_offset", linear, row, 5, None, weights, params),
        ("weights: expected shape", linear, row, 0, None, weights[0], params),
        ("weight_addr", linear, row, 0, None, weights[:0], params),
        ("param_addr: expected elements", linear, row, 0, None, weights, params[:7]),
        ("param_addr: expected a multiple", misplaced, row, 0, None, weights, params),
        ("params", linear, row, 0, None, weights, np.zeros(2**15, np.uint64)),
    ]
    for message, *arguments in wrong:
        with pytest.raises(ValueError, match=message):
            module.linear(*arguments)

    norm = instruction("NORM", n_positions=1, n=8, eps=1)
    with pytest.raises(ValueError, match="x: expected shape"):
        module.norm(norm, np.zeros(9, np.int16), params)
    with pytest.raises(ValueError, match="eps"):
        module.norm(instruction("NORM", n=8), np.zeros(8, np.int16), params)
    with pytest.raises(ValueError, match="n: expected"):
        module.norm(instruction("NORM", n=0, eps=1), np.zeros(0, np.int16), params)
    with pytest.raises(ValueError, match="n: expected"):
        module.norm(instruction("NORM", n=5000, eps=1), np.zeros(5000, np.int16), params)
    with pytest.raises(ValueError, match="table"):
        module.scale(
            instruction("SCALE", n=1, table=9),
            np.zeros(1, np.int16),
            np.zeros(1, np.int8),
            np.zeros((2, 256), np.uint16),
        )
    zeros = np.zeros((1, 1), np.int8)
    with pytest.raises(ValueError, match="skip: expected an array"):
        module.scan(
            instruction("SCAN", n=1, skip_enable=1),
            zeros,
            zeros,
            zeros,
            np.zeros((1, 2), np.int8),
            None,
            np.zeros(1, np.uint16),
            params,
            np.zeros((1, 256), np.uint16),
        )
    with pytest.raises(ValueError, match="shift_table"):
        module.modulate(
            instruction("MODULATE", n=1, shift_table=2),
            np.zeros(1, np.int16),
            0,
            0,
            np.zeros(1, np.int16),
            params,
            np.zeros((2, 256), np.uint16),
        )
    with pytest.raises(ValueError, match="param_addr"):
        module.pool_features(
            instruction("POOL_FEATURES", n=1, param_addr=7), np.zeros(1, np.int16), params
        )
    with pytest.raises(ValueError, match="kernel"):
        module.conv(
            instruction("CONV", n=1, kernel=9),
            0,
            np.zeros((9, 1), np.int8),
            np.zeros((1, 2), np.uint64),
            np.zeros((1, 256), np.int8),
        )
    with pytest.raises(ValueError, match="rne_shift"):
        module.rne_shift(1, 49)
    with pytest.raises(ValueError, match="decay"):
        module.decay(-1)


def test_missing_module_names_the_target(monkeypatch, tmp_path):
    import hls.bindings

    monkeypatch.setattr(hls.bindings, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match="`make bindings BUILD=default` builds it"):
        hls.bindings.extension.__wrapped__()
