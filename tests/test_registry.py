"""Models by name: what an entry builds, and how a checkpoint says which model it is."""

import dataclasses
import json

import pytest
import torch

from model import registry
from model.args import ModelArgs
from model.cmamba import CMamba
from model.inputs import read_args
from model.io import CheckpointError, load_model, save_checkpoint
from model.registry import REGISTRY, Entry, args_from_json, args_to_json, build_from, build_model
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs

SMALL = {"num_channels": 3, "d_model": 16, "n_layer": 1, "d_state": 4}


@pytest.mark.parametrize("name", REGISTRY)
def test_every_entry_builds_saves_and_loads(tmp_path, name):
    model = build_model(name, **SMALL)
    assert type(model) is REGISTRY[name].build and model.args.d_model == 16
    for suffix in (".safetensors", ".pt", ".npz"):
        path = tmp_path / f"w{suffix}"
        save_checkpoint(model, path)
        loaded = load_model(path, kind=torch.nn.Module)
        assert type(loaded) is type(model) and loaded.args == model.args
        for key, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], tensor), key


def test_entries_of_the_same_arguments_have_the_same_class():
    classes = {}
    for entry in REGISTRY.values():
        assert classes.setdefault(entry.args_class, entry.build) is entry.build


def test_defaults_and_options():
    assert build_model("independent", **SMALL).args.channel_mode == "independent"
    assert build_model("nested", **SMALL).args.topology == "nested"
    assert build_model("nested", **SMALL, topology="stacked").args.topology == "stacked"
    assert isinstance(build_model("regressor", num_features=5, **SMALL), MambaRegressor)


def test_one_entry_adds_a_model(monkeypatch, tmp_path):
    class WideArgs(RegressorArgs):
        pass

    class Wide(MambaRegressor):
        pass

    args_class = dataclasses.dataclass(frozen=True)(WideArgs)
    entry = Entry("wider", Wide, args_class, {"num_channels": 9})
    monkeypatch.setitem(registry.REGISTRY, "wide", entry)
    model = build_model("wide", d_model=16, n_layer=1)
    save_checkpoint(model, tmp_path / "w.safetensors")
    assert type(load_model(tmp_path / "w.safetensors", kind=MambaRegressor)) is Wide
    assert json.loads(args_to_json(model.args))["model"] == "wide"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mamba", {}, "model: found 'mamba', expected one of mixing, independent, nested"),
        ("mixing", {"num_features": 3}, "unknown fields num_features"),
        ("regressor", {"num_features": 0}, "RegressorArgs.num_features: found 0, expected an int"),
        ("regressor", {"forecast_len": 2}, "RegressorArgs.forecast_len: found 2, expected 1"),
        ("regressor", {"instance_norm": True}, "instance_norm: found True, expected False"),
        ("regressor", {"patch_len": 40}, "patch_len: found 40, expected at most seq_len = 32"),
    ],
)
def test_bad_names_and_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, **options)


def test_arguments_of_a_cmamba_are_written_as_before():
    args = ModelArgs(num_channels=7)
    assert args_to_json(args) == args.to_json()
    assert args_from_json(args.to_json()) == args
    assert args_from_json({"model": "mixing", "num_channels": 7}) == args


def test_arguments_of_a_regressor_name_it(tmp_path):
    args = RegressorArgs(num_features=5)
    assert json.loads(args_to_json(args))["model"] == "regressor"
    assert args_from_json(args_to_json(args)) == args
    (tmp_path / "args.json").write_text('{"model": "regressor", "num_features": 5}')
    assert read_args(tmp_path / "args.json") == args
    assert type(build_from(args)) is MambaRegressor


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "ModelArgs: not valid JSON"),
        ("[" * 100_000, "ModelArgs: not valid JSON"),
        ("[1]", "ModelArgs: found list, expected an object"),
        ('{"model": "other"}', "model: found 'other', expected one of"),
        ('{"model": ["mixing"]}', r"model: found \['mixing'\], expected one of"),
        ('{"model": "regressor", "d_modle": 3}', "unknown fields d_modle"),
    ],
)
def test_damaged_arguments(content, message):
    with pytest.raises(ValueError, match=message):
        args_from_json(content)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_checkpoint(build_model("regressor", **SMALL), path)
    with pytest.raises(CheckpointError, match="found a MambaRegressor, expected a CMamba"):
        load_model(path)
    save_checkpoint(build_model("mixing", **SMALL), path)
    assert isinstance(load_model(path), CMamba)
    with pytest.raises(CheckpointError, match="found a CMamba, expected a MambaRegressor"):
        load_model(path, kind=MambaRegressor)
