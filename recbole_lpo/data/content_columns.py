"""Columns of RecBole's `.item` file, read for what items are; nothing of them goes through RecBole's dataset."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_lpo.errors import InputError, did_you_mean

KINDS = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class AtomicText:
    """How an atomic file is written."""

    encoding: str = "utf-8"
    field_separator: str = "\t"
    seq_separator: str = " "

    @classmethod
    def of(cls, config) -> AtomicText:
        """As RecBole's settings say."""
        return cls(config["encoding"], config["field_separator"], config["seq_separator"])


@dataclass(frozen=True)
class Column:
    """One column of a file of items.

    kind    one of KINDS
    values  cell of each item: a list of texts (token, token_seq), or float32 (W,) with the same W for all (float,
            float_seq). Items with an empty cell are not in it; of several rows of an item the first with a value counts
    """

    kind: str
    values: dict[str, list[str] | np.ndarray]


def read_columns(path: Path, id_field: str | None, names: list[str] | None, text: AtomicText) -> dict[str, Column]:
    """Columns of an atomic file by name.

    id_field  the column of item tokens; None: the file's first
    names     the columns wanted; None: all others
    Raises InputError where the file or a column is not there, a column has none of KINDS, a number is none or is not
    finite, or the rows of a float_seq have different lengths.
    """
    header = _header(path, text)
    id_field = id_field or next(iter(header))
    names = [name for name in header if name != id_field] if names is None else names
    for name in [id_field, *names]:
        if name not in header:
            raise InputError(
                f"{path}: has no column {name!r}; its columns are {', '.join(header)}.{did_you_mean(name, header)}"
            )
        if header[name] not in KINDS:
            raise InputError(f"{path}: column {name!r} has type {header[name]!r}; allowed: {', '.join(KINDS)}.")
    table = _table(path, text, [f"{name}:{header[name]}" for name in [id_field, *names]])
    items = table[f"{id_field}:{header[id_field]}"]
    return {name: _column(path, name, header[name], items, table[f"{name}:{header[name]}"], text) for name in names}


def _header(path: Path, text: AtomicText) -> dict[str, str]:
    try:
        with path.open(encoding=text.encoding) as file:
            cells = file.readline().rstrip("\r\n").split(text.field_separator)
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such file. It must hold what is known of the items: "
            "`recbole-lpo prepare --item_metadata=FILE` writes it."
        ) from None
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    split = [cell.partition(":") for cell in cells]
    if not all(separator for _, separator, _ in split):
        shown = " ".join(cells)[:80]
        raise InputError(f"{path}: the header {shown!r} is not name:type, as item_id:token, brand:token.")
    return {name: kind for name, _, kind in split}


def _table(path: Path, text: AtomicText, wanted: list[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(
            path,
            sep=text.field_separator,
            usecols=wanted,
            dtype=str,
            keep_default_na=False,
            # A quotation mark is a character like any other: titles hold single ones.
            quoting=csv.QUOTE_NONE,
            encoding=text.encoding,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _column(path: Path, name: str, kind: str, items: pd.Series, cells: pd.Series, text: AtomicText) -> Column:
    values: dict[str, list[str] | np.ndarray] = {}
    width = None
    for line, (item, cell) in enumerate(zip(items, cells, strict=True), start=2):
        cell = cell.strip()
        if not cell or item in values:
            continue
        parts = [part for part in cell.split(text.seq_separator) if part] if kind.endswith("_seq") else [cell]
        if kind.startswith("token"):
            values[item] = parts
            continue
        numbers = _numbers(parts, f"{path}, line {line}: {name}")
        width = len(numbers) if width is None else width
        if len(numbers) != width:
            raise InputError(
                f"{path}, line {line}: {name} has {len(numbers)} numbers, the rows before have {width}. "
                "Give every item a vector of the same length, or an empty cell."
            )
        values[item] = numbers
    return Column(kind, values)


def _numbers(parts: list[str], where: str) -> np.ndarray:
    try:
        numbers = np.array(parts, dtype=np.float32)
    except ValueError:
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        shown = " ".join(parts)[:60]
        raise InputError(f"{where} is {shown!r}, which is not a finite number. Mend it, or leave the cell empty.")
    return numbers
