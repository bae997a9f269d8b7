"""What fake quantization keeps in a model: steps, zero points, and the extremes of wide tensors.

They are parameters and buffers of the `QuantPoint`s and layers that they belong to, so that they
train, move and are saved with the weights. A checkpoint that has them needs no calibration.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from model.quantization.affine import Affine
from model.quantization.calibrate import Histogram
from model.quantization.formats import (
    Formats,
    calibrated_formats,
    derive_formats,
    scan_formats,
)
from model.quantization.structure import Quantizable, is_symmetric, structure_of

# Names of a state_dict that end so are not weights.
SUFFIXES = (".scale", ".zero_point", ".weight_scale", ".max_abs")


def declare(model: Quantizable) -> None:
    """Give `model` the parameters, with values that are still to come."""
    like = model.output_layer.weight
    for name in structure_of(model.args).int8_points():
        point = model.get_submodule(name)
        point.scale = nn.Parameter(like.new_ones(()))
        point.zero_point = nn.Parameter(like.new_zeros(()), requires_grad=False)
    for layer in structure_of(model.args).layers():
        module = model.get_submodule(layer.name)
        module.weight_scale = nn.Parameter(like.new_ones(len(module.weight)))
    for name in structure_of(model.args).wide_points():
        model.get_submodule(name).max_abs = like.new_zeros(())


@torch.no_grad()
def prepare(model: Quantizable, formats: Formats, extremes: dict[str, float]) -> None:
    """Give `model` the parameters with the values of `formats`, and of the wide points' extremes.

    Steps are trained; zero points only once their `requires_grad` is set.
    """
    declare(model)
    for name in structure_of(model.args).int8_points():
        point = model.get_submodule(name)
        point.scale.fill_(formats[name].scale)
        point.zero_point.fill_(formats[name].zero_point)
    for layer in structure_of(model.args).layers():
        scales = torch.from_numpy(formats.weights[layer.name])
        model.get_submodule(layer.name).weight_scale.copy_(scales)
    for name in structure_of(model.args).wide_points():
        model.get_submodule(name).max_abs.fill_(extremes[name])


def prepare_calibrated(
    model: Quantizable, ranges: dict[str, Histogram], method: str = "mse"
) -> None:
    """`prepare` with what calibration asks for. Raises FormatError."""
    extremes = {name: ranges[name].max_abs for name in structure_of(model.args).wide_points()}
    prepare(model, calibrated_formats(model, ranges, method), extremes)


def is_prepared(model: Quantizable) -> bool:
    """Whether `model` has the parameters."""
    return model.q_input.scale is not None


def require_prepared(model: Quantizable) -> None:
    """Raises ValueError unless `model` has the parameters."""
    if not is_prepared(model):
        raise ValueError("the model has no quantization parameters: calibrate it first")


def faults(model: Quantizable) -> Iterator[str]:
    """What is wrong with the values of a model's parameters, as those of a file may be."""
    for name in structure_of(model.args).int8_points():
        point = model.get_submodule(name)
        yield from _not_positive(f"{name}.scale", point.scale)
        zero_point, allowed = point.zero_point.item(), "0" if is_symmetric(name) else "-128 to 127"
        if not (zero_point == 0 if is_symmetric(name) else -128 <= round(zero_point) <= 127):
            yield f"{name}.zero_point: found {zero_point:g}, expected {allowed}"
    for layer in structure_of(model.args).layers():
        scales = model.get_submodule(layer.name).weight_scale
        yield from _not_positive(f"{layer.name}.weight_scale", scales)
    for name in structure_of(model.args).wide_points():
        if (max_abs := model.get_submodule(name).max_abs.item()) < 0:
            yield f"{name}.max_abs: found {max_abs:g}, expected at least 0"


def _not_positive(name: str, values: Tensor) -> Iterator[str]:
    if not (values > 0).all():
        yield f"{name}: found {values.min().item():g}, expected above 0"


def learned_formats(model: Quantizable) -> Formats:
    """The formats of a model with the parameters, as they are now.

    Raises:
        FormatError: values that the formats cannot hold.
        ValueError: the model has none.
    """
    require_prepared(model)
    affines = {name: affine(model, name) for name in structure_of(model.args).int8_points()}
    weights = {
        layer.name: as_numpy(model.get_submodule(layer.name).weight_scale)
        for layer in structure_of(model.args).layers()
    }
    return derive_formats(model, affines, weights, extremes(model))


@torch.no_grad()
def clamp_steps(model: Quantizable) -> None:
    """Keep steps and zero points to what the formats hold: for after each step of the optimizer.

    Steps are positive, zero points in int8, and the steps of a scan as coarse as it needs them.
    Raises FormatError.
    """
    for name, parameter in model.named_parameters():
        if name.endswith((".scale", ".weight_scale")):
            parameter.clamp_(min=torch.finfo(parameter.dtype).tiny)
        elif name.endswith(".zero_point"):
            parameter.clamp_(-128, 127)
    largest = extremes(model)
    for scan in structure_of(model.args).scans():
        before = scan_points(model, scan)
        after = dict(before)
        scan_formats(model, scan, after, largest)
        for point in after:
            if after[point] != before[point]:
                model.get_submodule(point).scale.fill_(after[point].scale)


def affine(model: Quantizable, point: str) -> Affine:
    """The format at an int8 point."""
    module = model.get_submodule(point)
    return Affine(module.scale.item(), round(module.zero_point.item()))


def scan_points(model: Quantizable, scan: str) -> dict[str, Affine]:
    """The formats that `formats.scan_formats` of a module asks for, by point."""
    points = structure_of(model.args).int8_points()
    return {point: affine(model, point) for point in points if point.startswith(f"{scan}.")}


def extremes(model: Quantizable) -> dict[str, float]:
    """Largest absolute values at the wide points."""
    return {
        name: model.get_submodule(name).max_abs.item()
        for name in structure_of(model.args).wide_points()
    }


def as_numpy(x: Tensor) -> np.ndarray:
    """float64."""
    return x.detach().cpu().double().numpy()
