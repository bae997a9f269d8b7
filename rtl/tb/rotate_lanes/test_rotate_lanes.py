"""rotate_lanes: every shift of random words."""

import random

import cocotb
import pytest
from cocotb.triggers import Timer

from rtl.tb.simulate import simulate


@cocotb.test()
async def run_shifts(dut):
    """data_o[l] = data_i[(l + shift) mod Lanes]."""
    n, width = dut.Lanes.value.to_unsigned(), dut.Width.value.to_unsigned()
    for _ in range(20):
        lanes = [random.getrandbits(width) for _ in range(n)]
        dut.data_i.value = sum(word << (i * width) for i, word in enumerate(lanes))
        for shift in range(n):
            dut.shift_i.value = shift
            await Timer(1, "ns")
            found = dut.data_o.value.to_unsigned()
            rotated = lanes[shift:] + lanes[:shift]
            assert found == sum(word << (i * width) for i, word in enumerate(rotated))


@pytest.mark.parametrize(("lanes", "width"), [(2, 1), (4, 64), (16, 64)])
def test_rotate_lanes(lanes, width):
    simulate("cmamba_rotate_lanes", {"Lanes": lanes, "Width": width})


@pytest.mark.parametrize("lanes", [3, 6])
def test_bad_parameters(lanes, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_rotate_lanes", {"Lanes": lanes})
    assert "rotate_lanes: Lanes is" in capfd.readouterr().err
