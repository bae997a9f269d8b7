"""The budget of the HLS core: it counts the memories that the C++ has, and `default` fits."""

import pytest

import isa
from hls import budget
from hls.bindings import extension

# Of elements that are not int8.
BITS = {
    **dict.fromkeys(["resid_output", "resid_reduce", "resid_apply", "head", "pool_maximum"], 16),
    **dict.fromkeys(["scan_decay", "scan_tables", "vector_tables"], 16),
    **dict.fromkeys(["reduce", "pool_sum"], 32),
    **dict.fromkeys(["array_params", "scan_params", "vector_params"], 64),
    **dict.fromkeys(["schedule", "conv_params"], 128),
    "state": 24,
    "instructions": 512,
    "phases": 256,
}


def test_memories_are_those_of_the_core():
    elements = extension().memory_elements()
    counted = budget.memories(isa.build())
    assert {name: n * BITS.get(name, 8) for name, n in elements.items()} == {
        name: memory.size for name, memory in counted.items()
    }


@pytest.mark.parametrize(
    ("words", "bits", "block_rams"),
    [(512, 36, 0.5), (512, 72, 1), (1024, 36, 1), (1024, 8192, 228), (2048, 9, 0.5), (513, 64, 2)],
)
def test_block_rams(words, bits, block_rams):
    memory = budget.Memory(words, bits)
    assert memory.block_rams == block_rams and memory.luts == 0
    assert budget.Memory(words, bits, banks=2, copies=3).block_rams == 6 * block_rams


@pytest.mark.parametrize(("words", "bits", "luts"), [(64, 7, 8), (65, 7, 16), (32, 14, 8)])
def test_luts(words, bits, luts):
    memory = budget.Memory(words, bits, in_luts=True)
    assert memory.luts == luts and memory.block_rams == 0


def test_limits(capsys):
    assert budget.main([]) == 0
    assert capsys.readouterr().out.count("all:") == 3
    # More weights than a margin is left for.
    assert budget.main(["--build", "large"]) == 1
    assert "TOO MUCH" in capsys.readouterr().out
