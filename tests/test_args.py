"""Validation, derived values and JSON form of ModelArgs."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.args import ModelArgs


def test_defaults_resolve():
    args = ModelArgs()
    assert (args.num_patches, args.d_inner, args.dt_rank, args.forecast_len) == (11, 256, 8, 96)
    assert dataclasses.is_dataclass(args) and hash(args) == hash(ModelArgs())
    with pytest.raises(dataclasses.FrozenInstanceError):
        args.d_model = 64


def test_channel_modes_split_the_variables():
    mixing = ModelArgs(num_channels=7)
    independent = ModelArgs(num_channels=7, channel_mode="independent")
    assert (mixing.n_seq, mixing.core_channels) == (1, 7)
    assert (independent.n_seq, independent.core_channels) == (7, 1)


@given(d_model=st.integers(1, 300), horizon=st.integers(1, 300), multiple=st.integers(1, 40))
def test_dt_rank_and_forecast_length(d_model, horizon, multiple):
    args = ModelArgs(d_model=d_model, forecast_len=horizon, pad_multiple=multiple)
    assert args.dt_rank == math.ceil(d_model / 16)
    assert args.forecast_len % multiple == 0
    assert 0 <= args.forecast_len - horizon < multiple


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("num_channels", 0, "integer >= 1"),
        ("d_model", "128", "integer >= 1"),
        ("d_model", 128.0, "integer >= 1"),
        ("n_layer", True, "integer >= 1"),
        ("expand", -2, "integer >= 1"),
        ("dt_rank", "automatic", "integer >= 1 or 'auto'"),
        ("patch_len", 97, "at most seq_len = 96"),
        ("conv_bias", 1, "true or false"),
        ("instance_norm", "no", "true or false"),
        ("sigma", -0.1, ">= 0"),
        ("sigma", math.nan, "finite"),
        pytest.param("sigma", 10**400, "a finite number", id="sigma-huge"),
        ("norm_eps", 0.0, "> 0"),
        ("norm_eps", None, "a number"),
        ("dropout", 1.0, "[0, 1)"),
        ("head_dropout", -0.1, "[0, 1)"),
        ("topology", "Nested", "'stacked' or 'nested'"),
        ("channel_mode", ["mixing"], "'mixing' or 'independent'"),
    ],
)
def test_each_field_is_checked(field, value, expected):
    with pytest.raises(ValueError) as error:
        ModelArgs(**{field: value})
    message = str(error.value)
    assert f"ModelArgs.{field}: found {value!r}, expected" in message
    assert expected in message


def test_sizes_beyond_those_of_a_float():
    args = ModelArgs(d_model=10**400, forecast_len=10**400 + 1)
    assert args.dt_rank == 10**400 // 16
    assert args.forecast_len == 10**400 + 8


def test_attention_needs_a_hidden_feature():
    ModelArgs(d_model=4)
    with pytest.raises(ValueError, match="reduction_ratio: found 8, expected at most d_model = 4"):
        ModelArgs(d_model=4, topology="nested")


def test_json_round_trip():
    args = ModelArgs(d_model=33, forecast_len=90, topology="nested", sigma=1, instance_norm=True)
    assert ModelArgs.from_json(args.to_json()) == args
    assert ModelArgs.from_json('{"d_model": 33}') == ModelArgs(d_model=33)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"d_model": 64, "d_modle": 32}', "unknown fields d_modle"),
        ("[1, 2]", "found list, expected an object"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"sigma": NaN}', "ModelArgs.sigma: found nan"),
    ],
)
def test_json_errors(text, message):
    with pytest.raises(ValueError, match=message):
        ModelArgs.from_json(text)


def test_json_holds_every_field():
    names = [field.name for field in dataclasses.fields(ModelArgs)]
    assert list(json.loads(ModelArgs().to_json())) == names
