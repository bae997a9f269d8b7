"""Lower a folded regressor: what makes patches of frames, in front of a CMamba.

A frame is a token of the stream. Projected and normalized, the frames of a window lie row by row
in memory `norm`, so that the frames of a patch are one piece of it, and the embedding reads a patch
as one row. A memory's rows begin at multiples of `row_align`: a frame fills its row with zeros,
which meet zero weights.
"""

from __future__ import annotations

import numpy as np

import isa
from compiler.lower.cmamba import CMambaLowering
from compiler.lower.layers import OutputGroup, Quantized
from compiler.program import ceil_log2, round_up
from model.folded_regressor import FoldedRegressor


class RegressorLowering(CMambaLowering):
    """Lowers a FoldedRegressor."""

    model: FoldedRegressor
    input_point = "q_frames"

    @property
    def metadata(self) -> dict[str, object]:
        return {"statistics": {name: x.tolist() for name, x in self.model.statistics().items()}}

    def _reserve_input(self) -> None:
        """Rings for frames on their way, the rows of a window's frames, and the same memory as rows
        of patches.

        The latter two are rings of a power of two of rows. Those past the last are never addressed,
        and may be another buffer's, but must lie inside the memory.
        """
        args, build = self.args, self.builder.build
        self.row = round_up(args.num_channels, build.row_align)
        # One patch has no stride, whatever its argument says.
        stride = min(args.stride, args.seq_len) * self.row
        frames = self.row << ceil_log2(args.seq_len)
        patches = ((1 << ceil_log2(args.num_patches)) - 1) * stride + args.patch_len * self.row
        if max(frames, patches) > build.spaces["norm"]:
            self.builder.misfits.append(
                f"frame_norm: a window of {args.seq_len} frames in rows of {self.row}, read as "
                f"{args.num_patches} patches, spans {max(frames, patches)} elements of memory "
                f"'norm', build '{build.name}' has {build.spaces['norm']}; use a smaller seq_len "
                "or num_channels, or a build with a larger 'norm'"
            )
        for role, space, features in (
            ("frames", "patch", args.num_features),
            ("frame_projection", "resid", self.row),
        ):
            self.builder.reserve(role, space, features, most_rows=8, tokens=args.seq_len)
        rows = self.builder.allocate("norm", self.row, args.seq_len, "frame_norm")
        starts = isa.Operand(rows.addr, stride, ceil_log2(args.num_patches), rows.space)
        affine = self.formats["q_input"]
        self.frames = Quantized(rows, self.row, affine)
        self.patches = Quantized(starts, args.patch_len * self.row, affine)

    def _patches(self) -> tuple[Quantized, np.ndarray]:
        """Receive, project and normalize the frames."""
        args = self.args
        frames = self._receive("frames", args.seq_len)
        projected = Quantized(
            self.builder.ring("frame_projection", "resid", self.row),
            self.row,
            self.formats["q_centered"],
        )
        weight = np.zeros((self.row, args.num_features))
        weight[: args.num_channels] = self.state["frame_projection.weight"]
        bias, scales = np.zeros(self.row), np.ones(self.row)
        bias[: args.num_channels] = self.state["frame_projection.bias"]
        scales[: args.num_channels] = self.formats.weights["frame_projection"]
        self._linear(
            "frame_projection",
            frames,
            weight,
            scales,
            bias,
            [OutputGroup("q_centered", 0, args.num_channels, projected.affine)],
            projected.operand,
            wide=1,
            n_positions=args.seq_len,
        )
        self._emit_norm(
            "frame_norm",
            "q_input",
            self.state["frame_norm.weight"],
            projected,
            self.frames,
            n_positions=args.seq_len,
        )
        self.builder.segment()
        return self.patches, self._embedding()

    def _embedding(self) -> np.ndarray:
        """Weights of the embedding for features frame by frame: [D, P * row]."""
        args = self.args
        weight = self.state["patch_embedding.weight"].reshape(-1, args.num_channels, args.patch_len)
        by_frame = np.zeros((args.d_model, args.patch_len, self.row))
        by_frame[:, :, : args.num_channels] = weight.transpose(0, 2, 1)
        return by_frame.reshape(args.d_model, -1)
