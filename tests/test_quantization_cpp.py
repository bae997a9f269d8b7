"""The C++ extension against PyTorch: the same bits for every tensor, and any number of threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.quantization import bench, cpp, ops

ROOT = Path(__file__).resolve().parents[1]
INTEGER_OF = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def assert_same_bits(found, expected, name):
    """Signs of zeros count; one NaN is as good as another."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    if found.is_floating_point():
        assert torch.equal(found.isnan(), expected.isnan()), name
        found, expected = found.nan_to_num(), expected.nan_to_num()
        integer = INTEGER_OF[found.element_size()]
        found, expected = found.contiguous().view(integer), expected.contiguous().view(integer)
    assert torch.equal(found, expected), name


def fake_quantized(module, x, scale, zero_point, low, high, axis, dy):
    """x_hat and the gradients of x, scale and zero point."""
    arguments = [tensor.detach().requires_grad_() for tensor in (x, scale, zero_point)]
    y = module.fake_quantize(*arguments, low, high, axis, grad_scale=0.3)
    return [y, *torch.autograd.grad(y, arguments, dy)]


def dequantized(module, q, scale, zero_point, axis, dy):
    """x and the gradients of scale and zero point."""
    arguments = [tensor.detach().requires_grad_() for tensor in (scale, zero_point)]
    y = module.dequantize(q, *arguments, axis)
    return [y, *torch.autograd.grad(y, arguments, dy)]


def assert_all_same(x, scale, zero_point, low, high, axis, dy, bits):
    """Every function of both modules."""
    names = ["x_hat", "dx", "dscale", "dzero_point"]
    results = [
        fake_quantized(module, x, scale, zero_point, low, high, axis, dy) for module in (cpp, ops)
    ]
    for name, found, expected in zip(names, *results, strict=True):
        assert_same_bits(found, expected, name)
    if x.isnan().any():
        return
    if axis is None:
        integer = zero_point.round().clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        quantized = [m.quantize_per_tensor_asym(x, scale, integer, bits) for m in (cpp, ops)]
    else:
        quantized = [m.quantize_per_channel_sym(x, scale, axis, bits) for m in (cpp, ops)]
    assert_same_bits(*quantized, "q")
    q = quantized[0].reshape(x.shape)
    results = [dequantized(module, q, scale, zero_point, axis, dy) for module in (cpp, ops)]
    for name, found, expected in zip(["x", "dscale", "dzero_point"], *results, strict=True):
        assert_same_bits(found, expected, name)


# ------------------------------------------------------------------------------ the same bits

LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.permute(tuple(reversed(range(x.ndim)))),
    "every other": lambda x: x[..., ::2] if x.ndim else x,
    "repeated": lambda x: x.unsqueeze(0).expand(3, *x.shape),
}


@given(
    data=st.data(),
    dtype=st.sampled_from([np.float32, np.float64]),
    bits=st.sampled_from([8, 16]),
    layout=st.sampled_from(sorted(LAYOUTS)),
    threads=st.integers(1, 4),
)
def test_any_tensor(data, dtype, bits, layout, threads):
    """Extremes included: subnormal, huge and infinite values, NaN, and such scales."""
    torch.set_num_threads(threads)
    width = np.dtype(dtype).itemsize * 8
    anything = st.floats(width=width) | st.integers(-600, 600).map(lambda i: float(i / 2))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6))
    x = LAYOUTS[layout](torch.from_numpy(data.draw(hnp.arrays(dtype, shape, elements=anything))))
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1)) if x.ndim else None
    channels = () if axis is None else (x.shape[axis],)
    positive = st.floats(0.0, exclude_min=True, allow_infinity=False, width=width)
    scale = data.draw(hnp.arrays(dtype, channels, elements=positive | st.just(1.0)))
    low = data.draw(st.integers(-(1 << 15), 100))
    high = data.draw(st.integers(low + 1, 1 << 16))
    zero_point = data.draw(hnp.arrays(dtype, channels, elements=st.floats(-300, 300, width=width)))
    dy = data.draw(hnp.arrays(dtype, tuple(x.shape), elements=anything))
    assert_all_same(
        x, torch.from_numpy(scale), torch.from_numpy(zero_point), low, high, axis,
        torch.from_numpy(dy), bits,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((n,), None) for n in (127, 128, 129, 8191, 8192, 8193, 3 * 8192 + 5, 70001)]
    + [((3, 20000), 0), ((9000, 3), 1), ((5, 33, 300), 1), ((300, 131), 0), ((40, 0), 0)],
)
def test_tensors_of_many_chunks(shape, axis, dtype, threads):
    """Sizes around those of the rows and chunks of a sum, and large enough for threads."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(sum(shape))
    normal = lambda *size: torch.randn(size, dtype=dtype, generator=generator)  # noqa: E731
    channels = () if axis is None else (shape[axis],)
    scale = torch.rand(channels, dtype=dtype, generator=generator) * 0.02 + 0.01
    x, dy, zero_point = normal(*shape), normal(*shape), normal(*channels) * 10
    assert_all_same(x, scale, zero_point, -128, 127, axis, dy, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_at_ties(dtype):
    """A product with 1 / scale in place of the quotient differs here."""
    scale = torch.linspace(0.01, 0.99, 99, dtype=dtype)
    x = scale[:, None] * (torch.arange(-130, 130, dtype=dtype) + 0.5)
    assert_all_same(x, scale, torch.zeros_like(scale), -128, 127, 0, torch.ones_like(x), 8)


def test_gradient_that_is_one_number_everywhere():
    """`sum().backward()` gives a dy without memory of its own."""
    x = torch.randn(4, 300, requires_grad=True)
    scale = torch.full((4,), 0.01, requires_grad=True)
    found, expected = (
        torch.autograd.grad(m.fake_quantize(x, scale, 0, -127, 127, 0).sum(), (x, scale))
        for m in (cpp, ops)
    )
    for a, b in zip(found, expected, strict=True):
        assert_same_bits(a, b, "gradient")


@given(st.integers(0, 70000), st.integers(1, 4))
def test_a_nan_is_found_wherever_it_is(index, threads):
    torch.set_num_threads(threads)
    x = torch.zeros(70001)
    x[index] = torch.nan
    with pytest.raises(ValueError, match=rf"^x\[{index}\] is NaN"):
        cpp.quantize_per_tensor_asym(x, 0.1, 0)


# ------------------------------------------------------------------------------ threads


def test_as_many_threads_as_pytorch(monkeypatch):
    extension, seen = cpp.extension(), []

    class Spy:
        def __getattr__(self, name):
            return lambda *arguments: (
                seen.append((name, arguments[-1])) or getattr(extension, name)(*arguments)
            )

    monkeypatch.setattr(cpp, "extension", Spy)
    x, scale = torch.randn(8, requires_grad=True), torch.tensor(0.1, requires_grad=True)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        cpp.fake_quantize(x, scale, 0, -8, 7).sum().backward()
        cpp.dequantize(cpp.quantize_per_tensor_asym(x, 0.1, 0), scale).sum().backward()
    names = ["fake_quantize", "fake_quantize_backward", "quantize", "dequantize"]
    names.append("dequantize_backward")
    assert seen == [(name, threads) for threads in (1, 3) for name in names]


def test_there_is_one_openmp_runtime_and_one_pool():
    """Two would each keep a thread per core spinning."""
    program = """
