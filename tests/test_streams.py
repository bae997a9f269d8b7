"""What runs a package is called alike, whichever it is."""

import inspect

import pytest

from evaluation.forecaster import _ParallelHls
from golden.integer_model import IntegerModel
from hls import bindings
from host import accelerator
from isa.streams import Runner
from rtl.simulator import RtlAccelerator


@pytest.mark.parametrize(
    "runner",
    [
        IntegerModel,
        _ParallelHls,
        RtlAccelerator,
        accelerator.Accelerator,
        bindings.Accelerator,
    ],
    ids=lambda runner: runner.__module__,
)
def test_it_runs_as_the_protocol_says(runner):
    expected, found = (inspect.signature(kind.run, eval_str=True) for kind in (Runner, runner))
    parameters = list(found.parameters.values())
    n = len(expected.parameters)
    assert parameters[:n] == list(expected.parameters.values())
    assert all(more.default is not more.empty for more in parameters[n:])
    assert found.return_annotation == expected.return_annotation
