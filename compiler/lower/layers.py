"""Lower the layers that the models share: the one place that knows what a layer is in integers.

Every quantization point of a model (`q_*`) becomes a scale and a zero point. A layer becomes one
instruction, but in_proj two, one for each half; an output layer of more values than the array sums
at once several, and a scan of coupled sequences one for each of them; a GDD-MLP has one for two
layers (`compiler.lower.published`). The integer formats are those of docs/numerics.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import isa
from compiler import tables
from compiler.program import CompileError, ProgramBuilder, ceil_log2, round_up
from model.quantization.activations import silu, softplus
from model.quantization.affine import Affine, multiplier, quantize_weight
from model.quantization.formats import Formats, norm_eps, norm_ratios
from model.quantization.structure import Structure

_ACCUMULATOR_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Quantized:
    """A tensor in an activation memory: where, how wide, and what its integers mean.

    `shared`: it has a row for each position, that of all coupled sequences.
    """

    operand: isa.Operand
    width: int
    affine: Affine
    shared: bool = False


@dataclass(frozen=True)
class OutputGroup:
    """Consecutive outputs of a LINEAR with one scale and the quantization point that they are."""

    point: str
    start: int
    size: int
    affine: Affine


@dataclass(frozen=True)
class Projected:
    """What x_proj says of a token: rows of B, C and dt; dt by itself; where the skip weights begin
    in such a row, None where the token has none."""

    operand: isa.Operand
    dt: Quantized
    skip_offset: int | None


class LayerLowering:
    """Lowers layers of one model into a `ProgramBuilder`."""

    input_point = "q_input"  # what the host sends
    x: Quantized  # the residual stream, which `run` of a model allocates

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
        self.positions = model.positions.cpu().double().numpy()
        self.formats = formats
        self.builder = builder
        self.headroom: dict[str, float] = {}
        # Forecast values that the output layer can sum at once.
        self.head_chunk = min(builder.build.capacity["reduce"], builder.build.capacity["features"])

    @property
    def metadata(self) -> dict[str, object]:
        """What the host wants to know of such a model alone."""
        return {}

    @staticmethod
    def _tensor(point: str, start: int, size: int, affine: Affine) -> dict[str, object]:
        return {
            "point": point,
            "start": start,
            "size": size,
            "scale": affine.scale,
            "zero_point": affine.zero_point,
        }

    def _receive(self, name: str, n_positions: int) -> Quantized:
        """The input tokens."""
        features, affine = self.args.token_features, self.formats[self.input_point]
        target = Quantized(self.builder.ring(name, "patch", features), features, affine)
        self.builder.emit(
            name,
            "RECV",
            [self._tensor(self.input_point, 0, features, affine)],
            dst=target.operand,
            n=features,
            n_positions=n_positions,
        )
        return target

    def _emit_norm(
        self,
        name: str,
        point: str,
        weight: np.ndarray,
        source: Quantized,
        target: Quantized,
        **fields: int,
    ) -> None:
        """RMSNorm of as many features as there are weights; what `source` has beyond them is zero,
        and so it is in `target`."""
        n, affine = len(weight), target.affine
        ratios = np.zeros(target.width)
        ratios[:n] = norm_ratios(weight, affine.scale)
        multipliers, shifts = self._multipliers(ratios)
        self.builder.emit(
            name,
            "NORM",
            [self._tensor(point, 0, n, affine)],
            src=source.operand,
            dst=target.operand,
            param_addr=self.builder.param_words(
                "vector_params",
                multiplier=multipliers,
                shift=shifts,
                zero_point=affine.zero_point,
            ),
            n=target.width,
            eps=norm_eps(n, self.args.norm_eps, source.affine.scale),
            **fields,
        )

    @staticmethod
    def _multipliers(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [multiplier(float(r)) for r in ratios]
        return np.array([m for m, _ in pairs]), np.array([s for _, s in pairs])

    # ------------------------------------------------------------------ ends of a model

    def _patch_embedding(
        self, patches: Quantized, weight: np.ndarray, positions: isa.Operand
    ) -> None:
        """Patches to the residual stream, with their positions added."""
        self._linear(
            "patch_embedding",
            patches,
            weight,
            self.formats.weights["patch_embedding"],
            self.state.get("patch_embedding.bias"),
            [OutputGroup("q_residual.0", 0, self.args.d_model, self.x.affine)],
            self.x.operand,
            wide=1,
            add=positions,
            add_enable=1,
            add_position=1,
        )

    def _output_layer(self, source: Quantized) -> None:
        """The output layer as a reduction over the tokens, in parts of `head_chunk`, and its
        forecast."""
        args, builder = self.args, self.builder
        n_out, output = args.output_features, self.formats["q_output"]
        # Two rows let a forecast be sent while the next is summed.
        fits = 2 * round_up(n_out, builder.build.row_align) <= builder.free("head")
        head = builder.allocate("head", n_out, min(1 + fits, builder.n_sequences), "forecast")
        weight = self.state["output_layer.weight"].reshape(n_out, builder.n_positions, args.d_model)
        starts = range(0, n_out, self.head_chunk)
        for index, start in enumerate(starts):
            if index:
                builder.segment()
            part = slice(start, min(start + self.head_chunk, n_out))
            self._linear(
                "output_layer" if len(starts) == 1 else f"output_layer.{index}",
                source,
                weight[part].transpose(1, 0, 2),
                self.formats.weights["output_layer"][part],
                self.state["output_layer.bias"][part],
                [OutputGroup("q_output", 0, part.stop - start, output)],
                dataclasses.replace(head, addr=head.addr + start),
                point_start=start,
                wide=1,
                reduce=1,
            )
        builder.segment()
        builder.emit(
            "forecast",
            "SEND",
            [self._tensor("q_output", 0, n_out, output)],
            src=head,
            n=n_out,
            n_positions=1,
        )

    # ------------------------------------------------------------------ layers of a mixer

    def _in_proj(
        self, name: str, normed: Quantized, least_rows: int = 2
    ) -> tuple[Quantized, Quantized]:
        """Both halves, u of at least so many rows and z, as instructions of their own."""
        e_width = self.args.d_inner
        weight = self.state[f"{name}.in_proj.weight"]
        bias = self.state.get(f"{name}.in_proj.bias")
        scales = self.formats.weights[f"{name}.in_proj"]
        halves = []
        for half, (suffix, space, least) in enumerate(
            (("u_in", "conv_in", least_rows), ("z", "gate", 2))
        ):
            rows = slice(half * e_width, (half + 1) * e_width)
            point = f"{name}.q_{suffix}"
            operand = self.builder.ring(space, space, e_width, least)
            target = Quantized(operand, e_width, self.formats[point])
            self._linear(
                f"{name}.in_proj_{suffix[0]}",
                normed,
                weight[rows],
                scales[rows],
                None if bias is None else bias[rows],
                [OutputGroup(point, 0, e_width, target.affine)],
                target.operand,
            )
            halves.append(target)
        u_in, z = halves
        return u_in, z

    def _x_proj(self, name: str, u: Quantized, with_skip: bool = False) -> Projected:
        """B, C and the low-rank dt of a token, in this order, and its skip weights; each has a
        scale of its own."""
        args, builder = self.args, self.builder
        r, n = args.dt_rank, args.d_state
        states = 1 << ceil_log2(n)
        dt_start = round_up(2 * states, builder.build.tile_in)
        width = dt_start + r
        # Outputs: (point, where they begin, rows of the weight).
        parts = [
            ("B", 0, slice(r, r + n)),
            ("C", states, slice(r + n, r + 2 * n)),
            ("dt_low", dt_start, slice(0, r)),
        ]
        skip_offset = None
        if with_skip:
            skip_offset = round_up(width, builder.build.row_align)
            width = skip_offset + args.d_inner
            parts.append(("skip", skip_offset, slice(r + 2 * n, r + 2 * n + args.d_inner)))
        source = self.state[f"{name}.x_proj.weight"]
        # What is between the parts has no weights, and any scale.
        weight, scales = np.zeros((width, args.d_inner)), np.ones(width)
        groups = []
        for part, start, rows in parts:
            size = rows.stop - rows.start
            weight[start : start + size] = source[rows]
            scales[start : start + size] = self.formats.weights[f"{name}.x_proj"][rows]
            point = f"{name}.q_{part}"
            groups.append(OutputGroup(point, start, size, self.formats[point]))
        operand = builder.ring("proj", "proj", round_up(width, builder.build.tile_in))
        self._linear(f"{name}.x_proj", u, weight, scales, None, groups, operand)
        at_dt = dataclasses.replace(operand, addr=operand.addr + dt_start)
        return Projected(
            operand, Quantized(at_dt, r, self.formats[f"{name}.q_dt_low"]), skip_offset
        )

    def _dt_proj(self, name: str, dt_low: Quantized) -> Quantized:
        width, point = self.args.d_inner, f"{name}.q_dt"
        target = Quantized(self.builder.ring("step", "step", width), width, self.formats[point])
        self._whole_layer(f"{name}.dt_proj", dt_low, point, target)
        return target

    def _scan(
        self,
        name: str,
        u: Quantized,
        z: Quantized,
        dt: Quantized,
        projected: Projected,
        skip_weights: np.ndarray,
    ) -> Quantized:
        """The selective scan with softplus, skip and gate; coupled sequences have an instruction
        each, with a state of its own.

        skip_weights [E]: D, which counts where the token has none of its own.
        """
        args, builder = self.args, self.builder
        n = args.d_inner
        log2_state = ceil_log2(args.d_state)
        most = isa.LIMITS["log2_state"]
        if log2_state > most:
            raise CompileError(
                f"{name}.scan: d_state {args.d_state}, expected at most {1 << most}; train with a "
                "smaller d_state"
            )

        formats, gated = self.formats.scans[name], self.formats[f"{name}.q_gated"]
        rates = np.zeros((n, 1 << log2_state))
        rates[:, : args.d_state] = formats.rates(self.state[f"{name}.A_log"])
        multipliers, shifts = self._multipliers(np.array([formats.y * formats.gate / gated.scale]))
        target = Quantized(builder.ring("scan", "scan", n), n, gated)
        fields = {
            "u": u.operand,
            "z": z.operand,
            "dt": dt.operand,
            "bc": projected.operand,
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
        if projected.skip_offset is not None:
            fields |= {
                "skip_enable": 1,
                "skip_zero_point": self.formats[f"{name}.q_skip"].zero_point,
                "skip_offset": projected.skip_offset,
            }
        tensor = self._tensor(f"{name}.q_gated", 0, n, gated)
        turns = range(builder.n_sequences) if builder.coupled else (None,)
        states = builder.states(n << log2_state, len(turns), f"{name}.scan")
        for sequence, state_addr in zip(turns, states, strict=True):
            suffix, which = "", {}
            if sequence is not None:
                suffix, which = f".{sequence}", {"sequence": sequence, "sequences": len(turns)}
            builder.emit(
                f"{name}.scan{suffix}",
                "SCAN",
                [tensor | which],
                sequence=sequence,
                state_addr=state_addr,
                **fields,
            )
        return target

    # ------------------------------------------------------------------ linear layers

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

    def _whole_layer(
        self, name: str, source: Quantized, point: str, target: Quantized, **fields: object
    ) -> None:
        """A linear layer just as the model has it: one LINEAR, all its outputs at one point."""
        self._linear(
            name,
            source,
            self.state[f"{name}.weight"],
            self.formats.weights[name],
            self.state.get(f"{name}.bias"),
            [OutputGroup(point, 0, target.width, target.affine)],
            target.operand,
            **fields,
        )

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

        scales [n_out]: of the weights.
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
