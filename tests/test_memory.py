"""Memory that is freed stays with the process."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import torch
if sys.argv[1] == "keep":
    from model.memory import keep_freed_memory
    assert keep_freed_memory()
def work():
    kept = [torch.ones(3 << 20) for _ in range(4)]  # 12 MiB each
    del kept
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc of the GNU C library")
def test_tensors_made_again_and_again_cost_no_page_faults():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", _FAULTS, how], text=True))
        for how in ("keep", "return")
    }
    assert faults["return"] > 10_000  # 3,072 pages a tensor
    assert faults["keep"] < 1_000
