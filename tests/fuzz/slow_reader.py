"""What a raw or atomic file holds, read in one piece and row by row: the twin that the readers are held against.

Each function returns plain rows, or None where the file must be refused.
"""

from __future__ import annotations

import ast
import gzip
import json
import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable

from pandas._libs.parsers import STR_NA_VALUES

Row = tuple[str, str, str]

USUAL_NAMES = {
    "user": ["user_id", "user", "userid", "uid", "reviewerid", "customer_id"],
    "item": ["item_id", "item", "itemid", "iid", "asin", "parent_asin", "movieid", "product_id", "business_id"],
    "time": ["timestamp", "time", "unixreviewtime", "unix_time", "time_stamp"],
}
FIELD_TYPES = ("token", "token_seq", "float", "float_seq")


class _Refused(Exception):
    pass


def prepared(source: str, data: bytes, *, k_core: int, drop_duplicates: bool, **options: str) -> str | None:
    """The `.inter` file that `prepare` must write for these bytes, or None."""
    if "separator" in options and (not options["separator"] or set(options["separator"]) & set('"\r\n')):
        return None
    try:
        rows = _READERS[source](_text(data), options)
        users = list(dict.fromkeys(_token(user) for user, _, _ in rows))
        ordered = sorted(
            zip(
                map(_token, (row[0] for row in rows)), map(_token, (row[1] for row in rows)), _times(rows), strict=True
            ),
            key=lambda row: (users.index(row[0]), row[2]),
        )
    except _Refused:
        return None
    if drop_duplicates:
        ordered = [row for n, row in enumerate(ordered) if row[:2] not in [other[:2] for other in ordered[:n]]]
    kept = _k_core([row[:2] for row in ordered], k_core)
    if not kept:
        return None
    seen: Counter[str] = Counter()
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, item in kept:
        seen[user] += 1
        lines.append(f"{user}\t{item}\t{seen[user]}")
    return "\n".join(lines) + "\n"


def atomic(data: bytes) -> list[tuple[str, str, float]] | None:
    """The rows of an `.inter` file as RecBole means them, or None."""
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff") or "\0" in text:
            return None
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        first = text.partition("\n")[0]
        if '"' in first or not first.strip():
            return None
        records = _quoted(text, "\t")
        header = next((cells for cells in records[:1]), [])
        names = [cell.partition(":")[0] for cell in header]
        kinds = [cell.partition(":")[2] for cell in header]
        if len(set(names)) < len(names) or any(kind not in FIELD_TYPES for kind in kinds):
            return None
        wanted = {"user_id": "token", "item_id": "token", "timestamp": "float"}
        if any((name, kind) not in zip(names, kinds, strict=True) for name, kind in wanted.items()):
            return None
        rows = []
        for cells in records[1:]:
            if len(cells) > len(names):
                return None
            cells = [*cells, *[""] * len(names)]
            user, item, time = (cells[names.index(name)] for name in wanted)
            if any(token in {*STR_NA_VALUES, "", "[PAD]"} or set(token) & set("\t\n") for token in (user, item)):
                return None
            rows.append((user, item, _finite(time)))
    except (UnicodeDecodeError, _Refused):
        return None
    return rows or None


def _finite(text: str) -> float:
    if not text.strip().isascii() or "_" in text:
        raise _Refused
    try:
        value = float(text)
    except ValueError:
        raise _Refused from None
    if not math.isfinite(value):
        raise _Refused
    return value


def _text(data: bytes) -> str:
    if data.startswith((b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"PAR1")):
        raise _Refused
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except (EOFError, OSError, zlib.error, UnicodeDecodeError):
        raise _Refused from None
    if not text.strip():
        raise _Refused
    return text


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _quoted(text: str, separator: str) -> list[list[str]]:
    """Cells of all lines; a quotation mark at the start of a cell opens it, a doubled one is one, a lone one closes."""
    records: list[list[str]] = []
    cells: list[str] = []
    cell, state = "", "start"
    for char in text if text.endswith("\n") else text + "\n":
        if state == "quoted":
            if char == '"':
                state = "closing"
            else:
                cell += char
        elif char == '"' and state == "closing":
            cell, state = cell + '"', "quoted"
        elif char == '"' and state == "start":
            state = "quoted"
        elif char == "\n":
            records.append([*cells, cell])
            cells, cell, state = [], "", "start"
        elif state == "after return" and char != "\r":
            raise _Refused
        elif char == "\r":
            state = "after return"
        elif char == separator:
            cells, cell, state = [*cells, cell], "", "start"
        elif state == "closing":
            raise _Refused
        else:
            cell, state = cell + char, "plain"
    if state == "quoted":
        raise _Refused
    return [record for record in records if len(record) > 1 or record[0].strip()]


