"""Compile a quantized model to a package, in steps:

structure   what the model consists of              model.quantization.structure
formats     the integers of each tensor             model.quantization.formats
lower       instructions, for the first build that holds them
schedule    the order in which the units overlap    compiler.schedule.order, .loops
assemble    the package
prove       rows hold what their readers mean       compiler.schedule.dataflow, .check
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch

import isa
from compiler.lower.cmamba import CMambaLowering
from compiler.lower.layers import LayerLowering
from compiler.lower.published import PublishedLowering
from compiler.lower.regressor import RegressorLowering
from compiler.program import (
    CompileError,
    CompilerDefectError,
    Entry,
    MisfitError,
    ProgramBuilder,
)
from compiler.schedule.check import ScheduleError, check_schedule
from compiler.schedule.dataflow import DataflowError, check_dataflow
from compiler.schedule.loops import in_phases
from compiler.schedule.order import schedule
from isa.package import Package
from isa.phases import TOKENS, phase_of
from isa.words import SCHEDULE_DTYPE
from model.args import ModelArgs
from model.cmamba import INSTANCE_NORM_EPS
from model.io import weights_sha256
from model.published_args import PublishedArgs
from model.quantization.calibrate import METHODS, Histogram
from model.quantization.formats import FormatError, Formats, calibrated_formats
from model.quantization.parameters import learned_formats
from model.quantization.structure import Quantizable, Structure, structure_of
from model.registry import args_of_use
from model.regressor_args import RegressorArgs


@dataclasses.dataclass(frozen=True)
class Options:
    """How to quantize: the range observer, and whether scales are restricted to powers of two."""

    method: str = "mse"
    power_of_two: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: found {self.method!r}, expected one of {METHODS}")


DEFAULT_OPTIONS = Options()


def compile_model(
    model: Quantizable,
    ranges: dict[str, Histogram],
    options: Options = DEFAULT_OPTIONS,
    build: isa.Build | None = None,
) -> Package:
    """Compile `model` with the value ranges that `calibrate` saw.

    Deterministic: the same model, ranges and options give the same package, byte for byte. Without
    a build, for the first that has the default's array and holds the model.

    Raises:
        CompileError: the model does not fit the build or the formats; says what and what to do.
    """
    structure = structure_of(model)
    _require_finite(model)
    try:
        formats = calibrated_formats(structure, ranges, options.method, options.power_of_two)
    except FormatError as error:
        raise CompileError(str(error)) from None
    return _compile(structure, formats, dataclasses.asdict(options), build)


def compile_learned(model: Quantizable, build: isa.Build | None = None) -> Package:
    """Compile `model` with the formats that it holds, from quantization-aware training.

    Raises:
        CompileError: the model does not fit the build or the formats; says what and what to do.
        ValueError: the model holds none.
    """
    structure = structure_of(model)
    _require_finite(model)
    try:
        formats = learned_formats(structure)
    except FormatError as error:
        raise CompileError(str(error)) from None
    return _compile(structure, formats, {"method": "learned", "power_of_two": False}, build)


def compile_formats(
    model: Quantizable,
    formats: Formats,
    quantization: dict[str, object],
    build: isa.Build | None = None,
) -> Package:
    """Compile `model` with formats that are known.

    Args:
        quantization: how the formats came about, for the package's metadata.
        build: what to compile for; without it, the first that has the default's array and holds the
            model.

    Raises:
        CompileError: the model does not fit the build or the formats; says what and what to do.
    """
    structure = structure_of(model)
    _require_finite(model)
    return _compile(structure, formats, quantization, build)


def _compile(
    structure: Structure,
    formats: Formats,
    quantization: dict[str, object],
    build: isa.Build | None,
) -> Package:
    """The steps behind the formats."""
    program = _lower(structure, formats, [build] if build else _default_builds())
    package = _assemble(program, *program.scheduled, _metadata(program, quantization))
    _prove(package, program)
    return package


def _require_finite(model: Quantizable) -> None:
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CompileError(f"{name}: found NaN or infinity, expected finite weights")


def _default_builds() -> list[isa.Build]:
    """Those with the default's array."""
    default = isa.build()
    array = default.tile_in, default.tile_out
    return [build for build in isa.builds().values() if (build.tile_in, build.tile_out) == array]


# ---------------------------------------------------------------------------------- lower

# By the arguments of a model.
_LOWERINGS: dict[type[ModelArgs], type[LayerLowering]] = {
    ModelArgs: CMambaLowering,
    PublishedArgs: PublishedLowering,
    RegressorArgs: RegressorLowering,
}


@dataclasses.dataclass(frozen=True)
class _Program:
    """What lowering has made of a model."""

    builder: ProgramBuilder
    lowering: LayerLowering

    @property
    def build(self) -> isa.Build:
        return self.builder.build

    @cached_property
    def instructions(self) -> tuple[isa.Instruction, ...]:
        return tuple(step.instruction for step in self.builder.steps)

    @cached_property
    def entries(self) -> list[Entry]:
        """In the order that defines the program."""
        return self.builder.entries()

    @property
    def is_long(self) -> bool:
        """Whether the schedule holds it only in loops, if at all."""
        return len(self.entries) > self.build.capacity["schedule"]

    @cached_property
    def scheduled(self) -> tuple[np.ndarray, np.ndarray]:
        """Its phases and schedule, in the order in which the units overlap."""
        order = schedule(self.instructions, self.entries, self.build)
        return in_phases(order, self.units(order), self.build)

    @property
    def unordered(self) -> tuple[np.ndarray, np.ndarray]:
        """The same without an order or waits, for what does not depend on them."""
        entries = np.zeros(len(self.entries), SCHEDULE_DTYPE)
        for name in ("instruction", "token", "position", "sequence"):
            entries[name] = [getattr(entry, name) for entry in self.entries]
        return phase_of(self.units(entries)), entries

    def units(self, entries: np.ndarray) -> list[int]:
        """Of SCHEDULE_DTYPE [n]."""
        return [self.instructions[i].unit for i in entries["instruction"].tolist()]


