"""Modules that `make` compiles, loaded from where it puts them."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType


def load_extension(path: Path, target: str) -> ModuleType:
    """The module compiled to `path`, called as its file.

    Raises ImportError if `make target` has not built it, or built it for another Python or machine.
    """
    if not path.is_file():
        raise ImportError(f"{path} does not exist; `make {target}` builds it")
    loader = importlib.machinery.ExtensionFileLoader(path.stem, str(path))
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader)
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:  # it names the file, or says which Python
        reason = str(error).removeprefix(f"{path}: ").partition("\n")[0]
        raise ImportError(
            f"{path}: {reason}; `make clean` and `make {target}` build it for this Python"
        ) from None
    return module
