"""The command line that trainings share."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch

from common import exit_status
from common.atomic_write import require_writable, require_writable_folder
from common.command_line import INTERRUPTED, require_distinct
from common.errors import REPORTED
from common.memory import keep_freed_memory
from model.registry import REGISTRY, Entry
from model.training.args import PRECISIONS, SCHEDULES, LoopArgs
from model.training.distributed import ProcessGroup, process_group
from model.training.loops import resume_path
from model.training.splits import SplitsLoop

Args = TypeVar("Args", bound=LoopArgs)
Loop = TypeVar("Loop", bound=SplitsLoop)


def add_option(
    parser: argparse.ArgumentParser, name: str, value: Any, text: str, **kw: Any
) -> None:
    """An option of the type of `value`, its default; absent from the result if not given."""
    text = f"{text} (default: {value})".replace("%", "%%")
    parser.add_argument(name, type=type(value), default=argparse.SUPPRESS, help=text, **kw)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, .safetensors")
    parser.add_argument("--resume", action="store_true", help="go on from <out>.resume.pt")
    # Not --log: torchrun would take that for an abbreviation of an option of its own.
    parser.add_argument(
        "--log-folder", type=Path, help="folder for log.csv and TensorBoard's events"
    )


def add_model_options(
    parser: argparse.ArgumentParser, models: list[str], texts: dict[str, str]
) -> None:
    """`--model`, one of `models`, and options for those of its arguments that `texts` describes.

    The first model, and the model's own defaults, hold for what is not given (`chosen_model`).
    """
    described = "; ".join(f"{name}: {REGISTRY[name].description}" for name in models)
    add_option(parser, "--model", models[0], described, choices=models)
    resolved = REGISTRY[models[0]].args()  # has a number where the default is to choose one
    for name, text in texts.items():
        field = name[2:].replace("-", "_")
        parser.add_argument(
            name,
            type=type(getattr(resolved, field)),
            default=argparse.SUPPRESS,
            help=f"{text} ({_defaults_in_words(models, field)})".replace("%", "%%"),
        )


def _defaults_in_words(models: list[str], field: str) -> str:
    """The default of the first model, and those of the models that have another."""
    values = {name: REGISTRY[name].default(field) for name in models}
    first = values[models[0]]
    groups: dict[Any, list[str]] = {}
    for name, value in values.items():
        if value != first:
            groups.setdefault(value, []).append(name)
    others = (f"; {', '.join(names)}: {value}" for value, names in groups.items())
    return f"default: {first}{''.join(others)}"


def chosen_model(options: argparse.Namespace, models: list[str]) -> tuple[Entry, dict[str, Any]]:
    """The entry of `--model`, without it the first, and those of its arguments that were given.

    Raises ValueError: one of them makes another model of it than `--model` says.
    """
    entry = REGISTRY[getattr(options, "model", models[0])]
    given = given_options(options, entry.args_class)
    if hasattr(options, "model"):
        for name in ("topology", "channel_mode"):
            own = entry.defaults.get(name)
            if own is not None and given.get(name, own) != own:
                option = name.replace("_", "-")
                raise ValueError(
                    f"--{option}: found {given[name]}, --model {options.model} is {own}"
                )
    return entry, given


def model_options(models: list[str]) -> set[str]:
    """What options of `add_model_options` are called once parsed, those without a text too."""
    fields = (dataclasses.fields(REGISTRY[name].args_class) for name in models)
    return {"model"} | {field.name for each in fields for field in each}


def given_options(options: argparse.Namespace, args_class: type) -> dict[str, Any]:
    """The fields of a class of arguments that were given as options."""
    fields = {field.name for field in dataclasses.fields(args_class)}
    return {name: value for name, value in vars(options).items() if name in fields}


def add_loop_options(parser: argparse.ArgumentParser, default: LoopArgs) -> None:
    """An option for each field of `LoopArgs`, and where to run."""

    def option(name: str, text: str, **kwargs: Any) -> None:
        value = getattr(default, name[2:].replace("-", "_"))
        add_option(parser, name, value, text, **kwargs)

    option("--epochs", "at most")
    option("--batch-size", "samples in a step")
    option("--accumulate", "passes that a process makes for a step, to save memory")
    option("--lr", "highest learning rate of AdamW")
    option(
        "--schedule",
        "of the learning rate: a cosine to 0 at the last epoch, or four epochs of --lr and then "
        "0.9 times that of the epoch before",
        choices=SCHEDULES,
    )
    option("--warmup", "epochs in which the learning rate rises to --lr")
    option("--weight-decay", "of matrices; 0 makes it Adam")
    option("--clip-norm", "largest norm of the gradient, inf for any")
    option("--ema", "decay of the moving average of the weights, such as 0.999; 0 for none")
    option(
        "--precision",
        "of the forward pass; auto is fp32 on a CPU and bf16 or fp16 on a GPU",
        choices=PRECISIONS,
    )
    option("--patience", "epochs without a better validation")
    option("--seed", "of weights, order, dropout and mixup")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument(
        "--device", default=device, help=f"cpu, cuda, cuda:1, ... (default: {device})"
    )
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU (default: its own)")


def args_from(options: argparse.Namespace, args_class: type[Args]) -> Args:
    """The training arguments among the options. Raises ValueError."""
    return args_class(**given_options(options, args_class))


def _require_device(device: str) -> None:
    """Raises ValueError where PyTorch has no such device."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # the former where it was built without CUDA
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device: cannot compute on '{device}': {reason}") from None


