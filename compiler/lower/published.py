"""Lower a PublishedCMamba to instructions.

A forecast is one iteration, in which the variables take turns: block after block, in a block token
after token, at a token variable after variable. Between the tokens of all variables stands the
GDD-MLP: two small LINEARs on a row that has a mean and a maximum of every variable. Activations
that follow a LINEAR, SiLU and GELU, are CONVs of one tap, which only look up their table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from compiler import tables
from compiler.lower.layers import LayerLowering, OutputGroup, Place, Quantized
from compiler.program import ceil_log2
from isa.words import MAX_TAPS
from model.published_args import PublishedArgs
from model.quant_point import Kind
from model.quantization.activations import sigmoid
from model.quantization.affine import multiplier
from model.quantization.structure import (
    Activation,
    FanIn,
    FanOut,
    Modulate,
    PoolFeatures,
)

_IDENTITY_TAP = 64


class PublishedLowering(LayerLowering):
    """Lowers one PublishedCMamba into a `ProgramBuilder`."""

    args: PublishedArgs

    def places(self) -> dict[str, Place]:
        return {
            # A block.
            "q_norm": Place("norm", segment=True, by_position=True),
            "q_u_in": Place("conv_in"),
            "q_z": Place("gate"),
            "q_u": Place("conv"),
            "q_B": Place("proj"),
            "q_dt": Place("step"),
            "q_gated": Place("scan"),
            "q_mixed": Place("resid", "mixed"),
            # Its GDD-MLP.
            "q_mean": Place("norm", "pooled"),
            "q_hidden": Place("conv_in", "hidden"),
            "q_activated": Place("conv", "activated"),
            "q_scale": Place("logit"),
            # The head.
            "q_last": Place("conv_in", "last"),
            "q_output": Place("head", segment=True),
        }

    def emitters(self) -> dict[type, Callable[..., None]]:
        return super().emitters() | {
            Activation: self._activation,
            PoolFeatures: self._pool_features,
            FanOut: self._fan_out,
            FanIn: self._fan_in,
            Modulate: self._modulate,
        }

    def allocate(self) -> None:
        args, builder = self.args, self.builder
        self._check_head()
        self._positional_encoding()
        rows = 1 << ceil_log2(builder.n_positions * builder.n_sequences)
        self._residual_stream(rows, "residual stream of all variables")
        # What shares a memory with the blocks' rings comes first: they take all that is left.
        width, hidden = 2 * args.num_channels, 4 * (args.num_channels // args.reduction_ratio)
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
        head = builder.allocate("conv", args.d_model, rows, "input of the head")
        self.allocated["q_head"] = Quantized(
            head, args.d_model, self.formats["q_head"], builder.n_positions
        )

    def _check_head(self) -> None:
        """The head has all values of the forecast at once."""
        if self.args.output_features > self.head_chunk:
            self.builder.misfits.append(
                f"output_layer: forecast_len {self.args.forecast_len}, build "
                f"'{self.builder.build.name}' sums {self.head_chunk} values at once; use a shorter "
                "horizon or a build with a larger 'reduce'"
            )

    def _activation(self, activation: Activation) -> None:
        """A CONV of one tap, which changes nothing before its table."""
        source = self.tensors[activation.source]
        n, point = source.width, activation.point
        target = self._target(point, n, shared=source.shared)
        multipliers, shifts = self._multipliers(np.array([1.0 / _IDENTITY_TAP]))
        taps = np.zeros((n, MAX_TAPS), dtype=np.int8)
        taps[:, 0] = _IDENTITY_TAP
        self.builder.emit(
            activation.name,
            activation.opcode,
            [self._tensor(point, 0, n, target.affine)],
            shared=source.shared,
            src=source.operand,
            dst=target.operand,
            param_addr=self.builder.param_words(
                "conv_params", multiplier=multipliers[0], shift=shifts[0], taps=taps
            ),
            table=self.builder.table(
                "conv_tables",
                tables.int8_table(activation.function, source.affine, target.affine),
            ),
            n=n,
            kernel=1,
            pad=source.affine.zero_point,
        )
        self._written(point, target)

    # ------------------------------------------------------------------ GDD-MLP

    def _pool_features(self, pool: PoolFeatures) -> None:
        """A row that all variables share: their means, and then their maxima."""
        source, V = self.tensors[pool.source], self.args.num_channels
        points, affines = list(pool.counts), [self.formats[point] for point in pool.counts]
        row = self._target(points[0], len(points) * V, shared=True)
        counts = [count for (count,) in pool.counts.values()]
        ratios = source.affine.scale / np.array(
            [affine.scale * count for affine, count in zip(affines, counts, strict=True)]
        )
        multipliers, shifts = self._multipliers(ratios)
        self.builder.emit(
            pool.name,
            pool.opcode,
            [
                self._tensor(point, index, 1, affine)
                for index, (point, affine) in enumerate(zip(points, affines, strict=True))
            ],
            src=source.operand,
            dst=row.operand,
            param_addr=self.builder.param_words(
                "vector_params",
                multiplier=multipliers,
                shift=shifts,
                zero_point=np.array([affine.zero_point for affine in affines]),
            ),
            n=source.width,
            columns=V,
        )
        for index, (point, affine) in enumerate(zip(points, affines, strict=True)):
            elements = np.arange(index * V, (index + 1) * V)
            self._written(point, dataclasses.replace(row, affine=affine, elements=elements))

    def _fan_out(self, fan: FanOut) -> None:
        first = fan.layers[0]
        sources = [self.tensors[point] for point in first.sources]
        (group,) = first.groups
        weights, scales, affines = [], [], []
        for layer in fan.layers:
            for source in sources:
                weights.append(self._weight(layer.name, source))
                scales.append(self.formats.weights[layer.name])
                affines += [source.affine] * group.size
        target = self._target(group.point, len(affines), shared=True)
        self._linear(
            fan.name,
            sources[0],
            np.concatenate(weights),
            np.concatenate(scales),
            None,
            [OutputGroup(group.point, 0, target.width, target.affine)],
            target.operand,
            sources=affines,
        )
        self._written(group.point, target)

    def _fan_in(self, fan: FanIn) -> None:
        source = self.tensors[fan.layers[0].sources[0]]
        share = source.width // len(fan.layers)  # of a layer: its features once for each summand
        weights, scales, groups, start = [], [], [], 0
        for index, layer in enumerate(fan.layers):
            (group,) = layer.groups
            weight = self.state[f"{layer.name}.weight"]
            summands = np.zeros((group.size, source.width))
            summands[:, index * share : (index + 1) * share] = np.tile(
                weight, share // weight.shape[1]
            )
            weights.append(summands)
            scales.append(self.formats.weights[layer.name])
            affine = self.formats[group.point]
            groups.append(OutputGroup(group.point, start, group.size, affine))
            start += group.size
        row = self._target(groups[0].point, start, shared=True)
        self._linear(
            fan.name,
            source,
            np.concatenate(weights),
            np.concatenate(scales),
            None,
            groups,
            row.operand,
        )
        for group in groups:
            elements = np.arange(group.start, group.start + group.size)
            self._written(
                group.point, dataclasses.replace(row, affine=group.affine, elements=elements)
            )

    def _modulate(self, modulate: Modulate) -> None:
        """Scale and shift a tensor, and add it to the residual stream."""
        source, logits = self.tensors[modulate.source], self.tensors[modulate.logit]
        target, residual = self._target(modulate.point, source.width), self.x.affine
        wide = self.structure.points[modulate.point].kind is Kind.RESIDUAL
        # The product is in units of the residual stream.
        unit = residual.scale / (source.affine.scale * 2.0**16)
        mantissa, exponent = multiplier(1.0 if wide else residual.scale / target.affine.scale)
        shift = self.tensors[modulate.shift].affine
        self.builder.emit(
            modulate.name,
            modulate.opcode,
            [self._tensor(modulate.point, 0, source.width, target.affine)],
            src=source.operand,
            logit=logits.operand,
            dst=target.operand,
            add=self.x.operand,
            param_addr=self.builder.param_words(
                "vector_params",
                multiplier=np.array([mantissa]),
                shift=exponent,
                zero_point=target.affine.zero_point,
            ),
            n=source.width,
            columns=self.args.num_channels,
            scale_table=self._table(tables.uint16_table(sigmoid, logits.affine, unit)),
            shift_table=self._table(tables.int16_table(sigmoid, shift, residual.scale)),
            wide=int(wide),
        )
        self._written(modulate.point, target)

    def _table(self, values: np.ndarray) -> int:
        return self.builder.table("vector_tables", values)
