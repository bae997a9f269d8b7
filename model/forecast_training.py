"""Training of a forecaster: `Trainer`, the loop of `model.train_forecast`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.args import ModelArgs
from model.data import DEFAULT_DATASET, Splits
from model.io import save_checkpoint
from model.metrics import evaluate, torch_forecaster
from model.registry import build_from
from model.training.args import LoopArgs
from model.training.splits import SplitsLoop

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}


@dataclass(frozen=True)
class TrainArgs(LoopArgs):
    """How to train a forecaster."""

    data: str = DEFAULT_DATASET
    split: str = "auto"
    loss: str = "mse"
    mixup: float = 0.0  # standard deviation of ChannelMixup, of windows and their targets

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mixup < math.inf:
            raise ValueError(f"mixup: expected a number >= 0, found {self.mixup}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, found '{self.loss}'")


class Trainer(SplitsLoop):
    """One training of a forecaster."""

    where = ("data",)
    of_data = ("num_channels", "seq_len", "forecast_len")
    width = "V"
    model_args: ModelArgs
    splits: Splits

    @property
    def criterion(self) -> str:
        """The validation figure that goes with the loss."""
        return "mae" if self.args.loss == "l1" else "mse"

    def build(self) -> nn.Module:
        model = build_from(self.model_args)
        model.record = self.splits.record
        return model

    def _batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        x, y = super()._batch(indices)
        return mix_channels(x, y, self.args.mixup) if self.args.mixup else (x, y)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return LOSSES[self.args.loss](output, target)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return evaluate(torch_forecaster(model), self.splits.val)

    def save(self, model: nn.Module) -> None:
        save_checkpoint(model, self.out, dtype=torch.float16)

    def describe(self, record: dict[str, float]) -> str:
        val = f"val MSE {record['val_mse']:.4f}  MAE {record['val_mae']:.4f}"
        if "train_loss" not in record:  # before the first epoch
            return val
        return f"train {self.args.loss} {record['train_loss']:.4f}  {val}"


def mix_channels(x: Tensor, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """ChannelMixup of the paper (arXiv 2406.05316v3, section 3.4): new series, targets included.

    Each variable gets a share of another one: lambda drawn from N(0, sigma) for each variable of
    each sample, one permutation of the variables for all of them.

    Args:
        x: windows [B, V, L].
        y: their targets [B, V, H].
    """
    permutation = torch.randperm(x.shape[1], device=x.device)
    share = sigma * torch.randn(*x.shape[:2], 1, device=x.device)
    return x + share * x[:, permutation], y + share * y[:, permutation]