def _require_outputs(
    options: argparse.Namespace, inputs: Iterable[Path], beside: Iterable[str]
) -> None:
    """Raises OSError or ValueError, before the first epoch, where a file that training writes
    cannot be written or is one that it reads."""
    out: Path = options.out
    files = [out, resume_path(out), *(Path(f"{out}{ending}") for ending in beside)]
    if options.log_folder:
        require_writable_folder(options.log_folder)
        files.append(options.log_folder / "log.csv")
    require_distinct(files, {"--qat": options.qat, "--data": inputs})
    for file in files:
        require_writable(file, new_folder=True)


def run_command(
    options: argparse.Namespace,
    make_fp32: Callable[[argparse.Namespace, ProcessGroup], Loop],
    make_qat: Callable[[argparse.Namespace, ProcessGroup], Loop],
    report: Callable[[Loop], None],
    inputs: Iterable[Path],
    beside: Iterable[str] = (),
) -> int:
    """Trains and returns the exit status: 0, 1 with an error, 130 if interrupted.

    `make_fp32` makes the training of the options, `make_qat` that of those with `--qat`; both raise
    what `common.errors.REPORTED` names. `report` evaluates what it left in `out`, in the first
    process alone. Then the state to resume from is removed. `inputs` are the files of --data, and
    `beside` the endings of what `report` writes beside `out`.
    """
    out: Path = options.out
    with process_group(options.device) as group:
        name = "error" if group.first else f"error in process {group.rank}"
        try:
            loop = prepare(options, make_fp32, make_qat, group, inputs, beside)
            try:
                loop.run()
            except KeyboardInterrupt:
                then = "--resume goes on" if loop.epoch else "there is nothing to resume yet"
                print(f"interrupted after epoch {loop.epoch}: {then}", file=sys.stderr)
                return INTERRUPTED
            if group.first:
                report(loop)
                resume_path(out).unlink(missing_ok=True)
        except REPORTED as error:
            return exit_status.report(name, error)
    return 0


def prepare(
    options: argparse.Namespace,
    make_fp32: Callable[[argparse.Namespace, ProcessGroup], Loop],
    make_qat: Callable[[argparse.Namespace, ProcessGroup], Loop],
    group: ProcessGroup,
    inputs: Iterable[Path],
    beside: Iterable[str] = (),
) -> Loop:
    """The training of the options, ready to run, as `run_command` has it.

    Raises what `common.errors.REPORTED` names.
    """
    keep_freed_memory()
    out: Path = options.out
    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads: expected at least 1, found {options.threads}")
        torch.set_num_threads(options.threads)
    _require_device(group.device)
    if out.suffix != ".safetensors":
        raise ValueError(f"--out: expected a name ending in .safetensors, found {out}")
    if out.is_dir():
        raise ValueError(f"--out: expected a file, found the folder {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    _require_outputs(options, inputs, beside)
    loop = (make_qat if options.qat else make_fp32)(options, group)
    if group.first:
        print(loop.summary())
    if options.resume:
        loop.load_state()
    return loop
