"""Files that are there whole or not at all, however the writing ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What the system says where a disk or a quota is full, or a file too large.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def appears_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the name `path` when the block ends without an exception.

    After an exception nothing of it is left and an earlier `path` is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        with aside.open("r+b") as file:
            # The bytes must be on disk before the name is: a power cut between the two would leave an empty file.
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _flush_names(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of ours in one go, whole or not at all."""
    with appears_whole(path) as aside:
        aside.write_bytes(content)


def remove_parts(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left aside. Only where no other process is writing."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _flush_names(folder: Path) -> None:
    """Have the names of a folder on the disk too. Windows opens no folder, and some file systems flush none."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
