"""What the quantization of a model is about: its operations, and the points between them.

    operation    in the forward                         an instruction
    Layer        QuantLinear, QuantDepthwiseConv        LINEAR, CONV
    Norm         RMSNorm                                NORM
    Scan         selective_scan and its gate            SCAN
    Pool         mean and maximum                       POOL, POOL_FEATURES
    Gate         sigmoid of logits times a tensor       SCALE, MODULATE
    Activation   a function behind no layer             CONV of one tap

`structure_of(model)` tells a network once. Calibration, formats and fake quantization do what it
says; `model.quantization.fake` has a hook for each kind of operation, and for each `Kind` of point.
The compiler writes the instructions, for these points. Points and layers are named as the model's
modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, singledispatch

from model.args import ModelArgs
from model.cmamba import CMamba
from model.folded_regressor import FoldedRegressor
from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.quant_point import QuantPoint

Quantizable = CMamba | PublishedCMamba

RESIDUAL = "q_residual.0"  # its format is that of the whole residual stream


@dataclass(frozen=True)
class Group:
    """Consecutive outputs of a layer that are one tensor, with one scale."""

    point: str
    start: int
    size: int


@dataclass(frozen=True)
class Layer:
    """A layer with weights: the points that it reads, and what its outputs are.

    Of several sources, each is one index of the input's first dimension. `positions` inputs, each
    with these weights, are summed before the one rounding. `activated`: the point behind the
    activation that the same instruction computes, if any.
    """

    name: str
    sources: tuple[str, ...]
    groups: tuple[Group, ...]
    positions: int = 1
    opcode: str = "LINEAR"
    activated: str = ""

    @property
    def results(self) -> tuple[str, ...]:
        return (self.activated,) if self.activated else tuple(g.point for g in self.groups)

    def group(self, point: str) -> Group:
        """The outputs that are the tensor at a point."""
        return next(group for group in self.groups if group.point == point)


@dataclass(frozen=True)
class Norm:
    """An RMSNorm of the tensor at `source`, to that at `point`."""

    name: str
    source: str
    point: str
    opcode = "NORM"

    @property
    def results(self) -> tuple[str, ...]:
        return (self.point,)


@dataclass(frozen=True)
class Scan:
    """The selective scan of module `name`, from softplus to the gate."""

    name: str
    opcode = "SCAN"

    @property
    def results(self) -> tuple[str, ...]:
        return (f"{self.name}.q_gated",)


@dataclass(frozen=True)
class Pool:
    """Means and maxima of the tensor at `source`.

    counts: for each point of a result [B, n, D], of how many each of the n is the mean, or 1 for a
    maximum.
    """

    opcode: str
    source: str
    counts: dict[str, tuple[int, ...]]

    @property
    def results(self) -> tuple[str, ...]:
        return tuple(self.counts)


@dataclass(frozen=True)
class Gate:
    """The tensor at `source` times `factor`, plus `offset`, and so to the scale of `point`.

    Both are sigmoids inside the instruction.
    """

    opcode: str
    source: str
    factor: str
    point: str
    offset: str = ""

    @property
    def results(self) -> tuple[str, ...]:
        return (self.point,)


@dataclass(frozen=True)
class Activation:
    """A function of one tensor, to that at `point`."""

    name: str
    point: str
    opcode = "CONV"

    @property
    def results(self) -> tuple[str, ...]:
        return (self.point,)


Operation = Layer | Norm | Scan | Pool | Gate | Activation


class Structure:
    """Of one model.

    `coupled`: the sequences of a window depend on each other, and the core takes them together.
    """

    def __init__(self, model: Quantizable, operations: Iterator[Operation], coupled: bool) -> None:
        self.model = model
        self.args = model.args
        self.coupled = coupled
        self.operations = tuple(operations)  # in the order of the forward
        self.points = points_of(model)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Every layer with weights, by its name."""
        return {o.name: o for o in self.operations if isinstance(o, Layer)}

    @cached_property
    def norms(self) -> tuple[Norm, ...]:
        return tuple(o for o in self.operations if isinstance(o, Norm))

    @cached_property
    def scans(self) -> tuple[str, ...]:
        """The modules with a selective scan."""
        return tuple(o.name for o in self.operations if isinstance(o, Scan))

    @cached_property
    def int8(self) -> dict[str, QuantPoint]:
        """The points whose tensor is int8 and has a scale of its own."""
        return {name: point for name, point in self.points.items() if point.kind.is_int8}

    @cached_property
    def extremes(self) -> dict[str, QuantPoint]:
        """The points of which the formats want the extremes alone."""
        return {name: point for name, point in self.points.items() if point.kind.needs_extremes}

    def int8_of(self, module: str) -> list[str]:
        """Those of `int8` that are members of a module."""
        members = points_of(self.model.get_submodule(module))
        return [name for name in (f"{module}.{member}" for member in members) if name in self.int8]


def points_of(module: Quantizable) -> dict[str, QuantPoint]:
    """The quantization points inside of a module, by name."""
    return {name: m for name, m in module.named_modules() if isinstance(m, QuantPoint)}


@singledispatch
def structure_of(model: Quantizable) -> Structure:
    """The structure of a model."""
    raise TypeError(f"no structure is known of a {type(model).__name__}")


@structure_of.register
def _(model: CMamba) -> Structure:
    return Structure(model, _cmamba(model.args), coupled=False)


@structure_of.register
def _(model: FoldedRegressor) -> Structure:
    return Structure(model, _regressor(model.args), coupled=False)


@structure_of.register
def _(model: PublishedCMamba) -> Structure:
    return Structure(model, _published(model.args), coupled=True)


