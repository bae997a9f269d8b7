"""The selective scan, the linear recurrence at the heart of Mamba (arXiv 2312.00752, section 3).

    h_t = exp(delta_t * A) * h_{t-1} + delta_t * B_t * u_t        h_t [B, E, N], h_{-1} = 0
    y_t = sum over n of C_t[n] * h_t[:, n] + D * u_t              y_t [B, E]

`selective_scan_sequential` says this in plain PyTorch, token by token. `selective_scan` computes
the same in 2 log2(K) steps over all tokens, with an analytic gradient.

Symbols: B batch, K tokens, E = d_inner, N = d_state.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Every step reads and writes tensors of K * E * N elements per sequence. A CPU works through
# them tile by tile, small enough that a tile's three or four such tensors stay in its cache; a
# GPU takes as much at once as it has work for, within reason of memory.
_TILE_ELEMENTS_CPU = 1 << 16
_TILE_ELEMENTS_GPU = 1 << 26


def selective_scan_sequential(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """The definition, one token after another; arguments and result as in `selective_scan`."""
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])  # [B, E, N]
    y = []
    tokens = zip(*(tensor.unbind(1) for tensor in (u, delta, B, C)), strict=True)
    for u_t, delta_t, B_t, C_t in tokens:
        decay = torch.exp(delta_t[:, :, None] * A)  # [B, E, N]
        h = decay * h + (delta_t * u_t)[:, :, None] * B_t[:, None, :]
        y.append((h * C_t[:, None, :]).sum(-1) + D * u_t)
    return torch.stack(y, dim=1)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    hook: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Run the recurrence above over all tokens.

    Args:
        u: input, [B, K, E].
        delta: time steps, [B, K, E], >= 0.
        A: state decay rates, [E, N], < 0, so that exp(delta * A) <= 1.
        B: input weights, [B, K, N].
        C: output weights, [B, K, N].
        D: weight of the direct path from u to y, [E].
        hook: if given, hook(h) takes the place of the states h [B, K, E, N] on their way to y
            (not in the recurrence itself). It needs all states in memory; without it they are not
            kept.

    Returns:
        y, [B, K, E].
    """
    if hook is None:
        return torch.addcmul(_SelectiveScan.apply(u, delta, A, B, C), D, u)
    decay = torch.exp(delta[..., None] * A)
    h = hook(_LinearRecurrence.apply(decay, (delta * u)[..., None] * B[:, :, None, :]))
    return torch.addcmul(torch.einsum("bken,bkn->bke", h, C), D, u)


def _scan_(a: Tensor, x: Tensor, reverse: bool = False) -> None:
    """Replace x by h with h_t = a_t * h_{t-1} + x_t, in place; a is destroyed. Both [b, K, ...].

    With `reverse` from the last token to the first: h_t = a_t * h_{t+1} + x_t.

    The work-efficient parallel prefix of Brent and Kung (1982) over the tokens: the pair
    (a_t, x_t) stands for the map h -> a_t * h + x_t, and maps compose associatively. Going up, the
    last token of each group of 2d takes in the half before its own; going down, the last token of
    each first half takes in all that precedes the group. About 2K updates in 2 log2(K) steps.
    """
    K = x.shape[1]
    d = 1
    while 2 * d <= K:
        to, before = _every(2 * d, 2 * d - 1, d, K, reverse)
        x[:, to].addcmul_(a[:, to], x[:, before])
        a[:, to].mul_(a[:, before])
        d *= 2
    while d >= 1:
        if 3 * d <= K:
            to, before = _every(2 * d, 3 * d - 1, d, K, reverse)
            x[:, to].addcmul_(a[:, to], x[:, before])
        d //= 2


def _every(step: int, first: int, d: int, K: int, reverse: bool) -> tuple[slice, slice]:
    """Tokens first, first + step, ... below K, and those d before each; `reverse` mirrors both."""
    count = (K - 1 - first) // step + 1
    last = first + (count - 1) * step
    if reverse:
        first, last, d = K - 1 - last, K - 1 - first, -d
    return slice(first, last + 1, step), slice(first - d, last - d + 1, step)


