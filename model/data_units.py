"""Between the units of the data and the standardized numbers of a model of positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DataUnits(nn.Module):
    """The statistics of the training data, which travel with the weights; a base of models.

    A model has `args`, a RegressorArgs (symbols as in `model.regressor`).
    """

    record = None  # the folder of its data says how they are split, and `statistics` the rest

    def declare_statistics(self) -> None:
        """Give the model the buffers, with values that change nothing."""
        self.register_buffer("frame_mean", torch.zeros(self.args.num_features))
        self.register_buffer("frame_scale", torch.ones(self.args.num_features))  # 1 / deviation
        self.register_buffer("position_mean", torch.zeros(2))
        self.register_buffer("position_std", torch.ones(2))

    def statistics(self) -> dict[str, Tensor]:
        """The buffers by name."""
        names = ("frame_mean", "frame_scale", "position_mean", "position_std")
        return {name: self.get_buffer(name) for name in names}

    @torch.no_grad()
    def set_statistics(
        self, frame_mean: Tensor, frame_std: Tensor, position_mean: Tensor, position_std: Tensor
    ) -> None:
        """Means and standard deviations of the training data: [Din] twice, [2] twice."""
        self.frame_mean.copy_(frame_mean)
        self.frame_scale.copy_(1 / frame_std)
        self.position_mean.copy_(position_mean)
        self.position_std.copy_(position_std)

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

    def to_positions(self, y: Tensor) -> Tensor:
        """From standardized positions to those of the data: [B, 2] -> [B, 2]"""
        return y * self.position_std + self.position_mean
