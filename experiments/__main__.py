"""Train, quantize and evaluate forecasters over horizons and seeds; one table at the end.

    python -m experiments etth1
    python -m experiments etth1 --models independent --horizons 96 --seeds 3 --jobs 2

Each run trains in FP32, fine-tunes for int8, and is evaluated on the test split in FP32 and by the
integer program, calibrated alone and fine-tuned. Runs that are complete are kept, one that was
interrupted goes on; a change of its settings in experiments/*.toml starts it anew.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from experiments import settings, table
from experiments.run import RunError, result_of
from golden.program import CompileError
from model.data import DataError, load_dataset


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", choices=settings.names())
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="of the experiment; none: all")
    parser.add_argument("--horizons", nargs="+", type=int, metavar="H", help="none: all")
    parser.add_argument("--seeds", type=int, default=1, help="of each (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs side by side (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=Path("build/experiments"), help="folder")
    args = parser.parse_args(argv)
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected at least 1")
    experiment = settings.read(args.experiment)
    try:
        runs = experiment.runs(
            args.models or list(experiment.models),
            args.horizons or experiment.horizons,
            args.seeds,
        )
        load_dataset(experiment.dataset, 1, max(experiment.horizons))  # before hours of work
    except (ValueError, DataError) as error:
        parser.error(str(error))
    folder = args.output / args.experiment
    threads = max(1, (os.cpu_count() or 1) // args.jobs)

    results = {}
    with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=len(runs), unit="run") as progress:
        started = {pool.submit(result_of, run, folder / run.name, threads): run for run in runs}
        try:
            for future in as_completed(started):
                run = started[future]
                results[run] = result = future.result()
                mse = {form: f"{result[form]['mse']:.4f}" for form in table.FORMS}
                progress.write(f"{run.name}: test MSE {mse}")
                progress.update()
        except (CompileError, DataError, OSError, RunError, ValueError) as error:
            print(f"error: {started[future].name}: {error}", file=sys.stderr)
            return 1
        finally:
            pool.shutdown(cancel_futures=True)
    models = dict.fromkeys(run.model for run in runs)
    text = "\n\n".join(table.markdown(experiment, model, results) for model in models)
    (folder / "table.md").write_text(text + "\n", encoding="utf-8")
    table.plot(experiment, results, folder / "mse.png")
    print(f"\nMSE / MAE on the test split\n\n{text}\n\n{folder / 'mse.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
