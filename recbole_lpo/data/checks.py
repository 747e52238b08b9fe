"""What an atomic file must have, found out before RecBole reads it: RecBole answers with a traceback, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recbole_lpo.errors import InputError, did_you_mean

_CHUNK_ROWS = 1_000_000


def check_interaction_file(path: Path, config) -> None:
    """Raise InputError, in one line, where the `.inter` file cannot make a dataset of sequences.

    Checks the header (columns, types), that there are rows, and that every time is a number.
    """
    columns = _header(path, config)
    needed = {config["USER_ID_FIELD"]: "token", config["ITEM_ID_FIELD"]: "token", config["TIME_FIELD"]: "float"}
    for field, kind in needed.items():
        if field not in columns:
            raise InputError(
                f"{path}: has no column {field!r}; its columns are {', '.join(columns)}."
                f"{did_you_mean(field, columns)} Name it in the header as {field}:{kind}, or set USER_ID_FIELD, "
                "ITEM_ID_FIELD, TIME_FIELD to the names that the file has."
            )
        if columns[field] != kind:
            raise InputError(f"{path}: column {field!r} has type {columns[field]!r}; RecBole needs {field}:{kind}.")
    _check_rows(path, config)


def _header(path: Path, config) -> dict[str, str]:
    """Column names and types of an atomic file's first line."""
    try:
        with open(path, encoding=config["encoding"]) as file:
            line = file.readline().rstrip("\r\n")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if line.startswith("\ufeff"):
        raise InputError(f"{path}: starts with a byte order mark. Save it as UTF-8 without one.")
    if not line:
        raise InputError(f"{path}: is empty. An atomic file starts with a header as user_id:token, item_id:token, ...")
    columns = {}
    for cell in line.split(config["field_separator"]):
        name, separator, kind = cell.partition(":")
        if not separator:
            raise InputError(
                f"{path}: the header cell {cell!r} has no type. Write name:type, as user_id:token, separated by "
                f"{config['field_separator']!r}."
            )
        columns[name] = kind
    return columns


def _check_rows(path: Path, config) -> None:
    time = f"{config['TIME_FIELD']}:float"
    try:
        chunks = pd.read_csv(
            path,
            sep=config["field_separator"],
            usecols=[time],
            dtype=str,
            keep_default_na=False,
            chunksize=_CHUNK_ROWS,
            encoding=config["encoding"],
        )
        n_rows = 0
        for chunk in chunks:
            times = pd.to_numeric(chunk[time], errors="coerce").to_numpy(np.float64)
            wrong = np.flatnonzero(~np.isfinite(times))
            if len(wrong):
                value, line = chunk[time].iloc[wrong[0]], n_rows + wrong[0] + 2
                raise InputError(
                    f"{path}: line {line}: {config['TIME_FIELD']} is {value!r}, not a number ({len(wrong)} such rows). "
                    "Mend the file, or make it anew with `recbole-lpo prepare`."
                )
            n_rows += len(chunk)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if n_rows == 0:
        raise InputError(f"{path}: has a header and no interactions.")
