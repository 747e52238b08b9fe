"""Files with one interaction a line and a separator between the columns, and files with one sequence a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from recbole_lpo.data.columns import ColumnPlaces, find_columns
from recbole_lpo.data.raw_rows import RawRows, ReadOptions, parse_times
from recbole_lpo.data.text_lines import first_line, line_blocks
from recbole_lpo.errors import InputError

_ROWS_A_CHUNK = 1_000
_LIKELY_SEPARATORS = (",", "\t", ";", "|")

NumberedRows = tuple[Sequence[int], list[list[str]]]


def read_with_header(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    """Interactions from a file whose first line names the columns.

    Without a separator in `options` the likeliest in the first line is taken (comma, tab, semicolon, bar). Raises
    InputError for missing columns and for rows with another number of columns than the header.
    """
    header = first_line(path)
    separator = options.separator or _likely_separator(header, path)
    chunks = _row_chunks(path, separator, progress=options.progress)
    head_numbers, head_rows = next(chunks)
    places = find_columns(
        head_rows[0], path, user=options.user_column, item=options.item_column, time=options.time_column
    )
    for numbers, rows in chain([(head_numbers[1:], head_rows[1:])], chunks):
        yield _to_raw_rows(path, numbers, rows, places)


def read_without_header(path: Path, separator: str, places: ColumnPlaces, *, progress: bool) -> Iterator[RawRows]:
    """Interactions from a file whose columns are known by place. Raises InputError for rows of another width."""
    for numbers, rows in _row_chunks(path, separator, progress=progress):
        yield _to_raw_rows(path, numbers, rows, places)


def read_sequences(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    """Interactions from lines `user item item ...`, items in time order; all times are 0, so the file's order holds.

    A further line of the same user continues the sequence, so one `user item` pair a line is read as well. Raises
    InputError for a line with a user and no item.
    """
    for numbers, rows in _split_chunks(path, options.separator, progress=options.progress):
        for number, row in zip(numbers, rows, strict=True):
            if len(row) < 2:
                raise InputError(
                    f"{path}, line {number}: the user {row[0][:40]!r} has no item. A line is `user item item ...`; is "
                    f"--separator right?"
                )
        users = list(chain.from_iterable(repeat(row[0], len(row) - 1) for row in rows))
        items = list(chain.from_iterable(row[1:] for row in rows))
        item_numbers = list(
            chain.from_iterable(repeat(number, len(row) - 1) for number, row in zip(numbers, rows, strict=True))
        )
        yield RawRows(path, users, items, np.zeros(len(items), dtype=np.int64), item_numbers)


def _likely_separator(header: str, path: Path) -> str:
    separator = max(_LIKELY_SEPARATORS, key=header.count)
    if separator not in header:
        raise InputError(f"{path}: no separator found in the first line {header[:80]!r}. Name it with --separator.")
    return separator


def _row_chunks(path: Path, separator: str, *, progress: bool) -> Iterator[NumberedRows]:
    """Rows with their line numbers, blank lines left out.

    Quotation marks are understood between single characters such as commas; between tabs and longer separators they
    are part of the text, as in the files that use those.
    """
    if len(separator) == 1 and separator != "\t":
        return _quoted_chunks(path, separator, progress=progress)
    return _split_chunks(path, separator, progress=progress)


def _split_chunks(path: Path, separator: str | None, *, progress: bool) -> Iterator[NumberedRows]:
    """As `_row_chunks`, by plain splitting; a separator of None is any white space."""
    for block in line_blocks(path, progress=progress):
        numbers: Sequence[int] = range(block.first_number, block.first_number + len(block.lines))
        lines = block.lines
        if any(map(_is_blank, lines)):
            numbers = [number for number, line in zip(numbers, lines, strict=True) if not _is_blank(line)]
            lines = [line for line in lines if not _is_blank(line)]
        if lines:
            yield numbers, [line.split(separator) for line in lines]


def _quoted_chunks(path: Path, separator: str, *, progress: bool) -> Iterator[NumberedRows]:
    lines = (f"{line}\n" for block in line_blocks(path, progress=progress) for line in block.lines)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    numbers, rows = [], []
    try:
        for row in reader:
            if row and not (len(row) == 1 and _is_blank(row[0])):
                # A quoted text may hold line ends: only the reader knows the true number.
                numbers.append(reader.line_num)
                rows.append(row)
                if len(rows) == _ROWS_A_CHUNK:
                    yield numbers, rows
                    numbers, rows = [], []
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: {error}. Is a quotation mark open without its closing one, or "
            f"--separator wrong?"
        ) from None
    if rows:
        yield numbers, rows


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _to_raw_rows(path: Path, numbers: Sequence[int], rows: list[list[str]], places: ColumnPlaces) -> RawRows:
    if set(map(len, rows)) - {places.width}:
        number, width = next((n, len(row)) for n, row in zip(numbers, rows, strict=True) if len(row) != places.width)
        raise InputError(
            f"{path}, line {number}: {width} columns where {places.width} are expected. Mend or remove the line; is "
            f"the file whole, and are --source and --separator right?"
        )
    times = parse_times([row[places.time] for row in rows], numbers, path)
    return RawRows(path, [row[places.user] for row in rows], [row[places.item] for row in rows], times, numbers)
