"""Checkpoints and input files: round trips, foreign files, and damaged or hostile ones."""

import os
import pickle
import resource
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model.args import ModelArgs
from model.cmamba import CMamba
from model.io import (
    CheckpointError,
    InputError,
    load_checkpoint,
    load_model,
    load_npz_input,
    save_checkpoint,
)

SUFFIXES = [".pt", ".pth", ".npz", ".safetensors"]


def small(topology="stacked"):
    torch.manual_seed(0)
    return CMamba(
        ModelArgs(num_channels=3, seq_len=32, d_model=16, n_layer=2, d_state=4, topology=topology)
    ).eval()


def assert_same(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        assert theirs[name].dtype == torch.float32 and torch.equal(ours[name], theirs[name]), name


@pytest.fixture
def path(tmp_path):
    return lambda suffix: tmp_path / f"model{suffix}"


# --- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("topology", ["stacked", "nested"])
def test_round_trip_is_exact(path, suffix, topology):
    model = small(topology)
    save_checkpoint(model, path(suffix))
    loaded = load_model(path(suffix))
    assert loaded.args == model.args and not loaded.training
    assert_same(model, loaded)
    assert os.listdir(path("").parent) == [f"model{suffix}"]


@settings(max_examples=20)
@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=16))
def test_round_trip_of_any_float32(tmp_path_factory, values):
    model = small()
    with torch.no_grad():
        model.norm_f.weight.copy_(torch.tensor(values[:16]))
    for suffix in SUFFIXES:
        file = tmp_path_factory.getbasetemp() / f"any{suffix}"
        save_checkpoint(model, file)
        bits = load_model(file).norm_f.weight.detach().view(torch.int32)
        assert torch.equal(bits, model.norm_f.weight.detach().view(torch.int32))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_float32(path, suffix, dtype):
    model = small()
    if suffix == ".npz" and dtype == torch.bfloat16:
        with pytest.raises(CheckpointError, match="cannot hold bfloat16"):
            save_checkpoint(model, path(suffix), dtype)
        return
    save_checkpoint(model, path(suffix), dtype)
    rounded = {name: t.to(dtype).float() for name, t in model.state_dict().items()}
    model.load_state_dict(rounded)
    assert_same(model, load_model(path(suffix)))


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_same_model_same_bytes(path, suffix):
    save_checkpoint(small(), path(suffix))
    first = path(suffix).read_bytes()
    save_checkpoint(small(), path(suffix))
    assert path(suffix).read_bytes() == first


# --- files of the original project and others ----------------------------------------------------


@pytest.mark.parametrize("topology", ["stacked", "nested"])
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"model": d}, lambda d: {"state_dict": d}])
def test_bare_and_wrapped_state_dicts(path, topology, wrap):
    model = small(topology)
    torch.save(wrap(dict(model.state_dict())), path(".pt"))
    assert load_checkpoint(path(".pt"))[1] is None
    with pytest.raises(CheckpointError, match=r"model\.pt: holds no model arguments.*--args"):
        load_model(path(".pt"))
    assert_same(model, load_model(path(".pt"), model.args))


def test_arguments_as_a_dict_and_other_entries_beside(path):
    model = small()
    content = {"state_dict": model.state_dict(), "epoch": 3, "optimizer": {"lr": 0.1}}
    args = {"num_channels": 3, "seq_len": 32, "d_model": 16, "n_layer": 2, "d_state": 4}
    torch.save(content | {"args": args}, path(".pt"))
    assert_same(model, load_model(path(".pt")))


def test_given_arguments_take_precedence(path):
    model = small()
    save_checkpoint(model, path(".npz"))
    args = ModelArgs.from_dict({**vars(model.args), "instance_norm": True})
    assert load_model(path(".npz"), args).args.instance_norm


