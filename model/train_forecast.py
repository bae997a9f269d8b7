"""Trains a CMamba forecaster: `python -m model.train_forecast --data etth1 --out W.safetensors`.

AdamW with cosine decay, early stopping on the validation MSE. `--out` always holds the best epoch
so far, as float16; the figures printed at the end are those of that file, read back. Beside it,
until training is complete, `<out>.resume.pt` holds the state at the end of the last epoch: the same
command with `--resume` goes on from there and, on a CPU with the same number of threads, ends with
the same bits as training that was never interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from model.args import ModelArgs
from model.atomic_write import atomic_write
from model.cmamba import CMamba
from model.data import DATASETS, DEFAULT_DATASET, DataError, Splits, load_dataset
from model.io import load_model, save_checkpoint
from model.metrics import evaluate, torch_forecaster

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}


class TrainingError(RuntimeError):
    """Training cannot go on or cannot resume; the message says why and what is left on disk."""


@dataclass(frozen=True)
class TrainArgs:
    """How to train. Two trainings of equal ModelArgs, TrainArgs and data give equal weights."""

    data: str = DEFAULT_DATASET
    split: str = "auto"
    epochs: int = 20  # at most; the cosine reaches 0 at the last of them
    batch_size: int = 64
    lr: float = 5e-4
    weight_decay: float = 1e-2
    clip_norm: float = 1.0  # largest norm of the gradient
    loss: str = "mse"
    patience: int = 5  # epochs without a better validation MSE before stopping
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")
        for name in ("lr", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected above 0, found {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay: expected at least 0, found {self.weight_decay}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, found '{self.loss}'")


def resume_path(out: Path) -> Path:
    """Where the state of an unfinished training of `out` is kept."""
    return out.with_name(out.name + ".resume.pt")


class Trainer:
    """One training: model, optimizer, schedule and random state, advanced epoch by epoch."""

    def __init__(
        self,
        model_args: ModelArgs,
        train_args: TrainArgs,
        splits: Splits,
        out: Path,
        device: str = "cpu",
    ) -> None:
        """Raises: ValueError (model and data do not fit together)."""
        for name, expected in (
            ("num_channels", splits.train.num_channels),
            ("seq_len", splits.train.seq_len),
            ("forecast_len", splits.train.forecast_len),
        ):
            if getattr(model_args, name) != expected:
                raise ValueError(
                    f"ModelArgs.{name}: found {getattr(model_args, name)}, the data have {expected}"
                )
        torch.manual_seed(train_args.seed)
        self.args = train_args
        self.model_args = model_args
        self.splits = splits
        self.out = out
        self.model = CMamba(model_args).to(device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, train_args.weight_decay), lr=train_args.lr
        )
        self.steps_per_epoch = math.ceil(len(splits.train) / train_args.batch_size)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, train_args.epochs * self.steps_per_epoch
        )
        # Its own generator, so that the order of the windows does not depend on the dropout.
        self.sampler = torch.Generator().manual_seed(train_args.seed)
        self.history: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the lowest validation MSE, from 1; 0 before the first."""
        errors = [record["val_mse"] for record in self.history]
        return errors.index(min(errors)) + 1 if errors else 0

    @property
    def finished(self) -> bool:
        """All epochs done, or `patience` of them without improvement."""
        return self.epoch >= self.args.epochs or (
            self.epoch - self.best_epoch >= self.args.patience
        )

    def run(self) -> None:
        """Trains until finished; leaves the best epoch in `out`. Raises: TrainingError."""
        while not self.finished:
            record = self.train_epoch()
            try:
                record |= {
                    f"val_{name}": value
                    for name, value in evaluate(
                        torch_forecaster(self.model), self.splits.val
                    ).items()
                }
            except ValueError as error:
                raise self._diverged(str(error)) from None
            self.history.append(record)
            if self.best_epoch == self.epoch:
                save_checkpoint(self.model, self.out, dtype=torch.float16)
            self.save_state()
            tqdm.write(
                f"epoch {self.epoch:3}  train {self.args.loss} {record['train_loss']:.4f}  "
                f"val MSE {record['val_mse']:.4f}  MAE {record['val_mae']:.4f}"
                f"{'  best, saved' if self.best_epoch == self.epoch else ''}"
            )

    def train_epoch(self) -> dict[str, float]:
        """One pass over the training windows in random order; returns its mean loss."""
        self.model.train()
        device = next(self.model.parameters()).device
        loss_fn = LOSSES[self.args.loss]
        order = torch.randperm(len(self.splits.train), generator=self.sampler)
        batches = order.split(self.args.batch_size)
        total = 0.0
        progress = tqdm(batches, f"epoch {self.epoch + 1}", leave=False, disable=None)
        for step, indices in enumerate(progress):
            x, y = (
                torch.from_numpy(part).to(device)
                for part in self.splits.train.batch(indices.numpy())
            )
            loss: Tensor = loss_fn(self.model(x), y)
            value = loss.item()
            if not math.isfinite(value):
                raise self._diverged(f"epoch {self.epoch + 1}, step {step + 1}: loss is {value}")
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.args.clip_norm)
            if not math.isfinite(norm):
                raise self._diverged(f"epoch {self.epoch + 1}, step {step + 1}: gradient is {norm}")
            self.optimizer.step()
            self.schedule.step()
            total += value * len(indices)
            progress.set_postfix(loss=f"{value:.4f}")
        return {"train_loss": total / len(order)}

    def _diverged(self, what: str) -> TrainingError:
        kept = f"{self.out} keeps epoch {self.best_epoch}" if self.epoch else "nothing was saved"
        return TrainingError(f"training diverged: {what}; {kept}. Try a lower --lr")

    def _identity(self) -> dict[str, dict[str, Any]]:
        """What has to be equal for one training to go on with another's state."""
        return {
            "model_args": dataclasses.asdict(self.model_args),
            "train_args": dataclasses.asdict(self.args),
        }

    def save_state(self) -> None:
        """Writes everything that the next epoch depends on, atomically."""
        state = {
            "identity": json.dumps(self._identity()),
            "history": self.history,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler": self.sampler.get_state(),
            "torch_rng": torch.get_rng_state(),
        }
        with atomic_write(resume_path(self.out)) as file:
            torch.save(state, file)

    def load_state(self) -> None:
        """Takes over the state of an interrupted training of the same `out`.

        Raises: TrainingError (no such file, not a training state, or of another training).
        """
        path = resume_path(self.out)
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            found = json.loads(state["identity"])
        except FileNotFoundError:
            raise TrainingError(f"{path}: not there, so there is nothing to resume") from None
        except Exception as error:  # torch.load raises many kinds for a file that is not its own
            raise TrainingError(f"{path}: not a training state: {error}") from None
        for group, expected in self._identity().items():
            for name, value in expected.items():
                if found[group].get(name) != value:
                    raise TrainingError(
                        f"{path}: {name} was {found[group].get(name)!r}, now it is {value!r}"
                    )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.sampler.set_state(state["sampler"])
        torch.set_rng_state(state["torch_rng"])
        self.history = state["history"]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decays matrices only: not biases, norms and D, and not A_log, whose 0 is no natural rest."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim >= 2 and not name.endswith("A_log")
        (decayed if matrix else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.train_forecast",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = TrainArgs()

    def option(name: str, value: Any, text: str, **kwargs: Any) -> None:
        parser.add_argument(
            name, type=type(value), default=value, help=f"{text} (default: {value})", **kwargs
        )

    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, .safetensors")
    parser.add_argument("--resume", action="store_true", help="go on from <out>.resume.pt")
    option("--data", default.data, f"{', '.join(sorted(DATASETS))} or a CSV file")
    option("--split", default.split, "rows of the splits", choices=("auto", "ett", "ratio"))

    option("--topology", "stacked", "arrangement of the blocks", choices=("stacked", "nested"))
    option("--channel-mode", "mixing", "variables", choices=("mixing", "independent"))
    option("--seq-len", 96, "L, input window in time steps")
    option("--forecast-len", 96, "H, forecast in time steps, a multiple of 8")
    option("--patch-len", 16, "P")
    option("--stride", 8, "S")
    option("--d-model", 128, "D")
    option("--n-layer", 4, "blocks")
    option("--d-state", 16, "N")
    option("--expand", 2, "d_inner / d_model")
    option("--dropout", 0.0, "dropout rate")
    option("--sigma", 0.5, "standard deviation of ChannelMixup (mixing only), 0 for none")

    option("--epochs", default.epochs, "at most")
    option("--batch-size", default.batch_size, "windows in a step")
    option("--lr", default.lr, "initial learning rate of AdamW")
    option("--weight-decay", default.weight_decay, "of matrices")
    option("--clip-norm", default.clip_norm, "largest norm of the gradient")
    option("--loss", default.loss, "what is minimized", choices=tuple(LOSSES))
    option("--patience", default.patience, "epochs without a better validation MSE")
    option("--seed", default.seed, "of weights, order, dropout and mixup")
    option("--device", "cuda" if torch.cuda.is_available() else "cpu", "cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU (default: its own)")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = vars(_parser().parse_args(argv))
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    out: Path = options["out"]
    try:
        if out.suffix != ".safetensors":
            raise ValueError(f"--out: expected a name ending in .safetensors, found {out}")
        out.parent.mkdir(parents=True, exist_ok=True)
        splits = load_dataset(
            options["data"], options["seq_len"], options["forecast_len"], options["split"]
        )
        fields = {field.name for field in dataclasses.fields(ModelArgs)}
        model_args = ModelArgs(
            num_channels=splits.train.num_channels,
            instance_norm=True,
            **{name: value for name, value in options.items() if name in fields},
        )
        fields = {field.name for field in dataclasses.fields(TrainArgs)}
        train_args = TrainArgs(**{name: options[name] for name in fields})
        trainer = Trainer(model_args, train_args, splits, out, options["device"])
        if options["resume"]:
            trainer.load_state()
        print(
            f"{splits.name}: V={model_args.num_channels}, windows train {len(splits.train)}, "
            f"val {len(splits.val)}, test {len(splits.test)}; "
            f"{sum(p.numel() for p in trainer.model.parameters()):,} parameters"
        )
        try:
            trainer.run()
        except KeyboardInterrupt:
            print(f"interrupted after epoch {trainer.epoch}: --resume goes on", file=sys.stderr)
            return 130
    except (DataError, TrainingError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    forecast = torch_forecaster(load_model(out))
    for name, windows in (("val", splits.val), ("test", splits.test)):
        result = evaluate(forecast, windows)
        print(f"{out} {name}: MSE {result['mse']:.4f}  MAE {result['mae']:.4f}")
    resume_path(out).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
