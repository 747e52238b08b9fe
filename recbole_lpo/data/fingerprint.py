"""What files hold, in few bytes: a result is that of the same data wherever, and whenever, the data was copied."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from glob import escape
from pathlib import Path

from recbole_lpo.data.content_vectors import VECTORS, tokens_path


def fingerprint(files: Iterable[Path]) -> list[tuple[str, str]]:
    """(name, hash of its content) of those of `files` that are there, in the order of their names."""
    found = sorted((path for path in files if path.is_file()), key=lambda path: path.name)
    return [(path.name, _content(path, path.stat().st_size, path.stat().st_mtime_ns)) for path in found]


def data_fingerprint(folder: Path, dataset: str, content_files: Iterable[str | Path] = ()) -> list[tuple[str, str]]:
    """`fingerprint` of all that a run may read of a dataset: its atomic files (their parts too, where it was divided
    beforehand), and of files of vectors, with the item tokens beside them, those that it is told of."""
    vectors = [Path(file) for file in content_files]
    atomic = {path for path in folder.glob(f"{escape(dataset)}.*") if path.suffix not in VECTORS}
    return fingerprint({*atomic, *vectors, *map(tokens_path, vectors)})


@lru_cache(maxsize=256)
def _content(path: Path, size: int, time: int) -> str:
    """Size and time tell a file that this process has read from one that was written since."""
    told = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            told.update(part)
    return told.hexdigest()
