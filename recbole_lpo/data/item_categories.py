"""Categories of items, from the metadata file that goes with the Amazon reviews."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_lpo.data.raw_json import record_blocks, text_of
from recbole_lpo.errors import InputError


@dataclass(frozen=True)
class ItemCategories:
    """`numbers[item]`: the item's categories, each once, as numbers from 1; `names[number - 1]` is the category."""

    numbers: dict[str, list[int]]
    names: list[str]


def read_item_categories(path: Path, wanted: Collection[str], *, progress: bool = False) -> ItemCategories:
    """The categories of the `wanted` items that the metadata file knows and that have any, numbered as they appear.

    Reads `categories` (2014: lists of paths) or `category` (2018: one path) of records with an `asin`; the first record
    of an item counts. Raises InputError where the file is broken or none of the wanted items has a category in it.
    """
    number_of: dict[str, int] = {}
    numbers: dict[str, list[int]] = {}
    for block in record_blocks(path, progress=progress):
        for number, record in block:
            item = text_of(record.get("asin", ""), "asin", number, path).strip()
            if item not in wanted or item in numbers:
                continue
            names = dict.fromkeys(_category_names(record.get("categories", record.get("category"))))
            if names:
                numbers[item] = [number_of.setdefault(name, len(number_of) + 1) for name in names]
    if not numbers:
        raise InputError(
            f"--item_metadata={path}: it has no category for any of the {len(wanted):,} items. Is it the metadata of "
            f"the same product group, with `asin` and `categories`?"
        )
    return ItemCategories(numbers, list(number_of))


def _category_names(value: object) -> Iterator[str]:
    """The texts in `value`, a text or lists of them of any depth, in order, without line ends or tabs."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, str) and part.strip():
            # JSON can spell halves of surrogate pairs, which no UTF-8 file can hold.
            yield " ".join(part.split()).encode("utf-8", "replace").decode("utf-8")
