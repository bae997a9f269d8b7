"""Quantization-aware training of a forecaster: `QatTrainer`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from model.cmamba import CMamba
from model.data import Splits
from model.forecast_training import TrainArgs, Trainer
from model.io import save_checkpoint, weights_sha256
from model.quantization import learning
from model.quantization.calibrate import calibration_windows
from model.quantization.fake import set_quant_mode
from model.quantization.parameters import clamp_steps, is_prepared
from model.training.distributed import ProcessGroup

QAT_MODES = ("fakeq", "cppq")


@dataclass(frozen=True)
class QatArgs(TrainArgs):
    """How to tune a trained forecaster to its quantization."""

    epochs: int = 2
    lr: float = 2e-5
    precision: str = "fp32"
    quant_mode: str = "fakeq"  # of the forward pass
    steps: str = "calibrated"  # where the steps start
    step_lr: float = 1e-4  # learning rate of steps, relative to their size
    learn_zero_points: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ("quant_mode", QAT_MODES),
            ("steps", learning.STEPS),
            ("precision", ("fp32",)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}: expected {' or '.join(choices)}, found '{getattr(self, name)}'"
                )
        if not 0 <= self.step_lr < 1:
            raise ValueError(f"step_lr: expected from 0 to below 1, found {self.step_lr}")


class QatTrainer(Trainer):
    """One quantization-aware training: from a trained model, quantized by calibration (epoch 0).

    A model that has learned its quantization before goes on with that.
    """

    starts_good = True

    def __init__(
        self,
        source: CMamba,
        train_args: QatArgs,
        splits: Splits,
        out: Path,
        group: ProcessGroup | None = None,
        log: Path | None = None,
    ) -> None:
        """Raises: ValueError (model and data do not fit, no format holds its values, or the mode is
        not for the device), ImportError (the C++ extension is not built)."""
        if train_args.quant_mode == "cppq" and group is not None and group.device != "cpu":
            raise ValueError(f"quant_mode: cppq runs on the CPU, found device {group.device}")
        self.source = source
        super().__init__(source.args, train_args, splits, out, group, log)
        self.optimizer.register_step_post_hook(lambda *_: clamp_steps(self.model))

    def build(self) -> nn.Module:
        model = copy.deepcopy(self.source)
        if not is_prepared(model):
            learning.start(model, calibration_windows(self.splits), self.args.steps)
        if self.args.learn_zero_points:
            learning.train_zero_points(model)
        set_quant_mode(model, self.args.quant_mode)
        return model

    def parameter_groups(self) -> list[dict[str, Any]]:
        return learning.parameter_groups(self.model, self.args.weight_decay, self.args.step_lr)

    def identity(self) -> dict[str, dict[str, Any]]:
        return {**super().identity(), "source": {"weights_sha256": weights_sha256(self.source)}}

    def save(self, model: nn.Module) -> None:
        save_checkpoint(model, self.out)