def test_npz_and_safetensors_without_arguments(path):
    model = small()
    arrays = {name: t.double().numpy() for name, t in model.state_dict().items()}
    np.savez_compressed(path(".npz"), **arrays)
    safetensors.torch.save_file(model.state_dict(), path(".safetensors"))
    for suffix in (".npz", ".safetensors"):
        assert load_checkpoint(path(suffix))[1] is None
        assert_same(model, load_model(path(suffix), model.args))


# --- what does not fit ---------------------------------------------------------------------------


def damaged_state():
    state = dict(small().state_dict())
    del state["norm_f.weight"]
    state["blocks.0.D"] = torch.zeros(31)
    state["blocks.7.D"] = torch.zeros(32)
    return state


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_strict_lists_every_difference(path, suffix):
    save_state(damaged_state(), path(suffix))
    with pytest.raises(CheckpointError) as error:
        load_model(path(suffix), small().args)
    message = str(error.value)
    assert str(path(suffix)) in message
    assert "missing norm_f.weight [16]" in message
    assert "unexpected blocks.7.D [32]" in message
    assert "blocks.0.D: found shape [31], expected [32]" in message


def test_lax_warns_but_never_reshapes(path):
    state = damaged_state()
    save_state(state, path(".pt"))
    with pytest.raises(CheckpointError, match=r"blocks\.0\.D: found shape") as error:
        load_model(path(".pt"), small().args, strict=False)
    assert "missing" not in str(error.value)
    state["blocks.0.D"] = torch.full((32,), 2.0)
    save_state(state, path(".pt"))
    with pytest.warns(UserWarning) as warnings:
        model = load_model(path(".pt"), small().args, strict=False)
    assert len(warnings) == 2 and model.blocks[0].D[0] == 2 and model.norm_f.weight[0] == 1


def test_other_topology_is_an_error(path):
    save_checkpoint(small("nested"), path(".pt"))
    with pytest.raises(CheckpointError, match=r"missing blocks\.0\.A_log"):
        load_model(path(".pt"), small("stacked").args)


def test_absurd_arguments_do_not_allocate(path):
    save_state(dict(small().state_dict()), path(".pt"))
    with pytest.raises(CheckpointError, match="found shape"):
        load_model(path(".pt"), ModelArgs(d_model=10**6, seq_len=10**9))
    with pytest.raises(CheckpointError, match="1000000000 blocks have more than"):
        load_model(path(".pt"), ModelArgs(n_layer=10**9))
    for absurd in (ModelArgs(pad_multiple=10**18), ModelArgs(d_model=10**30)):
        with pytest.raises(CheckpointError, match="no model can be made of its arguments") as error:
            load_model(path(".pt"), absurd)
        assert "\n" not in str(error.value)  # PyTorch gives a stack


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(path, suffix, value):
    model = small()
    state = {name: t.clone() for name, t in model.state_dict().items()}
    state["blocks.1.D"][3:5] = value
    save_state(state, path(suffix))
    expected = r"blocks\.1\.D: found 2 of 32 values NaN or infinite"
    with pytest.raises(CheckpointError, match=expected):
        load_model(path(suffix), model.args)
    model.load_state_dict(state)
    with pytest.raises(CheckpointError, match=expected):
        save_checkpoint(model, path(suffix))


