"""Cores that there are, and threads that PyTorch takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """PyTorch on so many threads, and afterwards on as many as before.

    Its threads wait for each other actively, after operations of microseconds, which takes most of
    the time where other threads or processes run: 1 is the best number there.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
