"""Memory that is freed stays with the process."""

import os
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import torch
if sys.argv[1] == "keep":
    from common.memory import keep_freed_memory
    assert keep_freed_memory()
net = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(12)))
x = torch.randn(1 << 15, 64)  # 8 MiB, as is each activation and each of their gradients
def step():
    net(x).square().mean().backward()
for _ in range(12):  # until the heap has grown as far as it needs, however its free parts lie
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc of the GNU C library")
def test_steps_of_training_cost_few_page_faults():
    # Each tensor a mapping of its own, where malloc would otherwise choose as it goes along.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    faults = {
        how: int(
            subprocess.check_output(
                [sys.executable, "-c", _FAULTS, how], text=True, env=environment
            )
        )
        for how in ("keep", "return")
    }
    assert faults["return"] > 100_000  # 2,048 pages a tensor
    assert faults["keep"] < 10_000  # the heap may still grow by a few tensors
