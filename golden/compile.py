"""Compile a calibrated model to a package: lower, schedule, check, prove."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from golden import isa
from golden.dataflow_check import DataflowError, check_dataflow
from golden.lower_cmamba import CMambaLowering
from golden.lower_layers import LayerLowering
from golden.lower_published import PublishedLowering
from golden.lower_regressor import RegressorLowering
from golden.package import Package, PackageError
from golden.program import CompileError, CompilerDefectError, Entry, ProgramBuilder
from golden.schedule import schedule
from golden.schedule_check import ScheduleError, check_schedule
from golden.words import CONV_PARAM_DTYPE, PARAM_DTYPE
from model.args import ModelArgs
from model.cmamba import INSTANCE_NORM_EPS, CMamba
from model.folded_regressor import FoldedRegressor
from model.io import weights_sha256
from model.published import PublishedCMamba
from model.quantization.calibrate import METHODS, Histogram
from model.quantization.formats import FormatError, Formats, calibrated_formats
from model.quantization.parameters import learned_formats
from model.quantization.structure import Quantizable, structure_of
from model.registry import args_of_use


@dataclasses.dataclass(frozen=True)
class Options:
    """How to quantize: the range observer, and whether scales are restricted to powers of two."""

    method: str = "mse"
    power_of_two: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: found {self.method!r}, expected one of {METHODS}")


DEFAULT_OPTIONS = Options()


_LOWERINGS: dict[type[Quantizable], type[LayerLowering]] = {
    CMamba: CMambaLowering,
    FoldedRegressor: RegressorLowering,
    PublishedCMamba: PublishedLowering,
}


def _lowering(model: Quantizable) -> type[LayerLowering]:
    return _LOWERINGS[next(kind for kind in type(model).__mro__ if kind in _LOWERINGS)]


def _lower(
    model: Quantizable,
    formats: Formats,
    build: isa.Build,
    n_sequences: int,
) -> tuple[ProgramBuilder, LayerLowering]:
    coupled = structure_of(model.args).coupled
    builder = ProgramBuilder(build, n_sequences, model.args.num_patches, coupled)
    lowering = _lowering(model)(model, formats, builder)
    lowering.run()
    return builder, lowering


def _program(
    model: Quantizable, formats: Formats, build: isa.Build
) -> tuple[ProgramBuilder, LayerLowering]:
    """The program, with as many sequences in an iteration as there can be."""
    if structure_of(model.args).coupled:
        return _lower_coupled(model, formats, build)
    builder, lowering = _lower(model, formats, build, 1)
    n_sequences = _sequences(model.args, len(builder.entries()), build)
    return _lower(model, formats, build, n_sequences) if n_sequences > 1 else (builder, lowering)


def _lower_coupled(
    model: Quantizable, formats: Formats, build: isa.Build
) -> tuple[ProgramBuilder, LayerLowering]:
    """All sequences, which are variables, in one iteration."""
    args = model.args
    builder, lowering = _lower(model, formats, build, args.n_seq)
    found, capacity = len(builder.entries()), build.capacity["schedule"]
    if found > capacity:
        raise CompileError(
            f"schedule: {args.num_channels} variables of {args.num_tokens} tokens in "
            f"{args.n_layer} blocks need {found} entries, build '{build.name}' holds {capacity}; "
            "use fewer variables or blocks, longer strides, or a build with a longer schedule"
        )
    return builder, lowering


def _sequences(args: ModelArgs, entries_per_sequence: int, build: isa.Build) -> int:
    """Sequences in one iteration: all of a forecast's if the schedule memory holds them, or else
    the largest divisor of their number that it does hold."""
    capacity = build.capacity["schedule"]
    tokens = next(f.maximum for f in isa.SCHEDULE.fields if f.name == "token") + 1
    for n in range(args.n_seq, 0, -1):
        fits = n * entries_per_sequence <= capacity and n * args.num_tokens <= tokens
        if args.n_seq % n == 0 and fits:
            return n
    raise CompileError(
        f"schedule: one sequence needs {entries_per_sequence} entries for {args.num_tokens} "
        f"tokens, build '{build.name}' holds {capacity} entries and {tokens} tokens; use fewer "
        "layers or longer strides"
    )


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
    _require_finite(model)
    try:
        formats = calibrated_formats(model, ranges, options.method, options.power_of_two)
    except FormatError as error:
        raise CompileError(str(error)) from None
    return _compile(model, formats, dataclasses.asdict(options), build)


def compile_learned(model: Quantizable, build: isa.Build | None = None) -> Package:
    """Compile `model` with the formats that it holds, from quantization-aware training.

    Raises:
        CompileError: the model does not fit the build or the formats; says what and what to do.
        ValueError: the model holds none.
    """
    _require_finite(model)
    try:
        formats = learned_formats(model)
    except FormatError as error:
        raise CompileError(str(error)) from None
    return _compile(model, formats, {"method": "learned", "power_of_two": False}, build)


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
    _require_finite(model)
    return _compile(model, formats, quantization, build)


def _compile(
    model: Quantizable,
    formats: Formats,
    quantization: dict[str, object],
    build: isa.Build | None,
) -> Package:
    """`compile_formats` of weights that are finite."""
    if build is None:
        return _compile_anywhere(model, formats, quantization)
    builder, lowering = _program(model, formats, build)
    n_sequences = builder.n_sequences

    instructions = tuple(step.instruction for step in builder.steps)
    entries = builder.entries()

    def joined(parts: list[np.ndarray] | None, empty: np.ndarray) -> np.ndarray:
        return np.concatenate(parts) if parts else empty

    def tables(section: str, dtype: type) -> np.ndarray:
        found = builder.tables.get(section)
        return np.stack(found) if found else np.zeros((0, 256), dtype=dtype)

    no_params = np.zeros(0, dtype=PARAM_DTYPE)
    no_tiles = np.zeros((0, build.tile_out, build.tile_in), dtype=np.int8)
    metadata = {
        "model": args_of_use(model.args),
        "weights_sha256": weights_sha256(model),
        "instance_norm_eps": INSTANCE_NORM_EPS,
        "quantization": quantization,
        "input": dataclasses.asdict(formats[lowering.input_point]),
        "output": dataclasses.asdict(formats["q_output"]),
        "instructions": [
            {"name": step.name, "opcode": step.instruction.opcode, "tensors": list(step.tensors)}
            for step in builder.steps
        ],
        "accumulator_headroom_bits": {k: round(v, 3) for k, v in lowering.headroom.items()},
        **lowering.metadata,
    }
    package = Package(
        tile_in=build.tile_in,
        tile_out=build.tile_out,
        n_sequences=n_sequences,
        iterations=model.args.n_seq // n_sequences,
        n_positions=model.args.num_tokens,
        token_bytes=model.args.token_features,
        forecast_elements=model.args.output_features,
        instructions=instructions,
        schedule=schedule(instructions, entries, build),
        weights=joined(builder.tiles, no_tiles),
        array_params=joined(builder.params.get("array_params"), no_params),
        conv_params=joined(builder.params.get("conv_params"), np.zeros(0, dtype=CONV_PARAM_DTYPE)),
        conv_tables=tables("conv_tables", np.int8),
        scan_params=joined(builder.params.get("scan_params"), no_params),
        scan_decay=joined(builder.decay, np.zeros(0, dtype=np.uint16)),
        scan_tables=tables("scan_tables", np.uint16),
        vector_params=joined(builder.params.get("vector_params"), no_params),
        vector_tables=tables("vector_tables", np.uint16),
        resid_image=joined(builder.constants, np.zeros(0, dtype=np.int16)),
        metadata=metadata,
    )
    try:
        package.validate(build)
    except PackageError as error:
        raise CompileError(
            f"the model does not fit build '{build.name}': {error}; use a smaller model or a "
            "larger build"
        ) from None
    _prove(package, entries, build)
    return package


def _prove(package: Package, entries: list[Entry], build: isa.Build) -> None:
    """Rows hold what their readers mean, whatever time the units take.

    Where that fails, all implementations may still agree with each other, but not with the model.
    """
    try:
        check_dataflow(package, entries, build)
        check_schedule(package, build)
    except (DataflowError, ScheduleError) as error:
        raise CompilerDefectError(
            f"{error}. This is a defect of the compiler, not of the model; please report it with "
            f"the model's arguments: {package.metadata['model']}"
        ) from error


def _compile_anywhere(
    model: Quantizable, formats: Formats, quantization: dict[str, object]
) -> Package:
    """For the first build with the default's array that holds the model."""
    default = isa.build()
    array = (default.tile_in, default.tile_out)
    error: CompileError | None = None
    for build in isa.builds().values():
        if (build.tile_in, build.tile_out) == array:
            try:
                return _compile(model, formats, quantization, build)
            except CompileError as found:
                error = found
    raise error


def _require_finite(model: Quantizable) -> None:
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CompileError(f"{name}: found NaN or infinity, expected finite weights")
