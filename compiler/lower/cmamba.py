"""Lower a CMamba to instructions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compiler import tables
from compiler.lower.layers import LayerLowering, Place, Quantized
from compiler.program import CompileError, ceil_log2, round_up
from isa.words import MAX_TAPS
from model.quantization.activations import sigmoid
from model.quantization.structure import Convolution, Pool, Scale


class CMambaLowering(LayerLowering):
    """Lowers one CMamba into a `ProgramBuilder`."""

    def places(self) -> dict[str, Place]:
        return {
            # A block. A segment of the nested topology reads what the one before made of all
            # tokens, or of both rows of a pool.
            "q_norm": Place("norm", segment=True),
            "q_u_in": Place("conv_in", rows=self.args.d_conv),
            "q_z": Place("gate"),
            "q_u": Place("conv"),
            "q_B": Place("proj"),
            "q_dt": Place("step"),
            "q_gated": Place("scan"),
            "q_pool": Place("norm", "pool", segment=True),
            "q_hidden": Place("proj", "hidden", segment=True),
            "q_logit": Place("logit", segment=True),
            "q_scaled": Place("resid", segment=True),
            # The head.
            "q_norm_f": Place("norm", segment=True),
        }

    def emitters(self) -> dict[type, Callable[..., None]]:
        return super().emitters() | {
            Convolution: self._convolution,
            Pool: self._pool,
            Scale: self._scale,
        }

    def allocate(self) -> None:
        args, builder = self.args, self.builder
        self._positional_encoding()
        tokens = builder.n_positions * min(builder.n_sequences, 2)
        rows = 1 << ceil_log2(tokens)
        stride = round_up(args.d_model, builder.build.row_align)
        if rows * stride > builder.free("resid"):
            rows = 1 << ceil_log2(builder.n_positions)
        self._residual_stream(rows)

        # What shares a memory with the blocks' rings comes first: they take all that is left.
        self._allocate_input()
        if args.topology == "nested":
            builder.reserve("pool", "norm", args.d_model, most_rows=4)
            builder.reserve("hidden", "proj", args.d_model // args.reduction_ratio, most_rows=4)
        if self.head_chunk < args.output_features:
            # Every part of the head reads all tokens again.
            rows = 1 << ceil_log2(builder.n_positions)
            operand = builder.allocate("norm", args.d_model, rows, "norm_f")
            self.allocated["q_norm_f"] = Quantized(
                operand, args.d_model, self.formats["q_norm_f"], builder.n_positions
            )

    def _allocate_input(self) -> None:
        """Allocate what the input needs beside rings of its own."""

    def _convolution(self, layer: Convolution) -> None:
        """Causal, depthwise, with its activation."""
        args, builder, source = self.args, self.builder, self.tensors[layer.sources[0]]
        if args.d_conv > MAX_TAPS:
            raise CompileError(
                f"{layer.name}: d_conv {args.d_conv}, expected at most {MAX_TAPS} taps; train "
                "with a smaller d_conv"
            )
        (group,) = layer.groups
        n, before = group.size, self.formats[group.point]
        weight = self.state[f"{layer.name}.weight"][:, 0, :]  # [E, d_conv]
        bias = self.state.get(f"{layer.name}.bias")
        taps, bias_q, ratios = self._integer_layer(
            layer.name, weight, self.formats.weights[layer.name], bias, [source.affine]
        )
        multipliers, shifts = self._multipliers(ratios / before.scale)
        padded = np.zeros((n, MAX_TAPS), dtype=np.int8)
        padded[:, : args.d_conv] = taps
        target = self._target(layer.activated, n)
        builder.emit(
            layer.name,
            layer.opcode,
            [self._tensor(layer.activated, 0, n, target.affine)],
            src=source.operand,
            dst=target.operand,
            param_addr=builder.param_words(
                "conv_params",
                bias=bias_q,
                multiplier=multipliers,
                shift=shifts,
                zero_point=before.zero_point,
                taps=padded,
            ),
            table=builder.table(
                "conv_tables", tables.int8_table(layer.function, before, target.affine)
            ),
            n=n,
            kernel=args.d_conv,
            pad=source.affine.zero_point,
        )
        self._written(layer.activated, target)

    def _pool(self, pool: Pool) -> None:
        """Two rows: means, and maxima."""
        ((point, counts),) = pool.counts.items()
        source = self.tensors[pool.source]
        target = self._target(point, source.width, n_positions=len(counts))
        multipliers, shifts = self._multipliers(
            source.affine.scale / target.affine.scale * (1.0 / np.array(counts))
        )
        self.builder.emit(
            pool.name,
            pool.opcode,
            [self._tensor(point, 0, source.width, target.affine)],
            src=source.operand,
            dst=target.operand,
            param_addr=self.builder.param_words(
                "vector_params",
                multiplier=multipliers,
                shift=shifts,
                zero_point=target.affine.zero_point,
            ),
            n=source.width,
        )
        self._written(point, target)

    def _scale(self, scale: Scale) -> None:
        source, logit = self.tensors[scale.source], self.tensors[scale.logit]
        target = self._target(scale.point, source.width)
        self.builder.emit(
            scale.name,
            scale.opcode,
            [self._tensor(scale.point, 0, source.width, target.affine)],
            src=source.operand,
            logit=logit.operand,
            dst=target.operand,
            table=self.builder.table(
                "vector_tables", tables.uint16_table(sigmoid, logit.affine, 2.0**-16)
            ),
            n=source.width,
        )
        self._written(scale.point, target)