def test_overflow_of_the_stored_type_leaves_the_old_file(path):
    model = small()
    save_checkpoint(model, path(".pt"))
    before = path(".pt").read_bytes()
    with torch.no_grad():
        model.norm_f.weight[0] = 1e6
    with pytest.raises(CheckpointError, match=r"norm_f\.weight: found 1 of 16"):
        save_checkpoint(model, path(".pt"), torch.float16)
    assert path(".pt").read_bytes() == before


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(3, dtype=torch.int32), r"torch\.int32 \[3\]"),
        (torch.zeros(2, dtype=torch.complex64), r"torch\.complex64 \[2\]"),
        (torch.zeros(2).to_sparse(), r"torch\.float32 \[2\] as torch\.sparse_coo"),
        (torch.zeros(2, device="meta"), r"torch\.float32 \[2\] without values"),
        ("text", "str"),
        (3, "int"),
    ],
)
def test_entries_that_are_no_real_tensors(path, value, found):
    torch.save({"norm_f.weight": torch.ones(3), "blocks.0.D": value}, path(".pt"))
    with pytest.raises(
        CheckpointError, match=rf"blocks\.0\.D: found {found}, expected a tensor of float"
    ):
        load_checkpoint(path(".pt"))


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble])
def test_arrays_of_types_that_torch_lacks(path, dtype):
    model = small()
    arrays = {name: t.numpy().astype(dtype) for name, t in model.state_dict().items()}
    np.savez(path(".npz"), **arrays)
    assert_same(model, load_model(path(".npz"), model.args))


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
@pytest.mark.parametrize("args", ['{"d_modle": 3}', '{"n_layer": -1}', "}"])
def test_bad_stored_arguments(path, suffix, args):
    save_state(dict(small().state_dict()), path(suffix), args)
    with pytest.raises(CheckpointError, match=f"model{suffix}: 'args': ModelArgs"):
        load_checkpoint(path(suffix))


def save_state(state, path, args=None):
    """Write without the checks of save_checkpoint."""
    match path.suffix:
        case ".pt" | ".pth":
            torch.save({"model": state} | ({"args": args} if args else {}), path)
        case ".npz":
            arrays = {name: t.numpy() for name, t in state.items()}
            np.savez(path, **arrays, **({"args": np.array(args)} if args else {}))
        case ".safetensors":
            safetensors.torch.save_file(state, path, {"args": args} if args else None)


# --- damaged and hostile files -------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
def test_truncated_file(tmp_path_factory, suffix, data):
    file = tmp_path_factory.getbasetemp() / f"truncated{suffix}"
    if not file.exists():
        save_checkpoint(small(), file)
    content = file.read_bytes()
    cut = file.with_name(f"cut{suffix}")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError, match=f"cut{suffix}"):
        load_model(cut)


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_flipped_bit_in_a_weight(path, suffix):
    model = small()
    save_checkpoint(model, path(suffix))
    content = bytearray(path(suffix).read_bytes())
    content[content.index(model.patch_embedding.weight.detach().numpy().tobytes()) + 5] ^= 1
    path(suffix).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checksum|CRC"):
        load_model(path(suffix))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", SUFFIXES)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_rejected(tmp_path_factory, suffix, content):
    file = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"bytes{suffix}"):
        load_checkpoint(file)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 420535\n",
            "it is a pointer of Git LFS; `git lfs pull` fetches the file that it stands for",
        ),
        ("<!DOCTYPE html>\r\n<html>\n", "it is text that begins with '<!DOCTYPE html>'"),
        ("Entry not found", "it is text that begins with 'Entry not found'"),
    ],
)
def test_text_in_place_of_a_checkpoint_is_named(path, suffix, content, what):
    path(suffix).write_bytes(content.encode())
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path(suffix))
    assert str(error.value) == f"{path(suffix)}: not a readable {suffix} checkpoint ({what})"
    path(".npz").write_bytes(content.encode())
    with pytest.raises(InputError) as error:
        load_npz_input(path(".npz"))
    assert str(error.value) == f"{path('.npz')}: not a readable .npz ({what})"


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


def test_code_in_a_pickle_does_not_run(path, tmp_path):
    target = tmp_path / "executed"
    torch.save({"model": {"norm_f.weight": Bomb(target)}}, path(".pt"))
    path(".pth").write_bytes(pickle.dumps({"a": Bomb(target)}, protocol=2))
    np.savez(path(".npz"), a=np.array([Bomb(target)], dtype=object))
    for suffix in (".pt", ".pth", ".npz"):
        with pytest.raises(CheckpointError, match=f"model{suffix}: not a readable"):
            load_checkpoint(path(suffix))
    with pytest.raises(InputError, match="not a readable"):
        load_npz_input(path(".npz"))
    assert not target.exists()