def _lower(structure: Structure, formats: Formats, builds: Iterable[isa.Build]) -> _Program:
    """The program for the first of `builds` that holds it.

    Raises MisfitError where none does; says why not the last.
    """
    for build in builds:
        program = _emit_all(structure, formats, build)
        misfits = _misfits(program)
        if not misfits:
            return program
    raise MisfitError(misfits)


def _emit_all(structure: Structure, formats: Formats, build: isa.Build) -> _Program:
    """The program, with as many sequences in an iteration as there can be."""
    args = structure.args
    if structure.coupled:  # all sequences, which are variables
        return _emit(structure, formats, build, args.n_seq)
    program = _emit(structure, formats, build, 1)
    n_sequences = _sequences(args, program)
    return _emit(structure, formats, build, n_sequences) if n_sequences > 1 else program


def _emit(structure: Structure, formats: Formats, build: isa.Build, n_sequences: int) -> _Program:
    """The program with `n_sequences` in an iteration."""
    builder = ProgramBuilder(build, n_sequences, structure.args.num_patches, structure.coupled)
    lowering = _LOWERINGS[type(structure.args)](structure, formats, builder)
    lowering.run()
    return _Program(builder, lowering)


def _sequences(args: ModelArgs, program: _Program) -> int:
    """Sequences in one iteration, from the program of one: all of a forecast's if the schedule
    memory holds them entry by entry, or else the largest divisor of their number that it does hold;
    1 where it needs loops for one."""
    capacity, per_sequence = program.build.capacity["schedule"], len(program.entries)
    for n in range(args.n_seq, 1, -1):
        fits = n * per_sequence <= capacity and n * args.num_tokens <= TOKENS
        if args.n_seq % n == 0 and fits:
            return n
    return 1


def _misfits(program: _Program) -> list[str]:
    """Why its build does not hold a program, a line for each reason."""
    if program.builder.misfits:
        return list(dict.fromkeys(program.builder.misfits))
    args, build, capacity = program.lowering.args, program.build, program.build.capacity["schedule"]
    if args.num_tokens * program.builder.n_sequences > TOKENS:
        return [
            f"schedule: {program.builder.n_sequences} sequences of {args.num_tokens} tokens, "
            f"expected at most {TOKENS} tokens; use fewer variables or longer strides"
        ]
    phases, entries = program.scheduled if program.is_long else program.unordered
    if len(entries) > capacity:
        return [
            f"schedule: {len(program.entries)} entries for {program.builder.n_sequences} sequences "
            f"of {args.num_tokens} tokens are {len(entries)} in loops, build '{build.name}' holds "
            f"{capacity}; use fewer variables or blocks, longer strides, or a build with a longer "
            "schedule"
        ]
    return [
        f"the model does not fit build '{build.name}': {fault}; use a smaller model or a larger "
        "build"
        for fault in _assemble(program, phases, entries, {}).faults(build)
    ]


# ------------------------------------------------------------------------------- assemble


def _assemble(
    program: _Program, phases: np.ndarray, entries: np.ndarray, metadata: dict[str, object]
) -> Package:
    """The package, with phases PHASE_DTYPE [n] of a schedule SCHEDULE_DTYPE [m]."""
    args, builder = program.lowering.args, program.builder
    return Package(
        tile_in=builder.build.tile_in,
        tile_out=builder.build.tile_out,
        n_sequences=builder.n_sequences,
        iterations=args.n_seq // builder.n_sequences,
        n_positions=args.num_tokens,
        token_bytes=args.token_features,
        forecast_elements=args.output_features,
        instructions=program.instructions,
        phases=phases,
        schedule=entries,
        **builder.sections(),
        metadata=metadata,
    )


def _metadata(program: _Program, quantization: dict[str, object]) -> dict[str, object]:
    """What the host and people want to know."""
    lowering = program.lowering
    model, formats = lowering.model, lowering.formats
    return {
        "model": args_of_use(model.args),
        **({"data_record": model.record.to_dict()} if model.record else {}),
        "weights_sha256": weights_sha256(model),
        "instance_norm_eps": INSTANCE_NORM_EPS,
        "quantization": quantization,
        "input": dataclasses.asdict(formats[lowering.structure.received]),
        "output": dataclasses.asdict(formats["q_output"]),
        "instructions": [
            {"name": step.name, "opcode": step.instruction.opcode, "tensors": list(step.tensors)}
            for step in program.builder.steps
        ],
        "accumulator_headroom_bits": {k: round(v, 3) for k, v in lowering.headroom.items()},
        **lowering.metadata,
    }


# ---------------------------------------------------------------------------------- prove


def _prove(package: Package, program: _Program) -> None:
    """Rows hold what their readers mean, whatever time the units take.

    Where that fails, all implementations may still agree with each other, but not with the model.
    """
    try:
        check_dataflow(package, program.entries, program.build)
        check_schedule(package, program.build)
    except (DataflowError, ScheduleError) as error:
        raise CompilerDefectError(
            f"{error}. This is a defect of the compiler, not of the model; please report it with "
            f"the model's arguments: {package.metadata['model']}"
        ) from error
