"""Small models, compiled: what the tests of the compiler share.

`one_step_errors` is the sharp comparison between a package and its model. An end-to-end figure
hides a wrong wire behind accumulated noise, so here each instruction is judged alone: the FP32
network runs on the program's own tensors, and each result is compared with what the program made
of the same operands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

import isa
from compiler.compile import Options, compile_model
from golden.host import HostSide
from golden.integer_model import IntegerModel
from isa.package import Package
from model.args import ModelArgs
from model.cmamba import CMamba
from model.published import PublishedCMamba
from model.quant_point import Kind, QuantPoint
from model.quantization.affine import Affine, affine_int8, quantize_weight, weight_scales
from model.quantization.calibrate import Histogram, calibrate
from model.quantization.parameters import prepare_calibrated

SMALL = {
    "num_channels": 3,
    "seq_len": 24,
    "patch_len": 8,
    "stride": 4,
    "forecast_len": 8,
    "d_model": 16,
    "n_layer": 2,
}


@st.composite
def model_args(draw: st.DrawFn, max_layers: int = 2) -> ModelArgs:
    """Shapes that fit every build: odd, prime and one, both topologies and channel modes."""
    patch_len, stride = draw(st.integers(1, 16)), draw(st.integers(1, 8))
    tokens = draw(st.sampled_from([1, 2, 3, 5, 8, 11, 17]))
    d_model = draw(st.integers(1, 40))
    return ModelArgs(
        num_channels=draw(st.integers(1, 6)),
        seq_len=patch_len + stride * (tokens - 1) + draw(st.integers(0, stride - 1)),
        patch_len=patch_len,
        stride=stride,
        forecast_len=draw(st.integers(1, 13)),
        pad_multiple=draw(st.sampled_from([1, 8])),
        d_model=d_model,
        n_layer=draw(st.integers(1, max_layers)),
        d_state=draw(st.integers(1, 20)),
        expand=draw(st.integers(1, 3)),
        dt_rank=draw(st.one_of(st.just("auto"), st.integers(1, 17))),
        d_conv=draw(st.integers(1, 6)),
        conv_bias=draw(st.booleans()),
        bias=draw(st.booleans()),
        reduction_ratio=draw(st.integers(1, min(d_model, 9))),
        topology=draw(st.sampled_from(["stacked", "nested"])),
        channel_mode=draw(st.sampled_from(["mixing", "independent"])),
        instance_norm=draw(st.booleans()),
    )


def options() -> st.SearchStrategy[Options]:
    methods = st.sampled_from(["minmax", "percentile", "mse"])
    return st.builds(Options, method=methods, power_of_two=st.booleans())


def random_model(args: ModelArgs, seed: int = 0) -> CMamba:
    """A model whose blocks matter as after training: at initialization they hardly do."""
    torch.manual_seed(seed)
    model = CMamba(args).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith((".D", "norm.weight", "norm_in.weight", "norm_f.weight")):
                p.mul_(1.0 + 0.5 * torch.randn_like(p))
            elif name.endswith(("x_proj.weight", "out_proj.weight")):
                p.mul_(2.0)
            elif name.endswith("A_log"):
                p.add_(0.5 * torch.randn_like(p))
    return model


def learned_model(args: ModelArgs, seed: int = 0) -> CMamba:
    """A random model that holds number formats: calibrated, and then moved as training moves."""
    model = random_model(args, seed)
    prepare_calibrated(model, calibrate(model, model.to_tokens(random_windows(args))))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith((".scale", ".weight_scale")):
                p.mul_(torch.exp(0.1 * torch.randn_like(p)))
            elif name.endswith(".zero_point") and not is_symmetric(model, name):
                p.add_(torch.randn_like(p)).clamp_(-128, 127)
    return model


def is_symmetric(model: CMamba | PublishedCMamba, zero_point: str) -> bool:
    """Whether a parameter is the zero point of a tensor that knows none."""
    point = model.get_submodule(zero_point.rpartition(".")[0])
    return point.kind is Kind.INT8_SYMMETRIC


def random_windows(args: ModelArgs, count: int = 8, seed: int = 1) -> Tensor:
    """Random walks, [count, V, L]."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(count, args.num_channels, args.seq_len, generator=generator)
    return steps.cumsum(-1) / args.seq_len**0.5


