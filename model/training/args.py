"""How to train, for any task: `LoopArgs`."""

from __future__ import annotations

import math
from dataclasses import dataclass

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SCHEDULES = ("cosine", "decay")


@dataclass(frozen=True)
class LoopArgs:
    """Arguments of `TrainingLoop`; a task derives its own from them.

    Two trainings of equal model arguments, training arguments and data give equal weights. Raises
    ValueError, naming the field, what was found and what is expected.
    """

    epochs: int = 20  # at most; a cosine reaches 0 at the last of them
    batch_size: int = 64  # samples in a step, of all processes together
    accumulate: int = 1  # passes that a process splits its share of a step into, to save memory
    lr: float = 5e-4
    schedule: str = "cosine"  # of the learning rate, or decay: from the fifth epoch on, times 0.9
    warmup: float = 0.0  # epochs in which the learning rate rises to lr
    weight_decay: float = 1e-2
    clip_norm: float = 1.0  # largest norm of the gradient; inf for any
    ema: float = 0.0  # decay of the exponential moving average of the weights; 0 for none
    precision: str = "auto"  # of the forward pass; auto is fp32 on a CPU, bf16 or fp16 on a GPU
    patience: int = 5  # epochs without a better validation before stopping
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed: expected an integer of 64 bits, found {self.seed}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr: expected above 0, found {self.lr}")
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm: expected above 0, found {self.clip_norm}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay: expected at least 0, found {self.weight_decay}")
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"warmup: expected from 0 to below epochs, found {self.warmup}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: expected from 0 to below 1, found {self.ema}")
        for name, choices in (("precision", PRECISIONS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}: expected one of {', '.join(choices)}, found '{getattr(self, name)}'"
                )
