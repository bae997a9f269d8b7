"""Run the notebook from its first cell to its last: ``python -m host.notebook --help``.

The executed copy is written to build/notebook. With --write it takes the place of the notebook in
the repository, whose outputs are those of such a run.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from common import command_line, exit_status
from common.atomic_write import atomic_write
from host.arguments import ROOT, build_name, virtual_board
from host.errors import BoardError
from host.remote import parse_address

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
        nbclient.exceptions.DeadKernelError: the kernel ended, as its last line says.
        OSError: `output` cannot be written.
    """
    import nbformat
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import ensure_event_loop
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from tqdm import tqdm

    def write() -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(output) as file:
            file.write(f"{nbformat.writes(node)}\n".encode())

    def keep_ctrl_c(**_: object) -> None:
        # nbclient would end the kernel, and then fail where it misses it.
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    node = nbformat.read(notebook, as_version=4)
    begin = time.monotonic()
    # What the kernel itself says is of interest only where it dies.
    with (
        tempfile.TemporaryFile() as said,
        tqdm(total=len(node.cells), unit="cell", disable=None) as progress,
    ):
        client = NotebookClient(
            node,
            timeout=CELL_SECONDS,
            # This Python: what is installed under its name may be another one's.
            km=AsyncKernelManager(
                kernel_name=NATIVE_KERNEL_NAME,
                kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            ),
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=keep_ctrl_c,
            on_cell_complete=lambda **_: progress.update(),
            record_timing=False,
        )
        # Where pictures go is the kernel's to choose.
        inherited = {name: os.environ[name] for name in os.environ if name != "MPLBACKEND"}
        try:
            client.execute(env=inherited | environment, stderr=said)
        except KeyboardInterrupt:
            # Where it hit a task, every task that waits for that one raises it again, in the rounds
            # of the loop that nbclient makes at the program's end.
            for _ in range(10):
                with contextlib.suppress(KeyboardInterrupt):
                    ensure_event_loop().run_until_complete(asyncio.sleep(0))
            raise
        except CellExecutionError:
            write()
            raise
        except DeadKernelError as error:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise DeadKernelError(f"{error}: {last}" if last else str(error)) from error
        write()
    return time.monotonic() - begin


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0; 1: a cell failed; 2: there is no board."""
    parser = argparse.ArgumentParser(prog="python -m host.notebook", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--board", metavar="IP[:PORT]", help="board on the network")
    where.add_argument(
        "--virtual",
        metavar="BUILD",
        type=build_name,
        default="default",
        help="build of the virtual board (%(default)s)",
    )
    parser.add_argument("--write", action="store_true", help="keep the outputs in the repository")
    args = parser.parse_args(argv)
    output = NOTEBOOK if args.write else ROOT / "build/notebook" / NOTEBOOK.name
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    try:
        if args.board:
            parse_address(args.board)
            seconds = execute(NOTEBOOK, output, {"CMAMBA_BOARD": args.board})
        else:
            with virtual_board(args.virtual) as (address, bitfile):
                environment = {"CMAMBA_BOARD": address, "CMAMBA_BITFILE": bitfile}
                seconds = execute(NOTEBOOK, output, environment)
    except CellExecutionError as error:
        what = " ".join(f"{error.ename}: {error.evalue}".split())
        print(f"notebook: a cell failed, {output} ends with it: {what}", file=sys.stderr)
        return exit_status.FAILED
    except (BoardError, DeadKernelError, OSError) as error:
        return exit_status.report("notebook", error)
    print(f"{output}: {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
