"""Checkpoints and arguments of the authors' own CMamba code, taken as those of a PublishedCMamba.

The code of arXiv 2406.05316 (github.com/zclzcl0223/CMamba) saves a `state_dict` alone. It is the
same network by other names, except for the head: there the inputs of a forecast are features by
tokens, [D, K], here tokens by features, [K, D]. Symbols as in `model.published`.

Of the Time-Series-Library's (github.com/thuml/Time-Series-Library) Mamba models, which are no
CMamba, the names are known to say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from model.args import ModelArgs
from model.cmamba import sincos_positions
from model.published_args import PublishedArgs

_EMBEDDING = "patch_embedding.value_embedding.weight"
_POSITIONS = "patch_embedding.position_embedding.pe"
_HEAD = "head.linear.weight"
_BLOCK = "encoder.layers.0."
_ANY_BLOCK = r"encoder\.layers\.(\d+)\."
_OF_LIBRARY = "embedding.value_embedding.tokenConv.weight"

# What the shapes cannot say; `stride` is the default of the authors' model, the others of their
# command line.
DEFAULTS = {"stride": 8, "dropout": 0.1, "head_dropout": 0.0}

_RENAMED = (
    (r"patch_embedding\.value_embedding\.", "patch_embedding."),
    (r"head\.linear\.", "output_layer."),
    (rf"{_ANY_BLOCK}GDDMLP\.fc_sc\.0\.", r"blocks.\1.gdd_mlp.scale.fc1."),
    (rf"{_ANY_BLOCK}GDDMLP\.fc_sc\.2\.", r"blocks.\1.gdd_mlp.scale.fc2."),
    (rf"{_ANY_BLOCK}GDDMLP\.fc_sf\.0\.", r"blocks.\1.gdd_mlp.shift.fc1."),
    (rf"{_ANY_BLOCK}GDDMLP\.fc_sf\.2\.", r"blocks.\1.gdd_mlp.shift.fc2."),
    (_ANY_BLOCK, r"blocks.\1."),
)

# Arguments: by the names of their command line, what says the same here.
_ARGS = {
    "enc_in": "num_channels",
    "pred_len": "forecast_len",
    "e_layers": "n_layer",
    "reduction": "reduction_ratio",
}
_SAME_ARGS = (
    *("seq_len", "patch_len", "stride", "d_model", "d_state", "dt_rank", "bias"),
    *("dropout", "head_dropout"),
)
_REQUIRED_FLAGS = ("gddmlp", "avg", "max")
# Those that say nothing of a trained model.
_IGNORED_ARGS = frozenset(
    (
        *("activation", "anomaly_ratio", "batch_size", "c_out", "channel_independence"),
        *("channel_mixup", "checkpoints", "conv_bias", "d_conv", "d_ff", "d_layers", "data"),
        *("data_path", "dec_in", "des", "devices", "device_ids", "distil", "dt_init"),
        *("dt_init_floor", "dt_max", "dt_min", "dt_scale", "embed", "factor", "features"),
        *("freq", "gpu", "individual", "inverse", "is_training", "itr", "label_len"),
        *("learning_rate", "loss", "lradj", "mask_rate", "model", "model_id", "moving_avg"),
        *("n_heads", "num_kernels", "num_workers", "output_attention", "p_hidden_dims"),
        *("p_hidden_layers", "patch_num", "patience", "pscan", "rev", "root_path"),
        *("seasonal_patterns", "seed", "sigma", "target", "task_name", "top_k", "train_epochs"),
        *("use_amp", "use_gpu", "use_multi_gpu"),
    )
)


def are_official_args(fields: Mapping[Any, Any]) -> bool:
    """Whether arguments are by the authors' names."""
    return fields.get("model") == "CMamba" or bool(fields.keys() & {*_ARGS, "d_ff", "c_out"})


def published_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a PublishedCMamba from those of the authors' command line.

    Raises ValueError, naming the argument, for an unknown one, or one of another model.
    """
    known = {*_ARGS, *_SAME_ARGS, *_REQUIRED_FLAGS, *_IGNORED_ARGS}
    if unknown := sorted(str(name) for name in fields if name not in known):
        raise ValueError(
            f"arguments of the official CMamba: found unknown {', '.join(unknown)}, expected among "
            f"{', '.join(sorted(known - _IGNORED_ARGS | {'d_ff'}))}"
        )

    def require(name: str, *expected: object) -> None:
        if name in fields and fields[name] not in expected:
            raise ValueError(
                f"{name}: found {fields[name]!r}, expected {expected[0]!r} in a CMamba that this "
                "project has"
            )

    require("model", "CMamba", "published")
    require("task_name", "long_term_forecast")
    for name in _REQUIRED_FLAGS:
        require(name, True)
    for name in ("c_out", "dec_in"):
        require(name, fields.get("enc_in", PublishedArgs.num_channels))
    found = {ours: fields[theirs] for theirs, ours in _ARGS.items() if theirs in fields}
    found |= {name: fields[name] for name in _SAME_ARGS if name in fields}
    if "d_ff" in fields:
        found["expand"] = _expand(fields["d_ff"], fields.get("d_model", PublishedArgs.d_model))
    return found | _padding(found.get("forecast_len"))


def is_official(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names of tensors are those of the authors' CMamba, behind any prefix."""
    return all(_has(tensors, name) for name in (_EMBEDDING, f"{_BLOCK}mixer.A_log"))


