"""The course of a training as a CSV table and as TensorBoard events."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from model.atomic_write import atomic_write


class Logs:
    """Writes into `folder`: `log.csv`, a row an epoch, and TensorBoard's events, also of each step.

    A resumed training goes on in the same folder: the table is always written whole, and events of
    steps after `step`, which will be done again, are marked as void.
    """

    def __init__(self, folder: Path, step: int) -> None:
        # Not above: it takes a third of a second, and most trainings keep no log.
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.table = folder / "log.csv"
        self.events = SummaryWriter(str(folder), purge_step=step + 1)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Scalars of one step, counted from 1 over all epochs."""
        for name, value in values.items():
            self.events.add_scalar(f"step/{name}", value, step)

    def epoch(self, step: int, history: list[dict[str, float]]) -> None:
        """All epochs so far, the last of which ended with `step`. Raises OSError."""
        for name, value in history[-1].items():
            self.events.add_scalar(f"epoch/{name}", value, step)
        self.events.flush()
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *history[-1]], lineterminator="\n")
        table.writeheader()
        table.writerows({"epoch": i} | record for i, record in enumerate(history, 1))
        with atomic_write(self.table) as file:
            file.write(text.getvalue().encode())

    def close(self) -> None:
        self.events.close()
