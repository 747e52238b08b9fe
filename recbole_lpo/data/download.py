"""The raw file of a known dataset: found, unpacked from its archive, or fetched; always whole or absent."""

from __future__ import annotations

import http.client
import shutil
import urllib.request
import zipfile
import zlib
from pathlib import Path

from recbole_lpo.data.known_datasets import KnownDataset
from recbole_lpo.data.text_lines import byte_bar
from recbole_lpo.errors import InputError
from recbole_lpo.whole_files import appears_whole

_SECONDS_TO_WAIT = 30
_BLOCK_BYTES = 1 << 20


def raw_file_of(known: KnownDataset, folder: Path, *, download: bool, progress: bool = False) -> Path:
    """The raw file of a known dataset in `folder`, fetched from its address if `download` is set and it is not there.

    Raises InputError, with the address and what to do by hand, where it is absent and cannot or may not be fetched.
    """
    raw_file = folder / known.raw_file
    if raw_file.exists():
        return raw_file
    fetched = folder / known.download_name
    if not fetched.exists():
        if not download:
            raise InputError(
                f"No raw file of {known.name}: add --download, or fetch {known.url} by hand and save it as {fetched}, "
                f"or give its place with --input."
            )
        fetch(known.url, fetched, progress=progress)
    if known.archive_member is not None:
        _unpack(fetched, known.archive_member, raw_file)
    return raw_file


def fetch(url: str, path: Path, *, progress: bool = False) -> None:
    """Downloads `url` to `path`, which appears only when all bytes are there.

    Raises InputError, with the address and what to do by hand, where there is no network, the server refuses, or the
    answer ends early.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "recbole-lpo"})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(request, timeout=_SECONDS_TO_WAIT) as answer, appears_whole(path) as aside:
            _receive(answer, aside, path.name, progress=progress)
    except (OSError, EOFError, ValueError, http.client.HTTPException) as error:
        # URLError and HTTPError are OSErrors; what they carry as a reason is what helps.
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"Cannot fetch {url} ({reason}). Fetch it by hand where there is a network, save it as {path} and run the "
            f"same command again."
        ) from error


def _receive(answer: http.client.HTTPResponse, aside: Path, title: str, *, progress: bool) -> None:
    """Writes the body of `answer` to `aside`; raises EOFError where fewer bytes come than were announced."""
    announced = answer.headers.get("Content-Length")
    total = int(announced) if announced is not None else None
    with aside.open("wb") as file, byte_bar(total, title, progress=progress) as bar:
        while block := answer.read(_BLOCK_BYTES):
            file.write(block)
            bar.update(len(block))
        if total is not None and file.tell() != total:
            raise EOFError(f"{file.tell():,} of {total:,} bytes came")


def _unpack(archive: Path, member: str, path: Path) -> None:
    try:
        with (
            zipfile.ZipFile(archive) as file,
            file.open(member) as packed,
            appears_whole(path) as aside,
            aside.open("wb") as unpacked,
        ):
            shutil.copyfileobj(packed, unpacked, _BLOCK_BYTES)
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{archive}: not a whole zip archive with {member} in it ({error}). Remove it and fetch it again."
        ) from error
