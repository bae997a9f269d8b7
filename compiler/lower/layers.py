"""Lower the layers that the models share: the one place that knows what a layer is in integers.

A lowering reads the operations of a model's structure, in their order, and emits the instructions
of each (`emitters`). It adds what the structure does not say: where the tensor at each point lies
(`places`). Every quantization point becomes a scale and a zero point. The integer formats are those
of docs/numerics.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import isa
from compiler import tables
from compiler.program import CompileError, ProgramBuilder, ceil_log2, round_up
from model.quant_point import Kind
from model.quantization.activations import silu, softplus
from model.quantization.affine import Affine, multiplier, quantize_weight
from model.quantization.formats import Formats, norm_eps, norm_ratios
from model.quantization.structure import (
    POSITIONS,
    RESIDUAL,
    Head,
    Layer,
    Norm,
    Projection,
    Scan,
    Structure,
)

_ACCUMULATOR_LIMIT = 2**31 - 1
_INT16 = 16


@dataclass(frozen=True)
class Quantized:
    """A tensor in an activation memory: where, how wide its rows are, and what its integers mean.

    `n_positions`: rows of a sequence. `elements`: where in a row its features lie, where that is
    not all of it, in their order. `shared`: it has a row for each position, that of all coupled
    sequences.
    """

    operand: isa.Operand
    width: int
    affine: Affine
    n_positions: int
    elements: np.ndarray | None = None
    shared: bool = False


@dataclass(frozen=True)
class OutputGroup:
    """Consecutive outputs of a LINEAR with one scale and the quantization point that they are."""

    point: str
    start: int
    size: int
    affine: Affine


@dataclass(frozen=True)
class Place:
    """Where the tensor at a point lies: in a ring of a memory.

    `ring`: its role; without it, that of the memory. `rows`: the least. `pad_row`: with zeros, to
    where another row could begin. `segment`: whether the instruction that writes it is the first of
    a segment; `by_position`: of one that runs through all sequences at a position.
    """

    space: str
    ring: str = ""
    rows: int = 2
    pad_row: bool = False
    segment: bool = False
    by_position: bool = False


class LayerLowering:
    """Lowers one model into a `ProgramBuilder`; `run` does all of it.

    A model's class has its `places` and `allocate`, and the `emitters` of what it alone has.
    """

    received = "patches"  # name of the instruction that receives tokens, and of its ring

    def __init__(
        self,
        structure: Structure,
        formats: Formats,
        builder: ProgramBuilder,
    ) -> None:
        model = structure.model
        self.structure = structure
        self.model = model
        self.args = model.args
        self.state = {k: v.detach().cpu().double().numpy() for k, v in model.state_dict().items()}
        self.formats = formats
        self.builder = builder
        self.tensors: dict[str, Quantized] = {}  # by point, as they are read
        self.allocated: dict[str, Quantized] = {}  # by point, as they are written: no rings
        self.headroom: dict[str, float] = {}
        self._places = self.places()
        # Forecast values that the output layer can sum at once.
        self.head_chunk = min(builder.build.capacity["reduce"], builder.build.capacity["features"])

    # ------------------------------------------------------------------ what a model's class has

    @property
    def metadata(self) -> dict[str, object]:
        """What the host wants to know of such a model alone."""
        return {}

    def places(self) -> dict[str, Place]:
        """Where tensors lie, by the attribute of its module that their point is."""
        raise NotImplementedError

    def allocate(self) -> None:
        """Allocate the residual stream, and what is to come before other rings of a memory."""
        raise NotImplementedError

    def emitters(self) -> dict[type, Callable[..., None]]:
        """What emits the instructions of each kind of operation."""
        return {
            Layer: self._layer,
            Projection: self._projection,
            Head: self._head,
            Norm: self._norm,
            Scan: self._scan,
        }

    # ------------------------------------------------------------------ the whole model

    def run(self) -> None:
        """Emit the program."""
        self.allocate()
        self._receive()
        emitters = self.emitters()
        for operation in self.structure.operations:
            emitters[type(operation)](operation)
        self._send()

    def _positional_encoding(self) -> None:
        """Its rows, which come before all else in memory `resid`."""
        positions = self.model.positions.cpu().double().numpy()
        self.position_rows = self.builder.constant_rows(
            self.formats.residual.quantize(positions), "positional encoding"
        )

    def _residual_stream(self, rows: int, what: str = "residual stream") -> None:
        width = self.args.d_model
        operand = self.builder.allocate("resid", width, rows, what)
        self.x = Quantized(operand, width, self.formats.residual, self.builder.n_positions)

    def _receive(self) -> None:
        """The input tokens."""
        n, n_positions = self.args.token_features, self.args.num_tokens
        point = self.structure.received
        operand = self.builder.ring(self.received, "patch", n)
        target = Quantized(operand, n, self.formats[point], n_positions)
        self.builder.emit(
            self.received,
            "RECV",
            [self._tensor(point, 0, n, target.affine)],
            dst=operand,
            n=n,
            n_positions=n_positions,
        )
        self._written(point, target)

    def _send(self) -> None:
        """The forecast."""
        n, head = self.args.output_features, self.tensors["q_output"]
        self.builder.segment()
        self.builder.emit(
            "forecast",
            "SEND",
            [self._tensor("q_output", 0, n, head.affine)],
            src=head.operand,
            n=n,
            n_positions=1,
        )

    # ------------------------------------------------------------------ tensors

    def _target(
        self, point: str, width: int, n_positions: int | None = None, shared: bool = False
    ) -> Quantized:
        """Where the tensor at a point is to be written: `width` elements a row, and `n_positions`
        rows, without it as many as the program has."""
        place = self._begin(point)
        if point in self.allocated:
            return self.allocated[point]
        if self.structure.points[point].kind is Kind.RESIDUAL:
            return self.x
        if place.pad_row:
            width = round_up(width, self.builder.build.row_align)
        operand = self.builder.ring(place.ring or place.space, place.space, width, place.rows)
        rows = n_positions or self.builder.n_positions
        return Quantized(operand, width, self.formats[point], rows, shared=shared)

    def _begin(self, point: str) -> Place | None:
        """Begin a segment where the tensor at a point wants one; its place, if it has one."""
        place = self._places.get(point.rpartition(".")[2])
        if place and place.segment:
            self.builder.segment(place.by_position)
        return place

    def _written(self, point: str, target: Quantized) -> None:
        """The tensor at a point is there. Where `allocate` has said that it is read in other rows,
        all of it comes before its readers."""
        if point in self.tensors:
            self.builder.segment()
        else:
            self.tensors[point] = target

    @staticmethod
    def _tensor(point: str, start: int, size: int, affine: Affine) -> dict[str, object]:
        return {
            "point": point,
            "start": start,
            "size": size,
            "scale": affine.scale,
            "zero_point": affine.zero_point,
        }

    @staticmethod
    def _multipliers(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [multiplier(float(r)) for r in ratios]
        return np.array([m for m, _ in pairs]), np.array([s for _, s in pairs])

    # ------------------------------------------------------------------ operations

    def _layer(self, layer: Layer) -> None:
        """A LINEAR for all outputs, or for each part."""
        source = self.tensors[layer.sources[0]]
        weight, scales = self._weight(layer.name, source), self.formats.weights[layer.name]
        bias = self.state.get(f"{layer.name}.bias")
        fields: dict[str, object] = {"n_positions": source.n_positions, "relu": int(layer.relu)}
        rows_left = source.n_positions
        if layer.positions > 1:
            fields["reduce"], rows_left = 1, self.builder.n_positions
        if layer.added:
            by_position = layer.added == POSITIONS
            added = self.position_rows if by_position else self.tensors[RESIDUAL].operand
            fields |= {"add": added, "add_enable": 1, "add_position": int(by_position)}
        for index, group in enumerate(layer.groups):
            target = self._target(group.point, group.size, rows_left)
            matrix = _padded(weight[group.rows], target.width, 0.0)
            biases = None
            if bias is not None:
                biases = _padded(layer.positions * bias[group.rows], target.width, 0.0)
            self._linear(
                f"{layer.name}_{layer.parts[index]}" if layer.parts else layer.name,
                source,
                np.stack([matrix] * layer.positions),
                _padded(scales[group.rows], target.width, 1.0),
                biases,
                [OutputGroup(group.point, 0, group.size, target.affine)],
                target.operand,
                wide=int(target.affine.bits == _INT16),
                **fields,
            )
            self._written(group.point, target)

    def _projection(self, layer: Projection) -> None:
        """B, C and the low-rank dt of a token, in this order, and its skip weights: a row, which a
        SCAN reads. Each has a scale of its own."""
        builder, source = self.builder, self.tensors[layer.sources[0]]
        states = 1 << ceil_log2(layer.group(layer.B).size)
        starts = {layer.B: 0, layer.C: states}
        starts[layer.dt] = round_up(2 * states, builder.build.tile_in)
        width = starts[layer.dt] + layer.group(layer.dt).size
        if layer.skip:
            starts[layer.skip] = round_up(width, builder.build.row_align)
            width = starts[layer.skip] + layer.group(layer.skip).size
        # What is between the parts has no weights, and any scale.
        weight, scales = np.zeros((width, source.width)), np.ones(width)
        groups = []
        for point, start in starts.items():
            group = layer.group(point)
            to = slice(start, start + group.size)
            weight[to] = self._weight(layer.name, source)[group.rows]
            scales[to] = self.formats.weights[layer.name][group.rows]
            groups.append(OutputGroup(point, start, group.size, self.formats[point]))
        row = self._target(layer.B, round_up(width, builder.build.tile_in))
        self._linear(layer.name, source, weight, scales, None, groups, row.operand)
        for group in groups:
            at = dataclasses.replace(row.operand, addr=row.operand.addr + group.start)
            target = Quantized(at, group.size, group.affine, row.n_positions)
            self._written(group.point, target)

    def _head(self, layer: Head) -> None:
        """A reduction over the tokens, in parts of `head_chunk`."""
        builder, source = self.builder, self.tensors[layer.sources[0]]
        (group,) = layer.groups
        n_out, output = group.size, self.formats[group.point]
        self._begin(group.point)
        # Two rows let a forecast be sent while the next is summed.
        fits = 2 * round_up(n_out, builder.build.row_align) <= builder.free("head")
        head = builder.allocate("head", n_out, min(1 + fits, builder.n_sequences), "forecast")
        weight = self.state[f"{layer.name}.weight"].reshape(
            n_out, builder.n_positions, source.width
        )
        starts = range(0, n_out, self.head_chunk)
        for index, start in enumerate(starts):
            if index:
                builder.segment()
            part = slice(start, min(start + self.head_chunk, n_out))
            self._linear(
                layer.name if len(starts) == 1 else f"{layer.name}.{index}",
                source,
                weight[part].transpose(1, 0, 2),
                self.formats.weights[layer.name][part],
                self.state[f"{layer.name}.bias"][part],
                [OutputGroup(group.point, 0, part.stop - start, output)],
                dataclasses.replace(head, addr=head.addr + start),
                point_start=start,
                wide=1,
                reduce=1,
            )
        self._written(group.point, Quantized(head, n_out, output, 1))

    def _norm(self, norm: Norm) -> None:
        """Of as many features as there are weights; what the source has beyond them is zero, and so
        it is in the result."""
        source, weight = self.tensors[norm.source], self.state[f"{norm.name}.weight"]
        target = self._target(norm.point, source.width, source.n_positions)
        n, affine = len(weight), target.affine
        ratios = _padded(norm_ratios(weight, affine.scale), target.width, 0.0)
        multipliers, shifts = self._multipliers(ratios)
        self.builder.emit(
            norm.name,
            norm.opcode,
            [self._tensor(norm.point, 0, n, affine)],
            src=source.operand,
            dst=target.operand,
            param_addr=self.builder.param_words(
                "vector_params",
                multiplier=multipliers,
                shift=shifts,
                zero_point=affine.zero_point,
            ),
            n=target.width,
            n_positions=source.n_positions,
            eps=norm_eps(n, self.args.norm_eps, source.affine.scale),
            wide=int(affine.bits == _INT16),
        )
        self._written(norm.point, target)

    def _scan(self, scan: Scan) -> None:
        """The selective scan with softplus, skip and gate; coupled sequences have an instruction
        each, with a state of its own."""
        args, builder, name = self.args, self.builder, scan.name
        u, z, dt, bc = (self.tensors[point] for point in (scan.u, scan.z, scan.dt, scan.B))
        n = args.d_inner
        log2_state = ceil_log2(args.d_state)
        most = isa.LIMITS["log2_state"]
        if log2_state > most:
            raise CompileError(
                f"{name}.scan: d_state {args.d_state}, expected at most {1 << most}; train with a "
                "smaller d_state"
            )

        formats, gated = self.formats.scans[name], self.formats[scan.point]
        # D counts where the token has no skip weights of its own.
        skip_weights = np.zeros(n) if scan.skip else self.state[f"{name}.D"]
        rates = np.zeros((n, 1 << log2_state))
        rates[:, : args.d_state] = formats.rates(self.state[f"{name}.A_log"])
        multipliers, shifts = self._multipliers(np.array([formats.y * formats.gate / gated.scale]))
        target = self._target(scan.point, n)
        fields = {
            "u": u.operand,
            "z": z.operand,
            "dt": dt.operand,
            "bc": bc.operand,
            "dst": target.operand,
            "decay_addr": builder.decay_rates(rates),
            "param_addr": builder.param_words(
                "scan_params",
                bias=np.rint(skip_weights * u.affine.scale / formats.skip),
                multiplier=multipliers[0],
                shift=shifts[0],
                zero_point=gated.zero_point,
            ),
            "softplus_table": builder.table(
                "scan_tables", tables.uint16_table(softplus, dt.affine, formats.delta)
            ),
            "silu_table": builder.table(
                "scan_tables", tables.int16_table(silu, z.affine, formats.gate)
            ),
            "n": n,
            "log2_state": log2_state,
            "u_zero_point": u.affine.zero_point,
            "exp_shift": formats.exp_shift,
            "state_shift": formats.state_shift,
            "skip_shift": formats.skip_shift,
            "y_shift": formats.y_shift,
        }
        if scan.skip:
            skip = self.tensors[scan.skip]
            fields |= {
                "skip_enable": 1,
                "skip_zero_point": skip.affine.zero_point,
                "skip_offset": skip.operand.addr - bc.operand.addr,
            }
        tensor = self._tensor(scan.point, 0, n, gated)
        turns = range(builder.n_sequences) if builder.coupled else (None,)
        states = builder.states(n << log2_state, len(turns), f"{name}.scan")
        for sequence, state_addr in zip(turns, states, strict=True):
            suffix, which = "", {}
            if sequence is not None:
                suffix, which = f".{sequence}", {"sequence": sequence, "sequences": len(turns)}
            builder.emit(
                f"{name}.scan{suffix}",
                scan.opcode,
                [tensor | which],
                sequence=sequence,
                state_addr=state_addr,
                **fields,
            )
        self._written(scan.point, target)

    # ------------------------------------------------------------------ linear layers

    def _weight(self, name: str, source: Quantized) -> np.ndarray:
        """Weights of a layer for the rows of its source: [n_out, source.width]."""
        weight = self.state[f"{name}.weight"]
        if source.elements is None:
            return weight
        spread = np.zeros((len(weight), source.width))
        spread[:, source.elements] = weight
        return spread

    def _integer_layer(
        self,
        name: str,
        weight: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray | None,
        sources: Sequence[Affine],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int8 weights, int32 biases with the zero point folded in, and accumulator scales.

        weight [n_out, ...]: all else is summed; scales [n_out]; sources: of the inputs, one for all
        outputs or one for each. Proves that no accumulator can overflow.
        """
        flat = weight.reshape(len(weight), -1)
        weight_q = quantize_weight(flat, scales)
        if bias is None:
            bias = np.zeros(len(flat))
        accumulator = np.array([source.scale for source in sources]) * scales
        zero_points = np.array([source.zero_point for source in sources])
        bias_q = np.rint(bias / accumulator).astype(np.int64)
        bias_q -= zero_points * weight_q.sum(axis=1)
        bound = np.abs(bias_q) + 128 * np.abs(weight_q).sum(axis=1)
        if bound.max() > _ACCUMULATOR_LIMIT:
            channel = int(bound.argmax())
            raise CompileError(
                f"{name}: output {channel} may reach {int(bound.max())}, expected at most "
                f"{_ACCUMULATOR_LIMIT}: too many inputs for an int32 accumulator"
            )
        self.headroom[name] = float(31 - np.log2(max(1, bound.max())))
        return weight_q.reshape(weight.shape), bias_q, accumulator

    def _linear(
        self,
        name: str,
        source: Quantized,
        weight: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray | None,
        groups: Sequence[OutputGroup],
        dst: isa.Operand,
        point_start: int = 0,
        sources: Sequence[Affine] | None = None,
        **fields: object,
    ) -> None:
        """Emit a LINEAR; weight [n_out, n_in], or [positions, n_out, n_in] to reduce over them.

        scales [n_out]: of the weights. sources: of the inputs, if not `source` for all outputs.
        """
        builder = self.builder
        matrices = weight if weight.ndim == 3 else weight[None]
        count, n_out, n_in = matrices.shape
        weight_q, bias_q, ratios = self._integer_layer(
            name, matrices.transpose(1, 0, 2), scales, bias, sources or [source.affine]
        )
        zero_points = np.zeros(n_out, dtype=np.int64)
        used = np.zeros(n_out, dtype=bool)
        for group in groups:
            span = slice(group.start, group.start + group.size)
            ratios[span] /= group.affine.scale
            zero_points[span] = group.affine.zero_point
            used[span] = True
        multipliers, shifts = self._multipliers(np.where(used, ratios, 0.0))
        log2_split = self._split(n_in, n_out, source.operand)
        addr, tiles = builder.weights(weight_q.transpose(1, 0, 2), log2_split)
        fields.setdefault("weight_stride", tiles if count > 1 else 0)
        builder.emit(
            name,
            "LINEAR",
            [
                self._tensor(g.point, g.start, g.size, g.affine) | {"point_start": point_start}
                for g in groups
            ],
            shared=source.shared,
            src=source.operand,
            dst=dst,
            weight_addr=addr,
            param_addr=builder.param_words(
                "array_params",
                bias=bias_q,
                multiplier=multipliers,
                shift=shifts,
                zero_point=zero_points,
            ),
            n_in=n_in,
            n_out=n_out,
            log2_split=log2_split,
            **fields,
        )

    def _split(self, n_in: int, n_out: int, source: isa.Operand) -> int:
        """The lane grouping that needs the fewest tiles, as far as the input is aligned for it."""
        b = self.builder.build

        def tiles(log2_split: int) -> int:
            split = 1 << log2_split
            return -(-n_out // (b.tile_out // split)) * -(-n_in // (b.tile_in * split))

        splits = range(isa.LIMITS["log2_split"] + 1)
        aligned = [s for s in splits if source.addr % (b.tile_in << s) == 0]
        return min(aligned, key=tiles)


def _padded(x: np.ndarray, length: int, value: float) -> np.ndarray:
    """x [n, ...] with more of `value` up to [length, ...]."""
    padding = np.full((length - len(x), *x.shape[1:]), value)
    return np.concatenate([x, padding])
