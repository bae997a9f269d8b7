"""Vivado's reports as tables and JSON."""

import json
import re

import pytest

from bitstream_scripts import reports
from rtl.synth.resources import Resources, targets
from tests.vivado_reports import UTILIZATION, timing


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "utilization.rpt").write_text(UTILIZATION)
    (tmp_path / "timing.rpt").write_text(timing())
    return tmp_path


def summarize(folder):
    """The tables, whether nothing fails, and the document."""
    timing_rpt = folder / "timing.rpt"
    text, failures = reports.summarize(
        reports.Reports(folder / "utilization.rpt", timing_rpt, timing_rpt),
        folder / "report.json",
        {"core": "rtl", "build": "default", "strategy": "Performance_Explore"},
        4.0,
        "of Performance_Explore",
        targets("default"),
    )
    return text, not failures, json.loads((folder / "report.json").read_text())


def test_total():
    total = reports.parse_utilization(UTILIZATION).resources
    assert total == Resources(lut=104000, lutram=9000, ff=86000, dsp=640, bram=644.5)


def test_hierarchy(folder):
    """Instances that differ in an index are one unit, at the place in the hierarchy of both."""
    _, _, document = summarize(folder)
    units = {unit["path"]: unit for unit in document["units"]}
    top = "cmamba_zcu102_wrapper/cmamba_zcu102_i"
    core = f"{top}/cmamba_0/inst/u_cmamba"
    assert set(units) == {
        *("cmamba_zcu102_wrapper", top, f"{top}/axi_dma_0", f"{top}/proc_sys_reset_0"),
        *(f"{top}/cmamba_0", f"{top}/cmamba_0/inst", core, f"{core}/u_control"),
        *(f"{core}/gen_lane[*].u_lane", f"{core}/gen_lane[*].u_lane/u_fifo"),
    }
    lanes = units[f"{core}/gen_lane[*].u_lane"]
    assert lanes["instances"] == 2
    assert (lanes["resources"]["lut"], lanes["resources"]["bram"]) == (100400, 640)
    assert units[f"{core}/gen_lane[*].u_lane/u_fifo"]["resources"]["lut"] == 410
    assert units[core]["own"]["lut"] == 100800 - 100400 - 100
    assert lanes["module"] == "cmamba_lane"


def test_paths(folder):
    """Setup paths only, without the hierarchy that they share with their unit."""
    _, _, document = summarize(folder)
    first, second = document["paths"]
    assert first == {
        "unit": "u_fifo",
        "slack_ns": 0.041,
        "delay": 3.79,
        "levels": 9,
        "source": "head_q_reg[3]/C",
        "destination": "sum_q_reg[31]/D",
    }
    assert (second["unit"], second["levels"], second["slack_ns"]) == ("axi_dma_0", 0, 0.106)
    longest = {unit["path"].split("/")[-1]: unit["longest_path_ns"] for unit in document["units"]}
    assert longest["u_fifo"] == 3.79
    assert longest["u_control"] is None


def test_timing_is_met(folder):
    text, met, document = summarize(folder)
    assert met
    assert document["failures"] == []
    assert document["timing"]["setup_slack"] == 0.041
    assert document["strategy"] == "Performance_Explore"
    assert "timing met, all targets of resources met" in text


def test_timing_is_missed(folder):
    (folder / "timing.rpt").write_text(timing(setup=-0.152))
    text, met, document = summarize(folder)
    assert not met
    assert document["failures"] == ["setup: slack -0.152 ns, 93 end points fail"]
    assert document["paths"][0]["slack_ns"] == -0.152
    assert "setup: slack -0.152 ns, 93 end points fail" in text


def test_other_slack_counts_too(folder):
    text = timing(hold=-0.010).replace("1.427        0.000", "-0.100  -0.100")
    (folder / "timing.rpt").write_text(text)
    _, met, document = summarize(folder)
    assert not met
    assert [line.split(":")[0] for line in document["failures"]] == ["hold", "pulse"]


def test_table_is_that_of_synth(folder):
    text, _, _ = summarize(folder)
    head, _, first, *_ = text.splitlines()
    assert head.split() == ["module", "n", "LUT", "LUTRAM", "FF", "DSP", "BRAM36", "ns"]
    assert first.split()[1:] == ["1", "104,000", "9,000", "86,000", "640", "644.5"]
    assert re.search(r"^used +37\.9% +6\.2% +15\.7% +25\.4% +70\.7%$", text, re.MULTILINE)
    assert "proc_sys_reset_0" not in text  # small
    assert re.search(r"^ {10}gen_lane\[\*\]\.u_lane +2 +100,400", text, re.MULTILINE)


def test_resources_over_their_target(folder):
    text = UTILIZATION.replace("|     104000 |", "|     150000 |", 1)
    (folder / "utilization.rpt").write_text(text)
    _, met, document = summarize(folder)
    assert not met
    assert document["failures"] == ["LUT: 54.7% of the device, at most 50%"]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("utilization.rpt", "Instance ", "Cell ", "no table of utilization by hierarchy"),
        ("utilization.rpt", "SRLs", "SRL", "lacks SRLs"),
        ("utilization.rpt", "DSP Blocks", "Blocks", "lacks DSP Blocks"),
        ("utilization.rpt", "    8400 ", "   8,400 ", "expected a number"),
        ("utilization.rpt", "|       inst  ", "|             inst  ", "which instance"),
        ("timing.rpt", "| Design Timing Summary", "| Design", "no design timing summary"),
        ("timing.rpt", "      0.041    ", "        n/a    ", "no design timing summary"),
        ("timing.rpt", "Data Path Delay", "Delay", "a path without Data Path Delay"),
    ],
)
def test_other_layouts_are_refused(folder, name, old, new, message):
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        summarize(folder)
    assert name in str(error.value)


def test_newer_name_of_a_column():
    text = UTILIZATION.replace("DSP Blocks", "      DSPs")
    assert reports.parse_utilization(text).resources.dsp == 640
