"""Every model that can be trained, saved, loaded and exported, by name.

    model = build_model("independent", num_channels=7, n_layer=2)

To add a model is to add an entry to REGISTRY. Entries of the same class differ in their defaults;
a class of its own comes with arguments of its own, a class derived from ModelArgs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from model import official
from model.args import TRAINING_ONLY, ModelArgs
from model.cmamba import CMamba
from model.folded_regressor import FoldedRegressor
from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs


@dataclass(frozen=True)
class Entry:
    """A model: what builds it from its arguments, and which arguments it has unless told."""

    description: str
    build: type[nn.Module]  # called with an `args_class`
    args_class: type[ModelArgs]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    quantized: type[nn.Module] | None = None  # what learns its quantization, if not `build`

    def default(self, name: str) -> Any:
        """What the argument `name` is unless told; 'auto' where others decide."""
        return self.defaults.get(name, getattr(self.args_class, name))

    def args(self, **options: Any) -> ModelArgs:
        """The arguments with `options` in place of defaults. Raises ValueError."""
        return self.args_class.from_dict({**self.defaults, **options})


REGISTRY: dict[str, Entry] = {
    "mixing": Entry(
        "CMamba, all variables in one token sequence",
        CMamba,
        ModelArgs,
        {"channel_mode": "mixing"},
    ),
    "independent": Entry(
        "CMamba, each variable a sequence of its own",
        CMamba,
        ModelArgs,
        {"channel_mode": "independent"},
    ),
    "nested": Entry(
        "CMamba of n_layer blocks of n_layer layers, with attention to features",
        CMamba,
        ModelArgs,
        {"topology": "nested"},
    ),
    "published": Entry(
        "CMamba of the paper, variables mixed by an MLP", PublishedCMamba, PublishedArgs
    ),
    "regressor": Entry(
        "position from a stream of radio frames",
        MambaRegressor,
        RegressorArgs,
        quantized=FoldedRegressor,
    ),
}


def entry_of(args: ModelArgs) -> tuple[str, Entry]:
    """The first entry with arguments of this class, and its name."""
    return next(item for item in REGISTRY.items() if item[1].args_class is type(args))


def build_model(name: str, **options: Any) -> nn.Module:
    """An untrained model: the entry's defaults with `options` in place of some.

    Raises ValueError (no such model, an unknown option, a value that cannot be).
    """
    return build_from(_entry(name).args(**options))


def build_from(args: ModelArgs, quantized: bool = False) -> nn.Module:
    """An untrained model from its complete arguments; `quantized`: that which quantization-aware
    training trains."""
    entry = entry_of(args)[1]
    return (entry.quantized if quantized and entry.quantized else entry.build)(args)


def args_to_json(args: ModelArgs) -> str:
    """The arguments as a checkpoint holds them: 'model' says whose they are.

    Those of a CMamba go without, as they did before there was another model.
    """
    fields = dataclasses.asdict(args)
    return json.dumps(fields if type(args) is ModelArgs else {"model": entry_of(args)[0], **fields})


def args_of_use(args: ModelArgs) -> dict[str, Any]:
    """What `args_to_json` writes, but for the fields that only training reads."""
    fields = json.loads(args_to_json(args))
    return {name: value for name, value in fields.items() if name not in TRAINING_ONLY}


def args_from_json(content: str | Any) -> ModelArgs:
    """Inverse of `args_to_json`; also takes the parsed object, and the names of `model.official`.

    Raises ValueError.
    """
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"ModelArgs: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"ModelArgs: found {type(content).__name__}, expected an object")
    fields = dict(content)
    if official.are_official_args(fields):
        return PublishedArgs.from_dict(official.published_fields(fields))
    return _entry(fields.pop("model", "mixing")).args_class.from_dict(fields)


def _entry(name: Any) -> Entry:
    if not isinstance(name, str) or name not in REGISTRY:
        raise ValueError(f"model: found {name!r}, expected one of {', '.join(REGISTRY)}")
    return REGISTRY[name]
