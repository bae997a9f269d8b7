"""What the quantization of a model is about: its operations, and the points between them.

    operation      in the forward                         instructions
    Layer          QuantLinear                            LINEAR, for each part
    Projection     QuantLinear, in front of a Scan        LINEAR
    FanOut, FanIn  QuantLinears beside each other         LINEAR
    Head           QuantLinear of all tokens              LINEARs, which sum over the tokens
    Convolution    QuantDepthwiseConv, and a function     CONV
    Activation     a function behind no layer             CONV of one tap
    Norm           RMSNorm                                NORM
    Scan           selective_scan and its gate            SCAN
    Pool           mean and maximum over the tokens       POOL
    PoolFeatures   mean and maximum over the features     POOL_FEATURES
    Scale          sigmoid of logits times a tensor       SCALE
    Modulate       the same, plus a sigmoid               MODULATE

`structure_of(model)` tells a network once, in the order of its forward. Calibration, formats, fake
quantization and the compiler do what it says. Two tables have an entry for each kind of operation:
`attach` in `model.quantization.fake` its hooks, `emitters` in `compiler.lower` its instructions.
Points and layers are named as the model's modules.
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
from model.quantization.activations import Function, gelu, silu

Quantizable = CMamba | PublishedCMamba

RESIDUAL = "q_residual.0"  # its format is that of the whole residual stream
POSITIONS = "positions"  # the positional encoding of a model


@dataclass(frozen=True)
class Group:
    """Consecutive outputs of a layer that are one tensor, with one scale."""

    point: str
    start: int
    size: int

    @property
    def rows(self) -> slice:
        """Of the layer's weight."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layer:
    """A layer with weights: the points that it reads, and what its outputs are.

    Of several sources, each is one index of the input's first dimension. `positions` inputs, each
    with these weights, are summed before the one rounding. `parts`: names of the groups, if each is
    an instruction of its own. `relu`: of the outputs. `added`: what is added to them, RESIDUAL or
    POSITIONS, if anything.
    """

    name: str
    sources: tuple[str, ...]
    groups: tuple[Group, ...]
    positions: int = 1
    parts: tuple[str, ...] = ()
    relu: bool = False
    added: str = ""
    opcode = "LINEAR"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All operations that have weights have this property."""
        return (self,)

    @property
    def results(self) -> tuple[str, ...]:
        return tuple(group.point for group in self.groups)

    def group(self, point: str) -> Group:
        """The outputs that are the tensor at a point."""
        return next(group for group in self.groups if group.point == point)


@dataclass(frozen=True, kw_only=True)
class Projection(Layer):
    """What depends on the token in a Scan: the tensors at these points."""

    dt: str
    B: str
    C: str
    skip: str = ""


class Head(Layer):
    """A layer of the features of all tokens at once."""


@dataclass(frozen=True, kw_only=True)
class Convolution(Layer):
    """A depthwise convolution, and a function of what it gives, to the tensor at `activated`."""

    activated: str
    function: Function
    opcode = "CONV"

    @property
    def results(self) -> tuple[str, ...]:
        return (self.activated,)


@dataclass(frozen=True)
class _Beside:
    """Layers of one instruction, which writes their outputs beside each other."""

    name: str
    layers: tuple[Layer, ...]
    opcode = "LINEAR"

    @property
    def results(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point for layer in self.layers for point in layer.results))


class FanOut(_Beside):
    """Each layer reads each source. The outputs are one tensor, by layer and then by source."""


class FanIn(_Beside):
    """Each layer reads its outputs in the tensor of a FanOut, and sums over the sources of that.

    The outputs are a tensor for each layer.
    """


@dataclass(frozen=True)
class Activation:
    """A function of the tensor at `source`, to that at `point`."""

    name: str
    source: str
    function: Function
    point: str
    opcode = "CONV"
    layers = ()

    @property
    def results(self) -> tuple[str, ...]:
        return (self.point,)


@dataclass(frozen=True)
class Norm:
    """An RMSNorm of the tensor at `source`, to that at `point`."""

    name: str
    source: str
    point: str
    opcode = "NORM"
    layers = ()

    @property
    def results(self) -> tuple[str, ...]:
        return (self.point,)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The selective scan of module `name`, from softplus to the gate: its points.

    Without a point for them, the skip weights are a parameter.
    """

    name: str
    u: str
    z: str
    dt: str
    B: str
    C: str
    skip: str = ""
    delta: str  # softplus(dt)
    state: str
    y: str  # before the gate
    gate: str  # SiLU(z)
    point: str  # the result
    opcode = "SCAN"
    layers = ()

    @property
    def results(self) -> tuple[str, ...]:
        return (self.point,)

    @property
    def operands(self) -> tuple[str, ...]:
        """The points of the int8 tensors that it reads."""
        return tuple(filter(None, (self.u, self.z, self.dt, self.B, self.C, self.skip)))


