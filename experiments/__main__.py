"""Train, quantize and evaluate forecasters over horizons and seeds; one table at the end.

    python -m experiments etth1
    python -m experiments etth1 --models independent --horizons 96 --seeds 3 --jobs 2
    python -m experiments etth2 --cluster tcp://192.168.0.1:8786 --output /shared/experiments

Each run trains in FP32, fine-tunes for int8, and is evaluated on the test split in FP32 and by the
integer program, calibrated alone and fine-tuned. Runs that are complete are kept, one that was
interrupted goes on; a change of its data or of its settings, in experiments/*.toml or by other
defaults of model.train_forecast, starts it anew.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from tqdm import tqdm

from common import command_line
from common.atomic_write import require_writable_folder, write_text
from common.errors import REPORTED
from common.exit_status import one_line
from experiments import settings, table
from experiments.places import Cluster, Here
from experiments.run import Result, RunError, baselines_of, settings_in_full
from experiments.settings import Run
from hls.bindings import extension


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", choices=settings.names())
    of_each = {name: settings.read(name) for name in settings.names()}
    models = "; ".join(f"{name}: {', '.join(of.models)}" for name, of in of_each.items())
    horizons = "; ".join(
        f"{name}: {', '.join(map(str, of.horizons))}" for name, of in of_each.items()
    )
    parser.add_argument("--models", nargs="+", metavar="MODEL", help=f"of {models} (default: all)")
    parser.add_argument(
        "--horizons", nargs="+", type=int, metavar="H", help=f"of {horizons} (default: all)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="of each (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs side by side on a machine (default: %(default)s)"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="of the scheduler of a Dask cluster, to run there"
    )
    parser.add_argument("--output", type=Path, default=Path("build/experiments"), help="folder")
    args = parser.parse_args(argv)
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected at least 1")
    experiment = of_each[args.experiment]
    try:
        runs = experiment.runs(
            args.models or list(experiment.models),
            args.horizons or experiment.horizons,
            args.seeds,
        )
    except ValueError as error:
        parser.error(str(error))
    folder = args.output / args.experiment
    try:
        require_writable_folder(folder)  # before hours of work, as what follows
        extension()
        for run in runs:
            try:
                settings_in_full(run)
            except ValueError as error:
                raise ValueError(f"{run.name}: {error}") from error
        place = Cluster(args.cluster, folder, args.jobs) if args.cluster else Here(args.jobs)
        results = _results(runs, folder, place)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return command_line.INTERRUPTED
    suffix = experiment.suffix(runs)
    baselines = {
        run.horizon: baselines_of(run, folder / f"baselines-h{run.horizon}.json")
        for run in {run.horizon: run for run in runs}.values()
    }
    text = "\n\n".join(
        table.markdown(experiment, model, results, baselines)
        for model in dict.fromkeys(run.model for run in runs)
    )
    write_text(folder / f"table{suffix}.md", text + "\n")
    picture = folder / f"mse{suffix}.png"
    table.plot(experiment, results, picture)
    print(f"\nMSE / MAE on the test split\n\n{text}\n\n{picture}")
    return 0


def _results(runs: list[Run], folder: Path, place: Here | Cluster) -> dict[Run, Result]:
    """The results of `runs`; files of each in a folder of its name.

    Raises those of `result_of`, with the name of the run, once no other is under way.
    """
    results = {}
    with tqdm(total=len(runs), unit="run") as progress:
        pending: dict[Future[Result], Run] = {}
        try:
            pending |= {place.submit(run, folder / run.name): run for run in runs}
            while pending:
                done, _ = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    run = pending.pop(future)
                    results[run] = result = _result(future, run)
                    mse = {form: f"{result[form]['mse']:.4f}" for form in table.FORMS}
                    progress.write(f"{run.name}: test MSE {mse}")
                    progress.update()
                under_way = ", ".join(
                    f"{log.relative_to(folder).with_suffix('')} epoch {epoch}"
                    for log, epoch in place.progress().items()
                )
                if under_way != progress.postfix:  # not a line each second where it is a file
                    progress.set_postfix_str(under_way)
        finally:
            # After an error or Ctrl-C; what is stopped goes on the next time.
            if running := [run.name for future, run in pending.items() if future.running()]:
                progress.write(f"stopping {', '.join(running)}; evaluations come to their end")
            place.stop()
    return results


def _result(future: Future[Result], run: Run) -> Result:
    try:
        return future.result()
    except REPORTED as error:
        raise RunError(f"{run.name}: {one_line(error)}") from error


if __name__ == "__main__":
    sys.exit(main())
