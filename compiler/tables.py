"""The tables of a package: a function of an int8 tensor, entry by entry.

Pure functions in float64; entry i belongs to the int8 value i - 128 (docs/numerics.md).
"""

from __future__ import annotations

import numpy as np

from model.quantization.activations import Function
from model.quantization.affine import Affine


def int8_table(function: Function, source: Affine, target: Affine) -> np.ndarray:
    """`function` as a table from int8 to int8: 256 int8 values for -128..127."""
    return target.quantize(function(source.dequantize(np.arange(-128, 128)))).astype(np.int8)


def uint16_table(function: Function, source: Affine, scale: float) -> np.ndarray:
    """`function` >= 0 as a table from int8 to uint16 in units of `scale`."""
    values = np.rint(function(source.dequantize(np.arange(-128, 128))) / scale)
    return np.clip(values, 0, 65535).astype(np.uint16)


def int16_table(function: Function, source: Affine, scale: float) -> np.ndarray:
    """`function` as a table from int8 to int16 in units of `scale`; the bits as uint16."""
    values = np.rint(function(source.dequantize(np.arange(-128, 128))) / scale)
    return np.clip(values, -32768, 32767).astype(np.int16).view(np.uint16)
