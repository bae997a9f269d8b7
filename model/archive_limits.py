"""How much a zip archive (.npz, .pt) may unpack to, looked up before anything of it is unpacked.

A member of zeros takes a thousandth of its size in a file: 2 MB can hold gigabytes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

MAX_MEMBERS = 10_000
"""Each is a tensor or an array; the largest models of PyTorch have a tenth of it."""
MAX_RATIO = 100
"""Unpacked bytes for each byte of the file. Measured series and weights compress 2 to 10 times."""
ALWAYS_ALLOWED_BYTES = 256 << 20
"""However small the file is."""


def check_archive(path: Path) -> None:
    """Raises ValueError for an archive of more members, or of more bytes unpacked, than these
    limits allow; OSError and `zipfile.BadZipFile` where there is no archive to read."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"found {len(members):,} members, expected at most {MAX_MEMBERS:,}")
    unpacked = sum(member.file_size for member in members)
    limit = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * path.stat().st_size)
    if unpacked > limit:
        raise ValueError(
            f"unpacks to {unpacked:,} bytes, expected at most {limit:,}, which are {MAX_RATIO} "
            f"times those of the file, or {ALWAYS_ALLOWED_BYTES:,}"
        )
