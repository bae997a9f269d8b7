"""The course of a training as a CSV table and as TensorBoard events."""

from __future__ import annotations

import csv
import io
import os
import socket
import time
from pathlib import Path

from common.atomic_write import naming, write_text


class Logs:
    """Writes into `folder`: `log.csv`, a row an epoch, and TensorBoard's events, also of each step.

    A resumed training goes on in the same folder: the table is always written whole, and events of
    steps after `step`, which will be done again, are marked as void.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.table = folder / "log.csv"
        self.events = _Events(folder, step)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Scalars of one step, counted from 1 over all epochs. Raises OSError."""
        for name, value in values.items():
            self.events.scalar(f"step/{name}", value, step)

    def epoch(self, step: int, history: list[dict[str, float]]) -> None:
        """All epochs so far, the last of which ended with `step`. Raises OSError."""
        for name, value in history[-1].items():
            self.events.scalar(f"epoch/{name}", value, step)
        self.events.flush()
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *history[-1]], lineterminator="\n")
        table.writeheader()
        table.writerows({"epoch": i} | record for i, record in enumerate(history, 1))
        write_text(self.table, text.getvalue())

    def close(self) -> None:
        """Raises OSError."""
        self.events.close()


class _Events:
    """A file of TensorBoard's events.

    Its SummaryWriter writes in a thread, which ends with a traceback where the disk is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        # Not above: it takes a third of a second, and most trainings keep no log.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard.summary import scalar

        self._event, self._summary = Event, scalar
        # TensorBoard reads files in the order of their names.
        now = time.time_ns()
        name = f"{now // 10**9:010}.{socket.gethostname()}.{os.getpid()}.{now}"
        self._path = folder / f"events.out.tfevents.{name}"
        self._file = open(self._path, "xb")  # noqa: SIM115
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._write(step=step, summary=self._summary(name, value))

    def flush(self) -> None:
        with naming(self._path):
            self._file.flush()

    def close(self) -> None:
        with naming(self._path):
            self._file.close()

    def _write(self, **fields: object) -> None:
        event = self._event(wall_time=time.time(), **fields)
        with naming(self._path):
            self._records.write(event.SerializeToString())
