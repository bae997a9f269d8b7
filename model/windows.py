"""What float32 cannot hold of windows. NumPy only: the board has no PyTorch."""

from __future__ import annotations

import numpy as np


def overflow(variance: np.ndarray) -> str | None:
    """What is wrong where float32 does not hold the variance [B, V, 1] of windows."""
    bad = np.argwhere(~np.isfinite(variance))
    if not len(bad):
        return None
    window, variable, _ = bad[0]
    return (
        f"window {window}, variable {variable}: the variance overflows float32, expected smaller "
        "values"
    )
