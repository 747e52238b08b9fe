"""Raw interaction files to RecBole's atomic files, in true time order.

RecBole keeps a timestamp as float32, which is exact only up to 2^24: seconds since 1970 lose two minutes, and events
closer than that change places. What is written here as `timestamp` is therefore not the time but the position 1..n of
the interaction in its user's sequence, found from the exact times; equal times keep their order in the file.

Repeated rows are kept by default, as in the published counts of these datasets: a second review of the same item is an
event of its own. `drop_duplicates` keeps the earliest row of each (user, item) pair, before the k-core is taken.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_lpo.data.atomic_files import write_categories, write_category_names, write_interactions
from recbole_lpo.data.interactions import (
    Interactions,
    first_of_each_pair,
    gather,
    positions_in_runs,
    time_order,
)
from recbole_lpo.data.item_categories import read_item_categories
from recbole_lpo.data.k_core import k_core_mask
from recbole_lpo.data.raw_formats import Reader, reader_of
from recbole_lpo.data.raw_rows import RawRows, ReadOptions
from recbole_lpo.data.text_lines import check_is_file, exists
from recbole_lpo.errors import InputError

_logger = logging.getLogger("recbole_lpo")

_DATASET_NAME = re.compile(r"\w[\w.-]*")

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class PreparedDataset:
    """What `prepare` wrote.

    `users`, `items` and `interactions` count what is in the `.inter` file at `path`; `read` counts the interactions of
    the raw files, `dropped` those of them that are not in it. `item_path` is the `.item` file, None without metadata.
    """

    name: str
    path: Path
    users: int
    items: int
    interactions: int
    read: int
    dropped: int
    item_path: Path | None = None


def prepare(
    source: str,
    inputs: PathLike | Sequence[PathLike],
    output_dir: PathLike,
    name: str,
    *,
    k_core: int = 5,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    separator: str | None = None,
    item_metadata: PathLike | None = None,
    drop_duplicates: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> PreparedDataset:
    """Reads raw files of one `source` format and writes `<output_dir>/<name>/<name>.inter`.

    Several inputs are read in the order given, as one table. `k_core` keeps the largest part in which every user and
    every item has that many interactions (0 or 1: everything). Column names and the separator are for the formats that
    have them. `item_metadata` (Amazon's `meta_*.json.gz`) adds `<name>.item` with category numbers and
    `<name>.categories.tsv` with their names. Rows are sorted by the users' first appearance, then time. Each file
    appears whole or not at all, the `.inter` file last. Memory at the peak: some 64 bytes for each raw interaction and
    200 for each distinct user and item.

    Raises InputError for anything wrong in the arguments or the files, an existing `.inter` file without `overwrite`,
    and where no interaction is left.
    """
    reader = reader_of(source)
    paths = _check_inputs(inputs)
    path = _check_output(Path(output_dir), name, overwrite=overwrite)
    if k_core < 0:
        raise InputError(f"--k_core={k_core}: must be 0 (no filter) or more.")
    if item_metadata is not None:
        check_is_file(Path(item_metadata))
    if separator is not None and (not separator or set(separator) & set('"\r\n')):
        raise InputError(
            f"--separator={separator!r}: must be one or more characters, none of them a line end or a quotation mark."
        )
    options = ReadOptions(user_column, item_column, time_column, separator, progress)

    raw = gather(_read_all(reader, paths, options))
    kept = _rows_to_keep(raw, k_core, drop_duplicates=drop_duplicates)
    if not len(kept):
        raise InputError(_nothing_left(raw, k_core, paths))
    users, items = raw.users[kept], raw.items[kept]

    _make_folder(path.parent)
    item_path = None
    if item_metadata is not None:
        item_path = path.with_suffix(".item")
        _write_metadata(Path(item_metadata), item_path, raw, items, progress=progress)
    elif path.with_suffix(".item").exists():
        _logger.warning("%s is from an earlier preparation and stays as it is.", path.with_suffix(".item"))
    write_interactions(
        path, users, items, positions_in_runs(users), raw.user_tokens, raw.item_tokens, progress=progress
    )
    return PreparedDataset(
        name=name,
        path=path,
        users=_count_distinct(users),
        items=_count_distinct(items),
        interactions=len(kept),
        read=len(raw.users),
        dropped=len(raw.users) - len(kept),
        item_path=item_path,
    )


def _read_all(reader: Reader, paths: Sequence[Path], options: ReadOptions) -> Iterator[RawRows]:
    for path in paths:
        _logger.info("Reading %s", path)
        yield from reader(path, options)


def _rows_to_keep(raw: Interactions, k_core: int, *, drop_duplicates: bool) -> np.ndarray:
    """Numbers of the rows to write, in the order to write them."""
    rows = time_order(raw.users, raw.times)
    if drop_duplicates:
        rows = rows[first_of_each_pair(raw.users[rows], raw.items[rows])]
    return rows[k_core_mask(raw.users[rows], raw.items[rows], k_core)]


def _write_metadata(metadata: Path, item_path: Path, raw: Interactions, items: np.ndarray, *, progress: bool) -> None:
    """Writes the `.item` file of the items that are left and have categories, and the numbering beside it."""
    wanted = {raw.item_tokens[code]: None for code in np.unique(items).tolist()}
    categories = read_item_categories(metadata, wanted, progress=progress)
    write_category_names(item_path.with_suffix(".categories.tsv"), categories.names)
    write_categories(item_path, ((item, categories.numbers[item]) for item in wanted if item in categories.numbers))
    without = len(wanted) - len(categories.numbers)
    _logger.info("%d categories; %d of %d items have none.", len(categories.names), without, len(wanted))


def _count_distinct(codes: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _check_inputs(inputs: PathLike | Sequence[PathLike]) -> list[Path]:
    paths = [Path(inputs)] if isinstance(inputs, str | os.PathLike) else [Path(path) for path in inputs]
    if not paths:
        raise InputError("--input: name at least one raw file.")
    seen: set[Path] = set()
    for path in paths:
        check_is_file(path)
        if path.resolve() in seen:
            raise InputError(f"--input: {path} is given twice; each of its interactions would count double.")
        seen.add(path.resolve())
    return paths


def _check_output(output_dir: Path, name: str, *, overwrite: bool) -> Path:
    if not _DATASET_NAME.fullmatch(name):
        raise InputError(
            f"--name={name!r}: must be letters, digits, '_', '-' and '.', and start with a letter, a digit or '_'."
        )
    path = output_dir / name / f"{name}.inter"
    if exists(path, "made") and not overwrite:
        raise InputError(f"{path}: exists already. Add --overwrite to replace it, or take another --name or --output.")
    return path


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}). Name another folder with --output.") from error


def _nothing_left(raw: Interactions, k_core: int, paths: Sequence[Path]) -> str:
    files = ", ".join(map(str, paths))
    if not len(raw.users):
        return f"{files}: no interactions in it. Fetch it again, or give another with --input."
    return (
        f"{files}: nothing is left of {len(raw.users):,} interactions of {len(raw.user_tokens):,} users and "
        f"{len(raw.item_tokens):,} items, because no part has {k_core} for each user and item. Lower --k_core."
    )
