"""What synthesis inferred, against the estimate."""

import json
import os
import sys

import pytest

from bitstream_scripts import inference
from bitstream_scripts.inference import compare, read_estimate, table, violations
from bitstream_scripts.reports import parse_utilization
from rtl.synth import __main__ as make_synth
from rtl.synth.resources import Resources
from tests.vivado_reports import ESTIMATE, UTILIZATION

EXPECTED = read_estimate(ESTIMATE)
ROOT = parse_utilization(UTILIZATION)
LANE = "cmamba_zcu102_i/cmamba_0/inst/u_cmamba/gen_lane[1].u_lane"


def found(text=UTILIZATION, cells="", log="", expected=EXPECTED):
    root = parse_utilization(text)
    return list(violations(compare(root, expected), root, cells, log))


def estimate(**changes):
    """The estimate with other resources of `cmamba_lane`."""
    document = json.loads(ESTIMATE)
    (lane,) = (u for u in document["units"] if u["path"].endswith("/cmamba_lane"))
    lane["own"] |= changes
    return read_estimate(json.dumps(document))


def test_all_is_as_estimated():
    assert found() == []
    rows = {row.module: row.found for row in compare(ROOT, EXPECTED)}
    assert rows["cmamba_lane"].bram == 640 and rows["cmamba_lane"].dsp == 640
    assert rows["cmamba_fifo"] == Resources(lut=410, lutram=200, ff=22)
    assert "cmamba_lane" in table(compare(ROOT, EXPECTED))
    assert "640 (640)" in table(compare(ROOT, EXPECTED))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bram": 700.0}, "cmamba_lane: 640 block RAMs, estimated 700"),
        ({"bram": 620.0}, "cmamba_lane: 640 block RAMs, estimated 620"),
        ({"dsp": 512}, "cmamba_lane: 640 DSP48E2, estimated 512"),
        ({"dsp": 720}, "cmamba_lane: 640 DSP48E2, estimated 720"),
        ({"lutram": 20000}, "cmamba_lane: 8300 LUTs as memory, estimated 20000"),
        ({"lutram": 100}, "cmamba_lane: 8300 LUTs as memory, estimated 100"),
    ],
)
def test_other_resources_are_found(changes, message):
    assert found(expected=estimate(**changes)) == [message]


def test_a_difference_within_tolerance():
    assert found(expected=estimate(bram=648.0, dsp=630, lutram=7500)) == []


def test_names_of_ip_and_of_variants():
    """In a design of IP, modules have a prefix; a module with other parameters has a suffix."""
    text = UTILIZATION.replace("  cmamba_lane |", "top_cmamba_0_0_cmamba_lane_3 |")
    text = text.replace("  cmamba |", "top_cmamba_0_0_cmamba |")
    assert found(text) == []


def test_the_core_alone():
    """Then the accelerator is the top."""
    lines = UTILIZATION.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("|         u_cmamba "))
    end = next(i for i, line in enumerate(lines) if "proc_sys_reset_0 " in line)
    head = next(i for i, line in enumerate(lines) if "Instance" in line)
    rows = [line[:2] + line[10:] for line in lines[at:end]]
    assert found("\n".join([*lines[head : head + 2], *rows])) == []


def test_a_module_that_vivado_has_dissolved():
    """It counts for the one that it is in."""
    lines = [line for line in UTILIZATION.splitlines() if "u_fifo" not in line]
    assert found("\n".join(lines)) == []


def test_no_accelerator():
    with pytest.raises(ValueError, match="no module cmamba in the table"):
        found(UTILIZATION.replace("  cmamba |", "  camamb |"))


def test_output_registers():
    cells = f"RAMB {LANE}/u_ram/memory_reg_bram_0 0 0\nRAMB {LANE}/u_ram/memory_reg_bram_1 1 0\n"
    assert found(cells=cells) == [
        "cmamba_lane: 1 of 2 block RAMs have no output register, the first is"
        f" {LANE}/u_ram/memory_reg_bram_0"
    ]
    assert found(cells="RAMB cmamba_zcu102_i/axi_dma_0/U0/memory 0 0") == []  # not ours


def test_queues_need_no_output_register(monkeypatch):
    monkeypatch.setattr(inference, "WITHOUT_OUTPUT_REGISTER", frozenset({"cmamba_lane"}))
    assert found(cells=f"RAMB {LANE}/u_ram/memory_reg 0 0") == []


def test_a_memory_in_flip_flops():
    cells = "".join(f"FF {LANE}/u_fifo/memory_reg[{i}][0] memory -\n" for i in range(16))
    assert found(cells=cells) == [
        "cmamba_fifo: array memory is in 16 flip-flops, the first is"
        f" {LANE}/u_fifo/memory_reg[0][0]"
    ]


def test_messages_of_synthesis():
    line = (
        "WARNING: [Synth 8-4767] Trying to implement RAM 'waits_reg' in registers. Block RAM or"
        " DRAM implementation is not possible; see log for reasons.\n"
    )
    assert found(log=2 * line) == [
        "synthesis: array waits became registers, 2 times (Synth 8-4767)"
    ]


# ------------------------------------------------------------------------------- the estimate


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`rtl.synth` in a checkout of its own: writes ESTIMATE and ends with 1, as over a target."""
    folder = tmp_path / "build/synth"
    package = tmp_path / "rtl"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "synth.py").write_text(
        "import pathlib, sys\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "folder.mkdir(parents=True, exist_ok=True)\n"
        f"(folder / f'cmamba-{{sys.argv[2]}}.json').write_text({ESTIMATE!r})\n"
        "sys.exit(1)\n"
    )
    source = tmp_path / "a.sv"
    source.touch()
    monkeypatch.setattr(inference, "ROOT", tmp_path)
    monkeypatch.setattr(inference, "sources", lambda build: [source])
    return folder, source


def test_the_estimate_is_made_where_it_is_missing_or_old(made, capsys):
    folder, source = made
    assert inference.estimate("deep", folder).own == EXPECTED.own
    assert "estimating the build deep with Yosys" in capsys.readouterr().out
    inference.estimate("deep", folder)
    assert capsys.readouterr().out == ""
    later = (folder / "cmamba-deep.json").stat().st_mtime + 1
    os.utime(source, (later, later))
    inference.estimate("deep", folder)
    assert "estimating" in capsys.readouterr().out


def test_an_estimate_that_fails(made, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(inference.InferenceError, match="`make synth BUILD=deep` has failed"):
        inference.estimate("deep", made[0])


def test_the_estimate_is_that_of_synth(tmp_path, monkeypatch):
    """What rtl.synth writes can be read."""
    monkeypatch.setattr(make_synth, "FOLDER", tmp_path)
    assert make_synth.main(["--module", "fifo"]) == 0
    found = read_estimate((tmp_path / "cmamba_fifo-default.json").read_text())
    assert found.parent == {"cmamba_fifo": None}
    assert found.own["cmamba_fifo"].lutram > 0
