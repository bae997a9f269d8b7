"""Checkpoints (.pt, .npz, .safetensors) and input windows (.npz), read as untrusted files.

A checkpoint is a state_dict of a model of `model.registry`, and its arguments as JSON if they
travel with it (without the key 'model', they are those of a CMamba):

    .pt, .pth      the dict itself, or the only dict of tensors in it, such as 'model', 'state_dict'
                   or 'model_state_dict'; arguments at 'args', as a JSON string or a dict
    .npz           one array per tensor; arguments in the string array 'args'
    .safetensors   arguments in the metadata, at 'args'

At 'data_record', likewise, is what the model was trained on (`model.data_record`), if that is
known.

Wrappers put a prefix before all names, such as 'module.', '_orig_mod.' or 'model.'; a model is read
from behind it. Of an average (AveragedModel), its count is left out. A checkpoint of the authors'
CMamba code is taken for that of a PublishedCMamba (`model.official`).

Nothing is unpickled that could run code. Tensors are float32 in memory whatever the file stores.
An archive that unpacks to more than `model.archive_limits` allows is refused before it is unpacked.
A damaged .pt or .npz is noticed by its checksums; safetensors has none, so that there only damage
to the header or the length shows.
"""

import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from common.atomic_write import atomic_write
from common.errors import CmambaError
from model import official
from model.archive_limits import check_archive
from model.args import ModelArgs
from model.data_record import DataRecord
from model.quantization import parameters
from model.quantization.structure import Quantizable
from model.registry import args_from_json, args_to_json, build_from

_SHOWN = 3  # of the names in a message
_EXTRAS = ("args", "data_record")  # what stands beside the tensors
_FORMATS = ".pt, .pth, .npz or .safetensors"

Model = TypeVar("Model", bound=nn.Module)


class CheckpointError(CmambaError, ValueError):
    """A checkpoint cannot be read or written, or does not fit the model; names the file."""


class Checkpoint(NamedTuple):
    """What a file holds: tensors by its own names, and what it says of their model."""

    tensors: dict[str, Tensor]
    args: ModelArgs | None
    record: DataRecord | None


class InputError(CmambaError, ValueError):
    """A file of input windows cannot be used; the message names the file."""


def save_checkpoint(model: nn.Module, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write `model` in the format that the suffix of `path` names: tensors, arguments, data record.

    `dtype` (float32, float16 or bfloat16) is the type that weights are stored in; without it, that
    of the tensors. Parameters of quantization keep theirs. The file appears complete or not at all.
    Raises CheckpointError for an unknown suffix, for bfloat16 in .npz (which has no such type), and
    for values that are not finite in the stored type.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach()
        .to("cpu", tensor.dtype if name.endswith(parameters.SUFFIXES) else dtype or tensor.dtype)
        .contiguous()
        for name, tensor in model.state_dict().items()
    }
    _raise_if_any(path, _not_finite(tensors))
    extras = {"args": args_to_json(model.args)}
    if model.record:
        extras["data_record"] = model.record.to_json()
    match path.suffix:
        case ".pt" | ".pth":
            with atomic_write(path) as file:
                torch.save({"model": tensors, **extras}, file)
        case ".npz":
            if any(tensor.dtype == torch.bfloat16 for tensor in tensors.values()):
                raise CheckpointError(f"{path}: .npz cannot hold bfloat16; use .pt or .safetensors")
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            with atomic_write(path) as file:
                np.savez(file, **{name: np.array(text) for name, text in extras.items()}, **arrays)
        case ".safetensors":
            data = safetensors.torch.save(tensors, metadata=extras)
            with atomic_write(path) as file:
                file.write(_in_order(data, extras))
        case _:
            raise CheckpointError(f"{path}: found suffix {path.suffix!r}, expected {_FORMATS}")


