"""The raw file formats that can be prepared: a name for each, and the reader behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from recbole_lpo.data.columns import ColumnPlaces
from recbole_lpo.data.raw_delimited import read_sequences, read_with_header, read_without_header
from recbole_lpo.data.raw_json import read_json_lines
from recbole_lpo.data.raw_parquet import read_parquet
from recbole_lpo.data.raw_rows import RawRows, ReadOptions
from recbole_lpo.data.text_lines import first_line
from recbole_lpo.errors import InputError, did_you_mean

Reader = Callable[[Path, ReadOptions], Iterator[RawRows]]

_USER_ITEM_RATING_TIME = ColumnPlaces(user=0, item=1, time=3, width=4)
_ITEM_USER_RATING_TIME = ColumnPlaces(user=1, item=0, time=3, width=4)

_AMAZON_ITEM = re.compile(r"B[0-9A-Z]{9}|[0-9]{9}[0-9X]")
_AMAZON_USER = re.compile(r"A[0-9A-Z]{9,}")


def reader_of(source: str) -> Reader:
    """The reader of a source name. Raises InputError, with the nearest name, for an unknown one."""
    if source not in SOURCES:
        raise InputError(f"--source={source}: unknown; one of {', '.join(SOURCES)}.{did_you_mean(source, SOURCES)}")
    return SOURCES[source]


def _read_amazon_2014(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    """`reviews_*.json.gz` (JSON or Python dictionaries, one a line) or `ratings_*.csv`: user, item, rating, time."""
    return _read_amazon(path, options, _USER_ITEM_RATING_TIME, other_source="amazon2018")


def _read_amazon_2018(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    """`*.json.gz` (one JSON object a line) or the ratings-only csv: item, user, rating, time."""
    return _read_amazon(path, options, _ITEM_USER_RATING_TIME, other_source="amazon2014")


def _read_amazon(path: Path, options: ReadOptions, places: ColumnPlaces, *, other_source: str) -> Iterator[RawRows]:
    _refuse_separator(path, options)
    start = first_line(path)
    if start.lstrip().startswith("{"):
        return read_json_lines(path, options)
    _refuse_columns(path, options)
    cells = start.strip().split(",")
    # The two years have the same four columns in another order, and swapped ids would raise no error later.
    if (
        len(cells) == places.width
        and _AMAZON_ITEM.fullmatch(cells[places.user])
        and _AMAZON_USER.fullmatch(cells[places.item])
    ):
        raise InputError(f"{path}, line 1: the user and item columns look swapped. Is it --source={other_source}?")
    return read_without_header(path, ",", places, progress=options.progress)


def _read_movielens(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    """`ratings.dat` (`::`), `u.data` (tabs), or the `ratings.csv` with a header that the larger releases have."""
    _refuse_separator(path, options)
    start = first_line(path)
    for separator in ("::", "\t"):
        if separator in start:
            _refuse_columns(path, options)
            return read_without_header(path, separator, _USER_ITEM_RATING_TIME, progress=options.progress)
    return read_with_header(path, replace(options, separator=","))


def _read_sequences(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    _refuse_columns(path, options)
    return read_sequences(path, options)


def _read_parquet(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    _refuse_separator(path, options)
    return read_parquet(path, options)


def _refuse_columns(path: Path, options: ReadOptions) -> None:
    for role in ("user", "item", "time"):
        name = getattr(options, f"{role}_column")
        if name is not None:
            raise InputError(f"--{role}_column={name}: the columns of {path} have no names; leave the flag out.")


def _refuse_separator(path: Path, options: ReadOptions) -> None:
    if options.separator is not None:
        raise InputError(
            f"--separator={options.separator!r}: the format of {path} has a fixed one; leave the flag out."
        )


SOURCES: dict[str, Reader] = {
    "amazon2014": _read_amazon_2014,
    "amazon2018": _read_amazon_2018,
    "movielens": _read_movielens,
    "sequences": _read_sequences,
    "csv": read_with_header,
    "parquet": _read_parquet,
}