def _cells(text: str, separator: str) -> list[list[str]]:
    if len(separator) == 1 and separator != "\t":
        return _quoted(text, separator)
    return [line.split(separator) for line in _lines(text)]


def _of_columns(rows: list[list[str]], width: int, user: int, item: int, time: int) -> list[Row]:
    if any(len(row) != width for row in rows):
        raise _Refused
    return [(row[user], row[item], row[time]) for row in rows]


def _with_header(text: str, options: dict[str, str]) -> list[Row]:
    first = _lines(text)[0]
    separator = options.get("separator") or max(",\t;|", key=first.count)
    if "separator" not in options and separator not in first:
        raise _Refused
    header, *rows = _cells(text, separator)
    places = []
    for role, usual in USUAL_NAMES.items():
        bare = [name.strip().split(":")[0] for name in header]
        wanted = options.get(f"{role}_column")
        fits = [
            name.lower() in usual if wanted is None else wanted in (whole.strip(), name)
            for name, whole in zip(bare, header, strict=True)
        ]
        if sum(fits) != 1:
            raise _Refused
        places.append(fits.index(True))
    if len(set(places)) < 3:
        raise _Refused
    return _of_columns(rows, len(header), *places)


def _movielens(text: str, options: dict[str, str]) -> list[Row]:
    if "separator" in options:
        raise _Refused
    first = _lines(text)[0]
    for separator in ("::", "\t"):
        if separator in first:
            if options:
                raise _Refused
            return _of_columns(_cells(text, separator), 4, 0, 1, 3)
    return _with_header(text, {**options, "separator": ","})


def _amazon(user: int) -> Callable[[str, dict[str, str]], list[Row]]:
    def read(text: str, options: dict[str, str]) -> list[Row]:
        if "separator" in options:
            raise _Refused
        if _lines(text)[0].lstrip().startswith("{"):
            return [_of_record(line, options) for line in _lines(text)]
        if options:
            raise _Refused
        return _of_columns(_cells(text, ","), 4, user, 1 - user, 3)

    return read


def _of_record(line: str, options: dict[str, str]) -> Row:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        try:
            record = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise _Refused from None
    keys = (("user_column", "reviewerID"), ("item_column", "asin"), ("time_column", "unixReviewTime"))
    if type(record) is not dict or any(options.get(option, key) not in record for option, key in keys):
        raise _Refused
    user, item, time = (record[options.get(option, key)] for option, key in keys)
    if type(user) not in (str, int) or type(item) not in (str, int):
        raise _Refused
    try:
        return str(user), str(item), str(time)
    except ValueError:
        raise _Refused from None


def _sequences(text: str, options: dict[str, str]) -> list[Row]:
    if any(option.endswith("_column") for option in options):
        raise _Refused
    rows = [line.split(options.get("separator")) for line in _lines(text)]
    if any(len(row) < 2 for row in rows):
        raise _Refused
    return [(user, item, "0") for user, *items in rows for item in items]


def _token(text: str) -> str:
    token = text.strip()
    if token in STR_NA_VALUES or token == "[PAD]" or token.startswith('"') or _is_unwritable(token):
        raise _Refused
    return token


def _is_unwritable(token: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in token)


def _times(rows: list[Row]) -> list[int] | list[float]:
    try:
        whole = [int(time) for _, _, time in rows]
        if all(-(2**63) <= time < 2**63 for time in whole):
            return whole
    except ValueError:
        pass
    try:
        times = [float(time) for _, _, time in rows]
    except ValueError:
        raise _Refused from None
    if not all(abs(time) < 2**53 for time in times):
        raise _Refused
    return times


def _k_core(rows: list[tuple[str, str]], k: int) -> list[tuple[str, str]]:
    while True:
        users, items = (Counter(row[place] for row in rows) for place in (0, 1))
        kept = [row for row in rows if users[row[0]] >= k and items[row[1]] >= k]
        if kept == rows:
            return rows
        rows = kept


_READERS = {
    "csv": _with_header,
    "movielens": _movielens,
    "amazon2014": _amazon(0),
    "amazon2018": _amazon(1),
    "sequences": _sequences,
}