@dataclass(frozen=True)
class Compiled:
    """A package, and everything that it was made of."""

    model: CMamba
    windows: Tensor
    ranges: dict[str, Histogram]
    options: Options
    build: isa.Build
    package: Package

    def trace(self, package: Package | None = None) -> dict[str, Tensor]:
        """Every instruction's tensor on the windows, from `package` or its own."""
        package = package or self.package
        trace: dict[str, Tensor] = {}
        tokens = HostSide(package).tokens(self.windows.numpy())
        IntegerModel(package, self.build).run(tokens, trace)
        return trace

    def int8(self, point: str) -> Affine:
        """The int8 format of a quantization point."""
        ends = self.ranges[point].range(self.options.method)
        return affine_int8(*ends, self.options.power_of_two)

    def forecast(self) -> np.ndarray:
        host = HostSide(self.package)
        y = IntegerModel(self.package, self.build).run(host.tokens(self.windows.numpy()))
        return host.forecast(y, self.windows.numpy())


def compile_random(
    args: ModelArgs,
    options: Options | None = None,
    build: isa.Build | str | None = "default",
    edit: Callable[[dict[str, Tensor]], object] | None = None,
    windows: Tensor | None = None,
    seed: int = 0,
) -> Compiled:
    """Make, edit (a function of the parameters by name), calibrate and compile a random model."""
    model = random_model(args, seed)
    if edit is not None:
        with torch.no_grad():
            edit(dict(model.named_parameters()))
    windows = random_windows(args) if windows is None else windows
    options, build = options or Options(), isa.build(build) if isinstance(build, str) else build
    ranges = calibrate(model, model.to_tokens(windows))
    package = compile_model(model, ranges, options, build)
    return Compiled(model, windows, ranges, options, build, package)


def sqnr(real: np.ndarray, approximate: np.ndarray) -> float:
    """Signal to quantization noise in dB."""
    noise = float(np.square(np.asarray(real, np.float64) - approximate).mean())
    power = float(np.square(np.asarray(real, np.float64)).mean())
    return 10 * np.log10(power / noise) if noise and power else np.inf


@dataclass(frozen=True)
class StepError:
    """How far a result is from FP32 on the same operands, in steps of the result."""

    instruction: str
    point: str
    worst: float  # over the values that are not saturated
    bound: float  # what rounding can add up to
    saturated: float  # share of values at an end of the integer range
    bits: int

    @property
    def excessive(self) -> bool:
        """More than rounding; 16-bit formats have room to spare, so they must not saturate."""
        return not self.worst <= self.bound or (self.bits == 16 and self.saturated > 0.0)


@dataclass(frozen=True)
class _Tensor:
    """A quantization point as the program computed it, its parts (a split head) joined."""

    instruction: str
    real: Tensor  # [iterations, rows, n]
    saturated: Tensor
    scale: float
    bound: float
    bits: int


