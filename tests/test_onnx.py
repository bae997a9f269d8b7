"""The ONNX graph of a package computes every tensor of the integer model."""

import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from compiler.compile import compile_learned
from golden import arithmetic, random_programs
from golden.cases import CASES, CHECKPOINT_CASES, build_case, compile_on
from golden.export_onnx import compare, main, run_results
from golden.host import HostSide
from golden.integer_model import IntegerModel
from golden.onnx_graph import (
    IR_VERSION,
    OPSET,
    Graph,
    decay_table,
    onnx_core,
    onnx_model,
    reciprocal_sqrt,
)
from golden.tensor_reads import tensor_reads
from isa.package import Package
from model.args import ModelArgs
from model.data import DataError
from model.published_args import PublishedArgs
from model.regressor_args import RegressorArgs
from tests.compiled_models import (
    SMALL,
    learned_model,
    model_args,
    random_model,
    random_windows,
)
from tests.compiled_regressors import (
    compile_regressor,
    random_frames,
    regressor_args,
)
from tests.published_models import (
    SMALL_PUBLISHED,
    published_args,
    random_published,
)

REGRESSOR = {"num_features": 5, "num_channels": 9, "seq_len": 12, "patch_len": 5, "stride": 2}
PROGRAMS = [random_programs.random_package, random_programs.random_published]
VARIANTS = {
    "mixing": {"instance_norm": True},
    "independent": {"channel_mode": "independent"},
    "nested": {"topology": "nested", "channel_mode": "independent"},
    "several_iterations": {
        "channel_mode": "independent",
        "num_channels": 48,
        "seq_len": 100,
        "n_layer": 1,
    },
    "split_head": {"num_channels": 9, "forecast_len": 480, "n_layer": 1},
    "one_tap": {"d_conv": 1, "d_state": 1, "bias": True},
}


def package_of(args: ModelArgs) -> Package:
    if isinstance(args, RegressorArgs):
        return compile_regressor(args)
    model = (random_published if isinstance(args, PublishedArgs) else random_model)(args)
    return compile_on(model, random_windows(args))


def windows_of(args: ModelArgs, count: int = 8) -> np.ndarray:
    random = random_frames if isinstance(args, RegressorArgs) else random_windows
    return random(args, count, seed=2).numpy()


def differing(package: Package, x: np.ndarray) -> dict[str, int]:
    """Of each result that is not everywhere that of the integer model: how many values are not."""
    model, host = onnx_model(package), HostSide(package)
    onnx.checker.check_model(model, full_check=True)
    trace = {}
    expected = {"y": host.forecast(IntegerModel(package).run(host.tokens(x), trace), x)}
    expected |= {name: values.numpy() for name, values in trace.items()}
    names = ["y", *(value.name for value in model.graph.value_info)]
    results = dict(zip(names, run_results(model, x, *names), strict=True))
    return wrong_values(package, results, expected)


def wrong_values(
    package: Package, results: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> dict[str, int]:
    for step in tensor_reads(package):  # the scans of coupled sequences, in one tensor
        if len(step.names) > 1:
            of_all = results[step.name]
            results |= {name: of_all[:, k] for k, name in enumerate(step.names)}
    wrong = {}
    for name, values in expected.items():
        found = results[name].reshape(values.shape)
        assert found.dtype == values.dtype
        if count := int((found != values).sum()):
            wrong[name] = count
    return wrong


@pytest.mark.parametrize("make", PROGRAMS)
@pytest.mark.parametrize("seed", range(3))
def test_random_programs(make, seed):
    """Numbers that no calibrated model has, up to the ends of their ranges."""
    rng = np.random.default_rng(seed)
    package = make(rng)
    assert core_differing(package, rng) == {}


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1 << 32), make=st.sampled_from(PROGRAMS))
def test_any_program(seed, make):
    rng = np.random.default_rng(seed)
    assert core_differing(make(rng), rng) == {}