@dataclass(frozen=True)
class Pool:
    """Means and maxima of the tensor at `source`, over its tokens.

    counts: for each point of a result [B, n, D], of how many each of the n is the mean, or 1 for a
    maximum.
    """

    name: str
    source: str
    counts: dict[str, tuple[int, ...]]
    opcode = "POOL"
    layers = ()

    @property
    def results(self) -> tuple[str, ...]:
        return tuple(self.counts)


class PoolFeatures(Pool):
    """The same over the features of a token: a point for the mean, and one for the maximum."""

    opcode = "POOL_FEATURES"


@dataclass(frozen=True)
class Scale:
    """The tensor at `source` times `factor`, the sigmoid of `logit`, and so to that at `point`."""

    name: str
    source: str
    logit: str
    factor: str
    point: str
    opcode = "SCALE"
    layers = ()

    @property
    def results(self) -> tuple[str, ...]:
        return (self.point,)


@dataclass(frozen=True, kw_only=True)
class Modulate(Scale):
    """The same, plus `offset`, the sigmoid of `shift`, and plus the residual stream."""

    shift: str
    offset: str
    opcode = "MODULATE"


Operation = Layer | FanOut | FanIn | Activation | Norm | Scan | Pool | Scale


class Structure:
    """Of one model.

    `coupled`: the sequences of a window depend on each other, and the core takes them together.
    `received`: the point of what the host sends.
    """

    def __init__(
        self,
        model: Quantizable,
        operations: Iterator[Operation],
        coupled: bool = False,
        received: str = "q_input",
    ) -> None:
        self.model = model
        self.args = model.args
        self.coupled = coupled
        self.received = received
        self.operations = tuple(operations)  # in the order of the forward
        self.points = points_of(model)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Every layer with weights, by its name."""
        return {layer.name: layer for o in self.operations for layer in o.layers}

    @cached_property
    def norms(self) -> tuple[Norm, ...]:
        return tuple(o for o in self.operations if isinstance(o, Norm))

    @cached_property
    def scans(self) -> dict[str, Scan]:
        """Every selective scan, by its module."""
        return {o.name: o for o in self.operations if isinstance(o, Scan)}

    @cached_property
    def int8(self) -> dict[str, QuantPoint]:
        """The points whose tensor is int8 and has a scale of its own."""
        return {name: point for name, point in self.points.items() if point.kind.is_int8}

    @cached_property
    def extremes(self) -> dict[str, QuantPoint]:
        """The points of which the formats want the extremes alone."""
        return {name: point for name, point in self.points.items() if point.kind.needs_extremes}


def points_of(module: Quantizable) -> dict[str, QuantPoint]:
    """The quantization points inside of a module, by name."""
    return {name: m for name, m in module.named_modules() if isinstance(m, QuantPoint)}


@singledispatch
def structure_of(model: Quantizable) -> Structure:
    """The structure of a model."""
    raise TypeError(f"no structure is known of a {type(model).__name__}")


@structure_of.register
def _(model: CMamba) -> Structure:
    return Structure(model, _cmamba(model.args))


@structure_of.register
def _(model: FoldedRegressor) -> Structure:
    return Structure(model, _regressor(model.args), received="q_frames")


@structure_of.register
def _(model: PublishedCMamba) -> Structure:
    return Structure(model, _published(model.args), coupled=True)


def _groups(*sizes: tuple[str, int]) -> tuple[Group, ...]:
    """All outputs of a layer, in this order: point and size of each."""
    found, start = [], 0
    for point, size in sizes:
        found.append(Group(point, start, size))
        start += size
    return tuple(found)


def _layer(name: str, source: str, *sizes: tuple[str, int], **options: object) -> Layer:
    return Layer(name, (source,), _groups(*sizes), **options)


def _embedding(args: ModelArgs) -> Layer:
    return _layer("patch_embedding", "q_input", (RESIDUAL, args.d_model), added=POSITIONS)


def _head(source: str, args: ModelArgs) -> Head:
    return Head("output_layer", (source,), _groups(("q_output", args.output_features)))


def _mixer(name: str, args: ModelArgs, *, skip: bool) -> Iterator[Operation]:
    """Of module `name`, from what is projected of u to the gate; `skip`: each token has skip
    weights of its own."""

    def q(point: str) -> str:
        return f"{name}.q_{point}"

    dt, B, C = (q("dt_low"), args.dt_rank), (q("B"), args.d_state), (q("C"), args.d_state)
    groups, point = _groups(dt, B, C), ""
    if skip:
        point = q("skip")
        groups = _groups(dt, B, C, (point, args.d_inner))
    yield Projection(
        f"{name}.x_proj", (q("u"),), groups, dt=q("dt_low"), B=q("B"), C=q("C"), skip=point
    )
    yield _layer(f"{name}.dt_proj", q("dt_low"), (q("dt"), args.d_inner))
    yield Scan(
        name=name,
        **{operand: q(operand) for operand in ("u", "z", "dt", "B", "C", "delta", "y", "gate")},
        skip=point,
        state=q("h"),
        point=q("gated"),
    )


# ------------------------------------------------------------------------------ CMamba


def _cmamba(args: ModelArgs) -> Iterator[Operation]:
    yield _embedding(args)
    for i in range(args.n_layer):
        if args.topology == "stacked":
            yield from _mamba_block(f"blocks.{i}", f"q_residual.{i + 1}", args)
        else:
            yield from _cmamba_block(f"c_mamba_blocks.{i}", f"q_residual.{i + 1}", args)
    yield Norm("norm_f", RESIDUAL, "q_norm_f")
    yield _head("q_norm_f", args)


def _regressor(args: ModelArgs) -> Iterator[Operation]:
    """A CMamba behind what makes patches of frames."""
    yield _layer("frame_projection", "q_frames", ("q_centered", args.num_channels))
    yield Norm("frame_norm", "q_centered", "q_input")
    yield from _cmamba(args)


def _mamba_block(name: str, residual: str, args: ModelArgs) -> Iterator[Operation]:
    """`residual`: the point behind the block."""
    D, E = args.d_model, args.d_inner

    def q(point: str) -> str:
        return f"{name}.q_{point}"

    yield Norm(f"{name}.norm_in", RESIDUAL, q("norm"))
    yield _layer(f"{name}.in_proj", q("norm"), (q("u_in"), E), (q("z"), E), parts=("u", "z"))
    before = _groups((q("conv"), E))
    yield Convolution(f"{name}.conv1d", (q("u_in"),), before, activated=q("u"), function=silu)
    yield from _mixer(name, args, skip=False)
    yield _layer(f"{name}.out_proj", q("gated"), (residual, D), added=RESIDUAL)


def _cmamba_block(name: str, residual: str, args: ModelArgs) -> Iterator[Operation]:
    """The nested topology's block; `residual`: the point behind it."""
    D, inner, attention = args.d_model, f"{name}.patch_mamba", f"{name}.channel_attention"

    def q(point: str) -> str:
        return f"{attention}.q_{point}"

    for j in range(args.n_layer):
        yield from _mamba_block(f"{inner}.layers.{j}", f"{inner}.q_residual.{j}", args)
    yield Pool(f"{attention}.pool", RESIDUAL, {q("pool"): (args.num_patches, 1)})
    hidden = q("hidden"), D // args.reduction_ratio
    yield _layer(f"{attention}.fc1", q("pool"), hidden, relu=True)
    yield _layer(f"{attention}.fc2", q("hidden"), (q("logit"), D), positions=2)
    yield Scale(f"{attention}.scale", RESIDUAL, q("logit"), q("gate"), q("scaled"))
    yield Norm(f"{name}.norm", RESIDUAL, residual)