def _bound(compiled: Compiled, index: int, scale: float, largest: int) -> float:
    """Steps that one instruction may be off: half of one for the last rounding, and its others."""
    package = compiled.package
    i, name = package.instructions[index], package.instruction_name(index)
    mantissa = largest * 2.0**-17  # of the multiplier
    match i.opcode:
        case "LINEAR":
            words = package.array_params[i.param_addr :][: i.n_out]
            # A bias is rounded to whole steps of the accumulator.
            step = float((np.abs(words["multiplier"]) / 2.0 ** words["shift"]).max())
            constant = 0.5 * i.add_position  # so is the positional encoding
            return 0.51 + 0.5 * step + constant + mantissa
        case "CONV":  # int8 before the table, where SiLU's slope is at most 1.1
            before = name.replace("conv1d", "q_conv")
            return 0.51 + 1.1 * compiled.int8(before).scale / scale
        case "NORM":  # the reciprocal square root has 17 bits too, and epsilon is an integer
            return 0.51 + 2 * mantissa + largest * 0.25 / i.eps
        case "SCALE":  # so has the table's sigmoid
            return 0.51 + mantissa
        case "SCAN":
            return 0.75
        case _:
            return 0.51


def _program_tensors(compiled: Compiled, trace: dict[str, Tensor]) -> dict[str, _Tensor]:
    """By quantization point."""
    parts: dict[str, list[tuple[int, _Tensor]]] = {}
    for index, entry in enumerate(compiled.package.metadata["instructions"]):
        if entry["opcode"] == "SEND":
            continue
        for part in entry["tensors"]:
            q = trace[entry["name"]][..., part["start"] : part["start"] + part["size"]]
            limits = torch.iinfo(q.dtype)
            tensor = _Tensor(
                entry["name"],
                (q.double() - part["zero_point"]) * part["scale"],
                (q == limits.min) | (q == limits.max),
                part["scale"],
                _bound(compiled, index, part["scale"], limits.max),
                limits.bits,
            )
            parts.setdefault(part["point"], []).append((part.get("point_start", 0), tensor))
    result = {}
    for point, items in parts.items():
        items.sort(key=lambda item: item[0])
        tensors = [tensor for _, tensor in items]
        result[point] = replace(
            tensors[0],
            real=torch.cat([t.real for t in tensors], dim=-1),
            saturated=torch.cat([t.saturated for t in tensors], dim=-1),
        )
    return result


def one_step_errors(compiled: Compiled, trace: dict[str, Tensor] | None = None) -> list[StepError]:
    """Compare each instruction with FP32 on the program's own operands.

    A hook on every quantization point notes the difference and lets the network go on with the
    program's tensor. Weights are those of the int8 grid, so only rounding is left.
    """
    trace = compiled.trace() if trace is None else trace
    tensors = _program_tensors(compiled, trace)

    model = CMamba(compiled.model.args).double().eval()
    model.load_state_dict(compiled.model.state_dict())
    model.positions = compiled.model.positions.double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim >= 2 and not name.endswith("A_log"):
                rows = p.reshape(len(p), -1).numpy()
                scales = weight_scales(rows, compiled.options.power_of_two)
                q = quantize_weight(rows, scales)
                p.copy_(torch.from_numpy(q * scales[:, None]).reshape(p.shape))
    errors: dict[str, StepError] = {}

    def compare(point: str) -> Callable[[Tensor], Tensor]:
        t = tensors[point]

        def hook(x: Tensor) -> Tensor:
            y, ends = t.real.reshape(x.shape), t.saturated.reshape(x.shape)
            worst = float(((x - y).abs() * ~ends).max()) / t.scale
            share = float(ends.double().mean())
            errors[point] = StepError(t.instruction, point, worst, t.bound, share, t.bits)
            return y

        return hook

    def round_to_int8(point: str) -> Callable[[Tensor], Tensor]:
        affine = compiled.int8(point)
        return lambda x: torch.from_numpy(affine.dequantize(affine.quantize(x.numpy())))

    for name, module in model.named_modules():
        if not isinstance(module, QuantPoint):
            continue
        if name in tensors:
            module.hook = compare(name)
        elif name.endswith("q_conv"):  # inside CONV, before its table
            module.hook = round_to_int8(name)
    with torch.no_grad():
        model.core(model.to_tokens(compiled.windows.double()))
    missing = tensors.keys() - errors.keys()
    assert not missing, f"no such quantization point: {missing}"
    return list(errors.values())
