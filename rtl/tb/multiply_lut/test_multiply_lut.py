"""multiply_lut: every pair of int8."""

import cocotb
import pytest
from cocotb.triggers import Timer

from rtl.tb.simulate import simulate


@cocotb.test()
async def run_all(dut):
    for a in range(-128, 128):
        dut.a_i.value = a
        for b in range(-128, 128):
            dut.b_i.value = b
            await Timer(1, unit="ns")
            assert dut.product_o.value.to_signed() == a * b, f"{a} * {b}"


@pytest.mark.parametrize("model", [False, True], ids=["rtl", "model"])
def test_multiply_lut(model):
    simulate("cmamba_multiply_lut", model=model)
