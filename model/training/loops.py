"""The loop over epochs and steps that every task shares."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from common.atomic_write import atomic_write
from common.errors import CmambaError
from common.exit_status import WRONG
from model.io import save_checkpoint
from model.training.args import LoopArgs
from model.training.distributed import ProcessGroup
from model.training.finite import first_not_finite, last_not_finite_gradient
from model.training.logs import Logs
from model.training.optimizer import cosine_schedule, decay_schedule, parameter_groups

AUTOCAST_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingError(CmambaError, RuntimeError):
    """Training cannot go on or cannot resume; the message says why and what is left on disk."""


class ResumeError(TrainingError):
    """There is nothing to resume, or it is another training."""

    exit_status = WRONG


class Samples(Protocol):
    """A training set."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of these samples, stacked along the first dimension."""


def resume_path(out: Path) -> Path:
    """Where the state of an unfinished training of `out` is kept."""
    return out.with_name(out.name + ".resume.pt")


class TrainingLoop(abc.ABC):
    """One training: model, optimizer, schedule and random state, advanced epoch by epoch.

    After each epoch the model is validated; `out` always holds the best epoch so far, and
    `resume_path(out)` all that the next epoch depends on. With an exponential moving average of the
    weights, it is the average that is validated and saved. Where training starts from a model that
    is good already, that one counts as epoch 0.

    A task says how a model is built, what the loss of a batch is, and how a model is validated.
    """

    criterion: str  # which of the figures of `validate` makes an epoch the best: the lowest wins
    starts_good = False  # whether epoch 0, before any training, may be the best
    where: tuple[str, ...] = ()  # arguments that say where the data lie, and not what they are

    def __init__(
        self,
        build_model: Callable[[], nn.Module],
        samples: Samples,
        args: LoopArgs,
        out: Path,
        *,
        group: ProcessGroup,
        log: Path | None = None,
    ) -> None:
        """Args:
        build_model: makes the untrained model, drawing on PyTorch's random numbers.
        samples: what to train on.
        args: how to train.
        out: checkpoint to write.
        group: the processes that train together, and this one's device.
        log: folder for `Logs`, if they are wanted.
        """
        self.args = args
        self.samples = samples
        self.out = out
        self.group = group
        self.log = log
        self.device = torch.device(group.device)
        torch.manual_seed(args.seed)
        self.model = build_model().to(self.device)
        if group.rank:  # dropout differs between processes, as it does between samples
            torch.manual_seed(args.seed + group.rank)
        self.parallel = group.parallel(self.model)
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(args.ema))
            if args.ema
            else None
        )
        self.optimizer = torch.optim.AdamW(self.parameter_groups(), lr=args.lr)
        self.steps_per_epoch = math.ceil(len(samples) / args.batch_size)
        warmup = round(args.warmup * self.steps_per_epoch)
        if args.schedule == "cosine":
            steps = args.epochs * self.steps_per_epoch
            self.schedule = cosine_schedule(self.optimizer, steps, warmup)
        else:
            self.schedule = decay_schedule(self.optimizer, self.steps_per_epoch, warmup)
        self.precision = _precision(args.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        # Its own generator, so that the order of the samples does not depend on the dropout.
        self.sampler = torch.Generator().manual_seed(args.seed)
        self.start: dict[str, float] | None = None  # figures of epoch 0, if it counts
        self.history: list[dict[str, float]] = []
        self.saved_epoch: int | None = None  # the epoch that `out` holds, if of this training
        self._logs: Logs | None = None

    # --- the task -------------------------------------------------------------------------------

    @abc.abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch, each sample weighing the same."""

    @abc.abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures of `model` on the validation set. Raises ValueError (output not finite)."""

    @abc.abstractmethod
    def identity(self) -> dict[str, dict[str, Any]]:
        """What has to be equal, in JSON, for one training to go on with another's state."""

    @abc.abstractmethod
    def data_sha256(self) -> str:
        """Of what is read of the data; a training does not go on with other data."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What AdamW trains; a group's `lr` goes before that of `args`."""
        return parameter_groups(self.model.named_parameters(), self.args.weight_decay)

    def save(self, model: nn.Module) -> None:
        """Writes `model` to `out`."""
        save_checkpoint(model, self.out)

    def describe(self, record: dict[str, float]) -> str:
        """The figures of an epoch, for people."""
        return "  ".join(f"{name} {value:.4g}" for name, value in record.items())

    # --- epochs ---------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the lowest `criterion`, the first of several; 0 before any."""
        first = 1 if self.start is None else 0
        records = self.history if self.start is None else [self.start, *self.history]
        errors = [record[f"val_{self.criterion}"] for record in records]
        return errors.index(min(errors)) + first if errors else 0

    @property
    def finished(self) -> bool:
        """All epochs done, or `patience` of them without improvement."""
        return self.epoch >= self.args.epochs or (
            self.epoch - self.best_epoch >= self.args.patience
        )

    @property
    def evaluated_model(self) -> nn.Module:
        """What is validated and saved: the average of the weights, or the model itself."""
        return self.average.module if self.average else self.model

    def run(self) -> None:
        """Trains until finished; leaves the best epoch in `out`. Raises: TrainingError."""
        if self.log and self.group.first and not self.finished:
            self._logs = Logs(self.log, self.epoch * self.steps_per_epoch)
        try:
            if self.starts_good and self.start is None:
                self.start = self.group.from_first(self._begin)
                self.saved_epoch = 0
            while not self.finished:
                record = self.train_epoch()
                record |= self.group.from_first(self._validate)
                self.history.append(record)
                random_states = self.group.gather(self._random_state())
                self.saved_epoch = self.group.from_first(
                    lambda states=random_states: self._write(states)
                )
        except BaseException:
            if self._logs:
                with contextlib.suppress(OSError):  # what ended the training says more
                    self._logs.close()
            raise
        if self._logs:
            self._logs.close()

    def _begin(self) -> dict[str, float]:
        """Validates and saves epoch 0."""
        figures = self._validate()
        try:
            self.save(self.evaluated_model)
        except OSError as error:
            raise TrainingError(f"epoch 0 cannot be saved: {error}") from error
        tqdm.write(f"epoch   0  {self.describe(figures)}  saved")
        return figures

    def _validate(self) -> dict[str, float]:
        try:
            figures = self.validate(self.evaluated_model)
        except ValueError as error:
            raise self._diverged(str(error)) from None
        return {f"val_{name}": value for name, value in figures.items()}

    def _write(self, random_states: list[dict[str, Tensor]]) -> int | None:
        """Saves the epoch, if it is the best, and the state; returns the epoch that `out` holds."""
        best = self.best_epoch == self.epoch
        try:
            if best:
                self.save(self.evaluated_model)
                self.saved_epoch = self.epoch
            self.save_state(random_states)
            if self._logs:
                self._logs.epoch(self.epoch * self.steps_per_epoch, self.history)
        except OSError as error:
            state = resume_path(self.out)
            resume = (
                f"--resume goes on from {state}" if state.exists() else "nothing to resume from"
            )
            raise TrainingError(
                f"epoch {self.epoch} cannot be saved: {error}; {self._kept()}; {resume}"
            ) from error
        tqdm.write(
            f"epoch {self.epoch:3}  {self.describe(self.history[-1])}{'  best, saved' * best}"
        )
        return self.saved_epoch

    # --- steps ----------------------------------------------------------------------------------

    def train_epoch(self) -> dict[str, float]:
        """One pass over the training samples in random order; returns its mean loss."""
        self.model.train()
        order = torch.randperm(len(self.samples), generator=self.sampler)
        progress = tqdm(
            order.split(self.args.batch_size),
            f"epoch {self.epoch + 1}",
            leave=False,
            disable=None if self.group.first else True,
        )
        total = 0.0
        for step, indices in enumerate(progress, 1):
            loss = self._train_step(step, indices)
            total += loss * len(indices)
            progress.set_postfix(loss=f"{loss:.4f}")
        return {"train_loss": total / len(order)}

    def _train_step(self, step: int, indices: Tensor) -> float:
        """Forward, backward and update on one batch, of which each process takes its share.

        Returns its mean loss. Raises: TrainingError (a loss or gradient that is not finite).
        """
        where = f"epoch {self.epoch + 1}, step {step}"
        random_state = self._random_state()
        passes = list(self._passes(indices))
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for i, (samples, weight) in enumerate(passes, 1):
            last = i == len(passes)
            with contextlib.nullcontext() if last else self.group.keep_gradients(self.parallel):
                x, y = self._batch(samples)
                loss = self.loss(self._forward(self.parallel, x), y)
                total += self.group.sum(loss.item() * weight)
                if not math.isfinite(total):
                    origin = self._origin_of_loss(random_state, passes)
                    raise self._diverged(f"{where}: loss is {total}, {origin}")
                # What calls this model averages over the processes, and the loss is their sum.
                self.scaler.scale(loss * (weight * self.group.size)).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.args.clip_norm).item()
        # The scaler skips a step with such a gradient and halves its scale for the next.
        retried = self.scaler.is_enabled() and self.scaler.get_scale() >= 1
        if not math.isfinite(norm) and not retried:
            origin = last_not_finite_gradient(self.model)
            raise self._diverged(f"{where}: gradient is {norm}, first that of {origin}")
        if self._logs:
            self._logs.step(
                self.epoch * self.steps_per_epoch + step,
                {"loss": total, "lr": self.schedule.get_last_lr()[0], "gradient_norm": norm},
            )
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # else it skipped the step
            self.schedule.step()
            if self.average:
                self.average.update_parameters(self.model)
        return total

    def _passes(self, indices: Tensor) -> Iterator[tuple[Tensor, float]]:
        """The samples of this process, pass by pass, and their part of the whole batch.

        A pass without samples, at the end of an epoch, takes one and lets it weigh nothing, because
        all processes have to go through the same number of passes.
        """
        count = self.args.accumulate
        parts = indices.tensor_split(count * self.group.size)
        for part in parts[self.group.rank * count :][:count]:
            yield (part, len(part) / len(indices)) if len(part) else (indices[:1], 0.0)

    def _batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.samples.batch(indices.numpy())
        return torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)

    def _forward(self, model: nn.Module, x: Tensor) -> Tensor:
        dtype = AUTOCAST_TYPES[self.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            output = model(x)
        return output.float()

    # --- what goes wrong ------------------------------------------------------------------------

    def _origin_of_loss(
        self, random_state: dict[str, Tensor], passes: list[tuple[Tensor, float]]
    ) -> str:
        """Repeats the forward passes of a step to see where NaN or infinity first appears."""

        def repeat() -> str | None:
            self._set_random_state(random_state)
            for indices, _ in passes:
                x, y = self._batch(indices)
                for name, batch in (("inputs", x), ("targets", y)):
                    if not torch.isfinite(batch).all():
                        return f"and so are {name} in its batch"
                with torch.no_grad():
                    found = first_not_finite(self.model, lambda x=x: self._forward(self.model, x))
                if found:
                    return f"first not finite: {found}"
            return None

        # Any of the processes may be the one that has it.
        found = [origin for origin in self.group.gather(repeat()) if origin]
        return found[0] if found else "every module's output is finite, the loss of it is not"

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(f"training diverged: {what}; {self._kept()}. Try a lower --lr")

    def _kept(self) -> str:
        if self.saved_epoch is None:
            return "nothing was saved"
        return f"{self.out} keeps epoch {self.saved_epoch}"

    # --- interruption ---------------------------------------------------------------------------

    def _identity(self) -> dict[str, dict[str, Any]]:
        return {
            **self.identity(),
            "train_args": {
                name: value
                for name, value in dataclasses.asdict(self.args).items()
                if name not in self.where
            },
            "data": {"SHA-256 of the data": self.data_sha256()},
            "run": {"precision": self.precision, "processes": self.group.size},
        }

    def _random_state(self) -> dict[str, Tensor]:
        """Of this process's generators, that of the device included."""
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _set_random_state(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state["cpu"])
        if "cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)

    def save_state(self, random_states: list[dict[str, Tensor]] | None = None) -> None:
        """Writes everything that the next epoch depends on, atomically. Raises: OSError.

        `random_states` are those of all processes; without them, this one is alone.
        """
        state = {
            "identity": json.dumps(self._identity()),
            "start": self.start,
            "history": self.history,
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sampler": self.sampler.get_state(),
            "random_states": random_states or [self._random_state()],
        }
        with atomic_write(resume_path(self.out)) as file:
            torch.save(state, file)

    def load_state(self) -> None:
        """Takes over the state of an interrupted training of the same `out`.

        Raises: TrainingError (no such file, not a training state, or of another training).
        """
        path = resume_path(self.out)
        state = self.group.from_first(lambda: self._read_state(path))
        try:
            self.model.load_state_dict(state["model"])
            if self.average:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.scaler.load_state_dict(state["scaler"])
            self.sampler.set_state(state["sampler"])
            self._set_random_state(state["random_states"][self.group.rank])
            self.start = state["start"]
            self.history = state["history"]
            self.saved_epoch = self.best_epoch
        except Exception as error:  # whatever a damaged state makes them raise
            self._not_a_state(path, error)

    def _read_state(self, path: Path) -> dict[str, Any]:
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            found = json.loads(state["identity"])
            differences = [
                f"{path}: {name} was {found[group].get(name)!r}, now it is {value!r}"
                for group, expected in self._identity().items()
                for name, value in expected.items()
                if found[group].get(name) != value
            ]
        except FileNotFoundError:
            raise ResumeError(f"{path}: not there, so there is nothing to resume") from None
        except Exception as error:  # torch.load raises many kinds for a file that is not its own
            self._not_a_state(path, error)
        if differences:
            raise ResumeError(differences[0])
        return state

    @staticmethod
    def _not_a_state(path: Path, error: Exception) -> NoReturn:
        raise ResumeError(
            f"{path}: not a training state: {type(error).__name__}: {error}"
        ) from None


def _precision(asked: str, device: torch.device) -> str:
    if asked != "auto":
        return asked
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
