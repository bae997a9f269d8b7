"""Execute a package with integers only, entry by entry, on a model of the memories.

This is the reference for the hardware: the schedule runs in list order, activations live in the
memories and rings that the instructions name, sums and scan state in their units. Iterations of the
phases are independent of each other and run as a batch.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import isa
from golden import arithmetic
from golden.arithmetic import Params
from isa import rules
from isa.fitting import fitting_build
from isa.package import Package
from isa.rules import PARAM_SECTIONS
from isa.streams import check_tokens
from model.threads import torch_threads

# Iterations that run at once: enough to hide torch's cost per call, few enough for the caches.
BATCH = 32


def untile(package: Package, instruction: isa.Instruction) -> Tensor:
    """Weights of a LINEAR: int32 [positions, n_out, n_in].

    ``positions`` is 1 unless the instruction reduces.
    """
    split = 1 << instruction.log2_split
    n_o, n_i = rules.tile_grid(instruction, package)
    matrices = []
    for position in range(rules.array_rows(instruction)):
        start = instruction.weight_addr + position * instruction.weight_stride
        tiles = package.weights[start : start + n_o * n_i]
        # [O, I, group, lane of the group, j] to [O, lane, I, group, j]
        tiles = tiles.reshape(n_o, n_i, split, package.tile_out // split, package.tile_in)
        matrix = tiles.transpose(0, 3, 1, 2, 4).reshape(n_o * package.tile_out // split, -1)
        matrices.append(matrix[: instruction.n_out, : instruction.n_in])
    return torch.from_numpy(np.stack(matrices).astype(np.int32))


@dataclass
class _Memories:
    """What the units hold during a run, for ``batch`` iterations at once."""

    spaces: tuple[Tensor, ...]
    state: Tensor  # scan unit: int32 [batch, capacity], int24 values
    partial: Tensor  # array: int64 [batch, capacity]
    total: Tensor  # vector unit, sum over tokens: int64 [batch, features]
    maximum: Tensor  # vector unit, maximum over tokens: int64 [batch, features]

    @classmethod
    def allocate(cls, batch: int, build: isa.Build, resid_image: np.ndarray) -> _Memories:
        spaces = {
            space.name: torch.zeros(
                batch,
                build.spaces[space.name],
                dtype=torch.int8 if space.bits == 8 else torch.int16,
            )
            for space in isa.SPACES.values()
        }
        spaces["resid"][:, : len(resid_image)] = torch.from_numpy(resid_image.copy())
        features = build.capacity["features"]
        return cls(
            spaces=tuple(spaces.values()),
            state=torch.zeros(batch, build.capacity["state"], dtype=torch.int32),
            partial=torch.zeros(batch, build.capacity["reduce"], dtype=torch.int64),
            total=torch.zeros(batch, features, dtype=torch.int64),
            maximum=torch.zeros(batch, features, dtype=torch.int64),
        )

    def read(self, operand: isa.Operand, row: int, n: int) -> Tensor:
        """int64 [batch, n]."""
        start = operand.row(row)
        return self.spaces[operand.space][:, start : start + n].long()

    def write(self, operand: isa.Operand, row: int, values: Tensor) -> None:
        start = operand.row(row)
        self.spaces[operand.space][:, start : start + values.shape[-1]] = values


@dataclass
class _Run:
    """State of one batch: memories, streams, and results of the instructions if wanted."""

    memory: _Memories
    tokens: Tensor  # s_axis: int8 [batch, tokens in stream order, token_bytes]
    received: int = 0
    forecasts: list[Tensor] = field(default_factory=list)  # m_axis: int16 [batch, elements] each


@dataclass(frozen=True)
class _Step:
    """An instruction with its parameters, weights and tables taken out of the package."""

    instruction: isa.Instruction
    params: Params | None = None
    weight: Tensor | None = None
    taps: Tensor | None = None
    rates: Tensor | None = None
    tables: tuple[Tensor, ...] = ()


def _integers(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


class IntegerModel:
    """Runs a package.

    Args:
        package: the compiled model.
        build: name of a build, or a `isa.Build`: it gives the sizes of the memories. Without it,
            the one that holds the package.

    Raises:
        PackageError: the package breaks a rule of ``docs/instruction_set.md``.
        ValueError: two instructions have the same name.
    """

    def __init__(self, package: Package, build: isa.Build | str | None = None) -> None:
        self.package = package
        build = build or fitting_build(package)
        self.build = isa.build(build) if isinstance(build, str) else build
        package.validate(self.build)
        self.names = [package.instruction_name(i) for i in range(len(package.instructions))]
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise ValueError(f"metadata, instructions: expected distinct names, found {twice}")
        self._steps = [self._prepare(instruction) for instruction in package.instructions]
        self._entries = package.executed()

    def _prepare(self, instruction: isa.Instruction) -> _Step:
        package = self.package

        parts: dict[str, Any] = {}
        for use in instruction.addressed():
            if use.memory in PARAM_SECTIONS:
                parts["params"] = getattr(package, use.memory)[use.start :][: use.count]
        match instruction.opcode:
            case "LINEAR":
                parts["weight"] = untile(package, instruction)
            case "CONV":
                parts["taps"] = _integers(parts["params"]["taps"][:, : instruction.kernel])
                parts["tables"] = (_integers(package.conv_tables[instruction.table]),)
            case "SCAN":
                states = 1 << instruction.log2_state
                rates = package.scan_decay[instruction.decay_addr :][: instruction.n * states]
                parts["rates"] = _integers(rates.reshape(instruction.n, states))
                silu = package.scan_tables[instruction.silu_table].view(np.int16)
                softplus = package.scan_tables[instruction.softplus_table]
                parts["tables"] = (_integers(softplus), _integers(silu))
            case "MODULATE":
                shift = package.vector_tables[instruction.shift_table].view(np.int16)
                scale = package.vector_tables[instruction.scale_table]
                parts["tables"] = (_integers(scale), _integers(shift))
            case "SCALE":
                parts["tables"] = (_integers(package.vector_tables[instruction.table]),)
        if "params" in parts:
            parts["params"] = Params.from_array(parts["params"])
        return _Step(instruction, **parts)

    def run(self, tokens: np.ndarray, trace: dict[str, Tensor] | None = None) -> np.ndarray:
        """Run the phases once for each iteration, as `isa.streams.Runner.run`.

        Args:
            tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes], of any number of
                iterations.
            trace: gets the result of every instruction, by name: int8 or int16
                [n_iterations, rows, n]. ``rows`` is one for each token of the instruction
                (sequence * n_positions + position); for SEND and a reducing LINEAR one for each
                sequence; for POOL two for each sequence. ``n`` is 2 where a token has two elements
                of a row that all sequences share.

        Returns:
            Forecasts, int16 [n_iterations, n_sequences, forecast_elements].

        Raises:
            ValueError: ``tokens`` has another shape or dtype.
        """
        package = self.package
        shape = (package.n_sequences, package.n_positions, package.token_bytes)
        tokens = check_tokens(tokens, shape)
        given = torch.from_numpy(tokens)
        results = self._trace_tensors(len(tokens)) if trace is not None else None
        forecast = torch.empty(
            len(tokens), package.n_sequences, package.forecast_elements, dtype=torch.int16
        )

        def run_batch(start: int) -> None:
            rows = slice(start, start + BATCH)
            part = None if results is None else [result[rows] for result in results]
            forecast[rows] = self._run_batch(given[rows], part)

        # A thread for each batch, not all of them for each operation.
        threads = torch.get_num_threads()
        with torch_threads(1), ThreadPoolExecutor(threads) as pool:
            # The list raises what a batch has raised.
            list(pool.map(run_batch, range(0, len(tokens), BATCH)))
        if trace is not None:
            trace.update(zip(self.names, results, strict=True))
        return forecast.numpy()

    def _trace_tensors(self, n_iterations: int) -> list[Tensor]:
        results = []
        sequences = trace_sequences(self.package)
        for instruction, count in zip(self.package.instructions, sequences, strict=True):
            n = result_elements(instruction)
            operand = instruction.fields[result_operand(instruction)]
            bits = isa.SPACES[isa.SPACE_NAMES[operand.space]].bits
            rows = count * rows_per_sequence(instruction)
            dtype = torch.int8 if bits == 8 else torch.int16
            results.append(torch.zeros(n_iterations, rows, n, dtype=dtype))
        return results

    def _run_batch(self, tokens: Tensor, results: list[Tensor] | None) -> Tensor:
        memory = _Memories.allocate(len(tokens), self.build, self.package.resid_image)
        run = _Run(memory, tokens.flatten(1, 2))
        fields = ["instruction", "token", "position", "sequence"]
        for index, token, position, sequence in self._entries[fields].tolist():
            step = self._steps[index]
            execute = getattr(self, f"_{step.instruction.opcode.lower()}")
            result = execute(run, step, token, position, sequence)
            if results is not None and result is not None:
                rows = rows_per_sequence(step.instruction)
                first = sequence * rows + (0 if is_per_sequence(step.instruction) else position)
                results[index][:, first : first + result.shape[-2]] = result
        return torch.stack(run.forecasts, 1)

    # Each of the following executes one entry and returns the rows that it produced, [batch, rows,
    # n], or None where a reduction goes on.

    def _recv(self, run: _Run, step: _Step, token: int, position: int, sequence: int) -> Tensor:
        x = run.tokens[:, run.received]
        run.received += 1
        run.memory.write(step.instruction.dst, token, x)
        return x.unsqueeze(1)

    def _linear(
        self, run: _Run, step: _Step, token: int, position: int, sequence: int
    ) -> Tensor | None:
        i, memory = step.instruction, run.memory
        weight = step.weight[position if i.reduce else 0]
        x = memory.read(i.src, token, weight.shape[1])
        partial = None
        if i.reduce:
            partial = memory.partial[:, : i.n_out]
            if position == 0:
                partial.zero_()
            if position < i.n_positions - 1:
                partial += arithmetic.multiply_accumulate(x, weight)
                return None
        addend = None
        if i.add_enable:
            addend = memory.read(i.add, position if i.add_position else token, i.n_out)
        y = arithmetic.linear(
            x, weight, step.params, addend, partial=partial, wide=bool(i.wide), relu=bool(i.relu)
        )
        memory.write(i.dst, sequence if i.reduce else token, y)
        return y.unsqueeze(1)

    def _conv(self, run: _Run, step: _Step, token: int, position: int, sequence: int) -> Tensor:
        i, memory = step.instruction, run.memory
        pad = torch.full((len(run.tokens), i.n), i.pad)
        window = [
            memory.read(i.src, token - age, i.n) if age <= position else pad
            for age in reversed(range(i.kernel))
        ]
        y = arithmetic.conv(torch.stack(window, 1), step.taps, step.params, step.tables[0])
        memory.write(i.dst, token, y)
        return y.unsqueeze(1)

    def _scan(self, run: _Run, step: _Step, token: int, position: int, sequence: int) -> Tensor:
        i, memory = step.instruction, run.memory
        states = 1 << i.log2_state
        state = memory.state[:, i.state_addr :][:, : i.n * states]
        if position == 0:
            state.zero_()
        bc = memory.read(i.bc, token, 2 * states)
        skip = None
        if i.skip_enable:
            skip = memory.read(i.bc, token, i.skip_offset + i.n)[:, i.skip_offset :]
            skip = skip - i.skip_zero_point
        y, h = arithmetic.scan_step(
            state.long().unflatten(1, (i.n, states)),
            memory.read(i.u, token, i.n),
            memory.read(i.z, token, i.n),
            memory.read(i.dt, token, i.n),
            bc[:, :states],
            bc[:, states:],
            step.rates,
            step.params,
            *step.tables,
            skip=skip,
            u_zero_point=i.u_zero_point,
            exp_shift=i.exp_shift,
            state_shift=i.state_shift,
            skip_shift=i.skip_shift,
            y_shift=i.y_shift,
        )
        state.copy_(h.flatten(1))
        memory.write(i.dst, token, y)
        return y.unsqueeze(1)

    def _norm(self, run: _Run, step: _Step, token: int, position: int, sequence: int) -> Tensor:
        i, memory = step.instruction, run.memory
        x = memory.read(i.src, token, i.n)
        y = arithmetic.norm(x, i.eps, step.params, wide=bool(i.wide))
        memory.write(i.dst, token, y)
        return y.unsqueeze(1)

    def _pool(
        self, run: _Run, step: _Step, token: int, position: int, sequence: int
    ) -> Tensor | None:
        i, memory = step.instruction, run.memory
        x = memory.read(i.src, token, i.n)
        total, maximum = memory.total[:, : i.n], memory.maximum[:, : i.n]
        if position == 0:
            total.copy_(x)
            maximum.copy_(x)
        else:
            total += x
            torch.maximum(maximum, x, out=maximum)
        if position < i.n_positions - 1:
            return None
        y = arithmetic.pool(total, maximum, step.params)
        memory.write(i.dst, 2 * sequence, y[:, 0])
        memory.write(i.dst, 2 * sequence + 1, y[:, 1])
        return y

    def _scale(self, run: _Run, step: _Step, token: int, position: int, sequence: int) -> Tensor:
        i, memory = step.instruction, run.memory
        x = memory.read(i.src, token, i.n)
        logit = memory.read(i.logit, sequence, i.n)
        y = arithmetic.scale(x, logit, step.tables[0])
        memory.write(i.dst, token, y)
        return y.unsqueeze(1)

    def _pool_features(
        self, run: _Run, step: _Step, token: int, position: int, sequence: int
    ) -> Tensor:
        i, memory = step.instruction, run.memory
        y = arithmetic.pool_features(memory.read(i.src, token, i.n), step.params)
        row = memory.spaces[i.dst.space][:, i.dst.row(position) :]
        row[:, sequence] = y[:, 0]
        row[:, i.columns + sequence] = y[:, 1]
        return y.unsqueeze(1)

    def _modulate(self, run: _Run, step: _Step, token: int, position: int, sequence: int) -> Tensor:
        i, memory = step.instruction, run.memory
        logits = memory.read(i.logit, position, i.columns + sequence + 1)
        scale = step.tables[0][logits[:, sequence, None] + 128]
        shift = step.tables[1][logits[:, i.columns + sequence, None] + 128]
        x, addend = memory.read(i.src, token, i.n), memory.read(i.add, token, i.n)
        y = arithmetic.modulate(x, scale, shift, addend, step.params, wide=bool(i.wide))
        memory.write(i.dst, token, y)
        return y.unsqueeze(1)

    def _send(self, run: _Run, step: _Step, token: int, position: int, sequence: int) -> Tensor:
        i = step.instruction
        y = run.memory.read(i.src, sequence, i.n)
        run.forecasts.append(y)
        return y.unsqueeze(1)


def result_operand(instruction: isa.Instruction) -> str:
    """The operand whose rows are the result: of SEND, what it sends."""
    return "src" if instruction.opcode == "SEND" else "dst"


def is_per_sequence(instruction: isa.Instruction) -> bool:
    """Whether the rows of a result belong to a sequence, not to a token."""
    return instruction.row(result_operand(instruction)) == "sequence"


def result_elements(instruction: isa.Instruction) -> int:
    """Elements of a row of an instruction's result."""
    if instruction.field(result_operand(instruction)).shared:
        return 2
    return instruction.n_out if instruction.opcode == "LINEAR" else instruction.n


def trace_sequences(package: Package) -> list[int]:
    """Sequences that each instruction works on: one where it serves one only, or all at once."""
    sequences = [0] * len(package.instructions)
    for index, sequence in package.executed()[["instruction", "sequence"]].tolist():
        sequences[index] = max(sequences[index], sequence + 1)
    return sequences


def rows_per_sequence(instruction: isa.Instruction) -> int:
    """Rows that an instruction produces for each sequence."""
    rows = instruction.field(result_operand(instruction)).rows
    return rows * (1 if is_per_sequence(instruction) else instruction.n_positions)