def _layer(name: str, source: str, *groups: tuple[str, int], **options: object) -> Layer:
    """A layer whose outputs are `groups`, in this order: point and size of each."""
    found, start = [], 0
    for point, size in groups:
        found.append(Group(point, start, size))
        start += size
    return Layer(name, (source,), tuple(found), **options)


# ------------------------------------------------------------------------------ CMamba


def _cmamba(args: ModelArgs) -> Iterator[Operation]:
    yield _layer("patch_embedding", "q_input", (RESIDUAL, args.d_model))
    for i in range(args.n_layer):
        if args.topology == "stacked":
            yield from _mamba_block(f"blocks.{i}", f"q_residual.{i + 1}", args)
        else:
            yield from _cmamba_block(f"c_mamba_blocks.{i}", f"q_residual.{i + 1}", args)
    yield Norm("norm_f", RESIDUAL, "q_norm_f")
    yield _layer("output_layer", "q_norm_f", ("q_output", args.output_features))


def _regressor(args: ModelArgs) -> Iterator[Operation]:
    """A CMamba behind what makes patches of frames."""
    yield _layer("frame_projection", "q_frames", ("q_centered", args.num_channels))
    yield Norm("frame_norm", "q_centered", "q_input")
    yield from _cmamba(args)


def _mamba_block(name: str, residual: str, args: ModelArgs) -> Iterator[Operation]:
    """`residual`: the point behind the block."""
    D, E, N, R = args.d_model, args.d_inner, args.d_state, args.dt_rank

    def q(point: str) -> str:
        return f"{name}.q_{point}"

    yield Norm(f"{name}.norm_in", RESIDUAL, q("norm"))
    yield _layer(f"{name}.in_proj", q("norm"), (q("u_in"), E), (q("z"), E))
    yield _layer(f"{name}.conv1d", q("u_in"), (q("conv"), E), opcode="CONV", activated=q("u"))
    yield _layer(f"{name}.x_proj", q("u"), (q("dt_low"), R), (q("B"), N), (q("C"), N))
    yield _layer(f"{name}.dt_proj", q("dt_low"), (q("dt"), E))
    yield Scan(name)
    yield _layer(f"{name}.out_proj", q("gated"), (residual, D))


def _cmamba_block(name: str, residual: str, args: ModelArgs) -> Iterator[Operation]:
    """The nested topology's block; `residual`: the point behind it."""
    D, inner, attention = args.d_model, f"{name}.patch_mamba", f"{name}.channel_attention"

    def q(point: str) -> str:
        return f"{attention}.q_{point}"

    for j in range(args.n_layer):
        yield from _mamba_block(f"{inner}.layers.{j}", f"{inner}.q_residual.{j}", args)
    yield Pool("POOL", RESIDUAL, {q("pool"): (args.num_patches, 1)})
    yield _layer(f"{attention}.fc1", q("pool"), (q("hidden"), D // args.reduction_ratio))
    yield _layer(f"{attention}.fc2", q("hidden"), (q("logit"), D), positions=2)
    yield Gate("SCALE", RESIDUAL, q("gate"), q("scaled"))
    yield Norm(f"{name}.norm", RESIDUAL, residual)


# ------------------------------------------------------------------------------ the published model


def _published(args: PublishedArgs) -> Iterator[Operation]:
    yield _layer("patch_embedding", "q_input", (RESIDUAL, args.d_model))
    for i in range(args.n_layer):
        behind = "q_last" if i == args.n_layer - 1 else f"q_residual.{i + 1}"
        yield from _published_block(f"blocks.{i}", behind, args)
    yield Activation("silu", "q_head")
    yield _layer("output_layer", "q_head", ("q_output", args.output_features))


def _published_block(name: str, behind: str, args: PublishedArgs) -> Iterator[Operation]:
    """`behind`: the point of the sum with the residual stream."""
    D, E, N, R, V = args.d_model, args.d_inner, args.d_state, args.dt_rank, args.num_channels
    mixer, mlp, mixed = f"{name}.mixer", f"{name}.gdd_mlp", f"{name}.q_mixed"

    def q(point: str) -> str:
        return f"{mixer}.q_{point}"

    def of_mlp(point: str) -> str:
        return f"{mlp}.q_{point}"

    yield Norm(f"{name}.norm", RESIDUAL, f"{name}.q_norm")
    yield _layer(f"{mixer}.in_proj", f"{name}.q_norm", (q("u_in"), E), (q("z"), E))
    yield Activation(f"{mixer}.silu", q("u"))
    projected = (q("dt_low"), R), (q("B"), N), (q("C"), N), (q("skip"), E)
    yield _layer(f"{mixer}.x_proj", q("u"), *projected)
    yield _layer(f"{mixer}.dt_proj", q("dt_low"), (q("dt"), E))
    yield Scan(mixer)
    yield _layer(f"{mixer}.out_proj", q("gated"), (mixed, D))

    yield Pool("POOL_FEATURES", mixed, {of_mlp("mean"): (D,), of_mlp("max"): (1,)})
    hidden = Group(of_mlp("hidden"), 0, V // args.reduction_ratio)
    for part in ("scale", "shift"):
        yield Layer(f"{mlp}.{part}.fc1", (of_mlp("mean"), of_mlp("max")), (hidden,))
    yield Activation(f"{mlp}.gelu", of_mlp("activated"))
    for part in ("scale", "shift"):
        yield _layer(f"{mlp}.{part}.fc2", of_mlp("activated"), (of_mlp(part), V))
    yield Gate("MODULATE", mixed, of_mlp("factor"), behind, of_mlp("offset"))
