"""The rows of an `.inter` file as RecBole reads them: checked and read in one pass, every id held once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_lpo.data.checks import NO_IDS, Layout, check_layout, check_rows
from recbole_lpo.data.token_codes import READ_AS_MISSING

# Rows that are parsed at once; of their texts only the ids that differ are kept.
_CHUNK_ROWS = 500_000


class _Irregular(Exception):
    """Rows that no dataset may have, or of which pandas' engines make different things."""


def read_interactions(path: Path, config, is_wanted: Callable[[str], bool]) -> pd.DataFrame | None:
    """The columns whose names (without types) are wanted, in the order of the file; tokens as categories, floats as
    float64, NaN where RecBole has it.

    RecBole reads through pandas' slow engine, a Python string for each cell. The fast one reads alike where there are
    no quotation marks; None where there are some, where the separator has several characters, and where a wanted column
    holds sequences: these rows are checked, and left to RecBole. Raises InputError as `check_interaction_file` does.
    """
    layout = check_layout(path, config)
    kinds = {field: kind for field, kind in layout.columns.items() if is_wanted(field)}
    if layout.is_plain and set(kinds.values()) <= {"token", "float"}:
        try:
            return _read(path, config, layout, kinds)
        except (_Irregular, ValueError):
            # What is wrong, and in which line, the slow check says; what it lets pass is RecBole's to read.
            pass
    check_rows(path, config, layout)
    return None


def _read(path: Path, config, layout: Layout, kinds: dict[str, str]) -> pd.DataFrame:
    ids, time = {config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]}, config["TIME_FIELD"]
    needed = {*kinds, *ids, time}
    parsed_as = {"token": "category", "float": np.float64}
    tokens = {field: _Tokens() for field, kind in kinds.items() if kind == "token"}
    floats: dict[str, list[np.ndarray]] = {field: [] for field, kind in kinds.items() if kind == "float"}
    missing = ["", *READ_AS_MISSING]
    with pd.read_csv(
        path,
        sep=config["field_separator"],
        encoding=config["encoding"],
        # All columns, the others as text: otherwise cells beyond the header would be dropped without a word.
        dtype={f"{name}:{kind}": parsed_as[kind] if name in needed else str for name, kind in layout.columns.items()},
        keep_default_na=False,
        na_values={f"{name}:{kind}": missing for name, kind in kinds.items() if name not in {*ids, time}},
        float_precision="round_trip",
        chunksize=_CHUNK_ROWS,
    ) as chunks:
        for chunk in chunks:
            if not isinstance(chunk.index, pd.RangeIndex) or not np.isfinite(chunk[f"{time}:float"]).all():
                raise _Irregular
            if any(chunk[f"{field}:token"].cat.categories.isin(NO_IDS).any() for field in ids):
                raise _Irregular
            for field, seen in tokens.items():
                seen.add(chunk[f"{field}:token"].array)
            for field, values in floats.items():
                values.append(chunk[f"{field}:float"].to_numpy())
    columns = {}
    for field in kinds:
        # Popped, so that the parts of a column go as soon as the column is there.
        columns[field] = tokens.pop(field).whole() if field in tokens else np.concatenate(floats.pop(field))
    table = pd.DataFrame(columns, copy=False)
    if table.empty:
        raise _Irregular
    return table


class _Tokens:
    """A column of tokens that is put together chunk by chunk, each token once."""

    def __init__(self) -> None:
        self._codes: defaultdict[str, int] = defaultdict()
        self._codes.default_factory = self._codes.__len__
        self._parts: list[np.ndarray] = []

    def add(self, chunk: pd.Categorical) -> None:
        known = np.fromiter(map(self._codes.__getitem__, chunk.categories), np.int32, len(chunk.categories))
        # Code -1, a missing value, takes the last place.
        self._parts.append(np.append(known, np.int32(-1))[chunk.codes])

    def whole(self) -> pd.Categorical:
        codes = np.concatenate(self._parts)
        self._parts.clear()
        return pd.Categorical.from_codes(codes, categories=pd.Index(list(self._codes), dtype=object), validate=False)
