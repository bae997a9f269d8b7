"""What goes in and comes out, described: names, shapes, types and scales."""

from __future__ import annotations

from dataclasses import dataclass

from golden.host import HostSide
from isa.package import Package


@dataclass(frozen=True)
class Tensor:
    """An input or output. A real value of the stream is ``scale * (q - zero_point)``; with instance
    normalization it is that of a normalized window.

    Attributes:
        name: x or y.
        shape: of `forecast` and `submit`, without the batch.
        dtype: the same.
        stream_shape: of `run` and `Buffers`, for one forecast.
        stream_dtype: the same.
        scale, zero_point: of the stream's values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stream_shape: tuple[int, ...]
    stream_dtype: str
    scale: float
    zero_point: int


def describe(package: Package, host: HostSide) -> tuple[Tensor, Tensor]:
    """Input and output of a package."""
    sequences = (package.iterations, package.n_sequences)
    return (
        Tensor(
            name="x",
            shape=host.window_shape,
            dtype="float32",
            stream_shape=(*sequences, package.n_positions, package.token_bytes),
            stream_dtype="int8",
            scale=package.metadata["input"]["scale"],
            zero_point=package.metadata["input"]["zero_point"],
        ),
        Tensor(
            name="y",
            shape=host.forecast_shape,
            dtype="float32",
            stream_shape=(*sequences, package.forecast_elements),
            stream_dtype="int16",
            scale=package.metadata["output"]["scale"],
            zero_point=0,
        ),
    )