def core_differing(package: Package, rng: np.random.Generator) -> dict[str, int]:
    """As `differing`, of the instructions alone, on random tokens."""
    shape = 4, package.n_sequences, package.n_positions, package.token_bytes
    tokens = rng.integers(-128, 128, shape, dtype=np.int8)
    trace = {}
    IntegerModel(package).run(tokens, trace)
    session = onnxruntime.InferenceSession(onnx_core(package).SerializeToString())
    names = [value.name for value in session.get_outputs()]
    results = dict(zip(names, session.run(names, {"tokens": tokens}), strict=True))
    return wrong_values(package, results, {name: v.numpy() for name, v in trace.items()})


def test_decay_is_the_one_of_the_contract():
    exponents = torch.arange(40 << 12)
    table = torch.from_numpy(decay_table())
    assert torch.equal(table[exponents.clamp(max=len(table) - 1)], arithmetic.decay(exponents))


def test_reciprocals_are_those_of_the_contract():
    """At the ends of their ranges, where a root is whole, and anywhere else."""
    rng = np.random.default_rng(0)
    powers = np.int64(1) << np.arange(48)
    squares = np.arange(1 << 16, 1 << 17, 97, dtype=np.int64) ** 2
    near = np.concatenate([powers, squares, rng.integers(1, 1 << 48, 1000)])
    sums = np.concatenate([near - 1, near, near + 1])
    sums = sums[(sums > 0) & (sums < 1 << 48)]
    graph = Graph()
    results = reciprocal_sqrt(graph, "s")
    types = TensorProto.DOUBLE, TensorProto.INT32
    value = helper.make_tensor_value_info
    proto = helper.make_graph(
        graph.nodes,
        "reciprocal",
        [value("s", TensorProto.DOUBLE, ["n", 1])],
        [value(name, kind, ["n", 1]) for name, kind in zip(results, types, strict=True)],
        graph.initializers,
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(proto, opset_imports=[opset], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    r, index = session.run(None, {"s": sums[:, None].astype(np.float64)})
    expected = arithmetic.reciprocal_sqrt(torch.from_numpy(sums[:, None]))
    np.testing.assert_array_equal(r, expected[0])
    np.testing.assert_array_equal(index - 15, expected[1])


def all_args() -> dict[str, ModelArgs]:
    return {
        **{name: ModelArgs(**(SMALL | given)) for name, given in VARIANTS.items()},
        "published": PublishedArgs(**SMALL_PUBLISHED),
        "regressor": RegressorArgs(**REGRESSOR, d_model=12, n_layer=1),
    }


@pytest.mark.parametrize("name", all_args())
def test_every_tensor_is_that_of_the_integer_model(name):
    args = all_args()[name]
    package, x = package_of(args), windows_of(args, 3)
    if name == "several_iterations":
        assert package.iterations > 1
    assert differing(package, np.concatenate([x, 40 * x])) == {}  # the latter are clamped


def test_learned_formats_and_one_window():
    args = ModelArgs(**(SMALL | {"instance_norm": True}))
    assert differing(compile_learned(learned_model(args)), windows_of(args, 1)) == {}


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(args=model_args() | published_args() | regressor_args())
def test_any_model(args):
    assert differing(package_of(args), windows_of(args, 3)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_golden_packages(case):
    try:
        compiled = build_case(case)
    except DataError as error:
        assert case not in CHECKPOINT_CASES[:1] and case.dataset == "etth1", error
        return
    if compiled.splits is None:
        x = windows_of(compiled.model.args, 4)
    else:
        test = compiled.splits.test
        x = np.float32(test.batch(slice(0, None, len(test) // 24))[0])
    assert differing(compiled.package, x) == {}


@pytest.fixture(scope="module")
def small() -> tuple[Package, np.ndarray]:
    args = ModelArgs(**(SMALL | {"instance_norm": True}))
    return package_of(args), windows_of(args)


def test_other_tools_compute_the_same(small):
    package, x = small
    model = onnx_model(package)
    (expected,) = run_results(model, x, "y")
    (found,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(found, expected)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (found,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    np.testing.assert_array_equal(found, expected)


def test_weights_are_int8_and_metadata_go_with_them(small):
    package, _ = small
    model = onnx_model(package)
    weights = {t.name: t.data_type for t in model.graph.initializer if t.name.endswith("/weight")}
    assert "blocks.0.in_proj_u/weight" in weights and "blocks.1.conv1d/weight" in weights
    assert set(weights.values()) == {onnx.TensorProto.INT8}
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["weights_sha256"] == package.metadata["weights_sha256"]
    assert json.loads(properties["model"]) == package.metadata["model"]
    assert model.SerializeToString(deterministic=True) == onnx_model(package).SerializeToString(
        deterministic=True
    )


def with_rows(package: Package, rows: np.ndarray) -> Package:
    return dataclasses.replace(package, schedule=package.schedule[rows])


def test_reads_that_are_no_tensor_are_refused(small):
    package, _ = small
    opcodes = np.array([i.opcode for i in package.instructions])
    of = package.schedule["instruction"]
    late = np.argsort(opcodes[of] == "RECV", kind="stable")  # all else comes before it
    with pytest.raises(ValueError, match=r"patch_embedding: .* reads what no entry has written"):
        tensor_reads(with_rows(package, late))
    first, second = np.flatnonzero(opcodes[of] == "CONV")[[0, 2]]  # of one, there are two
    rows = np.insert(np.delete(np.arange(len(of)), first), second, first)
    with pytest.raises(ValueError, match="tap 1 at sequence 0, position 1 is not the row"):
        tensor_reads(with_rows(package, rows))


# ------------------------------------------------------------------------------ the command


@pytest.fixture
def files(small, tmp_path):
    package, x = small
    package.write(tmp_path / "model.bin")
    np.savez(tmp_path / "x.npz", x=x)
    return {
        "package": tmp_path / "model.bin",
        "output": tmp_path / "out" / "model.onnx",
        "check": tmp_path / "x.npz",
    }


def run(options: dict) -> int:
    return main([str(a) for name, v in options.items() for a in (f"--{name}", v)])


def test_it_writes_a_graph_and_compares_it(files, small, capsys):
    assert run(files) == 0
    model = onnx.load(files["output"])
    out = capsys.readouterr().out
    assert f"{len(model.graph.node)} nodes, opset 21" in out
    assert "8 windows by onnxruntime: 0 of 192 values differ from the integer model" in out
    assert compare(model, *small) == (192, 0, 0)


def test_a_difference_is_found(small):
    package, x = small
    model = onnx_model(package)
    (weight,) = [t for t in model.graph.initializer if t.name == "blocks.0.in_proj_u/weight"]
    values = numpy_helper.to_array(weight).copy()
    values[:, 0] = -values[:, 0]
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    count, wrong, steps = compare(model, package, x)
    assert count == 192 and wrong > 0 and steps > 0


def test_a_difference_is_a_failure(files, capsys, monkeypatch):
    monkeypatch.setattr("golden.export_onnx.compare", lambda *_: (192, 3, 2))
    assert run(files) == 1
    assert "3 of 192 values differ from the integer model, the largest by 2 steps" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "package"}, "would be overwritten, and is the file of --package"),
        ({"package": "check"}, "BAD_MAGIC"),
        ({"check": "package"}, "model.bin"),
    ],
)
def test_bad_input_is_one_line(files, change, message, capsys):
    options = files | {name: files[other] for name, other in change.items()}
    before = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    assert run(options) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert {n: p.read_bytes() for n, p in files.items() if p.is_file()} == before


def test_a_window_of_a_regressor_has_all_frames(tmp_path, capsys):
    args = all_args()["regressor"]
    compile_regressor(args).write(tmp_path / "r.bin")
    options = {name: tmp_path / f"r.{end}" for name, end in (("package", "bin"), ("check", "npz"))}
    options["output"] = tmp_path / "r.onnx"
    x = windows_of(args, 3)
    np.savez(options["check"], x=x)
    assert run(options) == 0
    assert "3 windows by onnxruntime: 0 of 6 values differ" in capsys.readouterr().out
    options["output"].unlink()
    np.savez(options["check"], x=x[:, :-1])
    assert run(options) == 2
    message = "found shape [3, 11, 5], expected [B, T, Din] = [B, 12, 5]"
    assert message in capsys.readouterr().err and not options["output"].exists()
