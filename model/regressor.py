"""MambaRegressor: a position in the plane from the last frames of a stream of radio features.

Glossary (the argument of `RegressorArgs` in brackets); other symbols as in `model.cmamba`
    Din  features of a frame                                     (num_features)
    T    frames that are given, any number
    L    frames that the model looks at                          (seq_len)
    C    channels that a frame is projected to, CMamba's V       (num_channels)

An accelerator computes it as `model.folded_regressor` has it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.blocks import RMSNorm
from model.cmamba import CMamba
from model.data_units import DataUnits
from model.regressor_args import RegressorArgs


class LayerNorm(nn.Module):
    """Mean removal, RMSNorm, shift (arXiv 1607.06450); its parts are those that fold."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.rms_norm = RMSNorm(d_model, eps)
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        return self.rms_norm(x - x.mean(-1, keepdim=True)) + self.bias


class MambaRegressor(DataUnits):
    """The position at the last of T frames: [B, T, Din] -> [B, 2], both in the units of the data.

    `core` is the network between standardized frames and positions.
    """

    def __init__(self, args: RegressorArgs) -> None:
        super().__init__()
        self.args = args
        self.declare_statistics()
        self.frame_projection = nn.Linear(args.num_features, args.num_channels)
        self.frame_norm = LayerNorm(args.num_channels, args.norm_eps)
        self.cmamba = CMamba(args)
        self.position_head = nn.Linear(args.num_channels, 2)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, Din] -> [B, 2]"""
        return self.to_positions(self.core(self.to_frames(frames)))

    def core(self, frames: Tensor) -> Tensor:
        """[B, L, Din] -> [B, 2]"""
        x = self.frame_norm(self.frame_projection(frames))  # [B, L, C]
        y = self.cmamba(x.transpose(1, 2))  # [B, C, 1]
        return self.position_head(y.mean(-1))
