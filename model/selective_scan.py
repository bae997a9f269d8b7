"""The selective scan, the linear recurrence at the heart of Mamba (arXiv 2312.00752, section 3).

    h_t = exp(delta_t * A) * h_{t-1} + delta_t * B_t * u_t        [B, E, N], zero before token 0
    y_t = sum over n of C_t[n] * h_t[:, n] + D * u_t              [B, E]

`selective_scan_sequential` says this in plain PyTorch, token by token. `selective_scan` computes
the same in 2 log2(K) steps over all tokens, with an analytic gradient.

Symbols: B batch, K tokens, E = d_inner, N = d_state.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Hook = Callable[[Tensor], Tensor]

# A scan does little arithmetic on the K * E * N elements of each sequence, so its time is that of
# moving them. A CPU works through tiles of which three float32 buffers (6 MB) stay in its cache;
# smaller ones lose more to PyTorch's cost per call than they gain. A GPU wants all at once, within
# reason of memory.
_TILE_ELEMENTS_CPU = 1 << 19
_TILE_ELEMENTS_GPU = 1 << 26

_LOG2_E = math.log2(math.e)


def selective_scan_sequential(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, hook: Hook | None = None
) -> Tensor:
    """The definition, one token after another; arguments and result as in `selective_scan`."""
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])  # [B, E, N]
    states = []
    tokens = zip(*(tensor.unbind(1) for tensor in (u, delta, B)), strict=True)
    for u_t, delta_t, B_t in tokens:
        decay = torch.exp(delta_t[:, :, None] * A)  # [B, E, N]
        h = decay * h + (delta_t * u_t)[:, :, None] * B_t[:, None, :]
        states.append(h)
    h = torch.stack(states, dim=1)  # [B, K, E, N]
    if hook is not None:
        h = hook(h)
    return (h * C[:, :, None, :]).sum(-1) + D * u


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, hook: Hook | None = None
) -> Tensor:
    """Run the recurrence above over all tokens.

    Args:
        u: input, [B, K, E].
        delta: time steps, [B, K, E], >= 0.
        A: decay rates of the states, [E, N], < 0, so that exp(delta * A) <= 1.
        B: input weights, [B, K, N].
        C: output weights, [B, K, N].
        D: weight of the direct path from u to y, [E], or [B, K, E] for one of each token.
        hook: if given, hook(h) takes the place of all the states h [B, K, E, N] in the sum over n
            (not in the recurrence). Only then are they all kept, by the sequential form.

    Returns:
        y, [B, K, E].
    """
    if torch.is_autocast_enabled(u.device.type):
        # A recurrence adds up the rounding of all its tokens, so it stays in float32.
        with torch.autocast(u.device.type, enabled=False):
            return selective_scan(*(x.float() for x in (u, delta, A, B, C, D)), hook)
    if hook is not None:
        return selective_scan_sequential(u, delta, A, B, C, D, hook)
    return torch.addcmul(_SelectiveScan.apply(u, delta, A, B, C), D, u)


class _SelectiveScan(torch.autograd.Function):
    """y_t = sum_n C_t h_t, tile by tile; backward computes the states again, none are kept.

    With w_t = delta_t u_t, a_t = exp(delta_t A) and dh_t the part of the gradient of h_t that
    comes through y_t, what comes back through a_t is a scan from the last token to the first:

        dh_t = C_t dy_t,    m_t = a_t (dh_t + m_{t+1})

    and the gradients of the arguments are

        dC_t = sum_e h_t dy_t
        dB_t = sum_e (dh_t + m_{t+1}) w_t
        dw_t = sum_n (dh_t + m_{t+1}) B_t,    du_t = dw_t delta_t
        ddelta_t = dw_t u_t + sum_n A m_t h_{t-1}
        dA = sum_{b,t} delta_t m_t h_{t-1}

    Tiles are [b, K, N, e]: with E innermost, all sums run along or across contiguous rows.
    a_t is computed as exp2(delta_t (A log2 e)): on a CPU, PyTorch's exp2 takes a quarter of the
    time of its exp.
    """

    @staticmethod
    def forward(ctx, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        ctx.save_for_backward(u, delta, A, B, C)
        A_log2e = A.t().contiguous() * _LOG2_E  # [N, E]
        w = delta * u
        y = torch.empty_like(w)
        for b, e, (a, h) in _tiles(u, A_log2e, buffers=2):
            torch.mul(delta[b, :, None, e], A_log2e[:, e], out=a).exp2_()
            torch.mul(w[b, :, None, e], B[b, :, :, None], out=h)
            _scan_(a, h)
            y[b, :, e] = torch.matmul(C[b, :, None, :], h).squeeze(2)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        u, delta, A, B, C = ctx.saved_tensors
        A = A.t().contiguous()  # [N, E]
        A_log2e = A * _LOG2_E
        w = delta * u
        # The sums over m_{t+1} are taken at token t + 1, next to m.
        w_before, B_before = _shift(w, 1), _shift(B, 1)
        dC, dB_before, dA = torch.zeros_like(C), torch.zeros_like(B), torch.zeros_like(A)
        dw_before, ddelta = torch.empty_like(w), torch.empty_like(w)
        for b, e, (a, h, m) in _tiles(u, A, buffers=3):
            delta_, dy_ = delta[b, :, None, e], dy[b, :, None, e]
            torch.mul(delta_, A_log2e[:, e], out=a).exp2_()
            torch.mul(w[b, :, None, e], B[b, :, :, None], out=h)
            _scan_(m.copy_(a), h)
            torch.mul(dy_, C[b, :, :, None], out=m).mul_(a)
            _scan_(a, m, reverse=True)

            product = a  # its last use is past
            dC[b] += torch.mul(h, dy_, out=product).sum(3)
            dB_before[b] += torch.mul(m, w_before[b, :, None, e], out=product).sum(3)
            dw_before[b, :, e] = torch.matmul(B_before[b, :, None, :], m).squeeze(2)
            m[:, 1:] *= h[:, :-1]
            m[:, 0] = 0
            ddelta[b, :, e] = torch.mul(m, A[:, e], out=product).sum(2)
            dA[:, e] += m.mul_(delta_).sum((0, 1))
        dw = dy * (B * C).sum(-1, keepdim=True) + _shift(dw_before, -1)
        dB = C * (dy * w).sum(-1, keepdim=True) + _shift(dB_before, -1)
        return dw * delta, ddelta.addcmul_(dw, u), dA.t(), dB, dC


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


def _tiles(u: Tensor, A: Tensor, buffers: int) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Ranges of the batch and of E that cover u [B, K, E], and buffers [b, K, N, e] to work in.

    The buffers are the same memory for every tile: fresh memory costs more than the arithmetic.
    """
    batch, K, E = u.shape
    N = A.shape[0]
    elements = _TILE_ELEMENTS_CPU if u.device.type == "cpu" else _TILE_ELEMENTS_GPU
    e_step = max(1, min(E, elements // (K * N)))
    b_step = max(1, min(batch, elements // (K * N * e_step)))
    memory = [u.new_empty(b_step * K * N * e_step) for _ in range(buffers)]
    for b in range(0, batch, b_step):
        for e in range(0, E, e_step):
            shape = (min(b_step, batch - b), K, N, min(e_step, E - e))
            views = [buffer[: math.prod(shape)].view(shape) for buffer in memory]
            yield slice(b, b + b_step), slice(e, e + e_step), views


def _shift(x: Tensor, by: int) -> Tensor:
    """x [B, K, ...] moved by +1 or -1 tokens, with zeros moving in."""
    shifted = x.roll(by, dims=1)
    shifted[:, 0 if by > 0 else -1] = 0
    return shifted
