"""Text files, plain or gzipped, as blocks of numbered lines; each way such a file can be broken is one clear error.

Memory does not depend on the size of the file: a block is small, and a line of more than sixteen mebibytes is refused.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from recbole_lpo.errors import InputError, did_you_mean

# Small, because the rows of a block live at once: larger blocks only cost time in the allocator and garbage collector.
BLOCK_BYTES = 1 << 16
LONGEST_LINE_BYTES = 1 << 24

_GZIP_MAGIC = b"\x1f\x8b"
# Files that would only fail as "not UTF-8" far from the real cause; the text is the way out.
_FOREIGN_MAGICS = {
    b"PK\x03\x04": "it is a zip archive; unpack it and give the file inside",
    b"BZh": "it is a bzip2 file; unpack it with bunzip2 first",
    b"\xfd7zXZ": "it is an xz file; unpack it with unxz first",
    b"PAR1": "it is a Parquet file; use --source=parquet",
}


@dataclass(frozen=True)
class LineBlock:
    """Consecutive lines of a file, without their line feeds; the first has number `first_number`, counted from 1."""

    first_number: int
    lines: list[str]


def line_blocks(path: Path, *, progress: bool = False) -> Iterator[LineBlock]:
    """The lines of a UTF-8 text file in blocks; gzip is recognised by content, not by name.

    `progress` shows a bar over the bytes read from disk where the error stream is a terminal.
    Raises InputError for a file that is missing, unreadable, empty, cut short, damaged, not UTF-8, or that has a line
    of more than LONGEST_LINE_BYTES bytes.
    """
    with _open_file(path) as raw, byte_bar(path.stat().st_size, path.name, progress=progress) as bar:
        stream = _uncompressed(raw, path)
        number = 1
        rest = b""
        while chunk := _read_block(stream, path):
            bar.update(raw.tell() - bar.n)
            complete, line_feed, rest = (rest + chunk).rpartition(b"\n")
            if line_feed:
                lines = _decode(complete, number, path).split("\n")
                yield LineBlock(number, lines)
                number += len(lines)
            elif len(rest) > LONGEST_LINE_BYTES:
                limit = LONGEST_LINE_BYTES >> 20
                raise InputError(f"{path}, line {number}: longer than {limit} MiB. Is it a text file with line ends?")
        if rest:
            yield LineBlock(number, _decode(rest, number, path).split("\n"))
        elif number == 1:
            raise InputError(f"{path}: the file is empty. Fetch it again, or give another with --input.")


def first_line(path: Path) -> str:
    """The first line that is not blank. Raises InputError as `line_blocks` does, and for a file of blank lines."""
    with closing(line_blocks(path)) as blocks:
        for block in blocks:
            for line in block.lines:
                if line.strip():
                    return line
    raise InputError(f"{path}: the file has only blank lines. Fetch it again, or give another with --input.")


def byte_bar(total: int | None, title: str, *, progress: bool) -> tqdm:
    """A progress bar in bytes; shown only where `progress` is set and the error stream is a terminal."""
    return tqdm(total=total, desc=title, unit="B", unit_scale=True, disable=None if progress else True)


def check_is_file(path: Path) -> None:
    """Raises InputError, with the nearest name in the same folder, where `path` is not a file on disk."""
    if not exists(path, "read"):
        neighbours = os.listdir(path.parent) if path.parent.is_dir() else []
        raise InputError(f"{path}: no such file.{did_you_mean(path.name, neighbours)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder. Give the file inside it.")
    if not path.is_file():
        # It is read twice, the first time for its first line, and its size is the length of the progress bar.
        raise InputError(f"{path}: is a pipe or a device. Save its content to a file, and give that.")


def exists(path: Path, what: str) -> bool:
    """Whether there is anything at `path`; InputError, "cannot be <what>", where the file system refuses the name."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) <= 80 else f"{str(path)[:80]}..."
        raise InputError(f"{shown}: cannot be {what} ({getattr(error, 'strerror', None) or error}).") from None
    return True


def _open_file(path: Path) -> BinaryIO:
    check_is_file(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _uncompressed(raw: BinaryIO, path: Path) -> BinaryIO | gzip.GzipFile:
    start = raw.read(8)
    raw.seek(0)
    for magic, way_out in _FOREIGN_MAGICS.items():
        if start.startswith(magic):
            raise InputError(f"{path}: not text or gzip: {way_out}.")
    return gzip.GzipFile(fileobj=raw) if start.startswith(_GZIP_MAGIC) else raw


def _read_block(stream: BinaryIO | gzip.GzipFile, path: Path) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except EOFError as error:
        raise InputError(f"{path}: the gzip file is cut short. Fetch it again.") from error
    except (OSError, zlib.error) as error:
        raise InputError(f"{path}: the file is damaged or cannot be read ({error}). Fetch it again.") from error


def _decode(data: bytes, first_number: int, path: Path) -> str:
    try:
        # Only the file's very first bytes may be a byte order mark; later ones would be part of a token.
        return data.decode("utf-8-sig" if first_number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        number = first_number + error.object.count(b"\n", 0, error.start)
        byte = error.object[error.start]
        raise InputError(
            f"{path}, line {number}: not UTF-8 text (byte 0x{byte:02x}). Convert it first, for example with "
            f"`iconv -f latin1 -t utf-8`."
        ) from error
