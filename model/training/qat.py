"""Quantization-aware training of any task: `QatLoopArgs`, `QatLoop`, and their command line."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from model.io import CheckpointError, load_checkpoint, load_model, save_checkpoint, weights_sha256
from model.quantization import learning
from model.quantization.calibrate import calibration_windows
from model.quantization.fake import set_quant_mode
from model.quantization.parameters import clamp_steps, is_prepared
from model.quantization.structure import Quantizable
from model.training.args import LoopArgs
from model.training.command import add_option, model_options
from model.training.distributed import ProcessGroup
from model.training.splits import SplitsLoop

QAT_MODES = ("fakeq", "cppq")


@dataclass(frozen=True)
class QatLoopArgs(LoopArgs):
    """How to tune a trained model to its quantization; a task joins it to arguments of its own."""

    epochs: int = 2
    lr: float = 2e-5
    precision: str = "fp32"
    quant_mode: str = "fakeq"  # of the forward pass
    steps: str = "calibrated"  # where the steps start
    step_lr: float = 1e-4  # learning rate of steps, relative to their size
    learn_zero_points: bool = False
    max_cost: float = 0.001  # of calibration, as a share of the FP32 error: up to it, nothing is
    # trained; below 0 for always

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
        if math.isnan(self.max_cost):
            raise ValueError(f"max_cost: expected a number, found {self.max_cost}")


class QatLoop(SplitsLoop):
    """What makes a task's training, the next base class, quantization-aware.

    It starts from a trained model, quantized by calibration (epoch 0). A model that has learned its
    quantization before goes on with that. Where calibration costs no more than `max_cost` on the
    validation split, there is nothing to win back, and epoch 0 is the result: what further epochs
    gain there is the chance of further training, which the test split does not see.
    """

    starts_good = True
    args: QatLoopArgs

    def __init__(
        self,
        source: Quantizable,
        train_args: QatLoopArgs,
        splits: Any,
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

    def _begin(self) -> dict[str, float]:
        figures = super()._begin()
        if not is_prepared(self.source):
            figures["fp32"] = self.validate(self.source)[self.criterion]
        return figures

    def cost(self, epoch: int) -> float:
        """What the int8 model of an epoch costs, as a share of the FP32 validation error; infinite
        where the FP32 model is not known."""
        record = [self.start, *self.history][epoch]
        if "fp32" not in self.start:
            return math.inf
        return record[f"val_{self.criterion}"] / self.start["fp32"] - 1

    @property
    def spared(self) -> bool:
        """Calibration costs so little that nothing is trained."""
        return self.start is not None and self.cost(0) <= self.args.max_cost

    @property
    def finished(self) -> bool:
        return self.spared or super().finished

    def verdict(self) -> str:
        """Whether tuning has helped, in one line."""
        if "fp32" not in self.start:
            better = f"epoch {self.best_epoch} is" if self.best_epoch else "no epoch is"
            return f"tuning: {better} better than the start"
        of_fp32 = f"{self.cost(0):+.2%} of the FP32 validation {self.criterion}"
        if self.spared:
            return (
                f"tuning is not needed: calibration costs {of_fp32}, at most --max-cost "
                f"{self.args.max_cost:.2%}; the calibrated model is kept"
            )
        if not self.best_epoch:
            return (
                f"tuning does not help: calibration costs {of_fp32}, and no epoch less; the "
                "calibrated model is kept"
            )
        return (
            f"tuning helps: calibration costs {of_fp32}, epoch {self.best_epoch} "
            f"{self.cost(self.best_epoch):+.2%}"
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        return learning.parameter_groups(self.model, self.args.weight_decay, self.args.step_lr)

    def identity(self) -> dict[str, dict[str, Any]]:
        return {**super().identity(), "source": {"weights_sha256": weights_sha256(self.source)}}

    def save(self, model: nn.Module) -> None:
        save_checkpoint(model, self.out)


# --- the command line ---------------------------------------------------------------------------


def option_name(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def add_qat_options(
    parser: argparse.ArgumentParser, default: QatLoopArgs, without: LoopArgs
) -> None:
    """`--qat` and what goes with it; `without` has the defaults that hold without it."""
    group = parser.add_argument_group("quantization-aware training")
    others = ", ".join(
        f"{option_name(field.name)} {getattr(default, field.name)}"
        for field in dataclasses.fields(without)
        if getattr(default, field.name) != getattr(without, field.name)
    )
    group.add_argument(
        "--qat",
        type=Path,
        metavar="CHECKPOINT",
        help=f"train this model to be quantized; defaults are then {others}",
    )
    add_option(
        group,
        "--quant-mode",
        default.quant_mode,
        "forward pass in PyTorch, or the same in C++ (`make quantization`)",
        choices=QAT_MODES,
    )
    add_option(group, "--steps", default.steps, "where step sizes start", choices=learning.STEPS)
    add_option(
        group, "--step-lr", default.step_lr, "learning rate of steps, relative to their size"
    )
    add_option(
        group,
        "--max-cost",
        default.max_cost,
        "what calibration may cost, as a share of the FP32 validation error: up to it, nothing is "
        "trained; -1 trains always",
    )
    group.add_argument(
        "--learn-zero-points",
        action="store_true",
        default=argparse.SUPPRESS,
        help="train zero points with the steps",
    )


def refuse_qat_options(options: argparse.Namespace) -> None:
    """Raises ValueError where one of the options goes with --qat, which is not given."""
    fields = {field.name for field in dataclasses.fields(QatLoopArgs)}
    fields -= {field.name for field in dataclasses.fields(LoopArgs)}
    if found := [name for name in vars(options) if name in fields]:
        raise ValueError(f"{option_name(found[0])}: goes with --qat")


def read_source(options: argparse.Namespace, models: list[str]) -> nn.Module:
    """The model that `--qat` names; the options of `models` do not go with it.

    Raises: ValueError, CheckpointError.
    """
    path: Path = options.qat
    if found := [name for name in vars(options) if name in model_options(models)]:
        raise ValueError(f"{option_name(found[0])}: does not go with --qat, {path} says it")
    if load_checkpoint(path)[1] is None:
        raise CheckpointError(f"{path}: holds no model arguments, as those saved here do")
    model = load_model(path, kind=nn.Module)
    if isinstance(model, Quantizable) and is_prepared(model) and hasattr(options, "steps"):
        raise ValueError(f"--steps: {path} has steps, learned before")
    return model
