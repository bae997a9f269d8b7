"""Lower a CMamba to instructions: the one place that knows the model.

Every quantization point of the model (`q_*`) becomes a scale and a zero point, every layer one
instruction (in_proj two, one for each half). The integer formats are those of docs/numerics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden import isa, tables
from golden.program import CompileError, ProgramBuilder, ceil_log2, round_up
from model.cmamba import CMamba
from model.quantization.activations import sigmoid, silu, softplus
from model.quantization.affine import Affine, multiplier, quantize_weight
from model.quantization.formats import Formats, norm_eps, norm_ratios

_ACCUMULATOR_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Quantized:
    """A tensor in an activation memory: where, how wide, and what its integers mean."""

    operand: isa.Operand
    width: int
    affine: Affine


@dataclass(frozen=True)
class OutputGroup:
    """Consecutive outputs of a LINEAR with one scale and the quantization point that they are."""

    point: str
    start: int
    size: int
    affine: Affine


class Lowering:
    """Lowers one model into a `ProgramBuilder`; `run` does all of it."""

    input_point = "q_input"  # what the host sends

    def __init__(
        self,
        model: CMamba,
        formats: Formats,
        builder: ProgramBuilder,
    ) -> None:
        self.args = model.args
        self.state = {k: v.detach().cpu().double().numpy() for k, v in model.state_dict().items()}
        self.positions = model.positions.cpu().double().numpy()
        self.formats = formats
        self.builder = builder
        self.headroom: dict[str, float] = {}
        # Forecast values that the output layer can sum at once.
        self.head_chunk = min(builder.build.capacity["reduce"], builder.build.capacity["features"])

    @staticmethod
    def _tensor(point: str, start: int, size: int, affine: Affine) -> dict[str, object]:
        return {
            "point": point,
            "start": start,
            "size": size,
            "scale": affine.scale,
            "zero_point": affine.zero_point,
        }

    # ------------------------------------------------------------------ the whole model

    def run(self) -> None:
        """Emit the program."""
        args, builder = self.args, self.builder
        residual = self.formats.residual

        position_rows = builder.constant_rows(
            residual.quantize(self.positions), "positional encoding"
        )
        tokens = builder.n_positions * min(builder.n_sequences, 2)
        rows = 1 << ceil_log2(tokens)
        stride = round_up(args.d_model, builder.build.row_align)
        if rows * stride > builder.free("resid"):
            rows = 1 << ceil_log2(builder.n_positions)
        self.x = Quantized(
            builder.allocate("resid", args.d_model, rows, "residual stream"), args.d_model, residual
        )

        # What shares a memory with the blocks' rings comes first: they take all that is left.
        self._reserve_input()
        if args.topology == "nested":
            builder.reserve("pool", "norm", args.d_model, most_rows=4)
            builder.reserve("hidden", "proj", args.d_model // args.reduction_ratio, most_rows=4)
        self.norm_f_rows = None
        if self.head_chunk < args.output_features:
            # Every part of the head reads all tokens again.
            rows = 1 << ceil_log2(builder.n_positions)
            self.norm_f_rows = builder.allocate("norm", args.d_model, rows, "norm_f")

        patches, embedding = self._patches()
        self._linear(
            "patch_embedding",
            patches,
            embedding,
            self.formats.weights["patch_embedding"],
            self.state["patch_embedding.bias"],
            [OutputGroup("q_residual.0", 0, args.d_model, residual)],
            self.x.operand,
            wide=1,
            add=position_rows,
            add_enable=1,
            add_position=1,
        )

        if args.topology == "stacked":
            for i in range(args.n_layer):
                builder.segment()
                self._mamba_block(f"blocks.{i}", f"q_residual.{i + 1}")
        else:
            for i in range(args.n_layer):
                self._cmamba_block(f"c_mamba_blocks.{i}", f"q_residual.{i + 1}")

        self._head()

    def _reserve_input(self) -> None:
        """Allocate what the input needs beside rings of its own."""

    def _patches(self) -> tuple[Quantized, np.ndarray]:
        """Emit what makes patches: (the patches, weights of the embedding that reads them)."""
        return self._receive("patches", self.args.num_patches), self.state["patch_embedding.weight"]

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

    def _norm(
        self, name: str, point: str, weight: np.ndarray, dst: isa.Operand | None = None
    ) -> Quantized:
        """RMSNorm of the residual stream to int8, in `dst` or the next ring."""
        d_model, affine = self.args.d_model, self.formats[point]
        target = Quantized(dst or self.builder.ring("norm", "norm", d_model), d_model, affine)
        self._emit_norm(name, point, weight, self.x, target, wide=0)
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

    # ------------------------------------------------------------------ blocks

    def _mamba_block(self, name: str, residual_point: str) -> None:
        """Norm, input projections, convolution, scan and output projection of one MambaBlock."""
        args, builder = self.args, self.builder
        e_width = args.d_inner
        in_proj = self.state[f"{name}.in_proj.weight"]
        in_bias = self.state.get(f"{name}.in_proj.bias")

        in_scales = self.formats.weights[f"{name}.in_proj"]

        normed = self._norm(
            f"{name}.norm_in", f"{name}.q_norm", self.state[f"{name}.norm_in.weight"]
        )

        halves = []
        for half, (suffix, space) in enumerate((("u_in", "conv_in"), ("z", "gate"))):
            rows = slice(half * e_width, (half + 1) * e_width)
            point = f"{name}.q_{suffix}"
            least = args.d_conv if space == "conv_in" else 2
            target = Quantized(
                builder.ring(space, space, e_width, least), e_width, self.formats[point]
            )
            self._linear(
                f"{name}.in_proj_{suffix[0]}",
                normed,
                in_proj[rows],
                in_scales[rows],
                None if in_bias is None else in_bias[rows],
                [OutputGroup(point, 0, e_width, target.affine)],
                target.operand,
            )
            halves.append(target)
        u_in, z = halves

        u = self._conv(name, u_in)
        projected, dt_low = self._x_proj(name, u)
        dt = Quantized(builder.ring("step", "step", e_width), e_width, self.formats[f"{name}.q_dt"])
        self._linear(
            f"{name}.dt_proj",
            dt_low,
            self.state[f"{name}.dt_proj.weight"],
            self.formats.weights[f"{name}.dt_proj"],
            self.state[f"{name}.dt_proj.bias"],
            [OutputGroup(f"{name}.q_dt", 0, e_width, dt.affine)],
            dt.operand,
        )
        gated = self._scan(name, u, z, dt, projected)
        self._linear(
            f"{name}.out_proj",
            gated,
            self.state[f"{name}.out_proj.weight"],
            self.formats.weights[f"{name}.out_proj"],
            self.state.get(f"{name}.out_proj.bias"),
            [OutputGroup(residual_point, 0, args.d_model, self.x.affine)],
            self.x.operand,
            wide=1,
            add=self.x.operand,
            add_enable=1,
        )

    def _conv(self, name: str, u_in: Quantized) -> Quantized:
        """Causal depthwise convolution and SiLU."""
        args, builder = self.args, self.builder
        if args.d_conv > 8:
            raise CompileError(f"{name}.conv1d: d_conv {args.d_conv}, expected at most 8 taps")
        n = args.d_inner
        before, after = self.formats[f"{name}.q_conv"], self.formats[f"{name}.q_u"]
        weight = self.state[f"{name}.conv1d.weight"][:, 0, :]  # [E, d_conv]
        bias = self.state.get(f"{name}.conv1d.bias")
        taps, bias_q, ratios = self._integer_layer(
            f"{name}.conv1d", weight, self.formats.weights[f"{name}.conv1d"], bias, u_in.affine
        )
        multipliers, shifts = self._multipliers(ratios / before.scale)
        padded = np.zeros((n, 8), dtype=np.int8)
        padded[:, : args.d_conv] = taps
        target = Quantized(builder.ring("conv", "conv", n), n, after)
        builder.emit(
            f"{name}.conv1d",
            "CONV",
            [self._tensor(f"{name}.q_u", 0, n, after)],
            src=u_in.operand,
            dst=target.operand,
            param_addr=builder.param_words(
                "conv_params",
                bias=bias_q,
                multiplier=multipliers,
                shift=shifts,
                zero_point=before.zero_point,
                taps=padded,
            ),
            table=builder.table("conv_tables", tables.int8_table(silu, before, after)),
            n=n,
            kernel=args.d_conv,
            pad=u_in.affine.zero_point,
        )
        return target

    def _x_proj(self, name: str, u: Quantized) -> tuple[Quantized, Quantized]:
        """B, C and the low-rank dt of a token, in this order, each with its own scale."""
        args, builder = self.args, self.builder
        states = 1 << ceil_log2(args.d_state)
        dt_start = round_up(2 * states, builder.build.tile_in)
        width = dt_start + args.dt_rank
        source = self.state[f"{name}.x_proj.weight"]  # rows: dt, B, C
        r, n = args.dt_rank, args.d_state
        # What is between them has no weights, and any scale.
        rows = {0: slice(r, r + n), states: slice(r + n, r + 2 * n), dt_start: slice(0, r)}
        weight, scales = np.zeros((width, args.d_inner)), np.ones(width)
        for start, taken in rows.items():
            size = taken.stop - taken.start
            weight[start : start + size] = source[taken]
            scales[start : start + size] = self.formats.weights[f"{name}.x_proj"][taken]
        dt, b, c = (self.formats[f"{name}.q_{part}"] for part in ("dt_low", "B", "C"))
        operand = builder.ring("proj", "proj", round_up(width, builder.build.tile_in))
        self._linear(
            f"{name}.x_proj",
            u,
            weight,
            scales,
            None,
            [
                OutputGroup(f"{name}.q_B", 0, n, b),
                OutputGroup(f"{name}.q_C", states, n, c),
                OutputGroup(f"{name}.q_dt_low", dt_start, r, dt),
            ],
            operand,
        )
        at_dt = isa.Operand(
            operand.addr + dt_start, operand.stride, operand.log2_rows, operand.space
        )
        return Quantized(operand, width, b), Quantized(at_dt, r, dt)

    def _scan(
        self,
        name: str,
        u: Quantized,
        z: Quantized,
        dt: Quantized,
        projected: Quantized,
    ) -> Quantized:
        """The selective scan with softplus, skip and gate."""
        args, builder = self.args, self.builder
        n = args.d_inner
        log2_state = ceil_log2(args.d_state)
        if log2_state > 6:
            raise CompileError(f"{name}.scan: d_state {args.d_state}, expected at most 64")

        formats, gated = self.formats.scans[name], self.formats[f"{name}.q_gated"]
        rates = np.zeros((n, 1 << log2_state))
        rates[:, : args.d_state] = formats.rates(self.state[f"{name}.A_log"])
        multipliers, shifts = self._multipliers(np.array([formats.y * formats.gate / gated.scale]))
        target = Quantized(builder.ring("scan", "scan", n), n, gated)
        builder.emit(
            f"{name}.scan",
            "SCAN",
            [self._tensor(f"{name}.q_gated", 0, n, gated)],
            u=u.operand,
            z=z.operand,
            dt=dt.operand,
            bc=projected.operand,
            dst=target.operand,
            state_addr=builder.state(n << log2_state, f"{name}.scan"),
            decay_addr=builder.decay_rates(rates),
            param_addr=builder.param_words(
                "scan_params",
                bias=np.rint(self.state[f"{name}.D"] * u.affine.scale / formats.skip),
                multiplier=multipliers[0],
                shift=shifts[0],
                zero_point=gated.zero_point,
            ),
            softplus_table=builder.table(
                "scan_tables", tables.uint16_table(softplus, dt.affine, formats.delta)
            ),
            silu_table=builder.table(
                "scan_tables", tables.int16_table(silu, z.affine, formats.gate)
            ),
            n=n,
            log2_state=log2_state,
            u_zero_point=u.affine.zero_point,
            exp_shift=formats.exp_shift,
            state_shift=formats.state_shift,
            skip_shift=formats.skip_shift,
            y_shift=formats.y_shift,
        )
        return target

    def _cmamba_block(self, name: str, residual_point: str) -> None:
        """The nested topology's block: MambaBlocks, channel attention, norm."""
        args, builder = self.args, self.builder
        inner = f"{name}.patch_mamba"
        for j in range(args.n_layer):
            builder.segment()
            self._mamba_block(f"{inner}.layers.{j}", f"{inner}.q_residual.{j}")

        attention = f"{name}.channel_attention"
        pooled = Quantized(
            builder.ring("pool", "norm", args.d_model),
            args.d_model,
            self.formats[f"{attention}.q_pool"],
        )
        multipliers, shifts = self._multipliers(
            self.x.affine.scale / pooled.affine.scale * np.array([1.0 / builder.n_positions, 1.0]),
        )
        builder.segment()
        builder.emit(
            f"{attention}.pool",
            "POOL",
            [self._tensor(f"{attention}.q_pool", 0, args.d_model, pooled.affine)],
            src=self.x.operand,
            dst=pooled.operand,
            param_addr=builder.param_words(
                "vector_params",
                multiplier=multipliers,
                shift=shifts,
                zero_point=pooled.affine.zero_point,
            ),
            n=args.d_model,
        )

        width = args.d_model // args.reduction_ratio
        hidden = Quantized(
            builder.ring("hidden", "proj", width), width, self.formats[f"{attention}.q_hidden"]
        )
        builder.segment()
        self._linear(
            f"{attention}.fc1",
            pooled,
            self.state[f"{attention}.fc1.weight"],
            self.formats.weights[f"{attention}.fc1"],
            self.state[f"{attention}.fc1.bias"],
            [OutputGroup(f"{attention}.q_hidden", 0, width, hidden.affine)],
            hidden.operand,
            n_positions=2,
            relu=1,
        )
        logit = Quantized(
            builder.ring("logit", "logit", args.d_model),
            args.d_model,
            self.formats[f"{attention}.q_logit"],
        )
        builder.segment()
        fc2 = self.state[f"{attention}.fc2.weight"]
        self._linear(
            f"{attention}.fc2",
            hidden,
            np.stack([fc2, fc2]),
            self.formats.weights[f"{attention}.fc2"],
            2.0 * self.state[f"{attention}.fc2.bias"],
            [OutputGroup(f"{attention}.q_logit", 0, args.d_model, logit.affine)],
            logit.operand,
            n_positions=2,
            reduce=1,
        )

        builder.segment()
        builder.emit(
            f"{attention}.scale",
            "SCALE",
            [self._tensor(f"{attention}.q_scaled", 0, args.d_model, self.x.affine)],
            src=self.x.operand,
            logit=logit.operand,
            dst=self.x.operand,
            table=builder.table(
                "vector_tables", tables.uint16_table(sigmoid, logit.affine, 2.0**-16)
            ),
            n=args.d_model,
        )
        self._emit_norm(
            f"{name}.norm",
            residual_point,
            self.state[f"{name}.norm.weight"],
            self.x,
            self.x,
            wide=1,
        )

    def _head(self) -> None:
        """Final norm, and the output layer as a reduction over the tokens."""
        args, builder = self.args, self.builder
        n_out = args.output_features
        chunks = [
            (start, min(start + self.head_chunk, n_out))
            for start in range(0, n_out, self.head_chunk)
        ]
        output = self.formats["q_output"]

        builder.segment()
        normed = self._norm("norm_f", "q_norm_f", self.state["norm_f.weight"], self.norm_f_rows)

        head = builder.allocate("head", n_out, min(2, builder.n_sequences), "forecast")
        weight = self.state["output_layer.weight"].reshape(n_out, builder.n_positions, args.d_model)
        bias = self.state["output_layer.bias"]
        for index, (start, stop) in enumerate(chunks):
            if index:
                builder.segment()
            self._linear(
                "output_layer" if len(chunks) == 1 else f"output_layer.{index}",
                normed,
                weight[start:stop].transpose(1, 0, 2),
                self.formats.weights["output_layer"][start:stop],
                bias[start:stop],
                [OutputGroup("q_output", 0, stop - start, output)],
                isa.Operand(head.addr + start, head.stride, head.log2_rows, head.space),
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

    # ------------------------------------------------------------------ linear layers

    def _integer_layer(
        self,
        name: str,
        weight: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray | None,
        source: Affine,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int8 weights, int32 biases with the zero point folded in, and accumulator scales.

        weight [n_out, ...]: all else is summed; scales [n_out]. Proves that no accumulator can
        overflow.
        """
        flat = weight.reshape(len(weight), -1)
        weight_q = quantize_weight(flat, scales)
        if bias is None:
            bias = np.zeros(len(flat))
        bias_q = np.rint(bias / (source.scale * scales)).astype(np.int64)
        bias_q -= source.zero_point * weight_q.sum(axis=1)
        bound = np.abs(bias_q) + 128 * np.abs(weight_q).sum(axis=1)
        if bound.max() > _ACCUMULATOR_LIMIT:
            channel = int(bound.argmax())
            raise CompileError(
                f"{name}: output {channel} may reach {int(bound.max())}, expected at most "
                f"{_ACCUMULATOR_LIMIT}: too many inputs for an int32 accumulator"
            )
        self.headroom[name] = float(31 - np.log2(max(1, bound.max())))
        return weight_q.reshape(weight.shape), bias_q, source.scale * scales

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
        **fields: object,
    ) -> None:
        """Emit a LINEAR; weight [n_out, n_in], or [positions, n_out, n_in] to reduce over them.

        scales [n_out]: of the weights.
        """
        builder = self.builder
        matrices = weight if weight.ndim == 3 else weight[None]
        count, n_out, n_in = matrices.shape
        weight_q, bias_q, ratios = self._integer_layer(
            name, matrices.transpose(1, 0, 2), scales, bias, source.affine
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

        aligned = [s for s in (0, 1, 2) if source.addr % (b.tile_in << s) == 0]
        return min(aligned, key=tiles)