def load_checkpoint(path: str | Path, args: ModelArgs | None = None) -> Checkpoint:
    """Read the tensors (as float32 on the CPU) of a checkpoint, and what stands beside them.

    `args`, if given, takes the place of the arguments in the file. Names are those of the file, but
    for the authors' (`model.official`). Raises CheckpointError, naming the file and the first
    tensors at fault.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    readers = {
        ".pt": _read_pt,
        ".pth": _read_pt,
        ".npz": _read_npz,
        ".safetensors": _read_safetensors,
    }
    if path.suffix not in readers:
        raise CheckpointError(f"{path}: found suffix {path.suffix!r}, expected {_FORMATS}")
    # What the readers raise on a damaged file is not documented and ranges over a dozen types.
    try:
        tensors, extras = readers[path.suffix](path)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a readable {path.suffix} checkpoint ({_reason(path, error)})"
        ) from error

    tensors = {name: value for name, value in tensors.items() if not _is_count(name, tensors)}
    if not tensors:
        raise CheckpointError(f"{path}: found no tensor, expected a state_dict")
    faults = [
        f"{name}: found {_describe(value)}, expected a tensor of floating point numbers"
        for name, value in tensors.items()
        if not _is_real_tensor(name, value)
    ]
    _raise_if_any(path, faults)
    tensors = {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}
    _raise_if_any(path, _not_finite(tensors))
    if args is not None:
        extras["args"] = None
    parsed = {}
    for name, parse in zip(_EXTRAS, (args_from_json, DataRecord.from_json), strict=True):
        try:
            parsed[name] = None if extras.get(name) is None else parse(extras[name])
        except ValueError as error:
            raise CheckpointError(f"{path}: {name!r}: {error}") from error
    args = args or parsed["args"]
    if problem := official.refusal(tensors):
        raise CheckpointError(f"{path}: {problem}")
    if official.is_official(tensors):
        try:
            tensors, args = official.published_tensors(tensors, args)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(tensors, args, parsed["data_record"])


def load_model(
    path: str | Path,
    args: ModelArgs | None = None,
    strict: bool = True,
    kind: type[Model] | UnionType = Quantizable,
) -> Model:
    """Build the model of a checkpoint, in eval mode.

    The architecture is `args`, or else what the file says; it has to be a `kind`, without one a
    forecaster. A regressor that has learned its quantization is a FoldedRegressor. With
    `strict=False` a missing tensor keeps its initial value and an unexpected one is ignored, both
    with a warning; a tensor of another shape is always an error. Raises CheckpointError, naming the
    file and the tensors.
    """
    path = Path(path)
    tensors, args, record = load_checkpoint(path, args)
    if args is None:
        raise CheckpointError(f"{path}: holds no model arguments; give them with --args")
    if record and len(record.columns) != args.num_channels:
        raise CheckpointError(
            f"{path}: 'data_record': found {len(record.columns)} variables, expected "
            f"{args.num_channels} as the model has"
        )
    # Compared with shapes alone first: a wrong argument must not allocate a model of its size.
    quantized = any(name.endswith(".weight_scale") for name in tensors)
    if args.n_layer > len(tensors):
        raise CheckpointError(
            f"{path}: {args.n_layer} blocks have more than {len(tensors)} tensors"
        )
    try:
        with torch.device("meta"):
            model = build_from(args, quantized)
    except (RuntimeError, TypeError, OverflowError) as error:  # sizes beyond those of tensors
        raise CheckpointError(
            f"{path}: no model can be made of its arguments: {_in_one_line(error)}"
        ) from error
    if not isinstance(model, kind):
        expected = " or ".join(cls.__name__ for cls in get_args(kind) or (kind,))
        raise CheckpointError(f"{path}: found a {type(model).__name__}, expected a {expected}")
    quantized = quantized and isinstance(model, Quantizable)
    if quantized:
        parameters.declare(model)
    expected = model.state_dict()
    tensors = _unwrapped(path, tensors, expected)
    missing = [
        f"{name} {list(tensor.shape)}" for name, tensor in expected.items() if name not in tensors
    ]
    unexpected = [
        f"{name} {list(tensor.shape)}" for name, tensor in tensors.items() if name not in expected
    ]
    misshaped = [
        f"{name}: found shape {list(tensors[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    faults = [_first_few(misshaped)] if misshaped else []
    differences = {"missing": missing, "unexpected": unexpected}
    for what, found in differences.items():
        if found and strict:
            faults.append(f"{what} {_first_few(found, ', ')}")
        elif found and not misshaped:
            warnings.warn(f"{path}: {what} {_first_few(found, ', ')}", stacklevel=2)
    if faults:
        raise CheckpointError(f"{path}: {'; '.join(faults)}")
    model = build_from(args, quantized)
    if quantized:
        parameters.declare(model)
    model.load_state_dict(tensors, strict=False)
    if quantized:
        _raise_if_any(path, list(parameters.faults(model)))
    model.record = record
    return model.eval()


def weights_sha256(model: nn.Module) -> str:
    """Fingerprint of a model's tensors: SHA-256 of their names, shapes and float32 values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().float().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def load_npz_input(path: str | Path) -> Tensor:
    """Read input windows: key 'x', or the only array of the file -> float32 [B, V, L].

    Raises InputError for a file that is not such an .npz, for another rank or type, an empty
    array, and values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        arrays = _npz_arrays(path)
    except Exception as error:  # as in load_checkpoint
        raise InputError(f"{path}: not a readable .npz ({_reason(path, error)})") from error
    key = next(iter(arrays)) if len(arrays) == 1 else "x"
    if key not in arrays:
        found = ", ".join(map(repr, arrays)) or "nothing"
        raise InputError(f"{path}: found {found}, expected an array 'x' (or a single array)")
    x = arrays[key]
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(f"{path}: {key!r}: found type {x.dtype}, expected float32")
    if x.ndim != 3 or x.size == 0:
        raise InputError(f"{path}: {key!r}: found shape {list(x.shape)}, expected [B, V, L]")
    with np.errstate(over="ignore"):  # an overflow to infinity is reported below
        x = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(x).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise InputError(
            f"{path}: {key!r}: found {(~np.isfinite(x)).sum()} values that are NaN or infinite, "
            f"the first at {first}, expected finite values"
        )
    return torch.from_numpy(x)


def _in_order(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """A .safetensors file with its metadata in this order: the library's own is that of a hash
    table, another one in each process."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end]) | {"__metadata__": metadata}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def _read_pt(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    if zipfile.is_zipfile(path):  # PyTorch stores checksums, but does not compare them
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise CheckpointError(f"{path}: {damaged} does not match its checksum")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: found {_describe(content)}, expected a dict of tensors")
    extras = {name: content[name] for name in _EXTRAS if name in content}
    models = [name for name, value in content.items() if _is_state_dict(value)]
    if len(models) > 1:
        raise CheckpointError(
            f"{path}: found several state_dicts: {', '.join(map(repr, models))}; save one of them "
            "alone"
        )
    if models:
        return content[models[0]], extras
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            return content[key], extras
    if isinstance(content.get("shadow_params"), list):
        raise CheckpointError(
            f"{path}: found 'shadow_params', an average without names; copy it to a model and save "
            "the state_dict of that"
        )
    return {name: value for name, value in content.items() if name not in extras}, extras


