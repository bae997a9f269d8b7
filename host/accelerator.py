"""The driver: `Accelerator` loads packages and forecasts on a ZCU102.

It is written on `pynq` and knows no difference between the board it runs on, a board on the network
(PYNQ.remote) and the virtual board: Overlay, MMIO, and buffers with flush and invalidate are the
same in all three. What differs is the price. Over a network a register access costs half a
millisecond, so a forecast makes few of them. The design has no interrupts, so the driver polls.

How a forecast runs:

    host            prepare: encode into the buffer, flush
    hardware        a run: the input out, the result back (`host.fabric`)
    host            invalidate, decode
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

import isa
from golden.host import HostSide
from host.device import active_device, clock_mhz, is_board, set_clock_mhz
from host.errors import BoardError, NotLoadedError
from host.fabric import Fabric, Run
from host.fast_path import FastHost, fast_host
from host.lock import BoardLock
from host.package_check import check_package
from host.power import find_rails
from host.profile import Profile, Times, read_profile
from host.remote import connection_errors, with_deadlines
from host.tensors import Tensor, describe
from host.throughput import Throughput, measure_throughput
from isa.package import Package
from isa.streams import BEAT_BYTES, StreamShape

# A batch is cut where its buffers would be larger: 16 MiB are 100,000 patches of ETTh1.
_MAX_BUFFER = 1 << 24


@dataclass
class _Loaded:
    """A package in the accelerator; `host` is None where its metadata name no model, so that it can
    only `run`. `fast` does the host's conversions where it is there."""

    package: Package
    shape: StreamShape
    host: HostSide | None
    fast: FastHost | None

    @property
    def token_row(self) -> int:
        """Bytes of a token in the input stream."""
        return -(-self.shape.token_bytes // BEAT_BYTES) * BEAT_BYTES

    @property
    def bytes_in(self) -> int:
        """Bytes that a forecast takes."""
        shape = self.shape
        return shape.iterations * shape.n_sequences * shape.n_positions * self.token_row

    @property
    def bytes_out(self) -> int:
        """Bytes that a forecast gives."""
        row = -(-2 * self.shape.forecast_elements // BEAT_BYTES) * BEAT_BYTES
        return self.shape.iterations * self.shape.n_sequences * row

    def fill(self, tokens: np.ndarray, out: np.ndarray) -> None:
        """Tokens int8 [n, ...] into beats uint8."""
        rows = out.view(np.int8).reshape(-1, self.token_row)
        rows[:, : self.shape.token_bytes] = tokens.reshape(len(rows), -1)
        rows[:, self.shape.token_bytes :] = 0


class _Part(NamedTuple):
    """Of a batch, as much as fits a transfer: windows or tokens at first, then its forecasts."""

    values: np.ndarray
    is_last: bool


# Rows of an array into a buffer uint8; what `_Decode` needs to know of them.
_Encode = Callable[[np.ndarray, np.ndarray], Any]
# A buffer uint8, and what `_Encode` has left for it.
_Decode = Callable[[np.ndarray, Any], np.ndarray]


class Job:
    """A run that has been started (`Accelerator.submit`), and what makes forecasts of its result.

    One that nobody waits for ends by itself, and its buffers go back after the object has gone.
    """

    def __init__(
        self, accelerator: Accelerator, run: Run, statistics: Any, decode: _Decode
    ) -> None:
        self._accelerator = accelerator
        self._run: Run | None = run
        self._statistics = statistics
        self._decode = decode
        self._result: np.ndarray | None = None

    def done(self) -> bool:
        """Whether `wait` would return at once. Looks at the board.

        Raises:
            BoardError: the board does not work, or the accelerator has been closed.
        """
        return self._run is None or self._accelerator._is_over(self._run)

    def wait(self) -> np.ndarray:
        """The forecasts, when the hardware has made them. A second call gives them, or the error,
        again.

        Raises:
            AcceleratorError: the hardware ended the run with an error.
            BoardError: the board does not work, or the accelerator has been closed.
        """
        if self._run is not None:
            self._result = self._accelerator._wait(self._run, self._statistics, self._decode)
            self._run = None
        return self._result

    def __del__(self) -> None:
        if self._run is not None:
            self._accelerator._left.append(self._run)


class Buffers:
    """Input and output of runs that a program fills and reads itself, without the host's
    conversions; they stay until `free`. Made by `Accelerator.buffers`, for the package loaded then.

    Use it as a context manager, or `free` it. Its arrays must not be touched afterwards, nor when
    the accelerator has been closed: on the board they are the memory itself.

    Attributes:
        tokens: int8 [n * iterations, n_sequences, n_positions, token_bytes], to be written.
        forecasts: int16 [n * iterations, n_sequences, forecast_elements], to be read after `run`.
    """

    def __init__(self, accelerator: Accelerator, loaded: _Loaded, run: Run) -> None:
        self._accelerator = accelerator
        self._loaded = loaded
        self._buffers: Run | None = run
        shape = loaded.shape
        run.source.array[:] = 0
        rows = run.source.array.view(np.int8).reshape(
            -1, shape.n_sequences, shape.n_positions, loaded.token_row
        )
        self.tokens = rows[..., : shape.token_bytes]
        self.forecasts = shape.forecasts(run.sink.array)

    def run(self) -> None:
        """Forecast what is in `tokens`, into `forecasts`.

        Raises:
            BoardError: the board does not work, another package has been loaded, or it is free.
            AcceleratorError: the hardware ended the run with an error.
        """
        if self._buffers is None:
            raise BoardError("the buffers have been freed")
        self._accelerator._run_buffers(self._loaded, self._buffers)

    def free(self) -> None:
        """Give the memory back. Twice is fine."""
        run, self._buffers = self._buffers, None
        if run is not None:
            del self.tokens, self.forecasts
            run.finished = True  # none of its runs is under way
            self._accelerator._left.append(run)

    def __enter__(self) -> Buffers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.free()


class Accelerator:
    """The accelerator of a bitstream.

    Args:
        bitfile: the bitstream; its .hwh lies beside it.
        download: program the board with it. Otherwise the board has been programmed with it before,
            and keeps its clock; a package has to be loaded again.
        device: pynq device, for example of `host.connect`; by default pynq's active one, which is
            the board itself, or the first of PYNQ_REMOTE_DEVICES.
        timeout: seconds in which something must move, whatever the speed of the board.
        watchdog_cycles: cycles after which the hardware ends a run in which nothing completes.

    Attributes:
        overlay: the `pynq.Overlay`.
        capabilities: what the registers say about the build.
        package: the loaded package, or None.
        times: where the seconds of the last forecast, run or stream went.

    Several threads may use it: their calls follow each other, and each forecast is of the package
    that was loaded when it began. A `Job` or a stream is for one thread at a time. Use it as a
    context manager, or `close` it: its buffers are a board's scarce memory.

    Raises:
        OverlayError: the bitstream or its .hwh is damaged, of another part or of another design.
        RegisterError: the registers hold what makes no sense.
        BoardInUseError: another program uses the board that this one runs on.
        BoardError: there is no board, it does not answer, or it has not been programmed.
        OSError: no such bitstream, no .hwh beside it, or no permission to read them.
    """

    def __init__(
        self,
        bitfile: str | Path = "cmamba.bit",
        *,
        download: bool = True,
        device: Any = None,
        timeout: float = 5.0,
        watchdog_cycles: int = 1_000_000,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout: found {timeout}, expected seconds above 0")
        if not 1 <= watchdog_cycles < 1 << 32:
            raise ValueError(
                f"watchdog_cycles: found {watchdog_cycles}, expected 1 to {(1 << 32) - 1}"
            )
        self._device = with_deadlines(active_device() if device is None else device)
        self._loaded: _Loaded | None = None
        self._clock_mhz: float | None = None
        self._lock = threading.RLock()
        # Runs whose jobs are gone. The garbage collector may add one at any moment, so that their
        # buffers are left alone until the next run begins.
        self._left: deque[Run] = deque()
        on_board = is_board() and not self._device.has_capability("REMOTE")
        self._board_lock = BoardLock() if on_board else None
        try:
            with connection_errors(self._device):
                fabric = Fabric(self._device, bitfile, timeout, watchdog_cycles, download=download)
        except BaseException:
            self._unlock()
            raise
        self._fabric: Fabric | None = fabric
        self.overlay = fabric.overlay
        self.capabilities = fabric.capabilities
        self.times = fabric.times

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs and free the buffers. Closing twice is fine."""
        with self._lock:
            if self._fabric is None:
                return
            fabric, self._fabric = self._fabric, None
            try:
                with connection_errors(self._device):
                    fabric.close()
            finally:
                self._unlock()

    def _unlock(self) -> None:
        if self._board_lock is not None:
            self._board_lock.release()

    def _open(self) -> Fabric:
        if self._fabric is None:
            raise BoardError("the accelerator is closed")
        return self._fabric

    # ------------------------------------------------------------------------ packages

    @property
    def package(self) -> Package | None:
        loaded = self._in_fabric()
        return None if loaded is None else loaded.package

    def _in_fabric(self) -> _Loaded | None:
        """The package in the accelerator: not that of a load that has failed, nor one that an error
        has lost."""
        return self._loaded if self._fabric is not None and self._fabric.has_package else None

    def _need_package(self) -> _Loaded:
        loaded = self._in_fabric()
        if loaded is None:
            raise NotLoadedError(isa.ERRORS["NOT_LOADED"], "no package is loaded")
        return loaded

    def load(self, package: Package | bytes | str | Path) -> None:
        """Load a package, in place of the one before.

        Everything about it is checked against the limits that the board's registers state before
        the hardware is touched; a package that fails leaves the one before in place.

        Args:
            package: a package, the content of a package file, or its path.

        Raises:
            PackageError: it is damaged, not for this board, has a schedule whose results would
                depend on timing, or metadata that the host cannot compute with; an OtherBuildError
                where a board with another build would take it.
            AcceleratorError: the hardware refused it, or could not read it. None is loaded then.
            BoardError: the board does not work.
            OSError: no such file.
        """
        self._open()
        package, data = check_package(package, self.capabilities)
        host = HostSide(package) if "model" in package.metadata else None
        fast = None if host is None else fast_host(host)
        loaded = _Loaded(package, StreamShape.of_header(data), host, fast)
        with self._lock, connection_errors(self._device):
            self._open().load(data)
            self._loaded = loaded

    # ------------------------------------------------------------------------ forecasts

    def forecast(self, x: np.ndarray) -> np.ndarray:
        """Forecast a batch of windows: one transfer out and one back, unless it is very large.

        Args:
            x: float32 [n, V, L].

        Returns:
            float32 [n, V, H].

        Raises:
            NotLoadedError: no package is loaded.
            ValueError: an input of another shape, or one that is not finite.
            AcceleratorError: the hardware ended the run with an error.
            OtherProgramError: another program has loaded its package; `load` takes the board back.
            BoardError: the board does not work.
        """
        with self._lock:
            loaded, host = self._begin()
            x = _windows(host, x)
            if len(x) <= self._most_forecasts(loaded):
                return self._start(loaded, x, 1, *_conversions(loaded, host)).wait()
            (y,) = self._stream(loaded, iter([x]), 1, *_conversions(loaded, host))
            return y

    def submit(self, x: np.ndarray) -> Job:
        """Start to forecast a batch, and return without waiting for it.

        The hardware makes one run at a time: a second call waits for the first one's to end, whose
        result stays in its buffer until `Job.wait`.

        Args:
            x: float32 [n, V, L], as many as fit a transfer. It may change afterwards.

        Raises:
            As `forecast`.
            ValueError: also for more windows than fit a transfer.
        """
        with self._lock:
            loaded, host = self._begin()
            x, most = _windows(host, x), self._most_forecasts(loaded)
            if len(x) > most:
                raise ValueError(f"input: found {len(x)} windows, expected at most {most} of a run")
            return self._start(loaded, x, 1, *_conversions(loaded, host))

    def _begin(self) -> tuple[_Loaded, HostSide]:
        """The package that forecasts, with its host's side."""
        fabric = self._open()
        loaded = self._need_package()
        self.times = fabric.times = Times()
        return loaded, loaded.host or HostSide(loaded.package)  # which says what is missing

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Forecast batch after batch. While the hardware works on one, the host prepares the next.

        A forecast is yielded when the batch after it has been started, or when there is none.
        An array may change once the next one is asked for. Other calls may come in between, but
        for `load`.

        Args:
            batches: float32 [n, V, L] each.

        Yields:
            float32 [n, V, H] each, in order.

        Raises:
            As `forecast`.
        """
        with self._lock:
            loaded, host = self._begin()
        windows = (_windows(host, x) for x in batches)
        return self._stream(loaded, windows, 1, *_conversions(loaded, host))

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """Forecasts without the host's conversions, as `isa.streams.Runner.run`.

        Raises:
            As `forecast`.
        """
        beats = self.run_beats(tokens)
        return self._need_package().shape.forecasts(beats)

    def run_beats(self, tokens: np.ndarray) -> np.ndarray:
        """As `run`, but the output stream as it came: beats uint8 [n, 16]."""
        with self._lock:
            fabric = self._open()
            loaded = self._need_package()
            tokens = loaded.shape.check(tokens)
            self.times = fabric.times = Times()
            (beats,) = self._stream(
                loaded,
                iter([tokens]),
                loaded.shape.iterations,
                loaded.fill,
                lambda beats, _: beats.reshape(-1, BEAT_BYTES).copy(),  # the buffer is used again
            )
            return beats

    def buffers(self, n: int) -> Buffers:
        """Buffers of runs of `n` forecasts, for a program that makes its own tokens.

        Raises:
            NotLoadedError: no package is loaded.
            ValueError: a run cannot have so many.
            BoardError: there is no memory, or the board does not work.
        """
        with self._lock, connection_errors(self._device):
            fabric = self._open()
            loaded = self._need_package()
            most = self._most_forecasts(loaded)
            if not 1 <= n <= most:
                raise ValueError(f"forecasts of a run: found {n}, expected 1 to {most}")
            return Buffers(self, loaded, self._reserve(fabric, loaded, n))

    def _reserve(self, fabric: Fabric, loaded: _Loaded, n: int) -> Run:
        while self._left:
            fabric.abandon(self._left.popleft())
        return fabric.reserve(n, n * loaded.bytes_in, n * loaded.bytes_out)

    def _run_buffers(self, loaded: _Loaded, buffers: Run) -> None:
        with self._lock, connection_errors(self._device):
            fabric = self._open()
            if loaded is not self._in_fabric():
                raise BoardError("another package was loaded since these buffers were made")
            self.times = fabric.times = Times()
            run = Run(buffers.n_forecasts, buffers.source, buffers.sink)
            run.source.flush()
            fabric.start(run)
            fabric.finish(run)

    def _most_forecasts(self, loaded: _Loaded) -> int:
        """Of a run: so that its buffers fit the DMA's transfers."""
        max_bytes = self._open().dma.max_bytes
        largest = max(loaded.bytes_in, loaded.bytes_out)
        if largest > max_bytes:
            raise ValueError(
                f"package: a forecast takes a transfer of {largest} bytes, expected at most the "
                f"{max_bytes} of the DMA"
            )
        return max(1, min(max_bytes, _MAX_BUFFER) // largest)

    def _stream(
        self,
        loaded: _Loaded,
        batches: Iterator[np.ndarray],
        rows: int,
        encode: _Encode,
        decode: _Decode,
    ) -> Iterator[np.ndarray]:
        """Batches in parts that fit a transfer, `rows` of an array a forecast, two in work."""
        step = self._most_forecasts(loaded) * rows

        def parts() -> Iterator[_Part]:
            for batch in batches:
                for start in range(0, len(batch), step):
                    yield _Part(batch[start : start + step], start + step >= len(batch))

        done: list[np.ndarray] = []
        for part in self._double_buffered(loaded, parts(), rows, encode, decode):
            done.append(part.values)
            if part.is_last:
                yield done[0] if len(done) == 1 else np.concatenate(done)
                done.clear()

    def _double_buffered(
        self,
        loaded: _Loaded,
        parts: Iterator[_Part],
        rows: int,
        encode: _Encode,
        decode: _Decode,
    ) -> Iterator[_Part]:
        running: Job | None = None
        is_last = False
        for part in parts:
            before, was_last = running, is_last
            running = self._start(loaded, part.values, rows, encode, decode, before)
            is_last = part.is_last
            if before is not None:
                yield _Part(before.wait(), was_last)
        if running is not None:
            yield _Part(running.wait(), is_last)

    def _start(
        self,
        loaded: _Loaded,
        values: np.ndarray,
        rows: int,
        encode: _Encode,
        decode: _Decode,
        before: Job | None = None,
    ) -> Job:
        """Prepare and start a run, when the one before has ended well."""
        with self._lock, connection_errors(self._device):
            fabric = self._open()
            run, statistics = self._prepare(fabric, loaded, values, rows, encode)
            try:
                if before is not None and before._run is not None:
                    fabric.finish(before._run)
                fabric.start(run)
            except BaseException:
                fabric.release(run)
                raise
            return Job(self, run, statistics, decode)

    def _prepare(
        self, fabric: Fabric, loaded: _Loaded, values: np.ndarray, rows: int, encode: _Encode
    ) -> tuple[Run, Any]:
        """A run with the values in its buffer."""
        if loaded is not self._in_fabric():
            raise BoardError("a stream was under way when another package was loaded")
        n = len(values) // rows
        run = self._reserve(fabric, loaded, n)
        try:
            with self.times.measure("encode"):
                statistics = encode(values, run.source.array)
            with self.times.measure("send"):
                run.source.flush()
        except BaseException:
            fabric.release(run)
            raise
        return run, statistics

    def _is_over(self, run: Run) -> bool:
        with self._lock, connection_errors(self._device):
            return run.finished or not self._open().core.busy()

    def _wait(self, run: Run, statistics: Any, decode: _Decode) -> np.ndarray:
        with self._lock:
            fabric = self._open()
            with connection_errors(self._device):
                fabric.finish(run)
            with self.times.measure("decode"):
                result = decode(run.sink.array, statistics)
            fabric.release(run)
            return result

    # ------------------------------------------------------------------------ descriptions

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What `forecast` takes. Raises NotLoadedError, or PackageError without a model."""
        return self._tensors()[:1]

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What `forecast` gives. Raises as `inputs`."""
        return self._tensors()[1:]

    def _tensors(self) -> tuple[Tensor, Tensor]:
        loaded = self._need_package()
        return describe(loaded.package, loaded.host or HostSide(loaded.package))

    @property
    def clock_mhz(self) -> float:
        """Frequency of the accelerator. It can be set, up to the one that the bitstream was timed
        for; the processing system makes the nearest that it can.

        Raises:
            ValueError: set to more, or to what cannot be made.
            BoardError: the board does not work.
        """
        with self._lock, connection_errors(self._device):
            self._open()
            if self._clock_mhz is None:
                self._clock_mhz = clock_mhz(self._device)
            return self._clock_mhz

    @clock_mhz.setter
    def clock_mhz(self, mhz: float) -> None:
        with self._lock, connection_errors(self._device):
            fabric = self._open()
            timed = float(fabric.overlay.clock_dict[0]["frequency"])
            if not 0 < mhz <= 1.001 * timed:  # 250 stands for 249.975
                raise ValueError(f"clock: found {mhz} MHz, expected up to {timed:g} MHz")
            fabric.finish_active()
            self._clock_mhz = None
            set_clock_mhz(self._device, mhz)

    def throughput_test(self, batch: int = 64, seconds: float = 1.0) -> Throughput:
        """Stream random windows, and measure: windows a second, on the board also power and energy.

        Raises:
            As `forecast`.
        """
        return measure_throughput(self, batch, seconds, find_rails())

    # ------------------------------------------------------------------------ counters

    def profile(self) -> Profile:
        """The counters of the last run, and the clock."""
        with self._lock, connection_errors(self._device):
            fabric = self._open()
            return read_profile(fabric.registers.read, fabric.last_forecasts, self.clock_mhz)


def _windows(host: HostSide, x: np.ndarray) -> np.ndarray:
    """A batch, with an axis of windows that has some; `HostSide.encode_beats` checks the rest."""
    x = np.asarray(x, np.float32)
    if x.ndim != 3:
        host.check(x)  # says so
    if len(x) == 0:
        raise ValueError("input: found 0 windows, expected at least 1")
    return x


def _conversions(loaded: _Loaded, host: HostSide) -> tuple[_Encode, _Decode]:
    if loaded.fast is not None:
        return loaded.fast.encode_beats, loaded.fast.decode_beats
    return (
        host.encode_beats,
        lambda beats, statistics: host.decode(loaded.shape.forecasts(beats), statistics),
    )
