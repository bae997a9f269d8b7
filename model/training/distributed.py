"""Data-parallel training: the processes that `torchrun` starts, each with a part of every batch.

    torchrun --nproc-per-node 4 -m model.train_forecast --data etth1 --out W.safetensors

Where no name server knows the machine's own name, torchrun waits for itself; then give it
`--local-addr 127.0.0.1`.

All processes hold the same weights; DistributedDataParallel averages their gradients. One process
without torchrun is a group of one, for which nothing here communicates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place among those that train together."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"  # of this process

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates, writes files and prints."""
        return self.rank == 0

    def sum(self, value: float) -> float:
        """The sum of every process's `value`; NaN where one is NaN."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.item()

    def gather(self, value: T) -> list[T]:
        """Every process's `value`, in the order of their ranks."""
        values: list[Any] = [value]
        if self.size > 1:
            values = [None] * self.size
            dist.all_gather_object(values, value)
        return values

    def from_first(self, function: Callable[[], T]) -> T:
        """What `function` returns, or raises, in the first process; only that one calls it."""
        if self.size == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = function()
            except Exception as error:  # the others would wait for an answer forever
                outcome[1] = error
        dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def parallel(self, model: nn.Module) -> nn.Module:
        """`model`, or what calls it and averages the gradients of all processes in backward."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, forward_sync_buffers=False)

    def keep_gradients(self, parallel: nn.Module) -> AbstractContextManager:
        """In it, gradients of what `parallel` returned add up in each process by itself."""
        return nullcontext() if self.size == 1 else parallel.no_sync()


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Joins the processes that torchrun started, if it did; NCCL on GPUs, Gloo on CPUs.

    With `device` "cuda", each process takes the GPU of its local rank.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ProcessGroup(device=device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()
