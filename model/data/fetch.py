"""Downloads data sets from their public homes: `python -m model.data.fetch etth1 weather`.

Each file is checked against a pinned SHA-256 before it takes its name; a download that fails leaves
what was there before.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from common import command_line, exit_status
from common.atomic_write import atomic_write
from model.data.datasets import sha256_of
from model.data.errors import DataError
from model.data.public_sets import DATA_FOLDER, REMOTE_FILES, RemoteFile

CHUNK_BYTES = 1 << 16
MAX_BYTES = 1 << 28
"""Of a file whose size is not pinned."""
TIMEOUT_SECONDS = 30


class FetchError(DataError):
    """The download failed, or brought something else: nothing that other options would mend."""

    exit_status = exit_status.FAILED


def fetch(remote: RemoteFile, folder: Path) -> Path:
    """Downloads `remote` into `folder` unless it is there already; shows progress.

    Raises: DataError (no connection, a server's error, size or checksum not as pinned), OSError.
    """
    path = folder / remote.file_name
    if path.is_file() and sha256_of(path) == remote.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        _download(remote, file)
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != remote.sha256:
            raise FetchError(f"{remote.url}: expected SHA-256 {remote.sha256}, found {found}")
    return path


def _download(remote: RemoteFile, file) -> None:
    received, limit = 0, MAX_BYTES if remote.size is None else remote.size
    try:
        with (
            urllib.request.urlopen(remote.url, timeout=TIMEOUT_SECONDS) as response,
            tqdm(total=remote.size, unit="B", unit_scale=True, desc=remote.file_name) as progress,
        ):
            # One byte more than the pinned size is enough to know that the file is another.
            while received <= limit and (chunk := response.read(CHUNK_BYTES)):
                file.write(chunk)
                received += len(chunk)
                progress.update(len(chunk))
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise FetchError(
            f"cannot download {remote.url}: {reason}. Without a network, copy "
            f"{remote.file_name} from elsewhere and set CMAMBA_DATA to its folder"
        ) from None
    if received > limit or remote.size not in (None, received):
        expected = f"at most {limit}" if remote.size is None else remote.size
        raise FetchError(f"{remote.url}: expected {expected} bytes, found {received} or more")


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.data.fetch", description=__doc__)
    known = ", ".join(sorted(REMOTE_FILES))
    parser.add_argument(
        "names", nargs="+", choices=sorted(REMOTE_FILES), metavar="NAME", help=f"among {known}"
    )
    parser.add_argument("--to", type=Path, default=DATA_FOLDER, help="folder (default: data/)")
    args = parser.parse_args(argv)
    for name in args.names:
        path = fetch(REMOTE_FILES[name], args.to)
        print(f"{path}: SHA-256 {REMOTE_FILES[name].sha256} as expected", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
