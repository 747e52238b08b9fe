"""Files with one record a line: JSON, or the Python dictionaries of the older Amazon dumps."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recbole_lpo.data.columns import show_names
from recbole_lpo.data.raw_rows import RawRows, ReadOptions, parse_times
from recbole_lpo.data.text_lines import line_blocks
from recbole_lpo.errors import InputError, did_you_mean

# Python's own parser needs some hundred bytes a character; no real record comes near.
_LONGEST_PYTHON_RECORD = 1 << 20


def read_json_lines(path: Path, options: ReadOptions) -> Iterator[RawRows]:
    """Interactions from records with the keys `reviewerID`, `asin` and `unixReviewTime`, or those named in `options`.

    Raises InputError, with the line, for a line that is not a record, a missing key, or an id that is not text or a
    whole number.
    """
    user_key, item_key, time_key = (
        usual if named is None else named
        for named, usual in (
            (options.user_column, "reviewerID"),
            (options.item_column, "asin"),
            (options.time_column, "unixReviewTime"),
        )
    )
    for block in record_blocks(path, progress=options.progress):
        users, items, times, numbers = [], [], [], []
        for number, record in block:
            try:
                user, item, time = record[user_key], record[item_key], record[time_key]
            except KeyError as error:
                raise _missing_key(error.args[0], record, number, path) from None
            users.append(user if type(user) is str else _id_text(user, user_key, number, path))
            items.append(item if type(item) is str else _id_text(item, item_key, number, path))
            times.append(text_of(time, time_key, number, path))
            numbers.append(number)
        yield RawRows(path, users, items, parse_times(times, numbers, path), numbers)


def record_blocks(path: Path, *, progress: bool = False) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """The records of a file in blocks, each with its line number; blank lines are skipped.

    Raises InputError, with the line, where a line holds anything but one JSON object or Python dictionary.
    """
    for block in line_blocks(path, progress=progress):
        yield [
            (number, _parse_record(line, number, path))
            for number, line in enumerate(block.lines, start=block.first_number)
            if line and not line.isspace()
        ]


def _parse_record(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = _parse_python(line)
    if type(record) is not dict:
        start = line.strip()[:40]
        raise InputError(
            f"{path}, line {number}: neither a JSON object nor a Python dictionary (it starts with {start!r}). "
            f"Is it the right file for this --source, and whole?"
        )
    return record


def _parse_python(line: str) -> object:
    """The literal in `line`, or None where it is not a Python literal; nothing in it is ever executed."""
    if len(line) > _LONGEST_PYTHON_RECORD:
        return None
    try:
        with warnings.catch_warnings():
            # Review texts hold backslashes that Python warns of; they are data here.
            warnings.simplefilter("ignore")
            return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _id_text(value: object, key: str, number: int, path: Path) -> str:
    if type(value) is int:
        return text_of(value, key, number, path)
    raise InputError(f"{path}, line {number}: the id in {key!r} is {value!r}; it must be text or a whole number.")


def text_of(value: object, key: str, number: int, path: Path) -> str:
    """`str(value)`; raises InputError, with the line, for a whole number that Python will not write."""
    try:
        return str(value)
    except ValueError:
        # Python refuses to write a whole number of thousands of digits, which a hexadecimal one can be.
        raise InputError(f"{path}, line {number}: the number in {key!r} has thousands of digits.") from None


def _missing_key(key: str, record: dict[str, Any], number: int, path: Path) -> InputError:
    # The keys of a Python dictionary may be anything.
    names = [name for name in record if isinstance(name, str)]
    hint = did_you_mean(key, names)
    return InputError(
        f"{path}, line {number}: no {key!r}; the record has {show_names(names)}.{hint} Name the right ones with "
        f"--user_column, --item_column, --time_column."
    )
