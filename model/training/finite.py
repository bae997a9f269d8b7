"""Where a value that is not finite comes from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def first_not_finite(model: nn.Module, run: Callable[[], Any]) -> str | None:
    """Calls `run` and names the first module of `model`, in the order in which they finish, whose
    input or output then holds NaN or infinity, and which of its own parameters do.

    None if there is no such module.
    """
    found: list[str] = []

    def look(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if found:
            return
        for what, value in (("input", inputs), ("output", output)):
            if not _is_finite(value):
                bad = [
                    parameter
                    for parameter, value in module.named_parameters(recurse=False)
                    if not _is_finite(value)
                ]
                because = f", whose parameter {bad[0]} is not finite" if bad else ""
                found.append(f"the {what} of {name} ({type(module).__name__}){because}")
                return

    handles = [
        module.register_forward_hook(partial(look, name or "the model"))
        for name, module in model.named_modules()
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def last_not_finite_gradient(model: nn.Module) -> str | None:
    """Name of the last parameter whose gradient holds NaN or infinity: the nearest to the loss,
    since modules register their parameters in the order in which they use them."""
    names = [name for name, p in model.named_parameters() if not _is_finite(p.grad)]
    return names[-1] if names else None


def _is_finite(value: Any) -> bool:
    """Of a tensor, or of all in a tuple or list; anything else counts as finite."""
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    if isinstance(value, (tuple, list)):
        return all(_is_finite(part) for part in value)
    return True