def published_tensors(
    tensors: Mapping[str, Tensor], args: ModelArgs | None = None
) -> tuple[dict[str, Tensor], PublishedArgs]:
    """The tensors of a PublishedCMamba, and its arguments, from those of the authors' CMamba.

    Without `args`, what the shapes leave open is as DEFAULTS have it, and the window is the
    shortest that makes as many patches. With them, they have to agree with the shapes. A tensor of
    an unknown name keeps it.

    Raises ValueError: shapes that no such model has, or other ones than those of `args`.
    """
    tensors = _without_prefix(tensors)
    implied, num_patches = _implied_by_shapes(tensors)
    if args is None:
        seq_len = implied["patch_len"] + (num_patches - 2) * DEFAULTS["stride"]
        padding = _padding(implied["forecast_len"])
        args = PublishedArgs(**implied, **DEFAULTS, **padding, seq_len=seq_len)
    else:
        _require_agreement(args, implied, num_patches)
    positions = tensors.pop(_POSITIONS, None)
    if positions is not None:
        expected = sincos_positions(num_patches, args.d_model)
        rows = positions.flatten(0, -2)[:num_patches] if positions.ndim > 1 else positions
        if rows.shape != expected.shape or not rows.allclose(expected, rtol=0, atol=1e-3):
            raise ValueError(f"{_POSITIONS}: found other values than sines and cosines")
    head = tensors[_HEAD].unflatten(1, (args.d_model, num_patches))
    tensors[_HEAD] = head.transpose(1, 2).flatten(1).contiguous()
    return {_renamed(name): tensor for name, tensor in tensors.items()}, args


def refusal(names: Iterable[str]) -> str | None:
    """Why tensors of these names are those of no model that there is here; None if they may be."""
    if _has(names, _OF_LIBRARY):
        return (
            "found a model of the Time-Series-Library, whose tokens are time steps with an "
            "embedding of their dates; expected a CMamba, whose tokens are patches"
        )
    return None


def _plain(name: str) -> str:
    """Without the prefix of torch.compile, which also stands between the names of modules."""
    return name.replace("_orig_mod.", "")


def _has(names: Iterable[str], tensor: str) -> bool:
    return any(f".{_plain(name)}".endswith(f".{tensor}") for name in names)


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {_plain(name): tensor for name, tensor in tensors.items()}
    prefixes = [name.removesuffix(_EMBEDDING) for name in plain if name.endswith(_EMBEDDING)]
    if len(plain) < len(tensors) or len(prefixes) > 1:
        found = " and ".join(map(repr, prefixes))
        raise ValueError(f"found the model's tensors behind {found}; save those of one model alone")
    prefix = prefixes[0]
    if others := [name for name in plain if not name.startswith(prefix)]:
        raise ValueError(f"found {others[0]} beside the model's tensors behind {prefix!r}")
    return {name.removeprefix(prefix): tensor for name, tensor in plain.items()}


def _implied_by_shapes(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], int]:
    """The arguments of a PublishedCMamba that shapes say, and the number of patches."""

    def shape(name: str) -> tuple[int, int]:
        found = list(tensors[name].shape) if name in tensors else "nothing"
        if len(found) != 2 or 0 in found:
            raise ValueError(f"{name}: found {found}, expected a matrix")
        return tuple(found)

    if not any(".GDDMLP." in name for name in tensors):
        raise ValueError(
            "found a CMamba without GDD-MLP, trained without --gddmlp; expected one with it"
        )
    d_model, patch_len = shape(_EMBEDDING)
    forecast_len, features = shape(_HEAD)
    num_channels, hidden = shape(f"{_BLOCK}GDDMLP.fc_sc.2.weight")
    d_inner, dt_rank = shape(f"{_BLOCK}mixer.dt_proj.weight")
    if features % d_model or features < 2 * d_model:
        raise ValueError(f"{_HEAD}: found {features} inputs, expected a multiple of {d_model}")
    implied = {
        "num_channels": num_channels,
        "patch_len": patch_len,
        "forecast_len": forecast_len,
        "d_model": d_model,
        "n_layer": len({m[1] for name in tensors if (m := re.match(_ANY_BLOCK, name))}),
        "d_state": shape(f"{_BLOCK}mixer.A_log")[1],
        "expand": _expand(d_inner, d_model),
        "dt_rank": dt_rank,
        "bias": f"{_BLOCK}mixer.in_proj.bias" in tensors,
        "reduction_ratio": max(1, num_channels // hidden),  # the largest that gives as many
    }
    return implied, features // d_model


def _require_agreement(args: ModelArgs, implied: Mapping[str, Any], num_patches: int) -> None:
    """Raises ValueError where given arguments are not those of the tensors."""
    if not isinstance(args, PublishedArgs):
        raise ValueError("found a CMamba of its authors, expected arguments of model 'published'")
    expected = {**implied, "num_patches": num_patches}
    hidden = args.num_channels // args.reduction_ratio
    if hidden == implied["num_channels"] // implied["reduction_ratio"]:
        del expected["reduction_ratio"]  # several ratios give it
    for name, value in expected.items():
        if getattr(args, name) != value:
            raise ValueError(
                f"found {name} {getattr(args, name)} in the arguments, expected {value} as the "
                "tensors have"
            )


def _expand(d_ff: Any, d_model: Any) -> int:
    """E / D. Raises ValueError where that is no integer."""
    sizes = d_ff, d_model
    if not all(type(size) is int and size > 0 for size in sizes) or d_ff % d_model:
        raise ValueError(f"d_ff: found {d_ff!r}, expected a multiple of d_model, {d_model!r}")
    return d_ff // d_model


def _padding(forecast_len: Any) -> dict[str, int]:
    """Their horizons are as they are."""
    fits = not isinstance(forecast_len, int) or forecast_len % PublishedArgs.pad_multiple == 0
    return {} if fits else {"pad_multiple": 1}


def _renamed(name: str) -> str:
    for pattern, ours in _RENAMED:
        renamed, count = re.subn(f"^{pattern}", ours, name)
        if count:
            return renamed
    return name
