"""What an atomic file must have, found out before RecBole reads it: RecBole answers with a traceback, or not at all."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_lpo.data.token_codes import READ_AS_MISSING
from recbole_lpo.errors import InputError, did_you_mean

_CHUNK_ROWS = 100_000
_CHUNK_CHARACTERS = 1 << 20
_TYPES = tuple(kind.value for kind in FeatureType)
# What RecBole drops with a log line, and the token that it keeps for padding.
NO_IDS = (*READ_AS_MISSING, "", "[PAD]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_MEND = "Mend the file, or make it anew with `recbole-lpo prepare`."


@dataclass(frozen=True)
class Layout:
    """The columns of a file, {name: type}; whether it has a quotation mark anywhere, and whether pandas' fast engine
    reads its cells as the slow one does, which RecBole takes."""

    columns: dict[str, str]
    has_quotes: bool
    is_plain: bool


def check_interaction_file(path: Path, config) -> None:
    """Raise InputError, in one line, where the `.inter` file cannot make a dataset of sequences.

    Checks the encoding, the header (columns, types), that there are rows, that none has more cells than the header,
    that no quotation mark takes several cells for one, that every user and item has a name that RecBole keeps, and that
    every time is a finite number.
    """
    check_rows(path, config, check_layout(path, config))


def check_quotation_marks(path: Path, config) -> None:
    """Raise InputError where an opening quotation mark makes RecBole take several cells or lines of a file for one."""
    if not _scan(path, config["encoding"]):
        return
    n_rows = 0
    try:
        with _in_chunks(path, config, plain=False) as chunks:
            for chunk in chunks:
                _check_swallowed(path, chunk, n_rows + 2, config["field_separator"])
                n_rows += len(chunk)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error):
        # What else is wrong with such a file is RecBole's to say.
        return


def check_layout(path: Path, config) -> Layout:
    """The layout of the file; InputError for what is wrong in its encoding or its header."""
    separator = config["field_separator"]
    if not isinstance(separator, str) or not separator:
        raise InputError(f"field_separator = {separator!r}: must be text, one character or more.")
    has_quotes = _scan(path, config["encoding"])
    columns = _header(path, config)
    needed = {config["USER_ID_FIELD"]: "token", config["ITEM_ID_FIELD"]: "token", config["TIME_FIELD"]: "float"}
    for field, kind in needed.items():
        if field not in columns:
            raise InputError(
                f"{path}: has no column {field!r}; its columns are {', '.join(columns)}."
                f"{did_you_mean(str(field), columns)} Name it in the header as {field}:{kind}, or set USER_ID_FIELD, "
                "ITEM_ID_FIELD, TIME_FIELD to the names that the file has."
            )
        if columns[field] != kind:
            raise InputError(f"{path}: column {field!r} has type {columns[field]!r}; RecBole needs {field}:{kind}.")
    return Layout(columns, has_quotes, is_plain=not has_quotes and len(separator) == 1)


def _scan(path: Path, encoding: str) -> bool:
    """Whether the file has a quotation mark anywhere. Raises InputError for another encoding and for a NUL byte."""
    has_quotes = False
    try:
        with open(path, encoding=encoding, newline="") as file:
            while text := file.read(_CHUNK_CHARACTERS):
                has_quotes = has_quotes or '"' in text
                if "\0" in text:
                    raise InputError(f"{path}: has a NUL byte. It is damaged, or in another encoding.")
    except (LookupError, TypeError):
        raise InputError(f"encoding = {encoding!r}: there is no such encoding. RecBole's default is utf-8.") from None
    except (UnicodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    return has_quotes


def _header(path: Path, config) -> dict[str, str]:
    """Column names and types of an atomic file's first line."""
    with open(path, encoding=config["encoding"]) as file:
        line = file.readline().rstrip("\n")
    if line.startswith("\ufeff"):
        raise InputError(f"{path}: starts with a byte order mark. Save it as UTF-8 without one.")
    if not line:
        what = "its first line is empty" if path.stat().st_size else "is empty"
        raise InputError(f"{path}: {what}. An atomic file starts with a header as user_id:token, item_id:token, ...")
    columns = {}
    for cell in line.split(config["field_separator"]):
        name, separator, kind = cell.partition(":")
        if not separator:
            raise InputError(
                f"{path}: the header cell {cell!r} has no type. Write name:type, as user_id:token, separated by "
                f"{config['field_separator']!r}."
            )
        if kind not in _TYPES:
            raise InputError(f"{path}: the header cell {cell!r} has an unknown type. Allowed: {', '.join(_TYPES)}.")
        if name in columns:
            raise InputError(f"{path}: has two columns {name!r}. Leave one out.")
        columns[name] = kind
    return columns


