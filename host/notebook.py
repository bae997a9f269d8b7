"""Run the notebook from its first cell to its last: ``python -m host.notebook --help``.

The executed copy is written to build/notebook. With --write it takes the place of the notebook in
the repository, whose outputs are those of such a run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from host.arguments import ROOT, BoardError, virtual_board

NOTEBOOK = ROOT / "host/notebooks/cmamba_zcu102.ipynb"
CELL_SECONDS = 600


def execute(
    notebook: Path, output: Path, environment: dict[str, str], folder: Path = ROOT
) -> float:
    """Run `notebook`, and write it with its outputs to `output`; returns the seconds.

    Args:
        environment: variables of the kernel, beside those of this process.
        folder: where it runs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; `output` ends with it.
    """
    import nbformat
    from nbclient import NotebookClient
    from tqdm import tqdm

    node = nbformat.read(notebook, as_version=4)
    begin = time.monotonic()
    with tqdm(total=len(node.cells), unit="cell", disable=None) as progress:
        client = NotebookClient(
            node,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            on_cell_complete=lambda **_: progress.update(),
            record_timing=False,
        )
        # Where pictures go is the kernel's to choose.
        inherited = {name: os.environ[name] for name in os.environ if name != "MPLBACKEND"}
        try:
            client.execute(env=inherited | environment)
        finally:
            output.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(node, output)
    return time.monotonic() - begin


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 1 if a cell failed."""
    parser = argparse.ArgumentParser(prog="python -m host.notebook", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--board", metavar="IP[:PORT]", help="board on the network")
    where.add_argument(
        "--virtual",
        metavar="BUILD",
        default="deep",  # the build that holds every model of the notebook
        help="build of the virtual board (%(default)s)",
    )
    parser.add_argument("--write", action="store_true", help="keep the outputs in the repository")
    args = parser.parse_args(argv)
    output = NOTEBOOK if args.write else ROOT / "build/notebook" / NOTEBOOK.name
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    try:
        if args.board:
            seconds = execute(NOTEBOOK, output, {"CMAMBA_BOARD": args.board})
        else:
            with virtual_board(args.virtual) as (address, bitfile):
                environment = {"CMAMBA_BOARD": address, "CMAMBA_BITFILE": bitfile}
                seconds = execute(NOTEBOOK, output, environment)
    except (BoardError, CellExecutionError, DeadKernelError, OSError) as error:
        print(f"notebook: {error}", file=sys.stderr)
        return 1
    print(f"{output}: {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