def test_a_pickled_model_is_refused_in_a_line_without_advice_to_run_it(path):
    torch.save(small(), path(".pt"))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path(".pt"))
    message = str(error.value)
    assert "found model.cmamba.CMamba, expected tensors alone" in message
    assert "\n" not in message and "weights_only" not in message


def test_missing_file_and_unknown_suffix(path, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_model(path(".pt"))
    with pytest.raises(CheckpointError, match="no such file"):
        load_model(tmp_path)
    path(".onnx").touch()
    for call in (
        lambda: load_model(path(".onnx")),
        lambda: save_checkpoint(small(), path(".onnx")),
    ):
        with pytest.raises(CheckpointError, match=r"found suffix '\.onnx', expected \.pt"):
            call()


def test_empty_checkpoint(path):
    torch.save({}, path(".pt"))
    with pytest.raises(CheckpointError, match="found no tensor"):
        load_checkpoint(path(".pt"))
    torch.save([torch.zeros(2)], path(".pt"))
    with pytest.raises(CheckpointError, match="found list, expected a dict"):
        load_checkpoint(path(".pt"))


def test_failed_write_leaves_nothing(path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(small(), path(".pt"))
    assert os.listdir(path("").parent) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_an_error_that_names_the_file(path, suffix):
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{path(suffix)}'"):
            save_checkpoint(small(), path(suffix))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert os.listdir(path("").parent) == []


# --- input windows -------------------------------------------------------------------------------


def test_input_by_key_or_alone(path):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.savez(path(".npz"), x=x, y=np.zeros(3))
    assert np.array_equal(load_npz_input(path(".npz")).numpy(), x)
    np.savez(path(".npz"), window=x.astype(np.float64))
    loaded = load_npz_input(path(".npz"))
    assert loaded.dtype == torch.float32 and np.array_equal(loaded.numpy(), x)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((1, 2, 3)), "b": np.zeros(3)}, "found 'a', 'b', expected an array 'x'"),
        ({}, "found nothing, expected an array 'x'"),
        ({"x": np.zeros((2, 3))}, r"found shape \[2, 3\], expected \[B, V, L\]"),
        ({"x": np.zeros((0, 3, 4))}, r"found shape \[0, 3, 4\]"),
        ({"x": np.zeros((1, 2, 3), int)}, "found type int64, expected float32"),
        ({"x": np.array([[["a"]]])}, "found type <U1"),
        ({"x": np.array([[[0.0, np.nan, np.inf]]])}, r"found 2 values .* first at \(0, 0, 1\)"),
        ({"x": np.full((1, 1, 1), 1e300)}, "found 1 values that are NaN or infinite"),
    ],
)
def test_bad_input(path, arrays, message):
    np.savez(path(".npz"), **arrays)
    with pytest.raises(InputError, match=message) as error:
        load_npz_input(path(".npz"))
    assert str(path(".npz")) in str(error.value)


def test_unreadable_input(path):
    with pytest.raises(InputError, match="no such file"):
        load_npz_input(path(".npz"))
    np.save(path(".npy"), np.zeros((1, 2, 3)))
    path(".npy").rename(path(".npz"))
    with pytest.raises(InputError, match=r"a single \.npy array"):
        load_npz_input(path(".npz"))
    with zipfile.ZipFile(path(".npz"), "w") as archive:
        archive.writestr("x", b"not an array")
    with pytest.raises(InputError, match="x: found bytes, expected an array"):
        load_npz_input(path(".npz"))


# --- wrappers of other frameworks ----------------------------------------------------------------


def averaged(model):
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    return average.state_dict()


def behind(*prefixes):
    return lambda model: {p + name: t for p in prefixes for name, t in model.state_dict().items()}


