"""The fakeq forward and the integer program, side by side."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch
from torch import Tensor

import isa
from compiler.compile import compile_learned
from golden.host import HostSide
from golden.integer_model import IntegerModel
from model.quant_point import QuantPoint
from model.quantization.fake import set_quant_mode
from model.quantization.structure import Quantizable
from tests.compiled_models import random_windows


def run_both(
    model: Quantizable,
    dtype: torch.dtype,
    n_windows: int = 2,
    windows: Tensor | None = None,
    build: str = "default",
) -> SimpleNamespace:
    """Tensors by quantization point: `integer` of the program, `real` of the fakeq forward in its
    integers.

    `model` holds number formats; the fakeq forward is in `dtype`. Without `windows`, random ones.
    """
    package = compile_learned(model, isa.build(build))
    if windows is None:
        windows = random_windows(model.args, n_windows, seed=5)
    tokens = HostSide(package).tokens(windows.numpy())
    trace = {}
    IntegerModel(package, build).run(tokens, trace)

    fake = copy.deepcopy(model).to(dtype).eval()
    fake.positions = fake.positions.to(dtype)
    set_quant_mode(fake, "fakeq")
    seen = {}

    def watch(name, hook):
        def watched(x):
            seen[name] = hook(x)
            return seen[name]

        return watched

    for name, point in fake.named_modules():
        if isinstance(point, QuantPoint) and point.hook is not None:
            point.hook = watch(name, point.hook)
    source = package.metadata["input"]
    integers = torch.from_numpy(tokens).flatten(0, 1).double()
    x = (integers - source["zero_point"]) * source["scale"]
    with torch.no_grad():
        fake.core(x.to(dtype))

    rows, steps = {}, {}
    for entry in package.metadata["instructions"]:
        for part in entry["tensors"] if entry["opcode"] != "SEND" else ():
            point, columns = part["point"], slice(part["start"], part["start"] + part["size"])
            # Sequences that take turns have a SCAN each.
            rows.setdefault(point, []).append(trace[entry["name"]][..., columns].double())
            steps[point] = seen[point].double() / part["scale"] + part["zero_point"]
    integer = {point: torch.cat(parts, 1) for point, parts in rows.items()}
    real = {point: steps[point].reshape(q.shape) for point, q in integer.items()}
    return SimpleNamespace(integer=integer, real=real)
