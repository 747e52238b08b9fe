"""Which attribute values each item of a dataset has, from columns of its `.item` file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from recbole_lpo.data.content_columns import AtomicText, read_columns
from recbole_lpo.errors import InputError


def attribute_values(config, tokens: Sequence[str], fields: Sequence[str]) -> sparse.csr_matrix:
    """(N, V) float32, 1 where an item has a value; equal words of two fields are two values.

    tokens: external token of each item number, the padding's first. Raises InputError for what cannot be read, a column
    of numbers, and a field that has a value for none of the items.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    columns = read_columns(path, config["ITEM_ID_FIELD"], sorted(set(fields)), AtomicText.of(config))
    numbers: dict[tuple[str, str], int] = {}
    row: list[int] = []
    col: list[int] = []
    for field, column in columns.items():
        if not column.kind.startswith("token"):
            raise InputError(
                f"eval_neighbours_fields = {field}: has type {column.kind}; items are alike by columns of type token "
                "or token_seq."
            )
        before = len(row)
        for item, token in enumerate(tokens):
            for value in sorted(set(column.values.get(token, ()))):
                row.append(item)
                col.append(numbers.setdefault((field, value), len(numbers)))
        if len(row) == before:
            raise InputError(f"eval_neighbours_fields = {field}: {path} has a value for none of the dataset's items.")
    held = np.ones(len(row), dtype=np.float32)
    return sparse.csr_matrix((held, (row, col)), shape=(len(tokens), len(numbers)))