def _is_state_dict(value: object) -> bool:
    return isinstance(value, dict) and any(
        isinstance(name, str) and isinstance(entry, Tensor) and entry.is_floating_point()
        for name, entry in value.items()
    )


def _is_count(name: object, tensors: Mapping[str, Any]) -> bool:
    """Whether an entry counts the steps of an AveragedModel; its 'module' has all else."""
    if not isinstance(name, str) or not re.fullmatch(r"(.*\.)?n_averaged", name):
        return False
    inside = name.removesuffix("n_averaged") + "module."
    return all(str(other).startswith(inside) for other in tensors if other != name)


def _unwrapped(
    path: Path, tensors: dict[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors by the model's names, if they all lie behind one prefix; else as they are.

    Raises CheckpointError, naming the prefixes, where the model's tensors are there behind several,
    or beside others.
    """
    # torch.compile's also stands between the names of modules.
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    tensors = plain if len(plain) == len(tensors) else tensors
    if expected.keys() & tensors.keys():
        return tensors
    modules = next(iter(tensors)).split(".")[:-1]
    for count in range(1, len(modules) + 1):
        prefix = ".".join(modules[:count]) + "."
        inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        if all(name.startswith(prefix) for name in tensors) and expected.keys() & inside.keys():
            return inside
    first = next(iter(expected))
    prefixes = [
        prefix
        for name in tensors
        if name.endswith(f".{first}")
        and all((prefix := name.removesuffix(first)) + other in tensors for other in expected)
    ]
    if prefixes:
        others = [name for name in tensors if not name.startswith(tuple(prefixes))]
        also = f", beside {_first_few(others, ', ')}" if others else ""
        raise CheckpointError(
            f"{path}: found the model's tensors behind {' and '.join(map(repr, prefixes))}{also}; "
            "save the state_dict of the model alone"
        )
    return tensors


def _read_npz(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    arrays = _npz_arrays(path)
    extras = {name: arrays.pop(name) for name in _EXTRAS if name in arrays}
    for name, array in extras.items():
        if array.dtype.kind != "U" or array.ndim != 0:
            raise CheckpointError(
                f"{path}: {name!r}: found {array.dtype} {list(array.shape)}, expected one string"
            )
        extras[name] = str(array)
    return {name: _to_tensor(array) for name, array in arrays.items()}, extras


def _read_safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        extras = {name: text for name, text in (file.metadata() or {}).items() if name in _EXTRAS}
        return {name: file.get_tensor(name) for name in file.keys()}, extras  # noqa: SIM118


def _npz_arrays(path: Path) -> dict[str, np.ndarray]:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("found a single .npy array, expected an archive of them")
    with file:
        check_archive(path)
        arrays = {name: file[name] for name in file.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a member without NumPy's header comes as bytes
            raise ValueError(f"{name}: found bytes, expected an array")
    return arrays


def _to_tensor(array: np.ndarray) -> Any:
    """Arrays of types that torch lacks, such as strings, stay as they are, to be reported."""
    if array.dtype.kind == "f":  # of any byte order and length
        native = array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 else np.float64
        array = array.astype(native, copy=False)
    return torch.from_numpy(array) if array.dtype.kind in "fiub" else array


def _is_real_tensor(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_meta
        and value.is_floating_point()
    )


def _describe(value: object) -> str:
    if not isinstance(value, Tensor | np.ndarray):
        return type(value).__name__
    storage = ""
    if isinstance(value, Tensor) and value.is_meta:
        storage = " without values"
    elif isinstance(value, Tensor) and value.layout != torch.strided:
        storage = f" as {value.layout}"
    return f"{value.dtype} {list(value.shape)}{storage}"


def _reason(path: Path, error: Exception) -> str:
    """Why a reader has refused a file: what the file is, if it is text, or else what it says."""
    with open(path, "rb") as file:
        first = file.read(80).partition(b"\n")[0].rstrip(b"\r")
    if first.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the file that it stands for"
    if len(first) > 3 and first.isascii() and first.decode().isprintable():
        return f"it is text that begins with {first[:40].decode()!r}"
    return ": ".join(filter(None, (type(error).__name__, _in_one_line(error))))


def _in_one_line(error: Exception) -> str:
    """What an error says, without PyTorch's stacks, and without its advice to run code of a file
    that holds more than tensors."""
    text = str(error)
    if found := re.search(r"WeightsUnpickler error: (.*)", text):
        text = found[1]
    if found := re.search(r"GLOBAL (\S+)", text):
        text = f"found {found[1]}, expected tensors alone, such as those of a state_dict"
    return text.partition("\n")[0]


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    faults = []
    for name, tensor in tensors.items():
        count = int((~torch.isfinite(tensor)).sum())
        if count:
            faults.append(f"{name}: found {count} of {tensor.numel()} values NaN or infinite")
    return faults


def _raise_if_any(path: Path, faults: list[str]) -> None:
    if faults:
        raise CheckpointError(f"{path}: {_first_few(faults)}")


def _first_few(what: list[str], separator: str = "; ") -> str:
    """The first of a list, and how many more there are."""
    more = [f"and {len(what) - _SHOWN} more"] if len(what) > _SHOWN else []
    return separator.join([*what[:_SHOWN], *more])