import re, torch
from pathlib import Path
from model.quantization import cpp
threads = lambda: int(re.search(r"Threads:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
torch.set_num_threads(3)
x = torch.ones(1000, 1000)
x.mul(2.0)
before = threads()
cpp.fake_quantize(x, 0.1, 0, -8, 7)
runtimes = set(re.findall(r"/\\S*lib[gio]*omp\\S*", Path("/proc/self/maps").read_text()))
print(threads() - before, len(runtimes))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.stdout.split() == ["0", "1"], result.stdout + result.stderr


# ------------------------------------------------------------------------------ errors


def test_other_devices_are_refused():
    x = torch.ones(3, device="meta")
    for call in (
        lambda: cpp.quantize_per_tensor_asym(x, 1.0, 0),
        lambda: cpp.quantize_per_channel_sym(x, 1.0),
        lambda: cpp.dequantize(x.to(torch.int8), 1.0),
        lambda: cpp.fake_quantize(x, 1.0, 0, -8, 7),
    ):
        with pytest.raises(ValueError, match="found a tensor on meta, expected one on the CPU"):
            call()


def test_an_extension_that_is_not_built_is_an_import_error(monkeypatch, tmp_path):
    monkeypatch.setattr(cpp, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match="`make quantization` builds it"):
        cpp.extension.__wrapped__()


F32, F64, I8 = np.float32, np.float64, np.int8


@pytest.mark.parametrize(
    ("x", "y", "scale", "threads", "error"),
    [
        (np.ones(4, F32), np.ones(4, F64), np.ones(1, F32), 1, TypeError),
        (np.ones(4, I8), np.ones(4, I8), np.ones(1, F32), 1, TypeError),
        (np.ones(8, F32)[::2], np.ones(4, F32), np.ones(1, F32), 1, TypeError),
        (np.ones(4, F32), np.ones(8, F32)[::2], np.ones(1, F32), 1, TypeError),
        (np.ones(4, F32), np.ones(3, F32), np.ones(1, F32), 1, ValueError),
        (np.ones(4, F32), np.ones(4, F32), np.ones(3, F32), 1, ValueError),
        (np.ones(4, F32), np.ones(4, F32), np.ones(0, F32), 1, ValueError),
        (np.ones(4, F32), np.ones(4, F32), np.ones(1, F32), 0, ValueError),
    ],
)
def test_the_extension_checks_arrays_before_it_touches_them(x, y, scale, threads, error):
    with pytest.raises(error):
        cpp.extension().fake_quantize(x, y, scale, np.zeros_like(scale), -8, 7, threads)


# ------------------------------------------------------------------------------ benchmark


def test_benchmark_prints_a_ratio_for_every_step(capsys, monkeypatch):
    monkeypatch.setattr(bench, "OUTPUTS", 20)
    assert bench.main(["--repeats", "1", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 threads" in lines[0] and "load of the last minute" in lines[0]
    rows = [line[40:].split() for line in lines[4:-4]]
    assert len(rows) == 5 and "a copy of input and weight" in lines[-3]
    assert all(len(row) == 6 and min(map(float, row)) >= 0 for row in rows)


def test_benchmark_refuses_no_turns():
    with pytest.raises(SystemExit):
        bench.main(["--repeats", "0"])