WRAPPED = {
    "DataParallel": lambda model: nn.DataParallel(model).state_dict(),
    "compiled": lambda model: torch.compile(model).state_dict(),
    "compiled in DataParallel": lambda m: nn.DataParallel(torch.compile(m)).state_dict(),
    "a compiled block": behind("_orig_mod."),
    "Lightning": lambda model: {
        "state_dict": behind("model.")(model),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}],
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.3)}},
    },
    "an attribute of another name": behind("forecaster.net."),
    "AveragedModel": averaged,
    "AveragedModel in a dict": lambda model: {"swa": averaged(model), "epoch": 3},
    "model_state_dict": lambda model: {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": torch.optim.AdamW(model.parameters()).state_dict(),
        "loss": 0.3,
    },
    "model and optimizer": lambda model: {
        "model": model.state_dict(),
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "rng": {"cpu": torch.get_rng_state()},
    },
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_a_wrapped_model(path, wrapper):
    model = small()
    torch.save(WRAPPED[wrapper](model), path(".pt"))
    assert_same(model, load_model(path(".pt"), model.args))


def test_a_compiled_block(path):
    model = small()
    model.blocks[0] = torch.compile(model.blocks[0])
    torch.save(model.state_dict(), path(".pt"))
    assert "blocks.0._orig_mod.D" in model.state_dict()
    assert_same(small(), load_model(path(".pt"), model.args))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_wrapped_model_in_other_files(path, suffix):
    save_state(behind("module.")(small()), path(suffix))
    assert_same(small(), load_model(path(suffix), small().args))


AMBIGUOUS = {
    "two models": (
        lambda model: {"state_dict": model.state_dict(), "state_dict_ema": model.state_dict()},
        "found several state_dicts: 'state_dict', 'state_dict_ema'; save one of them alone",
    ),
    "two prefixes": (
        behind("online_model.", "ema_model."),
        "found the model's tensors behind 'online_model.' and 'ema_model.'; save the state_dict ",
    ),
    "a loss with weights": (
        lambda model: behind("model.")(model) | {"criterion.weight": torch.ones(3)},
        "found the model's tensors behind 'model.', beside criterion.weight; save the state_dict",
    ),
    "shadow_params": (
        lambda model: {"decay": 0.9, "shadow_params": list(model.state_dict().values())},
        "found 'shadow_params', an average without names; ",
    ),
}


@pytest.mark.parametrize("wrapper", AMBIGUOUS)
def test_a_wrapper_that_leaves_a_choice_is_named_in_one_line(path, wrapper):
    wrap, message = AMBIGUOUS[wrapper]
    torch.save(wrap(small()), path(".pt"))
    with pytest.raises(CheckpointError) as error:
        load_model(path(".pt"), small().args)
    assert str(error.value).startswith(f"{path('.pt')}: {message}")
    assert "\n" not in str(error.value)


def test_differences_are_the_first_few_and_a_count(path):
    state = {f"encoder.{i}": torch.zeros(2) for i in range(7)}
    torch.save(state, path(".pt"))
    with pytest.raises(CheckpointError) as error:
        load_model(path(".pt"), small().args)
    count = len(small().state_dict())
    names = [f"{name} {list(t.shape)}" for name, t in list(small().state_dict().items())[:3]]
    assert str(error.value) == (
        f"{path('.pt')}: missing {', '.join(names)}, and {count - 3} more; unexpected "
        "encoder.0 [2], encoder.1 [2], encoder.2 [2], and 4 more"
    )


def test_what_a_wrapped_model_lacks_is_told_by_its_own_names(path):
    state = behind("module.")(small())
    del state["module.norm_f.weight"]
    torch.save(state, path(".pt"))
    with pytest.raises(CheckpointError, match=r"model\.pt: missing norm_f\.weight \[16\]$"):
        load_model(path(".pt"), small().args)
