"""Parquet files, read in batches; needs the optional extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from recbole_lpo.data.columns import find_columns
from recbole_lpo.data.raw_rows import RawRows, ReadOptions, check_times
from recbole_lpo.data.text_lines import check_is_file
from recbole_lpo.errors import InputError

if TYPE_CHECKING:
    import pyarrow

_ROWS_A_BATCH = 50_000


def read_parquet(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    """Interactions from the user, item and time columns of a Parquet file.

    Ids may be text or whole numbers, times numbers, dates or timestamps. Raises InputError without pyarrow, for a file
    that is not whole, for missing columns, columns of another kind, and missing values (with their row).
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{path}: reading Parquet needs pyarrow. Install it with: pip install 'recbole-lpo[parquet]'"
        ) from error
    check_is_file(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from _read_batches(file, path, options)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a whole Parquet file ({reason}). Fetch or write it again.") from error


def _read_batches(file: pyarrow.parquet.ParquetFile, path: Path, options: ReadOptions) -> Iterator[RawRows]:
    names = file.schema_arrow.names
    places = find_columns(names, path, user=options.user_column, item=options.item_column, time=options.time_column)
    columns = [names[places.user], names[places.item], names[places.time]]
    first = 1
    disable = None if options.progress else True
    with tqdm(total=file.metadata.num_rows, desc=path.name, unit="row", unit_scale=True, disable=disable) as bar:
        for batch in file.iter_batches(batch_size=_ROWS_A_BATCH, columns=columns):
            numbers = range(first, first + batch.num_rows)
            users, items, times = (_without_missing(batch.column(name), name, first, path) for name in columns)
            yield RawRows(
                path,
                _to_tokens(users, columns[0], path),
                _to_tokens(items, columns[1], path),
                _to_times(times, columns[2], numbers, path),
                numbers,
            )
            first += batch.num_rows
            bar.update(batch.num_rows)


def _without_missing(column: pyarrow.Array, name: str, first: int, path: Path) -> pyarrow.Array:
    if column.null_count:
        row = first + column.is_null().to_pylist().index(True)
        raise InputError(f"{path}, row {row}: the column {name!r} has no value. Fill or remove the row.")
    return column


def _to_tokens(column: pyarrow.Array, name: str, path: Path) -> list[str]:
    import pyarrow

    kind = column.type.value_type if pyarrow.types.is_dictionary(column.type) else column.type
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise InputError(f"{path}: the id column {name!r} holds {kind}; write it as text or whole numbers.")
    return column.cast(pyarrow.large_string()).to_pylist()


def _to_times(column: pyarrow.Array, name: str, numbers: range, path: Path) -> np.ndarray:
    import pyarrow

    kind = column.type
    if pyarrow.types.is_date32(kind):
        column = column.cast(pyarrow.int32())
    elif pyarrow.types.is_floating(kind):
        return check_times(column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), numbers, path)
    elif not (pyarrow.types.is_integer(kind) or pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date64(kind)):
        raise InputError(f"{path}: the time column {name!r} holds {kind}; write it as numbers, dates or timestamps.")
    return column.cast(pyarrow.int64()).to_numpy(zero_copy_only=False)
