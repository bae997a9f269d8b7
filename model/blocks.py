"""The layers of CMamba: RMSNorm, MambaBlock, and what the nested topology adds.

Symbols as in `model.cmamba`. Members named q_* are the quantization points (`model.quant_point`).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.args import ModelArgs
from model.quant_point import Kind, QuantDepthwiseConv, QuantLinear, QuantPoint
from model.selective_scan import selective_scan


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (arXiv 1910.07467)."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.hook: Callable[[Tensor, Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]; `hook(x, y)` may round the result y."""
        y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight
        return y if self.hook is None else self.hook(x, y)


class MambaBlock(nn.Module):
    """The mixer of Mamba (arXiv 2312.00752, section 3.4) behind its own RMSNorm.

    The residual around it is added by the caller.
    """

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        D, E, N, R = args.d_model, args.d_inner, args.d_state, args.dt_rank
        self.split_sizes = (R, N, N)
        self.norm_in = RMSNorm(D, args.norm_eps)
        self.in_proj = QuantLinear(D, 2 * E, bias=args.bias)
        self.conv1d = QuantDepthwiseConv(E, args.d_conv, bias=args.conv_bias)
        self.x_proj = QuantLinear(E, R + 2 * N, bias=False)
        self.dt_proj = QuantLinear(R, E)
        self.A_log = nn.Parameter(torch.arange(1.0, N + 1).log().repeat(E, 1))  # [E, N], S4D-real
        self.D = nn.Parameter(torch.ones(E))
        self.out_proj = QuantLinear(E, D, bias=args.bias)
        self.dropout = nn.Dropout(args.dropout)
        initialize_dt(self.dt_proj)

        self.q_norm = QuantPoint()
        self.q_u_in, self.q_z = QuantPoint(), QuantPoint()
        self.q_conv, self.q_u = QuantPoint(), QuantPoint()
        self.q_dt_low = QuantPoint()
        self.q_B, self.q_C = QuantPoint(Kind.INT8_SYMMETRIC), QuantPoint(Kind.INT8_SYMMETRIC)
        self.q_dt, self.q_delta = QuantPoint(), QuantPoint(Kind.INSIDE)
        self.q_h, self.q_y = QuantPoint(Kind.STATE), QuantPoint(Kind.SUM)
        self.q_gate, self.q_gated = QuantPoint(Kind.INSIDE), QuantPoint()
        self.q_out = QuantPoint(Kind.ADDEND)
        self.scan_hook: Callable[..., Tensor] | None = None  # takes the place of the scan

    def causal_conv(self, u: Tensor) -> Tensor:
        """Depthwise convolution over the present and the last d_conv - 1 tokens. [B,K,E] -> same"""
        padded = F.pad(u.transpose(1, 2), (self.conv1d.kernel_size[0] - 1, 0))
        return self.conv1d(padded).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, D] -> [B, K, D]"""
        u, z = self.in_proj(self.q_norm(self.norm_in(x))).chunk(2, dim=-1)  # [B, K, E] each
        u, z = self.q_u_in(u), self.q_z(z)

        u = self.q_conv(self.causal_conv(u))
        u = self.q_u(F.silu(u))

        # The parameters of the scan depend on the token: this is what makes it selective.
        dt, B, C = self.x_proj(u).split(self.split_sizes, dim=-1)  # [B, K, R], [B, K, N] twice
        dt, B, C = self.q_dt_low(dt), self.q_B(B), self.q_C(C)
        dt = self.q_dt(self.dt_proj(dt))
        delta = self.q_delta(F.softplus(dt))  # [B, K, E]
        A = -torch.exp(self.A_log)  # [E, N]
        scan = self.scan_hook or partial(selective_scan, hook=self.q_h.hook)
        y = self.q_y(scan(u, delta, A, B, C, self.D))

        y = self.q_gated(y * self.q_gate(F.silu(z)))
        return self.dropout(self.q_out(self.out_proj(y)))


@torch.no_grad()
def initialize_dt(dt_proj: nn.Linear) -> None:
    """Make softplus(bias) log-uniform in [1e-3, 1e-1] (arXiv 2312.00752, section 3.6)."""
    bound = dt_proj.in_features**-0.5
    dt_proj.weight.uniform_(-bound, bound)
    dt = torch.empty_like(dt_proj.bias).uniform_(math.log(1e-3), math.log(1e-1)).exp_()
    dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus


class PatchMamba(nn.Module):
    """n_layer residual MambaBlocks."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MambaBlock(args) for _ in range(args.n_layer))
        self.q_residual = nn.ModuleList(QuantPoint(Kind.RESIDUAL) for _ in range(args.n_layer))

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, D] -> [B, K, D]"""
        for layer, q_residual in zip(self.layers, self.q_residual, strict=True):
            x = q_residual(x + layer(x))
        return x


class ChannelAttention(nn.Module):
    """Scale each feature by a sigmoid of its mean and maximum over the tokens.

    The channel attention of CBAM (arXiv 1807.06521, section 3.1).
    """

    def __init__(self, d_model: int, reduction_ratio: int) -> None:
        super().__init__()
        self.fc1 = QuantLinear(d_model, d_model // reduction_ratio)
        self.fc2 = QuantLinear(d_model // reduction_ratio, d_model)
        self.q_pool, self.q_hidden, self.q_logit = QuantPoint(), QuantPoint(), QuantPoint()
        self.q_gate, self.q_scaled = QuantPoint(Kind.INSIDE), QuantPoint(Kind.RESIDUAL)

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, D] -> [B, K, D]"""
        pooled = self.q_pool(torch.stack([x.mean(1), x.amax(1)], dim=1))  # [B, 2, D]
        hidden = self.q_hidden(F.relu(self.fc1(pooled)))  # [B, 2, D // reduction_ratio]
        logit = self.q_logit(self.fc2(hidden).sum(1, keepdim=True))  # [B, 1, D]
        return self.q_scaled(x * self.q_gate(torch.sigmoid(logit)))


class CMambaBlock(nn.Module):
    """A block of the nested topology: PatchMamba, ChannelAttention, RMSNorm; no residual around."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.patch_mamba = PatchMamba(args)
        self.channel_attention = ChannelAttention(args.d_model, args.reduction_ratio)
        self.norm = RMSNorm(args.d_model, args.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, D] -> [B, K, D]"""
        return self.norm(self.channel_attention(self.patch_mamba(x)))
