"""MambaRegressor: a position in the plane from the last frames of a stream of radio features.

Glossary (the argument of `RegressorArgs` in brackets); other symbols as in `model.cmamba`
    Din  features of a frame                                     (num_features)
    T    frames that are given, any number
    L    frames that the model looks at                          (seq_len)
    C    channels that a frame is projected to, CMamba's V       (num_channels)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.args import ModelArgs
from model.blocks import RMSNorm
from model.cmamba import CMamba
from model.quant_point import QuantPoint

_FIXED = {"forecast_len": 1, "pad_multiple": 1, "channel_mode": "mixing", "instance_norm": False}


@dataclass(frozen=True)
class RegressorArgs(ModelArgs):
    """Shape and options of a MambaRegressor: `num_features`, and those of the CMamba inside.

    That one sees the C channels of L frames as the L steps of C variables, and forecasts one step.
    Raises ValueError, naming the field, what was found and what is expected.
    """

    num_channels: int = 32
    seq_len: int = 32
    patch_len: int = 8
    stride: int = 4
    forecast_len: int = 1
    d_model: int = 64
    n_layer: int = 2
    pad_multiple: int = 1
    sigma: float = 0.0
    num_features: int = 16  # Din

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.num_features) is not int or self.num_features < 1:
            self._fail("num_features", "an integer >= 1")
        for name, value in _FIXED.items():
            if getattr(self, name) != value:
                self._fail(name, f"{value!r} in a regressor")

    def _fail(self, name: str, expected: str) -> None:
        raise ValueError(
            f"RegressorArgs.{name}: found {getattr(self, name)!r}, expected {expected}"
        )


class LayerNorm(nn.Module):
    """Mean removal, RMSNorm, shift (arXiv 1607.06450); its parts are those an accelerator has.

    Behind a linear layer the mean removal folds into that layer's weights, and before one the shift
    into that layer's bias, which leaves the RMSNorm.
    """

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.rms_norm = RMSNorm(d_model, eps)
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.q_centered, self.q_normalized = QuantPoint(), QuantPoint()

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        centered = self.q_centered(x - x.mean(-1, keepdim=True))
        return self.q_normalized(self.rms_norm(centered)) + self.bias


class MambaRegressor(nn.Module):
    """The position at the last of T frames: [B, T, Din] -> [B, 2], both in the units of the data.

    `core` is what an accelerator computes; `to_frames` and `from_core` are the work of its host, by
    the statistics of the training data, which travel with the weights.
    """

    def __init__(self, args: RegressorArgs) -> None:
        super().__init__()
        self.args = args
        self.register_buffer("frame_mean", torch.zeros(args.num_features))
        self.register_buffer("frame_scale", torch.ones(args.num_features))  # 1 / deviation
        self.register_buffer("position_mean", torch.zeros(2))
        self.register_buffer("position_std", torch.ones(2))
        self.frame_projection = nn.Linear(args.num_features, args.num_channels)
        self.frame_norm = LayerNorm(args.num_channels, args.norm_eps)
        self.cmamba = CMamba(args)
        self.position_head = nn.Linear(args.num_channels, 2)
        self.q_frames, self.q_position = QuantPoint(), QuantPoint()

    @torch.no_grad()
    def set_statistics(
        self, frame_mean: Tensor, frame_std: Tensor, position_mean: Tensor, position_std: Tensor
    ) -> None:
        """Means and standard deviations of the training data: [Din] twice, [2] twice."""
        self.frame_mean.copy_(frame_mean)
        self.frame_scale.copy_(1 / frame_std)
        self.position_mean.copy_(position_mean)
        self.position_std.copy_(position_std)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, Din] -> [B, 2]"""
        return self.from_core(self.core(self.to_frames(frames)))

    def to_frames(self, frames: Tensor) -> Tensor:
        """Standardize, and keep the last L frames: [B, T, Din] -> [B, L, Din].

        With less than L, zeros stand in front, which is the mean of the training data. Raises
        ValueError where Din is not the model's or there is no frame.
        """
        args = self.args
        if frames.ndim != 3 or frames.shape[2] != args.num_features or frames.shape[1] == 0:
            raise ValueError(
                f"frames: found shape {list(frames.shape)}, expected [B, T, Din] = "
                f"[B, T >= 1, {args.num_features}]"
            )
        frames = (frames[:, -args.seq_len :] - self.frame_mean) * self.frame_scale
        return F.pad(frames, (0, 0, args.seq_len - frames.shape[1], 0))

    def core(self, frames: Tensor) -> Tensor:
        """The network: [B, L, Din] -> [B, 2]"""
        x = self.frame_norm(self.frame_projection(self.q_frames(frames)))  # [B, L, C]
        y = self.cmamba(x.transpose(1, 2))  # [B, C, 1]
        return self.q_position(self.position_head(y.mean(-1)))

    def from_core(self, y: Tensor) -> Tensor:
        """From standardized positions to those of the data: [B, 2] -> [B, 2]"""
        return y * self.position_std + self.position_mean
