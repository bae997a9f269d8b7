"""PublishedCMamba: the model of the paper (arXiv 2406.05316v3) and of its authors' code.

Every variable is a sequence of its own; between them stands an MLP across the variables. Symbols as
in `model.cmamba`; here E is d_inner and K counts a patch more, that of the padded end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.args import ModelArgs
from model.blocks import RMSNorm, initialize_dt
from model.cmamba import instance_statistics, require_windows, sincos_positions
from model.quant_point import QuantLinear
from model.selective_scan import selective_scan

_FIXED = {"topology": "stacked", "channel_mode": "independent", "sigma": 0.0}


@dataclass(frozen=True)
class PublishedArgs(ModelArgs):
    """Shape and options of a PublishedCMamba; defaults are the authors' for ETTh1.

    ChannelMixup belongs to its training and not to the model, so `sigma` is 0; there is no
    convolution. Raises ValueError, naming the field, what was found and what is expected.
    """

    num_channels: int = 7
    n_layer: int = 3
    expand: int = 1
    dt_rank: int = 32
    bias: bool = True
    reduction_ratio: int = 2  # hidden width of the GDD-MLP is V // reduction_ratio
    sigma: float = 0.0
    channel_mode: str = "independent"
    instance_norm: bool = True
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in _FIXED.items():
            if getattr(self, name) != value:
                self._fail(name, f"{value!r} in the published model")
        if self.reduction_ratio > self.num_channels:
            self._fail("reduction_ratio", f"at most num_channels = {self.num_channels}")

    @property
    def num_patches(self) -> int:
        """K, tokens of a sequence, with the one that ends in the padding."""
        return super().num_patches + 1


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

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, D] -> [B, K, D]"""
        u, z = self.in_proj(x).chunk(2, dim=-1)  # [B, K, E] each
        u = F.silu(u)
        dt, B, C, skip = self.x_proj(u).split(self.split_sizes, dim=-1)
        delta = F.softplus(self.dt_proj(dt))
        A = -torch.exp(self.A_log).expand(u.shape[-1], -1)  # [E, N]
        y = selective_scan(u, delta, A, B, C, skip)
        return self.out_proj(y * F.silu(z))


class VariableMLP(nn.Module):
    """A two-layer MLP across the variables, without biases: [..., V] -> [..., V]."""

    def __init__(self, num_channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = QuantLinear(num_channels, hidden, bias=False)
        self.fc2 = QuantLinear(hidden, num_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GDDMLP(nn.Module):
    """Global data-dependent MLP: each variable of a token is scaled and shifted by what the means
    and maxima over the features of all variables say (section 3.3)."""

    def __init__(self, args: PublishedArgs) -> None:
        super().__init__()
        hidden = args.num_channels // args.reduction_ratio
        self.scale = VariableMLP(args.num_channels, hidden)
        self.shift = VariableMLP(args.num_channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, V, K, D] -> same"""
        pooled = torch.stack([x.mean(-1), x.amax(-1)]).transpose(-1, -2)  # [2, B, K, V]
        scale, shift = (
            torch.sigmoid(mlp(pooled).sum(0)).transpose(-1, -2)[..., None]  # [B, V, K, 1]
            for mlp in (self.scale, self.shift)
        )
        return x * scale + shift


class Block(nn.Module):
    """RMSNorm, mixer, GDD-MLP; the residual is added by the caller."""

    def __init__(self, args: PublishedArgs) -> None:
        super().__init__()
        self.num_channels = args.num_channels
        self.norm = RMSNorm(args.d_model, args.norm_eps)
        self.mixer = Mixer(args)
        self.gdd_mlp = GDDMLP(args)
        self.dropout = nn.Dropout(args.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B * V, K, D] -> same"""
        y = self.mixer(self.norm(x)).unflatten(0, (-1, self.num_channels))
        return self.dropout(self.gdd_mlp(y).flatten(0, 1))


class PublishedCMamba(nn.Module):
    """Forecast H steps of V variables from their last L: [B, V, L] -> [B, V, H].

    `core` is what an accelerator computes; `to_tokens` and `from_core` are the work of its host.
    """

    def __init__(self, args: PublishedArgs) -> None:
        super().__init__()
        self.args = args
        self.patch_embedding = QuantLinear(args.patch_len, args.d_model, bias=False)
        positions = sincos_positions(args.num_patches, args.d_model)
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = nn.ModuleList(Block(args) for _ in range(args.n_layer))
        self.dropout = nn.Dropout(args.dropout)
        self.output_layer = QuantLinear(args.num_patches * args.d_model, args.forecast_len)

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
        x = self.dropout(self.patch_embedding(tokens) + self.positions)  # [B * V, K, D]
        for block in self.blocks:
            x = x + block(x)
        return self.output_layer(self.dropout(F.silu(x).flatten(1)))

    def from_core(self, y: Tensor, x: Tensor) -> Tensor:
        """Shape the output of the core into the forecast, and undo the normalization of x.

        y [B * V, H], x [B, V, L] as given to `to_tokens` -> [B, V, H]
        """
        y = y.unflatten(0, (-1, self.args.num_channels))
        if self.args.instance_norm:
            mean, deviation = instance_statistics(x)
            y = y * deviation + mean
        return y
