"""Hyper-parameters of a CMamba, validated once and immutable."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

_POSITIVE_INTEGERS = (
    "num_channels",
    "seq_len",
    "patch_len",
    "stride",
    "forecast_len",
    "d_model",
    "n_layer",
    "d_state",
    "expand",
    "dt_rank",
    "d_conv",
    "pad_multiple",
    "reduction_ratio",
)
_FLAGS = ("conv_bias", "bias", "instance_norm")
# A trained model is the same whatever these are.
TRAINING_ONLY = frozenset({"sigma", "dropout", "head_dropout"})
_CHOICES = {"topology": ("stacked", "nested"), "channel_mode": ("mixing", "independent")}


@dataclass(frozen=True)
class ModelArgs:
    """Shape and options of a CMamba (symbols as in `model.cmamba`).

    `dt_rank='auto'` becomes ceil(d_model / 16) and `forecast_len` is rounded up to a multiple of
    `pad_multiple`, so both fields hold the values in use. Raises ValueError, naming the field, what
    was found and what is expected.
    """

    num_channels: int = 24  # V, variables of the series
    seq_len: int = 96  # L, time steps of the input window
    patch_len: int = 16  # P, time steps of a patch
    stride: int = 8  # S, time steps from one patch to the next
    forecast_len: int = 96  # H, time steps of the forecast
    d_model: int = 128  # D, features of the residual stream
    n_layer: int = 4  # blocks; nested: CMambaBlocks, and MambaBlocks in each
    d_state: int = 16  # N, states of a feature in the scan
    expand: int = 2  # E = expand * D
    dt_rank: int | Literal["auto"] = "auto"  # R, rank of the time-step projection
    d_conv: int = 4  # taps of the causal convolution
    pad_multiple: int = 8  # H is rounded up to a multiple of it; 1 leaves H as it is
    conv_bias: bool = True
    bias: bool = False  # biases of in_proj and out_proj
    reduction_ratio: int = 8  # nested: hidden width of ChannelAttention is D // reduction_ratio
    sigma: float = 0.5  # standard deviation of ChannelMixup (training only)
    norm_eps: float = 1e-5  # epsilon of every RMSNorm
    topology: Literal["stacked", "nested"] = "stacked"
    channel_mode: Literal["mixing", "independent"] = "mixing"
    instance_norm: bool = False  # reversible instance normalization around the network
    dropout: float = 0.0  # training only
    head_dropout: float = 0.0  # of the outputs, training only; pulls forecasts to the mean

    def __post_init__(self) -> None:
        if self.dt_rank == "auto" and _is_positive_integer(self.d_model):
            object.__setattr__(self, "dt_rank", -(-self.d_model // 16))
        for name in _POSITIVE_INTEGERS:
            if not _is_positive_integer(getattr(self, name)):
                alternative = " or 'auto'" if name == "dt_rank" else ""
                self._fail(name, f"an integer >= 1{alternative}")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                self._fail(name, "true or false")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                self._fail(name, " or ".join(map(repr, choices)))
        for name in ("sigma", "norm_eps", "dropout", "head_dropout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self._fail(name, "a number")
            try:
                object.__setattr__(self, name, float(value))
            except OverflowError:  # an integer that no float holds
                self._fail(name, "a finite number")
        if not 0 <= self.sigma < math.inf:
            self._fail("sigma", "a finite number >= 0")
        if not 0 < self.norm_eps < math.inf:
            self._fail("norm_eps", "a finite number > 0")
        for name in ("dropout", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                self._fail(name, "a number in [0, 1)")
        if self.patch_len > self.seq_len:
            self._fail("patch_len", f"at most seq_len = {self.seq_len}")
        if self.topology == "nested" and self.reduction_ratio > self.d_model:
            self._fail("reduction_ratio", f"at most d_model = {self.d_model}")
        padded = -(-self.forecast_len // self.pad_multiple) * self.pad_multiple
        object.__setattr__(self, "forecast_len", padded)

    def _fail(self, name: str, expected: str) -> None:
        where = f"{type(self).__name__}.{name}"
        raise ValueError(f"{where}: found {getattr(self, name)!r}, expected {expected}")

    @property
    def num_patches(self) -> int:
        """K, tokens of a sequence."""
        return (self.seq_len - self.patch_len) // self.stride + 1

    @property
    def d_inner(self) -> int:
        """E, features inside a MambaBlock."""
        return self.expand * self.d_model

    @property
    def n_seq(self) -> int:
        """Token sequences that one window becomes: 1 for mixing, V for independent."""
        return 1 if self.channel_mode == "mixing" else self.num_channels

    @property
    def core_channels(self) -> int:
        """Variables in one token sequence: V for mixing, 1 for independent."""
        return self.num_channels if self.channel_mode == "mixing" else 1

    # What the core takes and gives for a sequence; a model around a CMamba may have others.

    @property
    def num_tokens(self) -> int:
        """Tokens that it takes."""
        return self.num_patches

    @property
    def token_features(self) -> int:
        """Features of such a token."""
        return self.core_channels * self.patch_len

    @property
    def output_features(self) -> int:
        """Values that it gives."""
        return self.core_channels * self.forecast_len

    def to_json(self) -> str:
        """All fields as a JSON object, in the order in which they are declared."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelArgs":
        """Inverse of `to_json`; absent fields take their defaults, unknown ones are errors."""
        try:
            fields = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{cls.__name__}: not valid JSON: {error}") from error
        return cls.from_dict(fields)

    @classmethod
    def from_dict(cls, fields: Any) -> "ModelArgs":
        """As `from_json`, from a dictionary that somebody else has parsed."""
        if not isinstance(fields, dict):
            raise ValueError(f"{cls.__name__}: found {type(fields).__name__}, expected an object")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(str(name) for name in fields if name not in known)
        if unknown:
            raise ValueError(
                f"{cls.__name__}: found unknown fields {', '.join(unknown)}, "
                f"expected among {', '.join(sorted(known))}"
            )
        return cls(**fields)


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
