"""What is decayed, and how the learning rate goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, Any]]:
    """Decays matrices only: not biases, norms and D, and not A_log, whose 0 is no natural rest."""
    decayed, free = [], []
    for name, parameter in parameters:
        matrix = parameter.ndim >= 2 and not name.endswith("A_log")
        (decayed if matrix else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def cosine_schedule(optimizer: Optimizer, steps: int, warmup_steps: int = 0) -> LRScheduler:
    """The learning rate of each of `steps`: a straight rise over `warmup_steps`, then half a cosine
    down to 0 (Loshchilov and Hutter, ICLR 2017)."""
    return _after_rise(optimizer, CosineAnnealingLR(optimizer, steps - warmup_steps), warmup_steps)


def decay_schedule(
    optimizer: Optimizer, steps_per_epoch: int, warmup_steps: int = 0
) -> LRScheduler:
    """A straight rise, then four epochs of one learning rate, then 0.9 times that of the epoch
    before: `--lradj type3` of CMamba's authors. How many epochs there will be is not in it."""
    decay = LambdaLR(optimizer, lambda step: 0.9 ** max(0, step // steps_per_epoch - 3))
    return _after_rise(optimizer, decay, warmup_steps)


def _after_rise(optimizer: Optimizer, schedule: LRScheduler, warmup_steps: int) -> LRScheduler:
    if not warmup_steps:
        return schedule
    rise = LinearLR(optimizer, 1 / (warmup_steps + 1), 1.0, warmup_steps)
    return SequentialLR(optimizer, [rise, schedule], [warmup_steps])