class _LinearRecurrence(torch.autograd.Function):
    """h_t = a_t * h_{t-1} + x_t for a, x [B, K, E, N]."""

    @staticmethod
    def forward(ctx, a: Tensor, x: Tensor) -> Tensor:
        h = x.clone()
        _scan_(a.clone(), h)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, dh: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        g = dh.clone()
        _scan_(_shift_back(a), g, reverse=True)
        da = torch.zeros_like(a)
        torch.mul(g[:, 1:], h[:, :-1], out=da[:, 1:])
        return da, g


def _shift_back(a: Tensor) -> Tensor:
    """a_{t+1} at token t: what carries a gradient from h_{t+1} to h_t; 0 at the last token."""
    shifted = torch.zeros_like(a)
    shifted[:, :-1] = a[:, 1:]
    return shifted


class _SelectiveScan(torch.autograd.Function):
    """y_t = C_t . h_t, tile by tile; backward computes the states again, none are kept.

    The gradient, with g_t = dL/dh_t (the recurrence run from the last token to the first),
    w_t = delta_t * u_t, and p_t = g_t * exp(delta_t * A) * h_{t-1}:

        g_t = C_t dy_t + exp(delta_{t+1} * A) g_{t+1}
        dC_t = sum_e h_t dy_t,  dB_t = sum_e g_t w_t,  dw_t = sum_n g_t B_t
        dA = sum_{b,t} p_t delta_t,  ddelta_t = sum_n p_t A + dw_t u_t,  du_t = dw_t delta_t
    """

    @staticmethod
    def forward(ctx, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        ctx.save_for_backward(u, delta, A, B, C)
        y = torch.empty_like(u)
        for b, e in _tiles(u, A):
            decay = torch.exp_(delta[b, :, e, None] * A[e])
            h = (delta[b, :, e] * u[b, :, e])[..., None] * B[b, :, None, :]
            _scan_(decay, h)
            y[b, :, e] = torch.matmul(h, C[b, :, :, None])[..., 0]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        u, delta, A, B, C = ctx.saved_tensors
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        dA, dB, dC = torch.zeros_like(A), torch.zeros_like(B), torch.zeros_like(C)
        for b, e in _tiles(u, A):
            u_, delta_, dy_ = u[b, :, e], delta[b, :, e], dy[b, :, e]
            w = delta_ * u_
            decay = torch.exp_(delta_[..., None] * A[e])
            h = w[..., None] * B[b, :, None, :]
            _scan_(decay.clone(), h)
            dC[b] += torch.matmul(dy_[:, :, None, :], h)[:, :, 0]

            g = dy_[..., None] * C[b, :, None, :]
            _scan_(_shift_back(decay), g, reverse=True)
            dB[b] += torch.matmul(w[:, :, None, :], g)[:, :, 0]
            dw = torch.matmul(g, B[b, :, :, None])[..., 0]

            p = g[:, 1:].mul_(decay[:, 1:]).mul_(h[:, :-1])
            dA[e] += torch.einsum("bken,bke->en", p, delta_[:, 1:])
            du[b, :, e] = dw * delta_
            ddelta[b, :, e] = dw * u_
            ddelta[b, 1:, e] += torch.einsum("bken,en->bke", p, A[e])
        return du, ddelta, dA, dB, dC


def _tiles(u: Tensor, A: Tensor) -> Iterator[tuple[slice, slice]]:
    """Ranges of the batch and of E that cover both, each small enough for one tile."""
    batch, K, E = u.shape
    N = A.shape[1]
    elements = _TILE_ELEMENTS_CPU if u.device.type == "cpu" else _TILE_ELEMENTS_GPU
    e_step = max(1, min(E, elements // (K * N)))
    b_step = max(1, elements // (K * N * e_step))
    for b in range(0, batch, b_step):
        for e in range(0, E, e_step):
            yield slice(b, b + b_step), slice(e, e + e_step)