def check_rows(path: Path, config, layout: Layout) -> None:
    """InputError for the first row that cannot be used, with its line."""
    time = config["TIME_FIELD"]
    ids = [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]]
    n_rows = 0
    try:
        with _in_chunks(path, config, plain=layout.is_plain) as chunks:
            for chunk in chunks:
                if not isinstance(chunk.index, pd.RangeIndex):
                    raise InputError(f"{path}: line {n_rows + 2}: has more cells than the header. {_MEND}")
                if layout.has_quotes:
                    _check_swallowed(path, chunk, n_rows + 2, config["field_separator"])
                for field in ids:
                    _check_ids(path, chunk[f"{field}:token"], n_rows + 2)
                _check_times(path, chunk[f"{time}:float"], n_rows + 2)
                n_rows += len(chunk)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if n_rows == 0:
        raise InputError(f"{path}: has a header and no interactions.")


def _in_chunks(path: Path, config, *, plain: bool):
    """The cells as text, as RecBole divides them."""
    return pd.read_csv(
        path,
        sep=config["field_separator"],
        dtype=str,
        keep_default_na=False,
        chunksize=_CHUNK_ROWS,
        encoding=config["encoding"],
        engine="c" if plain else "python",
    )


def _check_swallowed(path: Path, chunk: pd.DataFrame, first_line: int, separator: str) -> None:
    """A cell may hold separators and line ends in quotation marks. One that was opened by accident holds just as many
    separators as the lines that it has swallowed, and the cells that its row lacks at the end."""
    ends = re.compile(f"[\\r\\n]|{re.escape(separator)}")
    lacking = chunk.isna().sum(axis=1).to_numpy()
    for name, cells in chunk.items():
        for row in np.flatnonzero(cells.str.contains(ends, na=False)):
            value = cells.iloc[row]
            lines = len(_LINE_END.findall(value))
            if value.count(separator) == lines * (len(chunk.columns) - 1) + lacking[row]:
                raise InputError(
                    f"{path}: line {first_line + row}: {str(name).partition(':')[0]} is {value[:40]!r}...: a quotation "
                    f"mark opens here and closes cells later, and RecBole takes all up to there for one cell. {_MEND}"
                )


def _check_ids(path: Path, ids: pd.Series, first_line: int) -> None:
    field = ids.name.partition(":")[0]
    missing = np.flatnonzero(ids.isna() | ids.isin(NO_IDS))
    if len(missing):
        value, line = ids.iloc[missing[0]], first_line + missing[0]
        raise InputError(
            f"{path}: line {line}: {field} is {value!r}, which RecBole takes for a missing value or for padding "
            f"({len(missing)} such rows). Give it another name, or remove the line."
        )


def _check_times(path: Path, texts: pd.Series, first_line: int) -> None:
    field = texts.name.partition(":")[0]
    times = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(times))
    if len(wrong):
        value, line = texts.iloc[wrong[0]], first_line + wrong[0]
        raise InputError(f"{path}: line {line}: {field} is {value!r}, not a number ({len(wrong)} such rows). {_MEND}")