# ------------------------------------------------------------------------------ the published model


def _published(args: PublishedArgs) -> Iterator[Operation]:
    yield _embedding(args)
    for i in range(args.n_layer):
        behind = "q_last" if i == args.n_layer - 1 else f"q_residual.{i + 1}"
        yield from _published_block(f"blocks.{i}", behind, args)
    yield Activation("silu", "q_last", silu, "q_head")
    yield _head("q_head", args)


def _published_block(name: str, behind: str, args: PublishedArgs) -> Iterator[Operation]:
    """`behind`: the point of the sum with the residual stream."""
    D, E, V = args.d_model, args.d_inner, args.num_channels
    mixer, mlp, mixed = f"{name}.mixer", f"{name}.gdd_mlp", f"{name}.q_mixed"

    def q(point: str) -> str:
        return f"{mixer}.q_{point}"

    def of_mlp(point: str) -> str:
        return f"{mlp}.q_{point}"

    yield Norm(f"{name}.norm", RESIDUAL, f"{name}.q_norm")
    halves = (q("u_in"), E), (q("z"), E)
    yield _layer(f"{mixer}.in_proj", f"{name}.q_norm", *halves, parts=("u", "z"))
    yield Activation(f"{mixer}.silu", q("u_in"), silu, q("u"))
    yield from _mixer(mixer, args, skip=True)
    yield _layer(f"{mixer}.out_proj", q("gated"), (mixed, D))

    yield PoolFeatures(f"{mlp}.pool", mixed, {of_mlp("mean"): (D,), of_mlp("max"): (1,)})
    sources = of_mlp("mean"), of_mlp("max")
    hidden = _groups((of_mlp("hidden"), V // args.reduction_ratio))
    both = "scale", "shift"
    first = tuple(Layer(f"{mlp}.{part}.fc1", sources, hidden) for part in both)
    yield FanOut(f"{mlp}.fc1", first)
    yield Activation(f"{mlp}.gelu", of_mlp("hidden"), gelu, of_mlp("activated"))
    source = of_mlp("activated")
    second = tuple(_layer(f"{mlp}.{part}.fc2", source, (of_mlp(part), V)) for part in both)
    yield FanIn(f"{mlp}.fc2", second)
    yield Modulate(
        f"{mlp}.modulate",
        mixed,
        of_mlp("scale"),
        of_mlp("factor"),
        behind,
        shift=of_mlp("shift"),
        offset=of_mlp("offset"),
    )
