"""The arithmetic contract (``docs/numerics.md``) in torch integers, exact and without floats.

Values are int64 tensors with any number of leading batch dimensions, whatever the width that the
contract gives them; results are int64 as well. The names are the contract's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isa import decay_tables

RECIPROCAL_BITS = 17


class Params(NamedTuple):
    """Requantization parameters, int64 [n] each."""

    bias: Tensor
    multiplier: Tensor
    shift: Tensor
    zero_point: Tensor

    @classmethod
    def from_array(cls, words: np.ndarray) -> Params:
        """From a structured array [n] with these fields (`isa.words.PARAM_DTYPE`)."""
        return cls(*(torch.from_numpy(words[name].astype(np.int64)) for name in cls._fields))


def saturate(x: Tensor, bits: int) -> Tensor:
    """sat_n(x): clamp to the range of a signed integer of ``bits`` bits."""
    return x.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def rne_shift(x: Tensor, shift: Tensor | int) -> Tensor:
    """rne(x, s): x / 2^s to the nearest integer, ties to the even one.

    ``shift`` is 0 to 62, a tensor broadcasts against ``x``; |x| + 2^(shift - 1) stays below 2^63.
    """
    if isinstance(shift, int):
        if shift == 0:
            return x
        return (x + ((1 << (shift - 1)) - 1) + ((x >> shift) & 1)) >> shift
    half = (1 << shift) >> 1
    even = ~(x >> shift) & 1
    return (x + half - (even & (half != 0))) >> shift


def requantize(a: Tensor, params: Params) -> Tensor:
    """rne(a * multiplier, shift) + zero_point, not yet clamped; ``a`` is int32 [..., n]."""
    return rne_shift(a * params.multiplier, params.shift) + params.zero_point


_HIGH = torch.tensor(decay_tables.HIGH)
_LOW = torch.tensor(decay_tables.LOW)


def _decay(t: Tensor) -> Tensor:
    return rne_shift(_HIGH[(t >> 6) & 63] * _LOW[t & 63], 16 + (t >> 12).clamp(max=18))


# The exponent is clamped at 18, where at most 2^32 is shifted by 34 bits: zero from there on.
_DECAY = _decay(torch.arange((18 << 12) + 1))


def decay(t: Tensor) -> Tensor:
    """2^-(t / 4096) with 16 fraction bits, 0 to 65536, for t >= 0."""
    return _DECAY[t.clamp(max=18 << 12)]


def _bit_length(x: Tensor) -> Tensor:
    """Bits of x, 0 <= x < 2^48."""
    length = torch.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        more = (x >> step) > 0
        length += more * step
        x = torch.where(more, x >> step, x)
    return length + x


def reciprocal_sqrt(s: Tensor) -> tuple[Tensor, Tensor]:
    """(r, e) of NORM: r is about 2^32 / sqrt(s / 4^e), with 2^30 <= s / 4^e < 2^32.

    1 <= s < 2^48. r^2 * m <= 2^64 passes int64, so r^2 is compared with floor(2^64 / m) instead.
    """
    e = (_bit_length(s) - 31) >> 1
    m = torch.where(e >= 0, s >> (2 * e.clamp(min=0)), s << (-2 * e).clamp(min=0))
    quarter, remainder = (1 << 62) // m, (1 << 62) % m
    limit = 4 * quarter + 4 * remainder // m
    r = torch.zeros_like(m)
    for bit in reversed(range(RECIPROCAL_BITS)):
        more = r + (1 << bit)
        r = torch.where(more * more <= limit, more, r)
    return r, e


def multiply_accumulate(x: Tensor, weight: Tensor) -> Tensor:
    """sum_i weight[o][i] * x[i]: int8 [..., n_in] and int8 [n_out, n_in] to int32 [..., n_out].

    ``weight`` may come as int32, which saves a conversion; the sum fits (docs/numerics.md).
    """
    return (x.int() @ weight.int().T).long()


def linear(
    x: Tensor,
    weight: Tensor,
    params: Params,
    addend: Tensor | None = None,
    *,
    partial: Tensor | None = None,
    wide: bool = False,
    relu: bool = False,
) -> Tensor:
    """LINEAR for one token.

    Args:
        x: int8 [..., n_in].
        weight: int8 [n_out, n_in].
        params: [n_out].
        addend: int16 [..., n_out], added before the clamp.
        partial: sum over the positions before this one, [..., n_out] (``reduce``).
        wide: int16 result.
        relu: clamp below at the zero point.

    Returns:
        [..., n_out].
    """
    acc = params.bias + multiply_accumulate(x, weight)
    if partial is not None:
        acc = acc + partial
    y = requantize(acc, params)
    if addend is not None:
        y = y + addend
    y = saturate(y, 16 if wide else 8)
    return torch.maximum(y, params.zero_point) if relu else y


def conv(window: Tensor, taps: Tensor, params: Params, table: Tensor) -> Tensor:
    """CONV for one token.

    Args:
        window: int8 [..., kernel, n], the oldest token first, ``pad`` before position 0.
        taps: int8 [n, kernel].
        params: [n].
        table: int8 [256], for -128 to 127.

    Returns:
        int8 [..., n].
    """
    acc = params.bias + (window * taps.T).sum(-2)
    return table[saturate(requantize(acc, params), 8) + 128]


def scan_step(
    h: Tensor,
    u: Tensor,
    z: Tensor,
    dt: Tensor,
    b: Tensor,
    c: Tensor,
    rates: Tensor,
    params: Params,
    softplus_table: Tensor,
    silu_table: Tensor,
    *,
    skip: Tensor | None = None,
    u_zero_point: int,
    exp_shift: int,
    state_shift: int,
    skip_shift: int,
    y_shift: int,
) -> tuple[Tensor, Tensor]:
    """SCAN for one token.

    Args:
        h: int24 [..., n, states], the state after the token before (zero at position 0).
        u, z, dt: int8 [..., n].
        b, c: int8 [..., states].
        rates: uint16 [n, states], decay rates.
        params: [n]; the bias is the skip weight D.
        skip: the token's skip weights, without their zero point, [..., n], in place of those.
        softplus_table: uint16 [256]; silu_table: int16 [256].
        u_zero_point, exp_shift, state_shift, skip_shift, y_shift: fields of the instruction.

    Returns:
        (output int8 [..., n], new state int24 [..., n, states]).
    """
    delta = softplus_table[dt + 128]
    w = u - u_zero_point
    g = decay(rne_shift(delta.unsqueeze(-1) * rates, exp_shift))
    drive = ((delta * w) << (16 - state_shift)).unsqueeze(-1) * b.unsqueeze(-2)
    h = saturate(rne_shift(g * h + drive, 16), 24)
    weight = params.bias if skip is None else skip
    s = (h * c.unsqueeze(-2)).sum(-1) + ((weight * w) << skip_shift)
    y = saturate(rne_shift(s, y_shift), 16)
    return saturate(requantize(y * silu_table[z + 128], params), 8), h


def norm(x: Tensor, eps: int, params: Params, *, wide: bool = False) -> Tensor:
    """NORM for one token: int16 [..., n] to int8, or int16 where ``wide``."""
    s = eps + (x * x).sum(-1, keepdim=True)
    r, e = reciprocal_sqrt(s)
    v = rne_shift(x * r * 64, 15 + e)
    return saturate(requantize(v, params), 16 if wide else 8)


def pool(total: Tensor, maximum: Tensor, params: Params) -> Tensor:
    """POOL at the last position: sum and maximum over the tokens, [..., n] each, to [..., 2, n].

    ``params`` has two words: mean, maximum.
    """
    rows = torch.stack((total, maximum), -2)
    words = Params(*(field.unsqueeze(-1) for field in params))
    return saturate(requantize(rows, words), 8)


def pool_features(x: Tensor, params: Params) -> Tensor:
    """POOL_FEATURES for one token: int16 [..., n] to its mean and maximum, int8 [..., 2].

    ``params`` has two words: mean, maximum.
    """
    return saturate(requantize(torch.stack((x.sum(-1), x.amax(-1)), -1), params), 8)


def modulate(
    x: Tensor, scale: Tensor, shift: Tensor, addend: Tensor, params: Params, *, wide: bool = False
) -> Tensor:
    """MODULATE for one token.

    Args:
        x, addend: int16 [..., n].
        scale, shift: entries of the tables, uint16 and int16, [..., 1].
        params: one word; the bias is not used.
        wide: int16 result.

    Returns:
        int8, or int16 where ``wide``, [..., n].
    """
    v = rne_shift(x * scale + ((shift + addend) << 16), 16)
    return saturate(requantize(v, params), 16 if wide else 8)


def scale(x: Tensor, logit: Tensor, table: Tensor) -> Tensor:
    """SCALE: int16 [..., n] times a uint16 table [256] of int8 [..., n], to int16."""
    return saturate(rne_shift(x * table[logit + 128], 16), 16)
