"""The contracts in the modules' headers are assertions: each one fires when it is broken.

A module gets what `breaks` has for it, one contract after the other, in one simulation, which goes
on where an assertion fires. What a module promises itself is broken by writing to its registers. It
stands in a bench without connections: then registers that are outputs can be written, too.
"""

import os
import re

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.contracts.breaks import BREAKS
from rtl.tb.simulate import BUILD, MODULE_FOLDERS, simulate


def signal(dut, path):
    """A signal by its path, `gen_unit[0].u_queue.level_q`."""
    for name in path.split("."):
        name, *indices = re.split(r"[\[\]]+", name)
        dut = getattr(dut, name)
        for index in filter(None, indices):
            dut = dut[int(index)]
    return dut


async def begin(dut, clk):
    """Nothing is asked of the module; it is reset, or quiet for as long as it wants to be."""
    for handle in dut:
        if re.search(r"_i$|^m_axi_r|_arready$", handle._name) and handle._name != "clk_i":
            handle.value = 0
    for name, active in (("rst_i", 1), ("ap_rst_n", 0)):
        if hasattr(dut, name):
            getattr(dut, name).value = active
            await ClockCycles(clk, 4)
            getattr(dut, name).value = 1 - active
    await ClockCycles(clk, 20)


@cocotb.test()
async def break_contracts(bench):
    dut = bench.dut
    clk = dut.clk_i if hasattr(dut, "clk_i") else dut.ap_clk
    cocotb.start_soon(Clock(clk, 4, unit="ns").start())
    for contract, cycles in BREAKS[os.environ["CONTRACTS_OF"]].contracts.items():
        dut._log.info("breaks %s", contract)
        await begin(dut, clk)
        for cycle in cycles:
            await RisingEdge(clk)
            if isinstance(cycle, int):
                await ClockCycles(clk, cycle)
                continue
            for path, value in cycle.items():
                handle = signal(dut, path)
                handle.value = value(handle) if callable(value) else value
        await ClockCycles(clk, 3)


def with_assertions():
    """The text of each module that has assertions, by its name without the prefix."""
    files = [path for folder in MODULE_FOLDERS for path in folder.glob("cmamba*.sv")]
    texts = {path.stem.removeprefix("cmamba_"): path.read_text() for path in files}
    return {name: text for name, text in texts.items() if "assert property" in text}


def labels(module):
    """Labels of a module's assertions, each of which has a message that names the module."""
    text = with_assertions()[module]
    found = re.findall(r"(\w+) :\n\s*assert property", text)
    assert len(found) == text.count("assert property") == text.count(f'else $error("{module}: ')
    return found


def test_every_contract_is_broken():
    assert {module: sorted(labels(module)) for module in with_assertions()} == {
        module: sorted(breaks.contracts) for module, breaks in BREAKS.items()
    }


@pytest.mark.parametrize(
    "module",
    [pytest.param(m, marks=[pytest.mark.slow] * (not b.fast)) for m, b in BREAKS.items()],
)
def test_contracts(module, capfd):
    name = "cmamba" if module == "cmamba" else f"cmamba_{module}"
    parameters = ", ".join(f".{key}({value})" for key, value in BREAKS[module].parameters.items())
    bench = BUILD / f"contracts_{module}.sv"
    bench.parent.mkdir(parents=True, exist_ok=True)
    bench.write_text(f"module {bench.stem};\n  {name} #({parameters}) dut ();\nendmodule\n")
    with pytest.raises(RuntimeError):  # a simulation in which an assertion has fired has failed
        simulate(
            bench.stem,
            sources=[bench],
            build_args=["-Wno-PINMISSING", "-Wno-WIDTH"],  # ports of the bench
            suite="test_contracts",
            plusargs=["+verilator+error+limit+1000"],
            extra_env={"CONTRACTS_OF": module},
        )
    output = "".join(capfd.readouterr())
    fired = re.findall(rf"Assertion failed in [^ ]*\.(\w+): {module}: ", output)
    assert set(fired) == set(BREAKS[module].contracts), output
