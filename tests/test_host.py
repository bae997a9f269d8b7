"""The host's side in NumPy against the model's own pre- and post-processing."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.compile import Options
from golden.host import HostSide
from isa.errors import PackageError
from isa.streams import StreamShape
from model.args import ModelArgs
from tests.compiled_models import SMALL, compile_random, model_args, random_windows


@settings(max_examples=15)
@given(model_args(max_layers=1), st.integers(0, 1000))
def test_tokens_and_forecasts_are_those_of_the_model(args, seed):
    compiled = compile_random(args, Options("minmax"), "small")
    package, model = compiled.package, compiled.model
    host = HostSide(package)
    x = 2.0 * random_windows(args, 3, seed) + 5.0
    tokens = host.tokens(x.numpy())
    assert tokens.dtype == np.int8
    shape = (package.n_sequences, package.n_positions, package.token_bytes)
    assert tokens.shape == (3 * package.iterations, *shape)

    expected = compiled.int8("q_input").quantize(model.to_tokens(x).double().numpy())
    difference = np.abs(tokens.reshape(expected.shape) - expected)
    # float32 in another order: a value at a tie may go the other way.
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01

    y = np.random.default_rng(seed).integers(
        -(2**15), 2**15, (len(tokens), package.n_sequences, package.forecast_elements), np.int16
    )
    real = torch.from_numpy(y.astype(np.float32) * package.metadata["output"]["scale"])
    expected = model.from_core(real.float().flatten(0, 1), x).numpy()
    np.testing.assert_allclose(host.forecast(y, x.numpy()), expected, rtol=1e-4, atol=1e-4)


def in_plain_loops(package, x):
    """Tokens, statistics and, for results of the accelerator that are all 3, forecasts, as
    ``docs/numerics.md`` has them ("On the host"): a number at a time. `x` [V, L]."""
    f32, metadata = np.float32, package.metadata
    args = ModelArgs.from_dict(metadata["model"])
    scale, zero_point = f32(metadata["input"]["scale"]), metadata["input"]["zero_point"]
    q, statistics, forecasts = np.zeros(x.shape, np.int8), [], []
    for row, window in zip(q, x, strict=True):
        mean, deviation = f32(0), f32(1)
        if args.instance_norm:
            total, *rest = window.tolist()
            for value in rest:
                total += value
            center = total / len(window)
            total = 0.0
            for value in window.tolist():
                total += (value - center) * (value - center)
            mean = f32(center)
            deviation = f32(
                math.sqrt(total / len(window) + float(f32(metadata["instance_norm_eps"])))
            )
        for t, value in enumerate(window):
            steps = np.rint(f32(f32(value - mean) / deviation) / scale)
            row[t] = int(min(max(steps, -128 - zero_point), 127 - zero_point)) + zero_point
        statistics.append((mean, deviation))
        forecasts.append(f32(f32(f32(3) * f32(metadata["output"]["scale"])) * deviation) + mean)
    starts = range(0, args.seq_len - args.patch_len + 1, args.stride)
    patches = [[row[start : start + args.patch_len] for start in starts] for row in q]  # [V, K, P]
    if args.channel_mode == "mixing":
        patches = [[row[k] for row in patches] for k in range(len(starts))]
    return np.ravel(patches), statistics, forecasts


@pytest.mark.parametrize("name", ["mixing", "independent", "raw"])
def test_conversions_are_the_contract_bit_for_bit(name):
    """Windows of any range, and one whose sum depends on the order even in float64; in a batch and
    alone."""
    shape = {"independent": {"channel_mode": "independent"}}.get(name, {})
    args = ModelArgs(**(SMALL | {"instance_norm": name != "raw", "patch_len": 7} | shape))
    host = HostSide(package := compile_random(args).package)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((5, 3, 24)) * 10.0 ** rng.integers(-6, 7, (5, 3, 24))).astype("f4")
    x[0], x[1] = 50, -0.0
    x[0, :, 3], x[0, :, 15] = 1e18, -1e18
    expected = [in_plain_loops(package, window) for window in x]
    tokens, statistics = host.encode(x)
    np.testing.assert_array_equal(tokens.reshape(5, -1), [tokens for tokens, _, _ in expected])
    if args.instance_norm:
        found = np.concatenate(statistics, axis=-1)
        np.testing.assert_array_equal(found, [statistics for _, statistics, _ in expected])
    for window, (alone, _, _) in zip(x, expected, strict=True):
        np.testing.assert_array_equal(host.tokens(window[None]).ravel(), alone)
    y = np.full((5 * package.iterations, package.n_sequences, package.forecast_elements), 3, "<i2")
    forecast = host.decode(y, statistics)
    np.testing.assert_array_equal(forecast[:, :, 0], [forecast for _, _, forecast in expected])
    assert (forecast == forecast[:, :, :1]).all() and forecast.dtype == np.float32


@pytest.mark.parametrize("patch_len", [8, 7])
def test_beats_overwrite_what_was_in_the_buffer(patch_len):
    """Also where tokens, of 24 and of 21 bytes here, leave beats partly filled."""
    package = compile_random(ModelArgs(**(SMALL | {"patch_len": patch_len}))).package
    host, x = HostSide(package), np.random.default_rng(0).standard_normal((2, 3, 24), np.float32)
    out = np.full(2 * host.bytes_in, 0xA5, np.uint8)
    host.encode_beats(x, out)
    expected = StreamShape.of_header(package.to_bytes()).beats(host.tokens(x))
    np.testing.assert_array_equal(out.reshape(expected.shape), expected)


def test_inputs_beyond_the_range_saturate():
    compiled = compile_random(ModelArgs(**SMALL))
    tokens = HostSide(compiled.package).tokens(np.full((1, 3, 24), 1e30, np.float32))
    assert (tokens == 127).all()
    tokens = HostSide(compiled.package).tokens(np.full((1, 3, 24), -1e30, np.float32))
    assert (tokens == -128).all()


def test_inputs_beyond_the_steps_of_float32_saturate():
    package = compile_random(ModelArgs(**SMALL)).package
    package.metadata["input"]["scale"] = 1e-10
    with np.errstate(all="raise"):
        assert (HostSide(package).tokens(np.full((1, 3, 24), 1e30, np.float32)) == 127).all()


@pytest.mark.parametrize("value", [1e20, 3e38])
def test_windows_whose_variance_overflows_are_refused(value):
    host = HostSide(compile_random(ModelArgs(**(SMALL | {"instance_norm": True}))).package)
    x = np.zeros((2, 3, 24), np.float32)
    x[1, 2, ::2] = value
    for call in (host.tokens, lambda x: host.forecast(np.zeros((2, 1, 24), np.int16), x)):
        with (
            np.errstate(all="raise"),
            pytest.raises(ValueError, match="window 1, variable 2: the variance overflows float32"),
        ):
            call(x)


def test_a_constant_window_is_no_division_by_zero():
    compiled = compile_random(ModelArgs(**(SMALL | {"instance_norm": True})))
    host = HostSide(compiled.package)
    x = np.full((2, 3, 24), 7.25, np.float32)
    zero_point = compiled.package.metadata["input"]["zero_point"]
    assert (host.tokens(x) == zero_point).all()
    y = np.zeros((2, 1, compiled.package.forecast_elements), np.int16)
    np.testing.assert_array_equal(host.forecast(y, x), np.full((2, 3, 8), 7.25, np.float32))


@pytest.fixture(scope="module")
def package():
    return compile_random(ModelArgs(**SMALL)).package


@pytest.mark.parametrize("shape", [(3, 24), (1, 4, 24), (1, 3, 25), (1, 1, 3, 24)])
def test_inputs_of_another_shape_are_refused(package, shape):
    with pytest.raises(
        ValueError, match=r"input: found shape .* expected \[B, V, L\] = \[B, 3, 24"
    ):
        HostSide(package).tokens(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_inputs_that_are_not_finite_are_refused(package, value):
    x = np.zeros((1, 3, 24))
    x[0, 1, 2] = value
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match="input: found NaN or infinity, expected finite values"),
    ):
        HostSide(package).tokens(x)


def changed(package, field, value):
    """The package with another value in its metadata, at a dotted path; None removes it."""
    metadata = {k: dict(v) if isinstance(v, dict) else v for k, v in package.metadata.items()}
    *parents, name = field.split(".")
    at = metadata
    for parent in parents:
        at = at[parent]
    at[name] = value
    if value is None:
        del at[name]
    return dataclasses.replace(package, metadata=metadata)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", None, "missing or malformed 'model'"),
        ("model", "CMamba", "ModelArgs: found str, expected an object"),
        ("model.d_model", -1, "ModelArgs.d_model: found -1"),
        ("model.num_channels", 4, "token_bytes: found 24, expected 32"),
        ("model.forecast_len", 16, "forecast_elements: found 24, expected 48"),
        ("model.seq_len", 32, "n_positions: found 5, expected 7"),
        ("model.channel_mode", "independent", r"n_sequences \* iterations: found 1, expected 3"),
        ("input", None, "missing or malformed 'input'"),
        ("input.scale", 0.0, "input.scale: found 0.0, expected above 0"),
        ("input.scale", float("nan"), "input.scale: found nan"),
        ("input.scale", 10**400, "input.scale: found 1000.*0000, expected above 0, as float32"),
        ("input.scale", 1e39, r"input.scale: found 1e\+39"),
        ("input.scale", 1e-50, "input.scale: found 1e-50"),
        ("input.scale", "1", "input.scale: found '1'"),
        ("input.zero_point", 128, "input.zero_point: found 128, expected an integer, -128 to 127"),
        ("input.zero_point", float("inf"), "input.zero_point: found inf"),
        ("output.scale", 10**400, "output.scale: found 1000"),
        ("model.norm_eps", 10**400, "ModelArgs.norm_eps: found 1000"),
        ("input.zero_point", None, "missing or malformed 'zero_point'"),
        ("output.scale", -1.0, "output.scale: found -1.0"),
        ("output", [], "missing or malformed"),
        ("instance_norm_eps", 0.0, "instance_norm_eps: found 0.0"),
        ("instance_norm_eps", 10**400, "instance_norm_eps: found 1000"),
    ],
)
def test_metadata_that_contradict_the_program_are_refused(package, field, value, message):
    with np.errstate(all="raise"), pytest.raises(PackageError, match=message) as caught:
        HostSide(changed(package, field, value))
    assert caught.value.code_name == "BAD_SECTION"
