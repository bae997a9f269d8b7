"""Lower a CMamba to instructions."""

from __future__ import annotations

import numpy as np

import isa
from compiler import tables
from compiler.lower.layers import LayerLowering, OutputGroup, Quantized
from compiler.program import CompileError, ceil_log2, round_up
from isa.words import MAX_TAPS
from model.quantization.activations import sigmoid, silu


class CMambaLowering(LayerLowering):
    """Lowers one CMamba into a `ProgramBuilder`; `run` does all of it."""

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
        self._patch_embedding(patches, embedding, position_rows)

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

    def _norm(
        self, name: str, point: str, weight: np.ndarray, dst: isa.Operand | None = None
    ) -> Quantized:
        """RMSNorm of the residual stream to int8, in `dst` or the next ring."""
        d_model, affine = self.args.d_model, self.formats[point]
        target = Quantized(dst or self.builder.ring("norm", "norm", d_model), d_model, affine)
        self._emit_norm(name, point, weight, self.x, target, wide=0)
        return target

    # ------------------------------------------------------------------ blocks

    def _mamba_block(self, name: str, residual_point: str) -> None:
        """Norm, input projections, convolution, scan and output projection of one MambaBlock."""
        args = self.args
        normed = self._norm(
            f"{name}.norm_in", f"{name}.q_norm", self.state[f"{name}.norm_in.weight"]
        )
        u_in, z = self._in_proj(name, normed, args.d_conv)
        u = self._conv(name, u_in)
        projected = self._x_proj(name, u)
        dt = self._dt_proj(name, projected.dt)
        gated = self._scan(name, u, z, dt, projected, self.state[f"{name}.D"])
        self._whole_layer(
            f"{name}.out_proj",
            gated,
            residual_point,
            self.x,
            wide=1,
            add=self.x.operand,
            add_enable=1,
        )

    def _conv(self, name: str, u_in: Quantized) -> Quantized:
        """Causal depthwise convolution and SiLU."""
        args, builder = self.args, self.builder
        if args.d_conv > MAX_TAPS:
            raise CompileError(
                f"{name}.conv1d: d_conv {args.d_conv}, expected at most {MAX_TAPS} taps; train "
                "with a smaller d_conv"
            )
        n = args.d_inner
        before, after = self.formats[f"{name}.q_conv"], self.formats[f"{name}.q_u"]
        weight = self.state[f"{name}.conv1d.weight"][:, 0, :]  # [E, d_conv]
        bias = self.state.get(f"{name}.conv1d.bias")
        taps, bias_q, ratios = self._integer_layer(
            f"{name}.conv1d", weight, self.formats.weights[f"{name}.conv1d"], bias, [u_in.affine]
        )
        multipliers, shifts = self._multipliers(ratios / before.scale)
        padded = np.zeros((n, MAX_TAPS), dtype=np.int8)
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
        self._whole_layer(
            f"{attention}.fc1", pooled, f"{attention}.q_hidden", hidden, n_positions=2, relu=1
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
        self.builder.segment()
        normed = self._norm("norm_f", "q_norm_f", self.state["norm_f.weight"], self.norm_f_rows)
        self._output_layer(normed)
