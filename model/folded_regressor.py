"""FoldedRegressor: a MambaRegressor in the form that an accelerator computes.

The same function with less to do. Where two linear maps meet, one remains:

    mean removal of the LayerNorm    into the projection before it: W - mean(W), b - mean(b), the
                                     means over the outputs; an RMSNorm remains
    shift of the LayerNorm           into the bias of the patch embedding, which sees it in each of
                                     the frames of a patch
    output layer, position head      one layer, [2, C] @ [C, K * D]

Symbols as in `model.regressor`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.blocks import RMSNorm
from model.cmamba import CMamba
from model.data_units import DataUnits
from model.quant_point import Kind, QuantLinear, QuantPoint
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs


class FoldedRegressor(CMamba, DataUnits):
    """[B, T, Din] -> [B, 2]; a CMamba that makes its patches of frames, made by `fold`."""

    def __init__(self, args: RegressorArgs) -> None:
        super().__init__(args)
        self.declare_statistics()
        self.output_layer = QuantLinear(args.num_patches * args.d_model, args.output_features)
        self.frame_projection = QuantLinear(args.num_features, args.num_channels)
        self.frame_norm = RMSNorm(args.num_channels, args.norm_eps)
        self.q_frames, self.q_centered = QuantPoint(), QuantPoint(Kind.INT16)

    def to_tokens(self, x: Tensor) -> Tensor:
        """[B, T, Din] -> [B, L, Din]"""
        return self.to_frames(x)

    def core(self, tokens: Tensor) -> Tensor:
        """[B, L, Din] -> [B, 2]"""
        x = self.q_centered(self.frame_projection(self.q_frames(tokens)))
        x = self.q_input(self.frame_norm(x))  # [B, L, C]
        return self.encode(self.to_patches(x.transpose(1, 2)))

    def from_core(self, y: Tensor, x: Tensor) -> Tensor:
        """[B, 2] -> [B, 2]"""
        return self.to_positions(y)


@torch.no_grad()
def fold(regressor: MambaRegressor) -> FoldedRegressor:
    """The folded form of a regressor, in eval mode; computed in float64."""
    state = {name: tensor.double() for name, tensor in regressor.cmamba.state_dict().items()}
    state |= {name: tensor.double() for name, tensor in regressor.statistics().items()}

    projection, norm = regressor.frame_projection, regressor.frame_norm
    weight, bias = projection.weight.double(), projection.bias.double()
    state["frame_projection.weight"] = weight - weight.mean(0)
    state["frame_projection.bias"] = bias - bias.mean()
    state["frame_norm.weight"] = norm.rms_norm.weight.double()

    # Input v * P + p of the embedding is channel v in frame p of the patch.
    shift = norm.bias.double().repeat_interleave(regressor.args.patch_len)
    through = state["patch_embedding.weight"] @ shift
    state["patch_embedding.bias"] = state["patch_embedding.bias"] + through

    head, head_bias = regressor.position_head.weight.double(), regressor.position_head.bias.double()
    state["output_layer.weight"] = head @ state["output_layer.weight"]
    state["output_layer.bias"] = head @ state["output_layer.bias"] + head_bias

    folded = FoldedRegressor(regressor.args).to(weight.device)
    folded.load_state_dict(state)
    return folded.eval()
