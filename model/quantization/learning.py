"""What training needs to learn how to quantize: where the steps start, and how fast they move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.quant_point import Kind
from model.quantization import parameters
from model.quantization.calibrate import Histogram, calibrate
from model.quantization.parameters import clamp_steps, prepare_calibrated
from model.quantization.structure import Quantizable, structure_of
from model.training import optimizer

STEPS = ("calibrated", "lsq")
_HIGH = 127  # largest int8


def start(model: Quantizable, windows: Tensor, steps: str = "calibrated") -> None:
    """Give `model` the parameters of fake quantization, from calibration on windows [n, V, L].

    Args:
        steps: 'calibrated', the steps that the compiler takes by default; or 'lsq', those that
            LSQ starts from, much coarser at 8 bits. Zero points are calibrated.

    Raises:
        ValueError: other steps.
        CalibrationError, FormatError: data or values that no format holds.
    """
    if steps not in STEPS:
        raise ValueError(f"steps: found {steps!r}, expected one of {', '.join(STEPS)}")
    ranges = calibrate(model, model.to_tokens(windows))
    prepare_calibrated(model, ranges)
    if steps == "lsq":
        _set_lsq_steps(model, ranges)


@torch.no_grad()
def _set_lsq_steps(model: Quantizable, ranges: Mapping[str, Histogram]) -> None:
    """Steps of 2 mean|v| / sqrt(127) (arXiv 1902.08153, section 2.1), where that is not 0."""
    structure = structure_of(model)
    for name, point in structure.int8.items():
        step = 2 * ranges[name].mean_abs / _HIGH**0.5
        if step:
            point.scale.fill_(step)
    for name in structure.layers:
        module = model.get_submodule(name)
        steps = 2 * module.weight.abs().flatten(1).mean(1) / _HIGH**0.5
        module.weight_scale.copy_(torch.where(steps > 0, steps, module.weight_scale))
    clamp_steps(model)


def train_zero_points(model: Quantizable) -> None:
    """Train zero points with the steps, where the hardware knows any."""
    for point in structure_of(model).int8.values():
        point.zero_point.requires_grad_(point.kind is not Kind.INT8_SYMMETRIC)


def parameter_groups(model: Quantizable, weight_decay: float, rate: float) -> list[dict[str, Any]]:
    """What an optimizer trains: the weights as ever, and each parameter of fake quantization.

    Adam moves a parameter by about its learning rate, whatever the gradient; a step has to move in
    proportion to itself. So the rate of steps is `rate` times their mean, the geometric one: in it,
    an output without weights, whose step may be anything, counts no more than others. Zero points
    move as far as the ends of the range do when the step changes.
    """
    structure, weights, groups = structure_of(model), [], []
    steps, zero_points = set(parameters.steps(structure)), set(parameters.zero_points(structure))
    for name, parameter in model.named_parameters():
        if parameter not in steps | zero_points:
            weights.append((name, parameter))
        elif parameter.requires_grad:
            is_step = parameter in steps
            size = parameter.detach().log().mean().exp().item() if is_step else _HIGH
            groups.append({"params": [parameter], "lr": rate * size, "weight_decay": 0.0})
    return optimizer.parameter_groups(weights, weight_decay) + groups
