"""The cycle count of the HLS core."""

import numpy as np
import pytest

import isa
from compiler.estimate import REFERENCE_MODELS, estimate, random_package
from golden.random_programs import random_package as random_program
from hls import cycles
from hls.bindings import Accelerator

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


REPORT = """<profile><PerformanceEstimates><SummaryOfLoopLatency><process_steps>
<Name>process_steps</Name><PipelineII>2</PipelineII><PipelineDepth>31</PipelineDepth>
</process_steps></SummaryOfLoopLatency></PerformanceEstimates></profile>"""


def test_a_report_of_synthesis_counts_more(tmp_path, program):
    (tmp_path / "process_Conv_s_csynth.xml").write_text(REPORT)
    timing = cycles.reported(tmp_path)
    assert timing["Conv"][:2] == (2, 31)
    assert {name for name in timing if timing[name] != cycles.TIMING[name]} == {"Conv"}
    assert cycles.reported(tmp_path / "empty") == cycles.TIMING
