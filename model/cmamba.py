"""CMamba: channel-mixing Mamba for multivariate time series, read from top to bottom.

Glossary (the argument of `ModelArgs` in brackets)
    B  batch: windows, or token sequences inside the core
    V  channels, the variables of the series   (num_channels)
    L  time steps of the input window          (seq_len)
    P  time steps of a patch                   (patch_len)
    S  time steps between two patches          (stride)
    K  tokens of a sequence, one per patch     (num_patches = (L - P) // S + 1)
    D  features of the residual stream         (d_model)
    E  features inside a MambaBlock            (d_inner = expand * D)
    N  states of a feature in the scan         (d_state)
    R  rank of the time-step projection        (dt_rank)
    H  time steps of the forecast              (forecast_len)

The two channel modes differ in what one token sequence is
    mixing       one sequence per window, its tokens hold a patch of all V variables
    independent  one sequence per window and variable, all V through the same weights
so that a window makes n_seq sequences of core_channels variables, with n_seq * core_channels = V.
"""

import torch
from torch import Tensor, nn

from model.args import ModelArgs
from model.blocks import CMambaBlock, MambaBlock, RMSNorm
from model.data_record import DataRecord
from model.quant_point import Kind, QuantLinear, QuantPoint

INSTANCE_NORM_EPS = 1e-5


class CMamba(nn.Module):
    """Forecast H steps of V variables from their last L: [B, V, L] -> [B, V, H].

    `core` is what the accelerator computes; `to_tokens` and `from_core` are the work of its host.
    """

    record: DataRecord | None = None  # what it was trained on, where that is known

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.args = args
        self.mixup = ChannelMixup(args.sigma)
        self.patch_embedding = QuantLinear(args.core_channels * args.patch_len, args.d_model)
        positions = sincos_positions(args.num_patches, args.d_model)
        self.register_buffer("positions", positions, persistent=False)
        if args.topology == "stacked":
            self.blocks = nn.ModuleList(MambaBlock(args) for _ in range(args.n_layer))
        else:
            self.c_mamba_blocks = nn.ModuleList(CMambaBlock(args) for _ in range(args.n_layer))
        self.norm_f = RMSNorm(args.d_model, args.norm_eps)
        self.dropout = nn.Dropout(args.dropout)
        self.head_dropout = nn.Dropout(args.head_dropout)
        self.output_layer = QuantLinear(
            args.num_patches * args.d_model, args.core_channels * args.forecast_len
        )

        self.q_input, self.q_embed = QuantPoint(), QuantPoint(Kind.ADDEND)
        # The residual stream: as it enters the first block, and as it leaves each.
        self.q_residual = nn.ModuleList(QuantPoint(Kind.RESIDUAL) for _ in range(args.n_layer + 1))
        self.q_norm_f, self.q_output = QuantPoint(), QuantPoint(Kind.INT16)

    def forward(self, x: Tensor) -> Tensor:
        """[B, V, L] -> [B, V, H]"""
        return self.from_core(self.core(self.to_tokens(x)), x)

    def to_tokens(self, x: Tensor) -> Tensor:
        """Normalize (if args.instance_norm) and cut into patches.

        [B, V, L] -> [B * n_seq, K, core_channels * P]; feature v * P + p of a token is step p of
        its patch of variable v. Raises ValueError where V or L is not the model's.
        """
        args = self.args
        require_windows(x, args)
        if args.instance_norm:
            mean, deviation = instance_statistics(x)
            x = (x - mean) / deviation
        return self.to_patches(self.mixup(x))

    def to_patches(self, x: Tensor) -> Tensor:
        """[B, V, L] -> [B * n_seq, K, core_channels * P]"""
        patches = x.unfold(-1, self.args.patch_len, self.args.stride)  # [B, V, K, P]
        if self.args.channel_mode == "mixing":
            return patches.transpose(1, 2).flatten(2)
        return patches.flatten(0, 1)

    def core(self, tokens: Tensor) -> Tensor:
        """The network: [B * n_seq, K, core_channels * P] -> [B * n_seq, core_channels * H]"""
        return self.encode(self.q_input(tokens))

    def encode(self, patches: Tensor) -> Tensor:
        """As `core`, behind the quantization of its input."""
        x = self.q_embed(self.patch_embedding(patches))  # [B * n_seq, K, D]
        x = self.q_residual[0](x + self.positions)
        if self.args.topology == "stacked":
            for block, q_residual in zip(self.blocks, self.q_residual[1:], strict=True):
                x = q_residual(x + block(x))
        else:
            for block, q_residual in zip(self.c_mamba_blocks, self.q_residual[1:], strict=True):
                x = q_residual(block(x))
        x = self.q_norm_f(self.norm_f(x))
        y = self.q_output(self.output_layer(self.dropout(x.flatten(1))))
        return self.head_dropout(y)

    def from_core(self, y: Tensor, x: Tensor) -> Tensor:
        """Shape the output of the core into the forecast, and undo the normalization of x.

        y [B * n_seq, core_channels * H], x [B, V, L] as given to `to_tokens` -> [B, V, H]
        """
        y = y.reshape(x.shape[0], self.args.num_channels, self.args.forecast_len)
        if self.args.instance_norm:
            mean, deviation = instance_statistics(x)
            y = y * deviation + mean
        return y


class ChannelMixup(nn.Module):
    """Add to each variable a random share of another one; in training only (arXiv 2406.05316).

    x + lambda_v * x[:, perm] with one permutation of the variables per call and lambda_v drawn
    from N(0, sigma) for each variable.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """[B, V, L] -> [B, V, L]"""
        if not self.training or self.sigma == 0:
            return x
        permutation = torch.randperm(x.shape[1], device=x.device)
        share = self.sigma * torch.randn(x.shape[1], 1, device=x.device, dtype=x.dtype)
        return x + share * x[:, permutation]


def require_windows(x: Tensor, args: ModelArgs) -> None:
    """Raises ValueError unless x is [B, V, L]."""
    if x.ndim != 3 or x.shape[1:] != (args.num_channels, args.seq_len):
        expected = f"[B, {args.num_channels}, {args.seq_len}]"
        raise ValueError(f"input: found shape {list(x.shape)}, expected [B, V, L] = {expected}")


def instance_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per window and variable: [B, V, L] -> [B, V, 1] each.

    The parameter-free form of RevIN (Kim et al., ICLR 2022).
    """
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return mean, torch.sqrt(variance + INSTANCE_NORM_EPS)


def sincos_positions(K: int, D: int) -> Tensor:
    """Fixed positional encoding [K, D] (arXiv 1706.03762, section 3.5).

    Column 2i is sin(pos * 10000^(-2i/D)), column 2i + 1 the cosine of the same; an odd D has one
    sine more. Computed in float64, so that float32 holds the nearest value on every machine.
    """
    position = torch.arange(K, dtype=torch.float64)[:, None]
    frequency = 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)  # ceil(D / 2)
    positions = torch.empty(K, D, dtype=torch.float64)
    positions[:, 0::2] = torch.sin(position * frequency)
    positions[:, 1::2] = torch.cos(position * frequency[: D // 2])
    return positions.float()
