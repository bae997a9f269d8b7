"""Training on the splits of a data set: `SplitsLoop`."""

from __future__ import annotations

import abc
import dataclasses
from pathlib import Path
from typing import Any

from torch import nn

from model.training.args import LoopArgs
from model.training.distributed import ProcessGroup
from model.training.loops import TrainingLoop


class SplitsLoop(TrainingLoop):
    """One training of a model with arguments, on a data set with splits train, val and test.

    A task names the arguments of the model that have to be as in the data.
    """

    of_data: tuple[str, ...]  # those arguments; the first is the width of the data
    width: str  # its symbol

    def __init__(
        self,
        model_args: Any,
        train_args: LoopArgs,
        splits: Any,
        out: Path,
        group: ProcessGroup | None = None,
        log: Path | None = None,
    ) -> None:
        """Raises: ValueError (model and data do not fit together)."""
        for name in self.of_data:
            found, expected = getattr(model_args, name), getattr(splits.train, name)
            if found != expected:
                where = f"{type(model_args).__name__}.{name}"
                raise ValueError(f"{where}: found {found}, the data have {expected}")
        self.model_args = model_args
        self.splits = splits
        super().__init__(
            self.build, splits.train, train_args, out, group=group or ProcessGroup(), log=log
        )

    @abc.abstractmethod
    def build(self) -> nn.Module:
        """The model that training starts from."""

    def identity(self) -> dict[str, dict[str, Any]]:
        return {"model_args": dataclasses.asdict(self.model_args)}

    def data_sha256(self) -> str:
        return self.splits.sha256

    def summary(self) -> str:
        """Data and model, in one line."""
        splits = self.splits
        return (
            f"{splits.name}: {self.width}={getattr(self.model_args, self.of_data[0])}, "
            f"windows train {len(splits.train)}, val {len(splits.val)}, test {len(splits.test)}; "
            f"{sum(p.numel() for p in self.model.parameters()):,} parameters"
        )
