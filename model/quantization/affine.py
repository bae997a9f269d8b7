"""From real numbers to the integers of the contract: scales, multipliers, weights.

Pure functions in float64; the arithmetic that uses their results is in docs/numerics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import isa

MAX_SHIFT = isa.LIMITS["shift"]
BIAS_LIMIT = 2 ** (isa.LIMITS["bias_bits"] - 1)  # half of what a parameter word may hold
MANTISSA_BITS = 17  # a multiplier is 2^16 <= |m| < 2^17
_MAX_MULTIPLIER = (1 << MANTISSA_BITS) - 1
# Scales are parameters of models and factors on the host, both in float32.
LEAST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Affine:
    """real = scale * (q - zero_point), q of `bits` bits, signed."""

    scale: float
    zero_point: int = 0
    bits: int = 8

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """Nearest integers, ties to even, saturated; int64."""
        low, high = -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return np.clip(np.rint(x / self.scale) + self.zero_point, low, high).astype(np.int64)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        return (np.asarray(q, dtype=np.float64) - self.zero_point) * self.scale


def scale_of(step: float, power_of_two: bool) -> float:
    """The least usable scale that is at least `step` > 0."""
    step = max(step, LEAST_SCALE)
    return float(2.0 ** np.ceil(np.log2(step))) if power_of_two else float(step)


def affine_int8(low: float, high: float, power_of_two: bool = False) -> Affine:
    """Asymmetric int8 for the range [low, high], which contains 0.

    A tensor that is always zero gets the range [-1, 1].
    """
    if high <= low:
        return symmetric(0.0, 8)
    scale = scale_of((high - low) / 255.0, power_of_two)
    zero_point = int(np.clip(np.rint(-128.0 - low / scale), -128, 127))
    return Affine(scale, zero_point)


def symmetric(max_abs: float, bits: int, power_of_two: bool = False) -> Affine:
    """Symmetric signed integers of `bits` bits for [-max_abs, max_abs], or [-1, 1] if that is 0."""
    if max_abs <= 0.0:
        return Affine(2.0 ** (1 - bits), 0, bits)
    return Affine(scale_of(max_abs / ((1 << (bits - 1)) - 1), power_of_two), 0, bits)


def weight_scales(weight: np.ndarray, power_of_two: bool = False) -> np.ndarray:
    """Scale of each output (axis 0) for the range of its weights: [n_out].

    An output without weights gets the scale 1.
    """
    max_abs = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    return np.array([scale_of(m / 127.0, power_of_two) if m else 1.0 for m in max_abs])


def room_for_bias(
    weight: np.ndarray, bias: np.ndarray | None, source_scale: float, scales: np.ndarray
) -> np.ndarray:
    """`scales` [n_out] of weights [n_out, ...], coarser where the bias [n_out] needs it.

    A bias counts in steps of the accumulator, and must fit a parameter word. An output without
    weights gets the scale that suits its bias.
    """
    if bias is None:
        return scales
    scales = np.where((bias != 0) & ~weight.reshape(len(weight), -1).any(axis=1), 0.0, scales)
    least = np.abs(bias) / (source_scale * BIAS_LIMIT)
    coarser = 2.0 ** np.ceil(np.log2(np.maximum(least, LEAST_SCALE)))
    return np.where(scales < least, coarser, scales)


def quantize_weight(weight: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Symmetric int8, as int64, with a scale for each output (axis 0)."""
    shape = (-1,) + (1,) * (weight.ndim - 1)
    return np.clip(np.rint(weight / scales.reshape(shape)), -127, 127).astype(np.int64)


def multiplier(ratio: float) -> tuple[int, int]:
    """(m, shift) with m / 2^shift nearest to `ratio`: the two fields of a parameter word.

    |ratio| saturates at 2^17 - 1. That changes no result: even a smaller one takes every
    accumulator but 0 to the ends of the 16-bit range, whatever is added.
    """
    if ratio == 0.0:
        return 0, 0
    if abs(ratio) >= _MAX_MULTIPLIER:
        return int(np.copysign(_MAX_MULTIPLIER, ratio)), 0
    _, exponent = np.frexp(ratio)
    shift = min(MANTISSA_BITS - int(exponent), MAX_SHIFT)
    m = int(np.rint(ratio * 2.0**shift))
    if abs(m) > _MAX_MULTIPLIER:
        m, shift = m // 2, shift - 1
    return m, shift
