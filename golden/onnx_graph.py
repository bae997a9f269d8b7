"""The integer model as an ONNX graph of standard operators, for tools that read those.

`onnx_model` turns a package into a graph from windows to forecasts, both float32: the host's work
around the instructions of one schedule, each with its int8 weights, one tensor after the other.
Every result is the one of ``docs/numerics.md``: sums of weights are MatMulInteger and ConvInteger,
and what comes behind them is computed in float64, which holds every integer of the contract
exactly, divides them by powers of two without a rounding, and has Round to the nearest even.

Symbols: N iterations of the schedule in a batch, S sequences, P positions, n features.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import isa
from common.atomic_write import atomic_write
from golden import arithmetic
from golden.host import HostSide
from golden.host_frames import FrameHost
from golden.integer_model import untile
from golden.tensor_reads import CONSTANTS, Read, Step, tensor_reads
from isa.package import Package
from isa.rules import PARAM_SECTIONS

OPSET = 21  # the first whose DequantizeLinear takes int16
IR_VERSION = 10

_TYPES = {8: TensorProto.INT8, 16: TensorProto.INT16}
_STATE_BITS, _SUM_BITS = 24, 16
_EXPONENTS = range(-15, 9)  # e of NORM, of sums below 2^48


class Graph:
    """Nodes and initializers; names of values begin with the scopes that they are made in."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._scopes: list[str] = []
        self._names: set[str] = set()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        self._scopes.append(name)
        yield
        self._scopes.pop()

    @contextmanager
    def body(self) -> Iterator[list[onnx.NodeProto]]:
        """Nodes go to a list of their own: those of a subgraph."""
        outside, self.nodes = self.nodes, []
        yield self.nodes
        self.nodes = outside

    def name(self, name: str) -> str:
        base = "/".join([*self._scopes, name])
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    def constant(self, values: object, dtype: type = np.float64, name: str = "constant") -> str:
        """Equal ones are stored once."""
        array = np.ascontiguousarray(values, dtype)
        key = array.dtype.str, np.shape(values), array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.name(name)
            tensor = numpy_helper.from_array(array.reshape(key[1]), self._constants[key])
            self.initializers.append(tensor)
        return self._constants[key]

    def op(self, op_type: str, *inputs: str, result: str = "", **attributes: object) -> str:
        """A node of one output, called `result` where that is given."""
        name = self.name(op_type)
        if result:
            self._names.add(result)
        output = result or name
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"{name}", **attributes))
        return output

    # ------------------------------------------------------------------ what is needed often

    def cast(self, x: str, to: int = TensorProto.DOUBLE, result: str = "") -> str:
        return self.op("Cast", x, to=to, result=result)

    def mul(self, x: str, factor: object) -> str:
        return self.op("Mul", x, self.constant(factor, name="factor"))

    def add(self, x: str, addend: object) -> str:
        return self.op("Add", x, self.constant(addend)) if np.any(addend) else x

    def divide(self, x: str, shift: object) -> str:
        """rne(x, shift), of numbers that float64 holds."""
        factor = 2.0 ** -np.asarray(shift, np.float64)
        return self.op("Round", x if np.all(factor == 1) else self.mul(x, factor))

    def requantize(self, x: str, params: np.ndarray) -> str:
        """Of an accumulator without its bias; not yet clamped."""
        factor = params["multiplier"] * 2.0 ** -params["shift"].astype(np.float64)
        return self.add(self.op("Round", self.mul(x, factor)), params["zero_point"])

    def saturate(self, x: str, bits: int) -> str:
        limit = 1 << (bits - 1)
        return self.op("Clip", x, self.constant(-limit), self.constant(limit - 1))

    def saturated(self, x: str, bits: int, result: str = "") -> str:
        """The same, as integers."""
        return self.cast(self.saturate(x, bits), _TYPES[bits], result=result)

    def look_up(self, table: np.ndarray, index: str, result: str = "") -> str:
        """Of a table [256], for -128 to 127: the index counts from the end where it is negative."""
        values = self.constant(np.roll(table, 128), table.dtype.type, "table")
        return self.op("Gather", values, self.cast(index, TensorProto.INT32), result=result)

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps a dimension, -1 is what is left."""
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def transpose(self, x: str, *order: int) -> str:
        return self.op("Transpose", x, perm=order)

    def axes(self, *axes: int) -> str:
        return self.constant(axes, np.int64)


class _Lowering:
    """Nodes for the steps of a package. A result is [N, S, R, n], called as its step."""

    def __init__(self, package: Package, tokens: str, graph: Graph) -> None:
        self.package = package
        self.graph = graph
        self.steps = tensor_reads(package)
        self.tokens = tokens  # int8 [N, tokens of the stream, token_bytes]
        self.decay = decay_table()

    def run(self) -> str:
        """All steps; the forecasts, int16 [N, S, 1, n]."""
        for step in self.steps:
            with self.graph.scope(step.name):
                result = getattr(self, f"_{step.instruction.opcode.lower()}")(step)
        return result

    # ------------------------------------------------------------------ operands

    def _operand(self, step: Step, name: str) -> str:
        """[N, S, P, n], or 1 for P or S where all have the same and the step's node broadcasts."""
        graph, read = self.graph, step.reads[name]
        if name in ("add", "logit"):
            read = _narrowed(read)
        writers = np.unique(read.writers)
        if writers[0] == CONSTANTS:
            if len(writers) > 1:
                raise ValueError(f"{step.name}: operand {name} is a constant in part")
            return graph.constant(self.package.resid_image[read.elements], np.int16, "constant")
        sources = [self.steps[number] for number in writers]
        if len(sources) == 1:
            (source,) = sources
            if (start := _columns(read.elements, source.shape)) is not None:
                return self._slice(source, start, read.elements.shape[-1])
        starts = np.cumsum([0, *(np.prod(source.shape) for source in sources)])
        elements = starts[np.searchsorted(writers, read.writers)] + read.elements
        flat = [graph.reshape(source.name, 0, -1) for source in sources]
        joined = flat[0] if len(flat) == 1 else graph.op("Concat", *flat, axis=1)
        return graph.op("Gather", joined, graph.constant(elements, np.int64, "elements"), axis=1)

    def _slice(self, source: Step, start: int, n: int) -> str:
        if n == source.shape[-1]:
            return source.name
        bounds = (self.graph.axes(k) for k in (start, start + n, 3))
        return self.graph.op("Slice", source.name, *bounds)

    def _double(self, step: Step, name: str) -> str:
        return self.graph.cast(self._operand(step, name))

    def _params(self, step: Step) -> np.ndarray:
        """The step's words."""
        uses = step.instruction.addressed()
        use = next(use for use in uses if use.memory in PARAM_SECTIONS)
        return getattr(self.package, use.memory)[use.start :][: use.count]

    # ------------------------------------------------------------------ instructions

    def _recv(self, step: Step) -> str:
        graph, (S, P, n) = self.graph, step.shape
        order = step.reads["stream"].elements[..., 0]
        tokens = self.tokens
        if not np.array_equal(order.reshape(-1), np.arange(S * P)):
            tokens = graph.op("Gather", tokens, graph.constant(order, np.int64), axis=1)
        return graph.op(
            "Reshape", tokens, graph.constant((-1, S, P, n), np.int64), result=step.name
        )

    def _linear(self, step: Step) -> str:
        graph, i, params = self.graph, step.instruction, self._params(step)
        x = self._operand(step, "src")
        weight = untile(self.package, i).numpy()  # [positions, n_out, n_in]
        matrix = weight.transpose(0, 2, 1).reshape(-1, i.n_out)
        if i.reduce:
            x = graph.reshape(x, 0, 0, 1, len(matrix))
        acc = graph.op("MatMulInteger", x, graph.constant(matrix, np.int8, "weight"))
        y = graph.requantize(self._biased(acc, params), params)
        if i.add_enable:
            y = graph.op("Add", y, self._double(step, "add"))
        if i.relu:
            y = graph.op("Max", y, graph.constant(params["zero_point"]))
        return graph.saturated(y, 16 if i.wide else 8, result=step.name)

    def _biased(self, acc: str, params: np.ndarray) -> str:
        bias = self.graph.constant(params["bias"], np.int32, "bias")
        return self.graph.cast(self.graph.op("Add", acc, bias))

    def _conv(self, step: Step) -> str:
        graph, i, params = self.graph, step.instruction, self._params(step)
        S, P, n = step.shape
        x = self._operand(step, "src")
        taps = params["taps"][:, : i.kernel]
        if i.kernel == 1:
            factor = graph.constant(taps[:, 0], np.int32, "weight")
            acc = graph.op("Mul", graph.cast(x, TensorProto.INT32), factor)
        else:
            x = graph.transpose(graph.reshape(x, -1, P, n), 0, 2, 1)
            pads = graph.constant((0, 0, i.kernel - 1, 0, 0, 0), np.int64)
            x = graph.op("Pad", x, pads, graph.constant(i.pad, np.int8))
            weight = graph.constant(taps[:, None], np.int8, "weight")
            acc = graph.op("ConvInteger", x, weight, group=n)
            acc = graph.reshape(graph.transpose(acc, 0, 2, 1), -1, S, P, n)
        q = graph.saturate(graph.requantize(self._biased(acc, params), params), 8)
        return graph.look_up(self.package.conv_tables[i.table], q, result=step.name)

    def _scan(self, step: Step) -> str:
        graph, i, params, tables = self.graph, step.instruction, self._params(step), self.package
        states = 1 << i.log2_state
        bc = step.reads["bc"]
        skip = self._part(step, bc, slice(0, i.n)) if i.skip_enable else None
        rest = i.n if i.skip_enable else 0
        b = self._part(step, bc, slice(rest, rest + states))
        c = self._part(step, bc, slice(rest + states, rest + 2 * states))

        softplus = tables.scan_tables[i.softplus_table]
        delta = graph.cast(graph.look_up(softplus, self._operand(step, "dt")))
        w = graph.add(self._double(step, "u"), -float(i.u_zero_point))
        drive = graph.mul(graph.op("Mul", delta, w), 2.0 ** (16 - i.state_shift))
        s = self._states(step, drive, delta, graph.cast(b), graph.cast(c))
        if skip is None:
            skip_sum = graph.mul(w, params["bias"] * 2.0**i.skip_shift)
        else:
            weight = graph.add(graph.cast(skip), -float(i.skip_zero_point))
            skip_sum = graph.mul(graph.op("Mul", weight, w), 2.0**i.skip_shift)
        y = graph.saturate(graph.divide(graph.op("Add", s, skip_sum), i.y_shift), _SUM_BITS)
        silu = tables.scan_tables[i.silu_table].view(np.int16)
        gate = graph.cast(graph.look_up(silu, self._operand(step, "z")))
        return graph.saturated(
            graph.requantize(graph.op("Mul", y, gate), params), 8, result=step.name
        )

    def _part(self, step: Step, read: Read, part: slice) -> str:
        """Some of the elements of an operand."""
        of_part = Read(read.writers[..., part], read.elements[..., part])
        return self._operand(dataclasses.replace(step, reads={"": of_part}), "")

    def _states(self, step: Step, drive: str, delta: str, b: str, c: str) -> str:
        """sum_n h[e][n] * C[n] of all tokens, float64 [N, S, P, n]: the loop over the tokens."""
        graph, i = self.graph, step.instruction
        S, states = step.shape[0], 1 << i.log2_state
        start = i.decay_addr
        rates = self.package.scan_decay[start : start + i.n * states].reshape(i.n, states)
        batch = graph.op("Shape", drive, start=0, end=1)
        shape = graph.op("Concat", batch, graph.constant((S, i.n, states), np.int64), axis=0)
        zero = helper.make_tensor("zero", TensorProto.DOUBLE, [1], [0.0])
        initial = graph.op("ConstantOfShape", shape, value=zero)
        by_token = [graph.transpose(x, 2, 0, 1, 3) for x in (drive, delta, b, c)]
        widths = (i.n, i.n, states, states)
        with graph.scope("token"), graph.body() as nodes:
            h, *inputs = (graph.name(name) for name in ("h", "drive", "delta", "B", "C"))
            of_channel = (graph.op("Unsqueeze", x, graph.axes(-1)) for x in inputs[:2])
            token_drive, token_delta = of_channel
            exponent = graph.divide(graph.mul(token_delta, rates), i.exp_shift)
            last = graph.constant(len(self.decay) - 1)
            index = graph.cast(graph.op("Min", exponent, last), TensorProto.INT32)
            table = graph.constant(self.decay, np.int32, "decay")
            g = graph.cast(graph.op("Gather", table, index))
            driven = graph.op("Mul", token_drive, graph.op("Unsqueeze", inputs[2], graph.axes(-2)))
            both = graph.op("Add", graph.op("Mul", g, h), driven)
            following = graph.saturate(graph.divide(both, 16), _STATE_BITS)
            column = graph.op("Unsqueeze", inputs[3], graph.axes(-1))
            s = graph.op("Squeeze", graph.op("MatMul", following, column), graph.axes(-1))

        def value(name: str, *shape: int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", S, *shape])

        body = helper.make_graph(
            nodes,
            "token",
            [value(h, i.n, states), *(map(value, inputs, widths))],
            [value(following, i.n, states), value(s, i.n)],
        )
        name = graph.name("Scan")
        outputs = [f"{name}/state", f"{name}/sum"]
        graph.nodes.append(
            helper.make_node(
                "Scan",
                [initial, *by_token],
                outputs,
                name=name,
                body=body,
                num_scan_inputs=4,
            )
        )
        return graph.transpose(outputs[1], 1, 2, 0, 3)

    def _norm(self, step: Step) -> str:
        graph, i, params = self.graph, step.instruction, self._params(step)
        x = self._double(step, "src")
        S = graph.add(graph.op("ReduceSumSquare", x, graph.axes(-1), keepdims=1), float(i.eps))
        r, index = reciprocal_sqrt(graph, S)
        shift = graph.op(
            "Gather", graph.constant([64 * 2.0 ** -(15 + e) for e in _EXPONENTS]), index
        )
        v = graph.op("Round", graph.op("Mul", x, graph.op("Mul", r, shift)))
        y = graph.requantize(v, params)
        return graph.saturated(y, 16 if i.wide else 8, result=step.name)

    def _pool(self, step: Step) -> str:
        """Rows: mean, maximum."""
        return self._means_and_maxima(step, axis=2, of_words=(2, 1))

    def _pool_features(self, step: Step) -> str:
        """Elements: mean, maximum."""
        return self._means_and_maxima(step, axis=3, of_words=(2,))

    def _means_and_maxima(self, step: Step, axis: int, of_words: tuple[int, ...]) -> str:
        graph, x = self.graph, self._double(step, "src")
        both = [
            graph.op(f"Reduce{kind}", x, graph.axes(axis), keepdims=1) for kind in ("Sum", "Max")
        ]
        words = self._params(step).reshape(of_words)
        y = graph.requantize(graph.op("Concat", *both, axis=axis), words)
        return graph.saturated(y, 8, result=step.name)

    def _scale(self, step: Step) -> str:
        graph, table = self.graph, self.package.vector_tables[step.instruction.table]
        factor = graph.cast(graph.look_up(table, self._operand(step, "logit")))
        product = graph.op("Mul", self._double(step, "src"), factor)
        return graph.saturated(graph.divide(product, 16), 16, result=step.name)

    def _modulate(self, step: Step) -> str:
        graph, i, tables = self.graph, step.instruction, self.package.vector_tables
        logits = step.reads["logit"]
        factor, shift = (
            graph.cast(graph.look_up(table, self._part(step, logits, slice(k, k + 1))))
            for k, table in enumerate((tables[i.scale_table], tables[i.shift_table].view(np.int16)))
        )
        offset = graph.mul(graph.op("Add", shift, self._double(step, "add")), 65536.0)
        product = graph.op("Mul", self._double(step, "src"), factor)
        v = graph.divide(graph.op("Add", product, offset), 16)
        y = graph.requantize(v, self._params(step))
        return graph.saturated(y, 16 if i.wide else 8, result=step.name)

    def _send(self, step: Step) -> str:
        return self.graph.op("Identity", self._operand(step, "src"), result=step.name)


def decay_table() -> np.ndarray:
    """decay(t) up to the first t where it is zero, as it is from there on."""
    values = arithmetic.decay(torch.arange(19 << 12)).numpy()
    return values[: int(np.argmin(values)) + 1]


def reciprocal_sqrt(graph: Graph, s: str) -> tuple[str, str]:
    """Of sums [..., 1]: r, and which of _EXPONENTS e is."""
    # It counts the powers of four from 2^2 on.
    powers = graph.constant([4.0 ** (e + 16) for e in _EXPONENTS[:-1]])
    reached = graph.cast(graph.op("GreaterOrEqual", s, powers), TensorProto.INT32)
    index = graph.op("ReduceSum", reached, graph.axes(-1), keepdims=1)
    scale = graph.op("Gather", graph.constant([4.0**-e for e in _EXPONENTS]), index)
    m = graph.cast(graph.op("Floor", graph.op("Mul", s, scale)), TensorProto.INT64)
    # r^2 is at most floor(2^64 / m), which int64 has from four times floor(2^62 / m).
    quarter, four = graph.constant(1 << 62, np.int64), graph.constant(4, np.int64)
    left = graph.op("Mul", graph.op("Mod", quarter, m), four)
    whole = graph.op("Mul", graph.op("Div", quarter, m), four)
    square = graph.cast(graph.op("Add", whole, graph.op("Div", left, m)))
    most = graph.constant((1 << arithmetic.RECIPROCAL_BITS) - 1)
    return graph.op("Min", graph.op("Floor", graph.op("Sqrt", square)), most), index


def _columns(elements: np.ndarray, shape: tuple[int, int, int]) -> int | None:
    """The first of those elements of a result that [S, P, n] are in each of its rows; None where
    they are anything else."""
    S, R, n = shape
    first = np.arange(S * R).reshape(S, R, 1) * n + elements[0, 0, 0]
    if elements.shape[:2] != (S, R) or elements[0, 0, 0] + elements.shape[2] > n:
        return None
    same = np.array_equal(elements, first + np.arange(elements.shape[2]))
    return int(elements[0, 0, 0]) if same else None


def _narrowed(read: Read) -> Read:
    """Without the dimensions S and P along which it is the same."""
    for axis in (0, 1):
        one = Read(*(x.take([0], axis) for x in (read.writers, read.elements)))
        if all(
            np.array_equal(np.broadcast_to(a, b.shape), b)
            for a, b in zip((one.writers, one.elements), (read.writers, read.elements), strict=True)
        ):
            read = one
    return read


# ------------------------------------------------------------------------------ the host's work


def _encode_series(graph: Graph, host: HostSide) -> tuple[str, tuple[str, str] | None]:
    """x [B, V, L] normalized, and mean and deviation of the windows, float32 [B, V, 1]."""
    if not host.args.instance_norm:
        return "x", None
    x, length = graph.cast("x"), host.args.seq_len

    def mean_of(values: str) -> str:
        sums = graph.op("CumSum", values, graph.constant(2, np.int64))  # in the order of time
        total = graph.op("Gather", sums, graph.constant([length - 1], np.int64), axis=2)
        return graph.op("Div", total, graph.constant(length))

    mean = mean_of(x)
    centered = graph.op("Sub", x, mean)
    variance = mean_of(graph.op("Mul", centered, centered))
    deviation = graph.op("Sqrt", graph.add(variance, float(host.model.eps)))
    mean32, deviation32 = (graph.cast(value, TensorProto.FLOAT) for value in (mean, deviation))
    normalized = graph.op("Div", graph.op("Sub", "x", mean32), deviation32)
    return normalized, (mean32, deviation32)


def _encode(graph: Graph, host: HostSide, package: Package) -> tuple[str, object]:
    """Tokens int8 [N, tokens of an iteration, token_bytes], and statistics of the windows."""
    statistics = None
    if isinstance(host.model, FrameHost):
        centered = graph.op("Sub", "x", graph.constant(host.model.frame_mean, np.float32))
        scale = graph.constant(host.model.frame_scale, np.float32)
        values = graph.op("Mul", centered, scale)
    else:
        values, statistics = _encode_series(graph, host)
    scale = graph.constant(host.input_scale, np.float32, "scale")
    q = graph.op("QuantizeLinear", values, scale, graph.constant(host.zero_point, np.int8))
    index = host.model.index.reshape(-1, package.token_bytes)
    flat = graph.reshape(q, 0, -1)
    tokens = graph.op("Gather", flat, graph.constant(index, np.int64, "patches"), axis=1)
    count = package.n_sequences * package.n_positions
    return graph.reshape(tokens, -1, count, package.token_bytes), statistics


def _decode(graph: Graph, host: HostSide, y: str, statistics: object) -> None:
    """int16 [N, S, 1, n] to forecasts."""
    shape = graph.constant((-1, *host.forecast_shape), np.int64)
    scale = graph.constant(host.output_scale, np.float32, "scale")
    real = graph.op("DequantizeLinear", graph.op("Reshape", y, shape), scale)
    if isinstance(host.model, FrameHost):
        factor, offset = (
            graph.constant(values, np.float32)
            for values in (host.model.position_std, host.model.position_mean)
        )
    elif statistics is not None:
        offset, factor = statistics
    else:
        graph.op("Identity", real, result="y")
        return
    graph.op("Add", graph.op("Mul", real, factor), offset, result="y")


# ------------------------------------------------------------------------------ the whole


def onnx_model(package: Package) -> onnx.ModelProto:
    """A graph with input `x`, float32 [batch, V, L], and output `y`, float32 [batch, V, H]; of a
    regressor [batch, L, Din] and [batch, 2]. Any number of windows is a batch.

    The result of every instruction is a value of its name, int8 or int16 [n, S, R, features], whose
    rows are those of `IntegerModel.run`. The package's metadata are metadata of the model, those
    with more than a text as JSON.

    Raises:
        PackageError: the package breaks a rule, or its metadata lack what a host needs.
        ValueError: it is a program that is no model of the compiler's.
    """
    host = HostSide(package)
    graph = Graph()
    with graph.scope("host"):
        tokens, statistics = _encode(graph, host, package)
    lowering = _Lowering(package, tokens, graph)
    forecasts = lowering.run()
    with graph.scope("host"):
        _decode(graph, host, forecasts, statistics)
    real = helper.make_tensor_value_info
    return _model(
        lowering,
        [real("x", TensorProto.FLOAT, ["batch", *host.window_shape])],
        [real("y", TensorProto.FLOAT, ["batch", *host.forecast_shape])],
    )


def onnx_core(package: Package) -> onnx.ModelProto:
    """The instructions alone, without the host's work: input `tokens`, int8 [n, S, P, token_bytes],
    and an output for each of the instructions.

    Raises ValueError as `onnx_model`.
    """
    graph, shape = Graph(), (package.n_sequences, package.n_positions, package.token_bytes)
    with graph.scope("stream"):
        tokens = graph.reshape("tokens", 0, shape[0] * shape[1], shape[2])
    lowering = _Lowering(package, tokens, graph)
    lowering.run()
    value = helper.make_tensor_value_info("tokens", TensorProto.INT8, ["n", *shape])
    return _model(lowering, [value], [_value_info(step) for step in lowering.steps])


def _model(
    lowering: _Lowering, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    names = {value.name for value in outputs}
    proto = helper.make_graph(
        lowering.graph.nodes,
        "cmamba",
        inputs,
        outputs,
        lowering.graph.initializers,
        value_info=[_value_info(step) for step in lowering.steps if step.name not in names],
    )
    model = helper.make_model(
        proto,
        producer_name="cmamba",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    metadata = sorted(lowering.package.metadata.items())
    helper.set_model_props(
        model,
        {
            name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in metadata
        },
    )
    return model


def write_onnx(package: Package, path: Path) -> onnx.ModelProto:
    """Writes the graph of a package, and returns it.

    The file appears complete or not at all, and the same package gives the same bytes. Raises as
    `onnx_model`, and OSError.
    """
    model = onnx_model(package)
    with atomic_write(path) as file:
        file.write(model.SerializeToString(deterministic=True))
    return model


def _value_info(step: Step) -> onnx.ValueInfoProto:
    i = step.instruction
    operand = "src" if i.opcode == "SEND" else "dst"
    bits = isa.SPACES[isa.SPACE_NAMES[i.fields[operand].space]].bits
    return helper.make_tensor_value_info(step.name, _TYPES[bits], ["n", *step.shape])
