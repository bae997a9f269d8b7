"""PublishedCMamba: the model of the paper (arXiv 2406.05316v3) and of its authors' code.

Every variable is a sequence of its own; between them stands an MLP across the variables. Symbols as
in `model.cmamba`; here E is d_inner and K counts a patch more, that of the padded end.

Members named q_* are the quantization points (`model.quant_point`). Their tensors begin with
[B * V, K], but for those of the GDD-MLP, which stands across the variables.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks import RMSNorm, initialize_dt
from model.cmamba import instance_statistics, require_windows, sincos_positions
from model.data_record import DataRecord
from model.published_args import PublishedArgs
from model.quant_point import Kind, QuantLinear, QuantPoint
from model.selective_scan import selective_scan


class Mixer(nn.Module):
    """The paper's M-Mamba: no convolution, A shared by all features, a skip weight per token."""

    def __init__(self, args: PublishedArgs) -> None:
        super().__init__()
        D, E, N, R = args.d_model, args.d_inner, args.d_state, args.dt_rank
        self.split_sizes = (R, N, N, E)
        self.in_proj = QuantLinear(D, 2 * E, bias=args.bias)
        self.x_proj = QuantLinear(E, R + 2 * N + E, bias=False)
        self.dt_proj = QuantLinear(R, E)
        self.A_log = nn.Parameter(torch.arange(1.0, N + 1).log()[None])  # [1, N], S4D-real
        self.out_proj = QuantLinear(E, D, bias=args.bias)
        initialize_dt(self.dt_proj)

        self.q_u_in, self.q_z, self.q_u = QuantPoint(), QuantPoint(), QuantPoint()
        self.q_dt_low = QuantPoint()
        self.q_B, self.q_C = QuantPoint(Kind.INT8_SYMMETRIC), QuantPoint(Kind.INT8_SYMMETRIC)
        self.q_skip, self.q_dt, self.q_delta = QuantPoint(), QuantPoint(), QuantPoint(Kind.INSIDE)
        self.q_h, self.q_y = QuantPoint(Kind.STATE), QuantPoint(Kind.SUM)
        self.q_gate, self.q_gated = QuantPoint(Kind.INSIDE), QuantPoint()
        self.scan_hook: Callable[..., Tensor] | None = None  # takes the place of the scan

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, D] -> [B, K, D]"""
        u, z = self.in_proj(x).chunk(2, dim=-1)  # [B, K, E] each
        u, z = self.q_u_in(u), self.q_z(z)
        u = self.q_u(F.silu(u))

        dt, B, C, skip = self.x_proj(u).split(self.split_sizes, dim=-1)
        dt, B, C, skip = self.q_dt_low(dt), self.q_B(B), self.q_C(C), self.q_skip(skip)
        delta = self.q_delta(F.softplus(self.q_dt(self.dt_proj(dt))))
        A = -torch.exp(self.A_log).expand(u.shape[-1], -1)  # [E, N]
        scan = self.scan_hook or partial(selective_scan, hook=self.q_h.hook)
        y = self.q_y(scan(u, delta, A, B, C, skip))
        return self.out_proj(self.q_gated(y * self.q_gate(F.silu(z))))


class VariableMLP(nn.Module):
    """A two-layer MLP across the variables, without biases; `GDDMLP` has its activation."""

    def __init__(self, num_channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = QuantLinear(num_channels, hidden, bias=False)
        self.fc2 = QuantLinear(hidden, num_channels, bias=False)

    def hidden(self, pooled: Tensor) -> Tensor:
        """[2, B, K, V] -> [B, K, 2 * hidden], of the means and then of the maxima."""
        return torch.cat(self.fc1(pooled).unbind(), -1)

    def logits(self, activated: Tensor) -> Tensor:
        """[B, K, 2 * hidden] -> [B, K, V], the sum of both."""
        means, maxima = activated.chunk(2, -1)
        return self.fc2(means + maxima)


class GDDMLP(nn.Module):
    """Global data-dependent MLP: each variable of a token is scaled and shifted by what the means
    and maxima over the features of all variables say (section 3.3)."""

    def __init__(self, args: PublishedArgs) -> None:
        super().__init__()
        hidden = args.num_channels // args.reduction_ratio
        self.scale = VariableMLP(args.num_channels, hidden)
        self.shift = VariableMLP(args.num_channels, hidden)

        self.q_mean, self.q_max = QuantPoint(), QuantPoint()  # [B, V, K]
        self.q_hidden, self.q_activated = QuantPoint(), QuantPoint()  # [B, K, 4 * hidden]
        self.q_scale, self.q_shift = QuantPoint(), QuantPoint()  # logits, [B, K, V]
        self.q_factor, self.q_offset = QuantPoint(Kind.INSIDE), QuantPoint(Kind.INSIDE)  # sigmoids

    def forward(self, x: Tensor) -> Tensor:
        """[B, V, K, D] -> same"""
        pooled = torch.stack([self.q_mean(x.mean(-1)), self.q_max(x.amax(-1))]).transpose(-1, -2)
        hidden = torch.cat([self.scale.hidden(pooled), self.shift.hidden(pooled)], -1)
        of_scale, of_shift = self.q_activated(F.gelu(self.q_hidden(hidden))).chunk(2, -1)
        factor = self.q_factor(torch.sigmoid(self.q_scale(self.scale.logits(of_scale))))
        offset = self.q_offset(torch.sigmoid(self.q_shift(self.shift.logits(of_shift))))
        return x * factor.transpose(1, 2)[..., None] + offset.transpose(1, 2)[..., None]


class Block(nn.Module):
    """RMSNorm, mixer, GDD-MLP; the residual is added by the caller."""

    def __init__(self, args: PublishedArgs) -> None:
        super().__init__()
        self.num_channels = args.num_channels
        self.norm = RMSNorm(args.d_model, args.norm_eps)
        self.mixer = Mixer(args)
        self.gdd_mlp = GDDMLP(args)
        self.dropout = nn.Dropout(args.dropout)
        self.q_norm, self.q_mixed = QuantPoint(), QuantPoint(Kind.INT16_SUMMAND)

    def forward(self, x: Tensor) -> Tensor:
        """[B * V, K, D] -> same"""
        y = self.q_mixed(self.mixer(self.q_norm(self.norm(x))))
        return self.dropout(self.gdd_mlp(y.unflatten(0, (-1, self.num_channels))).flatten(0, 1))


class PublishedCMamba(nn.Module):
    """Forecast H steps of V variables from their last L: [B, V, L] -> [B, V, H].

    `core` is what an accelerator computes; `to_tokens` and `from_core` are the work of its host.
    """

    record: DataRecord | None = None  # what it was trained on, where that is known

    def __init__(self, args: PublishedArgs) -> None:
        super().__init__()
        self.args = args
        self.patch_embedding = QuantLinear(args.patch_len, args.d_model, bias=False)
        positions = sincos_positions(args.num_patches, args.d_model)
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = nn.ModuleList(Block(args) for _ in range(args.n_layer))
        self.dropout = nn.Dropout(args.dropout)
        self.head_dropout = nn.Dropout(args.head_dropout)
        self.output_layer = QuantLinear(args.num_patches * args.d_model, args.forecast_len)

        self.q_input, self.q_embed = QuantPoint(), QuantPoint(Kind.ADDEND)
        # The residual stream as it enters each block.
        self.q_residual = nn.ModuleList(QuantPoint(Kind.RESIDUAL) for _ in range(args.n_layer))
        self.q_last, self.q_head, self.q_output = QuantPoint(), QuantPoint(), QuantPoint(Kind.INT16)

    def forward(self, x: Tensor) -> Tensor:
        """[B, V, L] -> [B, V, H]"""
        return self.from_core(self.core(self.to_tokens(x)), x)

    def to_tokens(self, x: Tensor) -> Tensor:
        """Normalize (if args.instance_norm), repeat the last value S times, cut into patches.

        [B, V, L] -> [B * V, K, P]. Raises ValueError where V or L is not the model's.
        """
        args = self.args
        require_windows(x, args)
        if args.instance_norm:
            mean, deviation = instance_statistics(x)
            x = (x - mean) / deviation
        x = F.pad(x, (0, args.stride), mode="replicate")
        return x.unfold(-1, args.patch_len, args.stride).flatten(0, 1)

    def core(self, tokens: Tensor) -> Tensor:
        """The network: [B * V, K, P] -> [B * V, H]"""
        x = self.q_embed(self.patch_embedding(self.q_input(tokens)))  # [B * V, K, D]
        x = self.q_residual[0](self.dropout(x + self.positions))
        for block, q_sum in zip(self.blocks, [*self.q_residual[1:], self.q_last], strict=True):
            x = q_sum(x + block(x))
        x = self.q_head(F.silu(x))
        return self.head_dropout(self.q_output(self.output_layer(x.flatten(1))))

    def from_core(self, y: Tensor, x: Tensor) -> Tensor:
        """Shape the output of the core into the forecast, and undo the normalization of x.

        y [B * V, H], x [B, V, L] as given to `to_tokens` -> [B, V, H]
        """
        y = y.unflatten(0, (-1, self.args.num_channels))
        if self.args.instance_norm:
            mean, deviation = instance_statistics(x)
            y = y * deviation + mean
        return y
