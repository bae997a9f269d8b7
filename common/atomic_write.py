"""Files and folders that appear complete or not at all.

Links are followed: the file that a link leads to is replaced, the link stays. What is no regular
file, such as a device or a FIFO, is never replaced; it is written to. A new file has the mode that
the umask leaves, one that is replaced keeps its own. Every OSError names the file.

A signal may raise its exception (`common.command_line`) inside of any call, also of one that
tidies. So what tidies does it once more where it was interrupted. Both stand in the function that
made the file: a function that is called may be interrupted before its first line.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME_BYTES = 200  # of the 255 that a name may have


@contextmanager
def atomic_write(path: str | Path) -> Iterator[io.BytesIO]:
    """A file in memory, for writing and reading, that is stored as `path` at the end of the block.

    In memory, because a library that writes to a full disk itself may hide the reason, and because
    some formats seek, which a FIFO cannot. An exception leaves what was at `path` before.
    Raises OSError, at the beginning of the block where that can be known.
    """
    path = Path(path)
    require_writable(path)
    content = io.BytesIO()
    yield content
    replaced = _status(path)
    if replaced is not None and not stat.S_ISREG(replaced.st_mode):
        with naming(path), open(path, "wb", buffering=0) as file:
            _write_all(file, content.getbuffer())
        return
    target = Path(os.path.realpath(path))
    temporary = _beside(target)
    try:
        with naming(path), open(temporary, "xb", buffering=0) as file:
            if replaced is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(replaced.st_mode))
            _write_all(file, content.getbuffer())
        os.replace(temporary, target)
    finally:
        try:
            temporary.unlink(missing_ok=True)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A new folder that takes the name `path` at the end of the block, in the place of an old one.

    An exception in the block leaves what was at `path` before. Raises OSError; those of the block
    that name a file in the new folder name the place it would have had.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        temporary.mkdir()
        try:
            yield temporary
        except OSError as error:
            if error.filename is not None:
                error.filename = os.fsdecode(error.filename).replace(str(temporary), str(path))
            raise
        _exchange(temporary, target, old)
    finally:
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 file by `atomic_write`. Raises OSError."""
    with atomic_write(path) as file:
        file.write(text.encode())


def require_writable(path: str | Path, new_folder: bool = False) -> None:
    """Raises OSError, before anything is computed, where `atomic_write` could not write `path`.

    With `new_folder`, its folder may still have to be made.
    """
    path = Path(path)
    status = _status(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise _os_error(errno.EISDIR, path)
    if status is not None and not os.access(path, os.W_OK, effective_ids=True):
        raise _os_error(errno.EACCES, path)
    if status is None or stat.S_ISREG(status.st_mode):
        target = Path(os.path.realpath(path))
        if target.parent.exists():
            _try_to_write_beside(target, path)
        elif new_folder:
            require_writable_folder(target.parent)
        else:
            raise _os_error(errno.ENOENT, target.parent)


def require_writable_folder(folder: str | Path) -> None:
    """Raises OSError where no file can be made in `folder`, or in one that is made there."""
    folder = Path(os.path.realpath(folder))
    while not folder.exists():
        folder = folder.parent
    _try_to_write_beside(folder / "file", folder)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Gives an OSError of the block the name `path`, unless it names another file.

    Those of writing name none.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _try_to_write_beside(target: Path, shown: Path) -> None:
    # The sure way to know: access() sees neither a full table of files nor what a server refuses.
    probe = _beside(target)
    try:
        probe.open("xb").close()
    except OSError as error:
        error.filename = str(shown)
        raise
    finally:
        try:
            probe.unlink()
        except OSError:
            pass
        except BaseException:
            with suppress(OSError):
                probe.unlink()
            raise


def _beside(target: Path) -> Path:
    """A name that no other process uses, in the folder of `target`."""
    name = os.fsdecode(os.fsencode(target.name)[:_NAME_BYTES])
    return target.with_name(f".{name}.{secrets.token_hex(8)}")


def _exchange(new: Path, target: Path, old: Path) -> None:
    """Renames `new` to `target`, and what is there to `old`.

    Another process may do the same: then the one that comes last wins.
    """
    while True:
        with suppress(FileNotFoundError):
            target.rename(old)
            new.chmod(stat.S_IMODE(old.stat().st_mode))
        try:
            new.rename(target)
            return
        except BaseException as error:
            if getattr(error, "errno", None) not in (errno.ENOTEMPTY, errno.EEXIST):
                with suppress(OSError):
                    old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)


def _status(path: Path) -> os.stat_result | None:
    """Of what `path` leads to; None if there is nothing yet."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _write_all(file: io.RawIOBase, content: memoryview) -> None:
    while content:
        content = content[file.write(content) :]


def _os_error(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), str(path))
