"""Where the runs of an experiment are made: on this machine, or on those of a Dask cluster."""

from __future__ import annotations

import os
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from common.errors import REPORTED, CmambaError
from common.exit_status import WRONG, one_line
from experiments.run import Result, RunError, Trainings, result_of
from experiments.settings import Run

CONNECT_SECONDS = 10


class ClusterError(CmambaError):
    """There is no such cluster, or its workers cannot do the work."""

    exit_status = WRONG


def _threads(jobs: int) -> int:
    """Of each of so many runs side by side on one machine."""
    return max(1, (os.cpu_count() or 1) // jobs)


class Here:
    """`jobs` runs side by side on this machine."""

    def __init__(self, jobs: int) -> None:
        self._pool, self._jobs, self._trainings = ThreadPoolExecutor(jobs), jobs, Trainings()

    def submit(self, run: Run, folder: Path) -> Future[Result]:
        """Of `result_of`, once it is its turn."""
        return self._pool.submit(result_of, run, folder, _threads(self._jobs), self._trainings)

    def progress(self) -> dict[Path, int]:
        """As `Trainings.progress`."""
        return self._trainings.progress()

    def stop(self) -> None:
        """Ends the trainings, each of which can go on from its last epoch, and starts no more;
        returns once all runs are at an end."""
        self._trainings.stop()
        self._pool.shutdown(cancel_futures=True)


class Cluster:
    """Runs on the workers of a Dask cluster, each as many side by side as it has threads.

    All machines see one folder of results, by the same path, and have the data and this checkout.
    What a worker that is lost was training, another one goes on with.
    """

    def __init__(self, address: str, folder: Path, jobs: int) -> None:
        """Results are in `folder`; `jobs` runs are side by side on one machine.

        Raises: ClusterError, OSError.
        """
        try:
            from distributed import Client
        except ImportError:
            raise ClusterError("--cluster: needs Dask: pip install --group cluster") from None
        try:
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(f"--cluster: {address}: {one_line(error)}") from None
        self._session, self._folder, self._jobs = uuid.uuid4().hex, folder, jobs
        try:
            self._check(address)
        except BaseException:
            self._client.close()
            raise
        self._executor = self._client.get_executor(pure=False)

    def _check(self, address: str) -> None:
        if not self._client.scheduler_info(n_workers=-1)["workers"]:
            raise ClusterError(
                f"--cluster: {address} has no workers: start them in this checkout on each "
                f"machine, python -m dask worker {address} --nworkers 1 --nthreads {self._jobs}"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        mark = self._folder.resolve() / f".{self._session}"
        mark.touch()
        try:
            seen = self._client.run(Path.exists, mark)
            for worker, sees in seen.items():
                if not sees:
                    raise ClusterError(
                        f"--cluster: worker {worker} does not see {mark.parent}: --output has to "
                        "be a folder that all machines share, by one path"
                    )
            self._client.run(_progress_there, self._session)
        except ImportError as error:
            raise ClusterError(
                f"--cluster: a worker says {one_line(error)}: start workers in the checkout"
            ) from None
        finally:
            mark.unlink()

    def submit(self, run: Run, folder: Path) -> Future[Result]:
        """Of `result_of`, once a worker is free."""
        return self._executor.submit(
            _result_there, self._session, run, folder.resolve(), self._jobs
        )

    def progress(self) -> dict[Path, int]:
        """As `Trainings.progress`, of all workers that answer."""
        found = self._client.run(_progress_there, self._session, on_error="ignore")
        root = self._folder.resolve()
        return {
            self._folder / log.relative_to(root): epoch
            for of_worker in found.values()
            for log, epoch in of_worker.items()
        }

    def stop(self) -> None:
        """As `Here.stop`, but for what workers evaluate: that comes to its end without us."""
        self._client.run(_stop_there, self._session, on_error="ignore")
        self._executor.shutdown(wait=False)
        self._client.close()


# --- in a worker ---------------------------------------------------------------------------------

_lock = threading.Lock()
_trainings: dict[str, Trainings] = {}  # of each command that has used this worker


def _trainings_of(session: str) -> Trainings:
    with _lock:
        return _trainings.setdefault(session, Trainings())


def _result_there(session: str, run: Run, folder: Path, jobs: int) -> Result:
    try:
        return result_of(run, folder, _threads(jobs), _trainings_of(session))
    except REPORTED as error:  # not every one of them can be sent
        raise RunError(one_line(error)) from None


def _progress_there(session: str) -> dict[Path, int]:
    return _trainings_of(session).progress()


def _stop_there(session: str) -> None:
    _trainings_of(session).stop()
