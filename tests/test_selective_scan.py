"""The parallel selective scan against its sequential definition: values and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import selective_scan as module
from model.selective_scan import selective_scan, selective_scan_sequential


def arguments(batch, K, E, N, scale=1.0, dtype=torch.float64, seed=0):
    """u, delta, A, B, C, D with delta * A in [-scale, 0]."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)  # noqa: E731
    uniform = lambda *shape: torch.rand(shape, generator=generator, dtype=dtype)  # noqa: E731
    tensors = (
        normal(batch, K, E),
        uniform(batch, K, E) * scale,
        -uniform(E, N),
        normal(batch, K, N),
        normal(batch, K, N),
        normal(E),
    )
    return [tensor.requires_grad_() for tensor in tensors]


def assert_same(args, rtol, atol):
    expected = selective_scan_sequential(*args)
    found = selective_scan(*args)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    dy = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, args, dy) for y in (found, expected)]
    for name, ours, theirs in zip(["u", "delta", "A", "B", "C", "D"], *gradients, strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=rtol, atol=atol, msg=lambda m, name=name: f"d{name}: {m}"
        )


@given(
    shape=st.tuples(*(st.integers(1, high) for high in (4, 40, 7, 5))),
    tile=st.integers(1, 2000),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_definition_for_any_shape_and_tile(shape, tile, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_TILE_ELEMENTS_CPU", tile)
        assert_same(arguments(*shape, seed=seed), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("K", [1, 2, 3, 11, 16, 63])
def test_gradient_is_that_of_finite_differences(K):
    assert torch.autograd.gradcheck(selective_scan, arguments(2, K, 3, 2))


@pytest.mark.parametrize("scale", [0.0, 1e-6, 30.0, 1e4])
def test_slow_and_fast_decay(scale):
    args = arguments(2, 37, 5, 4, scale=scale)
    assert_same(args, rtol=1e-9, atol=1e-9 * max(1.0, scale))
    assert selective_scan(*args).isfinite().all()


def test_float32_at_the_length_of_a_long_sequence():
    # A prefix tree sums in another order than a loop, so float32 differs in its last bits.
    assert_same(arguments(1, 512, 4, 16, dtype=torch.float32), rtol=1e-4, atol=1e-3)


def test_hook_takes_the_place_of_the_states():
    args = arguments(2, 9, 4, 3)
    seen = []

    def observe(h):
        seen.append(h)
        return h

    torch.testing.assert_close(selective_scan(*args, hook=observe), selective_scan(*args))
    assert seen[0].shape == (2, 9, 4, 3)
    u, D = args[0], args[5]
    torch.testing.assert_close(selective_scan(*args, hook=torch.zeros_like), D * u)


def test_no_state_is_kept_for_the_backward():
    batch, K, E, N = 2, 16, 8, 4
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        selective_scan(*arguments(batch, K, E, N))
    assert max(tensor.numel() for tensor in kept) == batch * K * E
