"""Archives for the board, unpacked."""

import subprocess
from pathlib import Path


def unpack(archive: Path, folder: Path) -> None:
    """As on a board: Python's tarfile takes other arguments in each version."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
