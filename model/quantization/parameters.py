"""What fake quantization keeps in a model: steps, zero points, and the extremes of wide tensors.

They are parameters and buffers of the `QuantPoint`s and layers that they belong to, so that they
train, move and are saved with the weights. A checkpoint that has them needs no calibration.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from model.quant_point import Kind, QuantPoint
from model.quantization.affine import Affine
from model.quantization.calibrate import Histogram
from model.quantization.formats import (
    Formats,
    calibrated_formats,
    derive_formats,
    scan_formats,
)
from model.quantization.structure import Quantizable, Scan, Structure, structure_of

# Names of a file's tensors that end so are not weights.
SUFFIXES = (".scale", ".zero_point", ".weight_scale", ".max_abs")


def declare(model: Quantizable) -> None:
    """Give `model` the parameters, with values that are still to come."""
    structure, like = structure_of(model), model.output_layer.weight
    for point in structure.int8.values():
        point.scale = nn.Parameter(like.new_ones(()))
        point.zero_point = nn.Parameter(like.new_zeros(()), requires_grad=False)
    for name in structure.layers:
        module = model.get_submodule(name)
        module.weight_scale = nn.Parameter(like.new_ones(len(module.weight)))
    for point in structure.extremes.values():
        point.max_abs = like.new_zeros(())


@torch.no_grad()
def prepare(model: Quantizable, formats: Formats, extremes: dict[str, float]) -> None:
    """Give `model` the parameters with the values of `formats`, and of the wide points' extremes.

    Steps are trained; zero points only once their `requires_grad` is set.
    """
    declare(model)
    structure = structure_of(model)
    for name, point in structure.int8.items():
        point.scale.fill_(formats[name].scale)
        point.zero_point.fill_(formats[name].zero_point)
    for name in structure.layers:
        scales = torch.from_numpy(formats.weights[name])
        model.get_submodule(name).weight_scale.copy_(scales)
    for name, point in structure.extremes.items():
        point.max_abs.fill_(extremes[name])


def prepare_calibrated(
    model: Quantizable, ranges: dict[str, Histogram], method: str = "mse"
) -> None:
    """`prepare` with what calibration asks for. Raises FormatError."""
    structure = structure_of(model)
    extremes = {name: ranges[name].max_abs for name in structure.extremes}
    prepare(model, calibrated_formats(structure, ranges, method), extremes)


def is_prepared(model: Quantizable) -> bool:
    """Whether `model` has the parameters."""
    return model.q_input.scale is not None


def require_prepared(model: Quantizable) -> None:
    """Raises ValueError unless `model` has the parameters."""
    if not is_prepared(model):
        raise ValueError("the model has no quantization parameters: calibrate it first")


def faults(model: Quantizable) -> Iterator[str]:
    """What is wrong with the values of a model's parameters, as those of a file may be."""
    structure = structure_of(model)
    for name, point in structure.int8.items():
        yield from _not_positive(f"{name}.scale", point.scale)
        zero_point, symmetric = point.zero_point.item(), point.kind is Kind.INT8_SYMMETRIC
        if not (zero_point == 0 if symmetric else -128 <= round(zero_point) <= 127):
            allowed = "0" if symmetric else "-128 to 127"
            yield f"{name}.zero_point: found {zero_point:g}, expected {allowed}"
    for name in structure.layers:
        scales = model.get_submodule(name).weight_scale
        yield from _not_positive(f"{name}.weight_scale", scales)
    for name, point in structure.extremes.items():
        if (max_abs := point.max_abs.item()) < 0:
            yield f"{name}.max_abs: found {max_abs:g}, expected at least 0"


def _not_positive(name: str, values: Tensor) -> Iterator[str]:
    if not (values > 0).all():
        yield f"{name}: found {values.min().item():g}, expected above 0"


def learned_formats(structure: Structure) -> Formats:
    """The formats of a model with the parameters, as they are now.

    Raises:
        FormatError: values that the formats cannot hold.
        ValueError: the model has none.
    """
    model = structure.model
    require_prepared(model)
    affines = {name: affine(point) for name, point in structure.int8.items()}
    weights = {name: as_numpy(model.get_submodule(name).weight_scale) for name in structure.layers}
    return derive_formats(structure, affines, weights, extremes(structure))


@torch.no_grad()
def clamp_steps(model: Quantizable) -> None:
    """Keep steps and zero points to what the formats hold: for after each step of the optimizer.

    Steps are positive, zero points in int8, and the steps of a scan as coarse as it needs them.
    Raises FormatError.
    """
    structure = structure_of(model)
    for step in steps(structure):
        step.clamp_(min=torch.finfo(step.dtype).tiny)
    for zero_point in zero_points(structure):
        zero_point.clamp_(-128, 127)
    largest = extremes(structure)
    for scan in structure.scans.values():
        before = scan_points(structure, scan)
        after = dict(before)
        scan_formats(model, scan, after, largest)
        for point in after:
            if after[point] != before[point]:
                structure.int8[point].scale.fill_(after[point].scale)


def steps(structure: Structure) -> list[nn.Parameter]:
    """The steps of int8 tensors and of weights."""
    layers = map(structure.model.get_submodule, structure.layers)
    return [point.scale for point in structure.int8.values()] + [m.weight_scale for m in layers]


def zero_points(structure: Structure) -> list[nn.Parameter]:
    """The zero points of int8 tensors."""
    return [point.zero_point for point in structure.int8.values()]


def affine(point: QuantPoint) -> Affine:
    """The format at an int8 point."""
    return Affine(point.scale.item(), round(point.zero_point.item()))


def scan_points(structure: Structure, scan: Scan) -> dict[str, Affine]:
    """The formats that `formats.scan_formats` asks for, by point."""
    return {name: affine(structure.int8[name]) for name in scan.operands}


def extremes(structure: Structure) -> dict[str, float]:
    """Largest absolute values at the points of `structure.extremes`."""
    return {name: point.max_abs.item() for name, point in structure.extremes.items()}


def as_numpy(x: Tensor) -> np.ndarray:
    """float64."""
    return x.detach().cpu().double().numpy()
