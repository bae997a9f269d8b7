"""Lower a PublishedCMamba to instructions.

A forecast is one iteration, in which the variables take turns: block after block, in a block token
after token, at a token variable after variable. Between the tokens of all variables stands the
GDD-MLP: two small LINEARs on a row that has a mean and a maximum of every variable. Activations
that follow a LINEAR, SiLU and GELU, are CONVs of one tap, which only look up their table.
"""

from __future__ import annotations

import numpy as np

from compiler import tables
from compiler.lower.layers import LayerLowering, OutputGroup, Quantized
from compiler.program import ceil_log2
from isa.words import MAX_TAPS
from model.published_args import PublishedArgs
from model.quantization.activations import gelu, sigmoid, silu
from model.quantization.affine import multiplier

_IDENTITY_TAP = 64


class PublishedLowering(LayerLowering):
    """Lowers one PublishedCMamba into a `ProgramBuilder`; `run` does all of it."""

    args: PublishedArgs

    def run(self) -> None:
        """Emit the program."""
        args, builder = self.args, self.builder
        self._check_head()
        residual = self.formats.residual
        positions = builder.constant_rows(residual.quantize(self.positions), "positional encoding")
        rows = 1 << ceil_log2(builder.n_positions * builder.n_sequences)
        self.x = Quantized(
            builder.allocate("resid", args.d_model, rows, "residual stream of all variables"),
            args.d_model,
            residual,
        )
        # What shares a memory with the blocks' rings comes first: they take all that is left.
        width, hidden = 2 * args.num_channels, 4 * self._hidden
        for role, space, features in (
            ("pooled", "norm", width),
            ("hidden", "conv_in", hidden),
            ("activated", "conv", hidden),
        ):
            builder.reserve(role, space, features, most_rows=4, tokens=builder.n_positions)
        # Two rings of eight, where as much again stays for the blocks; or as little as can be.
        ample = builder.free("conv_in") >= 24 * max(args.d_model, args.d_inner)
        builder.reserve("last", "conv_in", args.d_model, most_rows=8 if ample else 2)
        # At a position all variables have theirs before the first of them is modulated.
        builder.reserve("mixed", "resid", args.d_model, least_rows=args.num_channels)
        self.head_rows = builder.allocate("conv", args.d_model, rows, "input of the head")

        self._patch_embedding(
            self._receive("patches", builder.n_positions),
            self.state["patch_embedding.weight"],
            positions,
        )
        for i in range(args.n_layer):
            builder.segment(by_position=True)
            mixed = self._mixer(f"blocks.{i}")
            logits = self._gdd_mlp(f"blocks.{i}.gdd_mlp", mixed)
            if i < args.n_layer - 1:
                self._modulate(f"blocks.{i}", f"q_residual.{i + 1}", mixed, logits, self.x)
        last = Quantized(
            builder.ring("last", "conv_in", args.d_model), args.d_model, self.formats["q_last"]
        )
        self._modulate(f"blocks.{args.n_layer - 1}", "q_last", mixed, logits, last)
        head = Quantized(self.head_rows, args.d_model, self.formats["q_head"])
        self._activation("silu", "q_head", silu, last, head)
        builder.segment()
        self._output_layer(head)

    @property
    def _hidden(self) -> int:
        """Hidden width of one MLP of the GDD-MLP."""
        return self.args.num_channels // self.args.reduction_ratio

    def _check_head(self) -> None:
        """The head has all values of the forecast at once."""
        if self.args.output_features > self.head_chunk:
            self.builder.misfits.append(
                f"output_layer: forecast_len {self.args.forecast_len}, build "
                f"'{self.builder.build.name}' sums {self.head_chunk} values at once; use a shorter "
                "horizon or a build with a larger 'reduce'"
            )

    # ------------------------------------------------------------------ blocks

    def _mixer(self, name: str) -> Quantized:
        """RMSNorm and mixer of a block: its output, not yet added to anything."""
        args, builder = self.args, self.builder
        mixer = f"{name}.mixer"
        width = args.d_model
        normed = Quantized(
            builder.ring("norm", "norm", width), width, self.formats[f"{name}.q_norm"]
        )
        self._emit_norm(
            f"{name}.norm",
            f"{name}.q_norm",
            self.state[f"{name}.norm.weight"],
            self.x,
            normed,
            wide=0,
        )
        u_in, z = self._in_proj(mixer, normed)
        u = Quantized(
            builder.ring("conv", "conv", args.d_inner), args.d_inner, self.formats[f"{mixer}.q_u"]
        )
        self._activation(f"{mixer}.silu", f"{mixer}.q_u", silu, u_in, u)
        projected = self._x_proj(mixer, u, with_skip=True)
        dt = self._dt_proj(mixer, projected.dt)
        gated = self._scan(mixer, u, z, dt, projected, np.zeros(args.d_inner))
        mixed = Quantized(
            builder.ring("mixed", "resid", width), width, self.formats[f"{name}.q_mixed"]
        )
        self._whole_layer(f"{mixer}.out_proj", gated, f"{name}.q_mixed", mixed, wide=1)
        return mixed

    def _activation(
        self, name: str, point: str, function: tables.Function, source: Quantized, target: Quantized
    ) -> None:
        """`function` of a row, as a CONV of one tap."""
        n = source.width
        multipliers, shifts = self._multipliers(np.array([1.0 / _IDENTITY_TAP]))
        taps = np.zeros((n, MAX_TAPS), dtype=np.int8)
        taps[:, 0] = _IDENTITY_TAP
        self.builder.emit(
            name,
            "CONV",
            [self._tensor(point, 0, n, target.affine)],
            shared=source.shared,
            src=source.operand,
            dst=target.operand,
            param_addr=self.builder.param_words(
                "conv_params", multiplier=multipliers[0], shift=shifts[0], taps=taps
            ),
            table=self.builder.table(
                "conv_tables", tables.int8_table(function, source.affine, target.affine)
            ),
            n=n,
            kernel=1,
            pad=source.affine.zero_point,
        )

    def _gdd_mlp(self, name: str, mixed: Quantized) -> Quantized:
        """Logits of a token's scales and shifts, a row of both for all variables."""
        builder, V, h = self.builder, self.args.num_channels, self._hidden
        mean, maximum = self.formats[f"{name}.q_mean"], self.formats[f"{name}.q_max"]
        pooled = builder.ring("pooled", "norm", 2 * V)
        ratios = mixed.affine.scale / np.array([mean.scale * mixed.width, maximum.scale])
        multipliers, shifts = self._multipliers(ratios)
        builder.emit(
            f"{name}.pool",
            "POOL_FEATURES",
            [
                self._tensor(f"{name}.q_mean", 0, 1, mean),
                self._tensor(f"{name}.q_max", 1, 1, maximum),
            ],
            src=mixed.operand,
            dst=pooled,
            param_addr=builder.param_words(
                "vector_params",
                multiplier=multipliers,
                shift=shifts,
                zero_point=np.array([mean.zero_point, maximum.zero_point]),
            ),
            n=mixed.width,
            columns=V,
        )

        # Hidden features: the scale's for means and maxima, then the shift's.
        mlps = ("scale", "shift")
        weight, scales = np.zeros((4 * h, 2 * V)), np.zeros(4 * h)
        for i, mlp in enumerate(mlps):
            for j in range(2):
                rows = slice((2 * i + j) * h, (2 * i + j + 1) * h)
                weight[rows, j * V : (j + 1) * V] = self.state[f"{name}.{mlp}.fc1.weight"]
                scales[rows] = self.formats.weights[f"{name}.{mlp}.fc1"]
        hidden = Quantized(
            builder.ring("hidden", "conv_in", 4 * h),
            4 * h,
            self.formats[f"{name}.q_hidden"],
            shared=True,
        )
        self._linear(
            f"{name}.fc1",
            Quantized(pooled, 2 * V, mean, shared=True),
            weight,
            scales,
            None,
            [OutputGroup(f"{name}.q_hidden", 0, 4 * h, hidden.affine)],
            hidden.operand,
            sources=[mean if j % 2 == 0 else maximum for j in np.arange(4 * h) // h],
        )
        activated = Quantized(
            builder.ring("activated", "conv", 4 * h),
            4 * h,
            self.formats[f"{name}.q_activated"],
            shared=True,
        )
        self._activation(f"{name}.gelu", f"{name}.q_activated", gelu, hidden, activated)

        weight, scales = np.zeros((2 * V, 4 * h)), np.zeros(2 * V)
        groups = []
        for i, mlp in enumerate(mlps):
            rows, fc2 = slice(i * V, (i + 1) * V), self.state[f"{name}.{mlp}.fc2.weight"]
            weight[rows, 2 * i * h : 2 * (i + 1) * h] = np.hstack([fc2, fc2])
            scales[rows] = self.formats.weights[f"{name}.{mlp}.fc2"]
            groups.append(OutputGroup(f"{name}.q_{mlp}", i * V, V, self.formats[f"{name}.q_{mlp}"]))
        logits = Quantized(
            builder.ring("logit", "logit", 2 * V), 2 * V, groups[0].affine, shared=True
        )
        self._linear(f"{name}.fc2", activated, weight, scales, None, groups, logits.operand)
        return logits

    def _modulate(
        self, block: str, point: str, mixed: Quantized, logits: Quantized, target: Quantized
    ) -> None:
        """Scale and shift the mixer's output, and add it to the residual stream."""
        name, residual, wide = f"{block}.gdd_mlp", self.x.affine, target.operand == self.x.operand
        scale, shift = self.formats[f"{name}.q_scale"], self.formats[f"{name}.q_shift"]
        # The product is in units of the residual stream.
        unit = residual.scale / (mixed.affine.scale * 2.0**16)
        mantissa, exponent = multiplier(1.0 if wide else residual.scale / target.affine.scale)
        self.builder.emit(
            f"{name}.modulate",
            "MODULATE",
            [self._tensor(point, 0, mixed.width, target.affine)],
            src=mixed.operand,
            logit=logits.operand,
            dst=target.operand,
            add=self.x.operand,
            param_addr=self.builder.param_words(
                "vector_params",
                multiplier=np.array([mantissa]),
                shift=exponent,
                zero_point=target.affine.zero_point,
            ),
            n=mixed.width,
            columns=self.args.num_channels,
            scale_table=self._table(tables.uint16_table(sigmoid, scale, unit)),
            shift_table=self._table(tables.int16_table(sigmoid, shift, residual.scale)),
            wide=int(wide),
        )

    def _table(self, values: np.ndarray) -> int:
        return self.builder.table("vector_tables", values)
