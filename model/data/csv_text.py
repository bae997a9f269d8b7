"""The text of a CSV file, from any encoding and compression, and how it is divided into cells."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from model.data.errors import DataError

MAX_BYTES = 1 << 29
"""Of a file, decompressed: 15 s of a CPU, and 45 s where its cells need a closer look."""

MAX_COLUMNS = 10_000
SEPARATORS = (",", ";", "\t", "|")

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LOOKED_AT = 20  # lines that decide on the separator
_COMMENT = re.compile(rb"^[ \t]*#[^\r\n]*", re.MULTILINE)


@dataclass(frozen=True)
class CsvText:
    """The text of a file in UTF-8: without byte order mark, comments are empty lines."""

    path: Path
    content: bytes
    encoding: str
    header_line: int  # the number, from 1, of the first line that is not empty
    head: int  # where it begins
    body: int  # where the line after it begins
    separator: str


def read_csv_text(path: Path, encoding: str | None, separator: str | None) -> CsvText:
    """Reads and decodes a file; .gz, .bz2 and .xz are decompressed.

    Raises: DataError (too large, damaged, empty, no text, too many columns, or an encoding or
    separator in doubt), OSError.
    """
    content = _read(path)
    content, encoding = _decode(path, content, encoding)
    if b"#" in content:
        content = _COMMENT.sub(b"", content)
    begin = re.search(rb"[^\s]", content)
    if begin is None:
        raise DataError(f"{path}: the file is empty, expected a header 'date,...'")
    # A tab may begin a header whose first cell has no name.
    start = max(content.rfind(b"\n", 0, begin.start()), content.rfind(b"\r", 0, begin.start())) + 1
    end = re.compile(rb"\r\n|\n|\r").search(content, start)
    stop, body = end.span() if end else (len(content), len(content))
    row = len(re.findall(rb"\r\n|\n|\r", content[:start])) + 1
    try:
        header = content[start:stop].decode()
        lines = _lines(content[body : body + (1 << 20)].decode(errors="ignore"))
    except UnicodeDecodeError:
        raise not_utf8(path, content) from None
    if header.count('"') % 2:
        raise DataError(f"{path}: row {row}: a quote is not closed in the header")
    separator = separator or _separator(path, [header, *lines])
    width = _width(header, separator)
    if width > MAX_COLUMNS:
        raise DataError(f"{path}: row {row}: {width:,} columns, expected at most {MAX_COLUMNS:,}")
    return CsvText(path, content, encoding, row, start, body, separator)


def _read(path: Path) -> bytes:
    """The bytes of a file. Raises: DataError (damaged, too large), OSError."""
    too_large = DataError(
        f"{path}: more than {MAX_BYTES >> 20} MiB of text, which is the limit; keep fewer rows or "
        "columns, or coarser steps"
    )
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise too_large
    try:
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if getattr(error, "errno", None):
            raise
        raise DataError(f"{path}: cannot be decompressed: {error}") from None
    if len(content) > MAX_BYTES:
        raise too_large
    return content


def _decode(path: Path, content: bytes, encoding: str | None) -> tuple[bytes, str]:
    """The content in UTF-8, and the encoding that it had. Raises: DataError."""
    if content.startswith(b"PK\3\4"):
        raise DataError(f"{path}: a zip archive or an Excel workbook; save it as CSV")
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            if name == "utf-8":
                content = content[len(mark) :]
            encoding = encoding or name
            break
    encoding = encoding or "utf-8"
    if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii"):
        try:
            content = content.decode(encoding).removeprefix("\ufeff").encode()
        except (UnicodeError, ValueError) as error:
            raise DataError(f"{path}: not a CSV table in {encoding}: {error}") from None
    # The parser drops the rest of a cell without a word: 3\x00.5 would be 3.
    end = content.find(b"\0")
    if end >= 0:
        row = content.count(b"\n", 0, end) + 1
        raise DataError(
            f"{path}: not a CSV table: row {row} holds a NUL byte, expected text in UTF-8; name "
            "another with --encoding, such as utf-16"
        )
    return content, encoding


def not_utf8(path: Path, content: bytes) -> DataError:
    """The error of a content that is no UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        return DataError(
            f"{path}: not a CSV table: row {row} holds the byte 0x{content[error.start]:02x}, no "
            "UTF-8; name its encoding with --encoding, such as cp1252 of Excel on Windows"
        )
    return DataError(f"{path}: not a CSV table in UTF-8")


def _lines(text: str) -> list[str]:
    """The first lines that are not empty; the last may be cut short and is left out."""
    lines = text.splitlines()
    return [line for line in lines[: 50 * _LOOKED_AT] if line.strip()][:_LOOKED_AT]


def _width(line: str, separator: str) -> int:
    """Cells of a line; quoted text does not count."""
    if '"' in line:
        line = re.sub(r'"[^"]*"', "", line)
    return line.count(separator) + 1


def _separator(path: Path, lines: list[str]) -> str:
    """The one that divides header and rows alike; the only one of the header if none does.

    Raises: DataError (several do).
    """
    widths = {s: [_width(line, s) for line in lines] for s in SEPARATORS}
    present = [s for s in SEPARATORS if widths[s][0] > 1]
    alike = [s for s in present if 2 * widths[s].count(widths[s][0]) > len(lines)]
    fitting = alike or present
    if len(fitting) > 1:
        raise DataError(
            f"{path}: {' and '.join(map(repr, fitting))} both divide the lines into cells; name "
            "the separator with --separator"
        )
    return fitting[0] if fitting else ","
