"""Files that a program writes into the repository, and the check that they are current."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from common.atomic_write import write_text


def update(root: Path, files: Mapping[Path, str], *, check: bool, command: str) -> int:
    """Write the files that are not as they should be, and name them.

    Args:
        root: folder that the paths start from.
        files: path and contents of every generated file.
        check: write nothing, and name the files on standard error instead.
        command: what to run where they are not current.

    Returns:
        The exit status of the program: 1 if `check` found a file that is not current.
    """
    stale = [path for path, text in files.items() if not _is(root / path, text)]
    if check:
        if stale:
            names = ", ".join(map(str, stale))
            print(f"not current, run `{command}`: {names}", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(root / path, files[path])
        print(f"wrote {path}")
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text
