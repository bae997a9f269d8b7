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
from compiler.lower.layers import Place, Quantized
from compiler.program import ceil_log2, round_up
from model.folded_regressor import FoldedRegressor


class RegressorLowering(CMambaLowering):
    """Lowers a FoldedRegressor."""

    model: FoldedRegressor
    received = "frames"

    @property
    def metadata(self) -> dict[str, object]:
        return {"statistics": {name: x.tolist() for name, x in self.model.statistics().items()}}

    def places(self) -> dict[str, Place]:
        return super().places() | {"q_centered": Place("resid", "frame_projection", pad_row=True)}

    def _allocate_input(self) -> None:
        """Rings for frames on their way, the rows of a window's frames, and the same memory as rows
        of patches.

        The latter two are rings of a power of two of rows. Those past the last are never addressed,
        and may be another buffer's, but must lie inside the memory.
        """
        args, build = self.args, self.builder.build
        row = round_up(args.num_channels, build.row_align)
        # One patch has no stride, whatever its argument says.
        stride = min(args.stride, args.seq_len) * row
        frames = row << ceil_log2(args.seq_len)
        patches = ((1 << ceil_log2(args.num_patches)) - 1) * stride + args.patch_len * row
        if max(frames, patches) > build.spaces["norm"]:
            self.builder.misfits.append(
                f"frame_norm: a window of {args.seq_len} frames in rows of {row}, read as "
                f"{args.num_patches} patches, spans {max(frames, patches)} elements of memory "
                f"'norm', build '{build.name}' has {build.spaces['norm']}; use a smaller seq_len "
                "or num_channels, or a build with a larger 'norm'"
            )
        for role, space, features in (
            ("frames", "patch", args.num_features),
            ("frame_projection", "resid", row),
        ):
            self.builder.reserve(role, space, features, most_rows=8, tokens=args.seq_len)
        rows = self.builder.allocate("norm", row, args.seq_len, "frame_norm")
        starts = isa.Operand(rows.addr, stride, ceil_log2(args.num_patches), rows.space)
        affine = self.formats["q_input"]
        self.allocated["q_input"] = Quantized(rows, row, affine, args.seq_len)
        # Feature v * P + p of a patch is channel v of its frame p.
        elements = np.arange(args.patch_len) * row + np.arange(args.num_channels)[:, None]
        self.tensors["q_input"] = Quantized(
            starts, args.patch_len * row, affine, args.num_patches, elements.reshape(-1)
        )
