"""Quantization-aware training of a forecaster: `QatTrainer`."""

from __future__ import annotations

from dataclasses import dataclass

from model.forecast_training import TrainArgs, Trainer
from model.training.qat import QatLoop, QatLoopArgs


@dataclass(frozen=True)
class QatArgs(QatLoopArgs, TrainArgs):
    """How to tune a trained forecaster to its quantization."""


class QatTrainer(QatLoop, Trainer):
    """One quantization-aware training of a forecaster."""
