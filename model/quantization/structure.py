"""What the quantization of a model is about: its layers, norms and scans, and the points between.

`structure_of(args)` knows all of them, in the order of the forward; there is a class for each kind
of model. Points and layers are named as the model's modules. RegressorArgs stand for a
FoldedRegressor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model.args import ModelArgs
from model.cmamba import CMamba
from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.regressor_args import RegressorArgs

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
    with these weights, are summed before the one rounding.
    """

    name: str
    sources: tuple[str, ...]
    groups: tuple[Group, ...]
    positions: int = 1


@dataclass(frozen=True)
class Wide:
    """An int16 tensor with a scale of its own."""

    point: str
    normalized: int = 0  # its features, if an RMSNorm reads it


def is_symmetric(point: str) -> bool:
    """Whether the hardware knows no zero point for this tensor: B and C of a scan."""
    return point.endswith((".q_B", ".q_C"))


def _layer(name: str, source: str, *groups: tuple[str, int], positions: int = 1) -> Layer:
    """A layer whose outputs are `groups`, in this order: point and size of each."""
    found, start = [], 0
    for point, size in groups:
        found.append(Group(point, start, size))
        start += size
    return Layer(name, (source,), tuple(found), positions)


class Structure:
    """Of a CMamba.

    `coupled`: the sequences of a window depend on each other, and the core takes them together.
    """

    coupled = False

    def __init__(self, args: ModelArgs) -> None:
        self.args = args

    def layers(self) -> Iterator[Layer]:
        """Every layer with weights."""
        args = self.args
        D, E, N, R = args.d_model, args.d_inner, args.d_state, args.dt_rank
        yield _layer("patch_embedding", "q_input", (RESIDUAL, D))
        for block, residual in self._blocks():

            def q(point: str, block: str = block) -> str:
                return f"{block}.q_{point}"

            yield _layer(f"{block}.in_proj", q("norm"), (q("u_in"), E), (q("z"), E))
            yield _layer(f"{block}.conv1d", q("u_in"), (q("conv"), E))
            yield _layer(f"{block}.x_proj", q("u"), (q("dt_low"), R), (q("B"), N), (q("C"), N))
            yield _layer(f"{block}.dt_proj", q("dt_low"), (q("dt"), E))
            yield _layer(f"{block}.out_proj", q("gated"), (residual, D))
        for _, name in self._attentions():
            hidden, logit = f"{name}.q_hidden", f"{name}.q_logit"
            yield _layer(f"{name}.fc1", f"{name}.q_pool", (hidden, D // args.reduction_ratio))
            yield _layer(f"{name}.fc2", hidden, (logit, D), positions=2)
        yield _layer("output_layer", "q_norm_f", ("q_output", args.output_features))

    def norms(self) -> Iterator[tuple[str, str, str]]:
        """(name, point that it reads, point of the result) of every RMSNorm."""
        for block, _ in self._blocks():
            yield f"{block}.norm_in", RESIDUAL, f"{block}.q_norm"
        for i, (block, _) in enumerate(self._attentions()):
            yield f"{block}.norm", RESIDUAL, f"q_residual.{i + 1}"
        yield "norm_f", RESIDUAL, "q_norm_f"

    def scans(self) -> Iterator[str]:
        """The modules with a selective scan."""
        yield from (block for block, _ in self._blocks())

    def int8_points(self) -> Iterator[str]:
        """The points whose tensor is int8 and has a scale of its own."""
        yield "q_input"
        names = ("norm", "u_in", "z", "conv", "u", "dt_low", "B", "C", "dt", "gated")
        for block, _ in self._blocks():
            yield from (f"{block}.q_{name}" for name in names)
        for _, attention in self._attentions():
            yield from (f"{attention}.q_{name}" for name in ("pool", "hidden", "logit"))
        yield "q_norm_f"

    def residual_points(self) -> Iterator[str]:
        """Where the residual stream is rounded to its one scale."""
        yield from (f"q_residual.{i}" for i in range(self.args.n_layer + 1))
        for block, attention in self._attentions():
            yield from (f"{block}.patch_mamba.q_residual.{j}" for j in range(self.args.n_layer))
            yield f"{attention}.q_scaled"

    def residual_bounds(self) -> Iterator[str]:
        """The points whose extremes the scale of the residual stream has room for."""
        yield from self.residual_points()

    def int16_points(self) -> Iterator[Wide]:
        """The int16 tensors beside the residual stream."""
        yield Wide("q_output")

    def wide_points(self) -> Iterator[str]:
        """The points of which the formats want the extremes alone."""
        points = [*self.residual_bounds(), *(wide.point for wide in self.int16_points())]
        for scan in self.scans():
            points += [f"{scan}.q_h", f"{scan}.q_y"]
        yield from dict.fromkeys(points)

    def _blocks(self) -> Iterator[tuple[str, str]]:
        """(name, residual point behind it) of every MambaBlock."""
        for i in range(self.args.n_layer):
            if self.args.topology == "stacked":
                yield f"blocks.{i}", f"q_residual.{i + 1}"
            else:
                inner = f"c_mamba_blocks.{i}.patch_mamba"
                for j in range(self.args.n_layer):
                    yield f"{inner}.layers.{j}", f"{inner}.q_residual.{j}"

    def _attentions(self) -> Iterator[tuple[str, str]]:
        """(CMambaBlock, its channel attention) of the nested topology."""
        if self.args.topology == "nested":
            for i in range(self.args.n_layer):
                yield f"c_mamba_blocks.{i}", f"c_mamba_blocks.{i}.channel_attention"


class _Regressor(Structure):
    """Of a FoldedRegressor: a CMamba behind what makes patches of frames."""

    def layers(self) -> Iterator[Layer]:
        yield _layer("frame_projection", "q_frames", ("q_centered", self.args.num_channels))
        yield from super().layers()

    def norms(self) -> Iterator[tuple[str, str, str]]:
        yield "frame_norm", "q_centered", "q_input"
        yield from super().norms()

    def int8_points(self) -> Iterator[str]:
        yield "q_frames"
        yield from super().int8_points()

    def int16_points(self) -> Iterator[Wide]:
        yield Wide("q_centered", normalized=self.args.num_channels)
        yield from super().int16_points()


class _Published(Structure):
    """Of a PublishedCMamba."""

    args: PublishedArgs
    coupled = True

    def layers(self) -> Iterator[Layer]:
        args = self.args
        D, E, N, R, V = args.d_model, args.d_inner, args.d_state, args.dt_rank, args.num_channels
        yield _layer("patch_embedding", "q_input", (RESIDUAL, D))
        for block in self._names():

            def q(point: str, block: str = block) -> str:
                return f"{block}.mixer.q_{point}"

            mixer, mlp = f"{block}.mixer", f"{block}.gdd_mlp"
            parameters = (q("dt_low"), R), (q("B"), N), (q("C"), N), (q("skip"), E)
            yield _layer(f"{mixer}.in_proj", f"{block}.q_norm", (q("u_in"), E), (q("z"), E))
            yield _layer(f"{mixer}.x_proj", q("u"), *parameters)
            yield _layer(f"{mixer}.dt_proj", q("dt_low"), (q("dt"), E))
            yield _layer(f"{mixer}.out_proj", q("gated"), (f"{block}.q_mixed", D))
            pooled = f"{mlp}.q_mean", f"{mlp}.q_max"
            hidden = Group(f"{mlp}.q_hidden", 0, V // args.reduction_ratio)
            for name in ("scale", "shift"):
                yield Layer(f"{mlp}.{name}.fc1", pooled, (hidden,))
                yield _layer(f"{mlp}.{name}.fc2", f"{mlp}.q_activated", (f"{mlp}.q_{name}", V))
        yield _layer("output_layer", "q_head", ("q_output", args.output_features))

    def norms(self) -> Iterator[tuple[str, str, str]]:
        yield from ((f"{block}.norm", RESIDUAL, f"{block}.q_norm") for block in self._names())

    def scans(self) -> Iterator[str]:
        yield from (f"{block}.mixer" for block in self._names())

    def int8_points(self) -> Iterator[str]:
        yield "q_input"
        of_mixer = ("u_in", "z", "u", "dt_low", "B", "C", "skip", "dt", "gated")
        of_mlp = ("mean", "max", "hidden", "activated", "scale", "shift")
        for block in self._names():
            yield f"{block}.q_norm"
            yield from (f"{block}.mixer.q_{name}" for name in of_mixer)
            yield from (f"{block}.gdd_mlp.q_{name}" for name in of_mlp)
        yield from ("q_last", "q_head")

    def residual_points(self) -> Iterator[str]:
        yield from (f"q_residual.{i}" for i in range(self.args.n_layer))

    def residual_bounds(self) -> Iterator[str]:
        # What MODULATE brings to the scale of the stream must not have a coarser one.
        yield from self.residual_points()
        yield from (f"{block}.q_mixed" for block in self._names())

    def int16_points(self) -> Iterator[Wide]:
        yield from (Wide(f"{block}.q_mixed") for block in self._names())
        yield Wide("q_output")

    def _names(self) -> Iterator[str]:
        """The blocks."""
        yield from (f"blocks.{i}" for i in range(self.args.n_layer))


_KINDS: dict[type[ModelArgs], type[Structure]] = {
    ModelArgs: Structure,
    RegressorArgs: _Regressor,
    PublishedArgs: _Published,
}


def structure_of(args: ModelArgs) -> Structure:
    """The structure of the model with these arguments."""
    kind = next(base for base in type(args).__mro__ if base in _KINDS)
    return _KINDS[kind](args)
