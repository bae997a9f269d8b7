"""The cycle count of the HLS core."""

from pathlib import Path

import numpy as np
import pytest

import isa
from compiler.estimate import REFERENCE_MODELS, estimate, random_package
from golden.random_programs import random_package as random_program
from hls import cycles
from hls.bindings import Accelerator

ROOT = Path(__file__).resolve().parents[1]
FIRST = "ETTh1 mixing (V=7, D=128, 4 blocks)"


@pytest.fixture(scope="module")
def program():
    return random_program(np.random.default_rng(11), isa.build())


def test_first_reference_model():
    """The pipelines may be as deep as assumed: what the issue of the core asks for."""
    package = random_package(REFERENCE_MODELS[FIRST].args, isa.build())
    bound = estimate(package, isa.build()).bound
    assert bound < cycles.cycles(package, "default") <= 7000
    array = cycles.TIMING["ArrayMultiply"]._replace(interval=2)
    assert cycles.cycles(package, "default", cycles.TIMING | {"ArrayMultiply": array}) > 2 * bound


def test_deeper_pipelines_take_longer(program):
    base = cycles.cycles(program, "default")
    assert base == cycles.cycles(program, "default")
    for name, timing in cycles.TIMING.items():
        deeper = cycles.TIMING | {name: timing._replace(results=timing.results + 10)}
        assert cycles.cycles(program, "default", deeper) >= base, name
        slower = cycles.TIMING | {name: timing._replace(interval=9)}
        assert cycles.cycles(program, "default", slower) >= base, name


def test_mistakes(program):
    with pytest.raises(ValueError, match="cycles of Conv are not given"):
        missing = {name: t for name, t in cycles.TIMING.items() if name != "Conv"}
        cycles.cycles(program, "default", missing)
    with pytest.raises(ValueError, match="timing of Conv"):
        far = cycles.TIMING | {"Conv": cycles.TIMING["Conv"]._replace(results=100)}
        cycles.cycles(program, "default", far)
    accelerator = Accelerator(program.to_bytes())
    shape = accelerator.shape
    size = (shape.iterations, shape.n_sequences, shape.n_positions, shape.token_bytes)
    timing = dict.fromkeys(cycles.TIMING, (1, 1, 1))
    assert accelerator.cycles(np.zeros(size, np.int8), timing) > 0
    with pytest.raises(ValueError, match="tokens"):
        accelerator.cycles(np.zeros(size[1:], np.int8), timing)


# A report of csynth, in the layout of the tool: a loop is an element named after its label.
REPORT = """\
<?xml version="1.0" encoding="UTF-8"?>
<profile>
  <ReportVersion><Version>2024.2</Version></ReportVersion>
  <UserAssignments>
    <unit>ns</unit>
    <TargetClockPeriod>4.00</TargetClockPeriod>
  </UserAssignments>
  <PerformanceEstimates>
    <PipelineType>no</PipelineType>
    <SummaryOfOverallLatency>
      <Worst-caseLatency>undef</Worst-caseLatency>
    </SummaryOfOverallLatency>
    <SummaryOfLoopLatency>
      <{label}>
        <Name>{label}</Name>
        <TripCount><range><min>1</min><max>10000</max></range></TripCount>
        <Latency><range><min>31</min><max>20029</max></range></Latency>
        <PipelineII>{interval}</PipelineII>
        <PipelineDepth>{depth}</PipelineDepth>
      </{label}>
    </SummaryOfLoopLatency>
  </PerformanceEstimates>
</profile>
"""


def report(folder, module, label, interval, depth):
    text = REPORT.format(label=label, interval=interval, depth=depth)
    (folder / f"{module}_csynth.xml").write_text(text)


def test_a_report_of_synthesis_counts_more(tmp_path):
    report(tmp_path, "process_Conv_s", "process_steps", 2, 31)
    # As a module of its own, named after a process and after what it exchanges with another one.
    module = "process_Scan_channel_ConvPacket_8_s_Pipeline_process_steps"
    report(tmp_path, module, "process_steps", 1, 50)
    report(tmp_path, "dispatch_process_s", "dispatch_steps", 1, 5)
    report(tmp_path, "load_package", "check_words", 3, 9)
    timing = cycles.reported(tmp_path)
    found = {name: timing[name][:2] for name in timing if timing[name] != cycles.TIMING[name]}
    assert found == {"Conv": (2, 31), "Scan": (1, 50), "Dispatch": (1, 5)}
    assert timing["Dispatch"].answers == cycles.TIMING["Dispatch"].answers
    assert cycles.reported(tmp_path / "empty") == cycles.TIMING


def test_a_report_that_is_none(tmp_path):
    report(tmp_path, "dispatch_process_s", "dispatch_steps", "?", 5)
    with pytest.raises(ValueError, match=r"dispatch_process_s_csynth\.xml: .* of dispatch_steps"):
        cycles.reported(tmp_path)


@pytest.mark.parametrize("name", cycles.TIMING)
def test_every_loop_is_in_the_sources(name):
    """Labels and functions that a report is looked up by."""
    source = (ROOT / "hls/src/run.cpp").read_text()
    function, label = cycles._OTHERS.get(name, ("process", cycles._STEPS))
    assert f" {function}(" in source
    # RangeReader is a loop of m_axi in hardware, whose latency no report has.
    if name != "RangeReader":
        assert f"\n{label}:\n" in source


def test_what_is_assumed_is_said(tmp_path, monkeypatch, capsys, program):
    (tmp_path / "package.bin").write_bytes(program.to_bytes())
    monkeypatch.setattr(cycles, "REPORTS", tmp_path)
    report(tmp_path, "dispatch_process_s", "dispatch_steps", 1, 5)
    assert cycles.main([str(tmp_path / "package.bin")]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"depths from {tmp_path}; assumed: Fetch, StreamIn, ")
