"""Files as they come from strangers: tables in every format, and the ways in which files are broken."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field

from hypothesis import strategies as st

TAME_TOKENS = ("u1", "u2", "u3", "007", "7", "7.0", "1e5", "-1", "NAN1", "é", "日本", "a b", "x'y", 'x"y', "#1", "True")
WILD_TOKENS = (
    *("", " ", " u1 ", "NA", "nan", "null", "None", "[PAD]", '"u1"', '"', "a,b", "a;b", "a::b", "a\tb", "a\nb", "a\rb"),
    *("\0", "a\0b", "\x85", "a\u2028b", "\ufeffu1", "\u00a0u1", "a" * 400, "\x1bu", "😀"),
)
TAME_TIMES = ("1", "2", "3", "0", "-5", "2.5", "1e3", " 7", "1400000000", "1400000001", "1400000000000", "01")
WILD_TIMES = (
    *("", "nan", "NaN", "inf", "-inf", "1e400", "2014-01-01", "soon", "0x10", "1,5", "True", "1_0", "\u0663"),
    *(str(2**53), str(2**53 + 1), str(-(2**53) - 1), str(2**63 - 1), str(2**63), str(-(2**63)), "9" * 5000, "1e17"),
)
_SOURCES = ("csv", "movielens", "amazon2014", "amazon2018", "sequences")
_HEADERS = (
    *[["user", "item", "time"], ["user_id:token", "item_id:token", "timestamp:float"], ["uid", "rating", "iid", "time"]]
    * 4,
    *(["UserId", "movieId", "Timestamp"], ["time", "item", "text", "user"], [" user", "item ", "time"]),
    *(["user", "item"], ["user", "user", "item", "time"], ["user", "user_id", "item", "time"], ["a", "b", "c"]),
)
# A tenth of the draws below is for what no file should have; more would leave few files that can be read.
_ONE_IN_TEN = st.integers(0, 9).map(lambda draw: draw == 9)


@dataclass(frozen=True)
class RawFile:
    """A raw file with the options that `prepare` is called with."""

    source: str
    data: bytes
    options: dict[str, str] = field(default_factory=dict)
    k_core: int = 0
    drop_duplicates: bool = False


@st.composite
def tables(draw) -> list[tuple[str, str, str]]:
    """Rows of (user, item, time); few names, so that they repeat; now and then a cell that no file should have."""
    users, items, times = (st.sampled_from(tame) for tame in (TAME_TOKENS[:8], TAME_TOKENS, TAME_TIMES))
    rows = draw(st.lists(st.tuples(users, items, times), max_size=12))
    if rows and draw(st.integers(0, 3)) == 0:
        wild = [st.sampled_from(values) for values in (WILD_TOKENS, WILD_TOKENS, WILD_TIMES)]
        place, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, 2))
        rows[place] = (*rows[place][:column], draw(wild[column]), *rows[place][column + 1 :])
    return rows


@st.composite
def raw_files(draw) -> RawFile:
    """A file in one of the formats, whole or broken, and options that mostly fit."""
    source = draw(st.sampled_from(_SOURCES))
    rows = draw(tables())
    text = draw(_AS_TEXT[source](rows))
    if draw(_ONE_IN_TEN):
        text = draw(damaged_texts(text))
    options = {}
    if draw(_ONE_IN_TEN):
        name, values = draw(
            st.sampled_from(
                [
                    ("separator", [",", "\t", "::", ";", " ", "", '"', "\n", "ab", "\0", "|", "\r"]),
                    ("user_column", ["user", "user_id", "a", "item", "rating", ""]),
                    ("item_column", ["item", "b", "user"]),
                    ("time_column", ["time", "c", "rating"]),
                ]
            )
        )
        options[name] = draw(st.sampled_from(values))
    data = draw(damaged_bytes(draw(encoded(text))))
    return RawFile(source, data, options, draw(st.sampled_from([*[0] * 8, 1, 2, 2, 3, 10**30])), draw(st.booleans()))


@st.composite
def _delimited(draw, rows, *, separator: str, header: list[str] | None, order=(0, 1, None, 2), quotes: bool) -> str:
    def quoted(cell: str) -> str:
        must = any(mark in cell for mark in (separator, '"', "\n", "\r"))
        return '"' + cell.replace('"', '""') + '"' if quotes and (must or draw(st.integers(0, 9)) == 0) else cell

    lines = [separator.join(header)] if header else []
    for row in rows:
        lines.append(separator.join(quoted("5.0" if place is None else row[place]) for place in order))
    return _ended(draw, lines)


def _ended(draw, lines: list[str]) -> str:
    if lines and draw(_ONE_IN_TEN):
        lines = [*lines]
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["", "  ", "\t", ",", "\ufeff"])))
    end = draw(st.sampled_from([*["\n"] * 12, *["\r\n"] * 4, "\r"]))
    return end.join(lines) + draw(st.sampled_from([end, ""]))


@st.composite
def _csv(draw, rows) -> str:
    header = draw(st.sampled_from(_HEADERS))
    separator = draw(st.sampled_from([",", ",", "\t", ";", "|"]))
    places = {"u": 0, "a": 0, "i": 1, "m": 1, "b": 1, "t": 2, "c": 2}
    order = [None if name in ("rating", "text") else places[name.strip()[0].lower()] for name in header]
    return draw(_delimited(rows, separator=separator, header=header, order=order, quotes=separator != "\t"))


@st.composite
def _movielens(draw, rows) -> str:
    if draw(st.integers(0, 3)) == 0:
        return draw(_delimited(rows, separator=",", header=["userId", "movieId", "rating", "timestamp"], quotes=True))
    return draw(_delimited(rows, separator=draw(st.sampled_from(["::", "\t"])), header=None, quotes=False))


@st.composite
def _amazon(draw, rows) -> str:
    form = draw(st.sampled_from(["csv", "json", "python"]))
    if form == "csv":
        order = (0, 1, None, 2)
        return draw(_delimited(rows, separator=",", header=None, order=order, quotes=True))
    strange = (None, True, 3, 2.5, [1], {"a": 1}, 2**70, float("nan"))
    lines = []
    for user, item, time in rows:
        record = {"reviewerID": user, "asin": item, "unixReviewTime": _number_of(time)}
        if draw(st.integers(0, 30)) == 0:
            record[draw(st.sampled_from(list(record)))] = draw(st.sampled_from(strange))
        if draw(st.integers(0, 60)) == 0:
            del record[draw(st.sampled_from(list(record)))]
        lines.append(json.dumps(record) if form == "json" else repr(record))
    if draw(st.integers(0, 20)) == 0:
        hostile = ("{1: 2}", "{}", "[1]", "{'reviewerID': 0x" + "f" * 5000 + ", 'asin': 'b', 'unixReviewTime': 1}")
        hostile += (
            "{'reviewerID': 'a', 'asin': 'b', 'unixReviewTime': 0x" + "f" * 5000 + "}",
            "{(1, 2): 3}",
            "{b'': 1}",
        )
        hostile += ("{'a': __import__('os').system('touch pwned')}", "[" * 3000, "{'a': " * 300, "null", '{"a": 1} x')
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(hostile)))
    return _ended(draw, lines)


def _number_of(time: str) -> object:
    try:
        return json.loads(time)
    except ValueError:
        return time


@st.composite
def _sequences(draw, rows) -> str:
    separator = draw(st.sampled_from([" ", " ", "\t", ","]))
    return _ended(draw, [separator.join((user, item) * draw(st.integers(1, 3))) for user, item, _ in rows])


_AS_TEXT = {"csv": _csv, "movielens": _movielens, "amazon2014": _amazon, "amazon2018": _amazon, "sequences": _sequences}


@st.composite
def damaged_texts(draw, text: str) -> str:
    """The text with a mark, a piece or a line too many, too few or in another place."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    marks = st.sampled_from(['"', "\t", ",", "\n", "\r", "\0", "::", ";", "\ufeff", "\u2028", "x", "\\", "'", " "])
    kind = draw(st.sampled_from(["insert", "delete", "double", "cut", "replace", "separator", "header again"]))
    if kind == "insert":
        return text[:start] + draw(marks) + text[start:]
    if kind == "delete":
        return text[:start] + text[end:]
    if kind == "double":
        return text[:end] + text[start:]
    if kind == "cut":
        return text[:start]
    if kind == "replace":
        return text[:start] + draw(marks) + text[start + 1 :]
    if kind == "separator":
        return text.replace(draw(st.sampled_from([",", "\t", "::"])), draw(marks))
    return text + text.partition("\n")[0] + "\n"


@st.composite
def encoded(draw, text: str) -> bytes:
    """The text as bytes, mostly UTF-8."""
    encoding = draw(st.sampled_from(["utf-8"] * 45 + ["utf-8-sig", "latin-1", "utf-16", "cp1252", "utf-32"]))
    return text.encode(encoding, errors="replace" if encoding != "utf-8" else "surrogatepass")


@st.composite
def damaged_bytes(draw, data: bytes) -> bytes:
    """The bytes as they are, packed, cut short, or with a byte changed."""
    kind = draw(st.sampled_from([*["as is"] * 30, *["gzip"] * 8, "cut gzip", "flipped gzip", "byte", "tail", "random"]))
    if kind == "as is":
        return data
    if kind == "random":
        return draw(st.binary(max_size=60))
    if "gzip" in kind:
        data = gzip.compress(data, mtime=0)
        if kind == "gzip":
            return data
    place = draw(st.integers(0, max(0, len(data) - 1)))
    if kind == "cut gzip":
        return data[:place]
    if kind == "tail":
        return data + draw(st.sampled_from([b"\0", b"\x1a", b"\xff", b"\x1f\x8b", b"\n\n\n"]))
    return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
