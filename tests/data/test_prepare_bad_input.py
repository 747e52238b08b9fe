"""Bad raw files and arguments: one clear line each, nothing written."""

from __future__ import annotations

import builtins
import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas._libs.parsers import STR_NA_VALUES

from recbole_lpo.data import text_lines
from recbole_lpo.data.prepare import prepare
from recbole_lpo.errors import InputError

HEADER = "user,item,time\n"
REVIEW = {"reviewerID": "A", "asin": "B", "unixReviewTime": 1}
AMAZON_ROW = "A1XXXXXXXXX,B000000001,5.0,1\n"


def refusal(data: bytes | str, source: str = "csv", *, file: str = "raw", **options) -> str:
    """The message that preparing a file with this content is refused with; checks its form and that nothing is left."""
    Path(file).write_bytes(data.encode() if isinstance(data, str) else data)
    return refusal_of_file(file, source, **options)


def refusal_of_file(file, source: str = "csv", **options) -> str:
    with pytest.raises(InputError) as caught:
        prepare(source, file, "out", "set", **{"k_core": 0, "progress": False, **options})
    message = str(caught.value)
    assert "\n" not in message
    assert not Path("out/set/set.inter").exists()
    return message


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("", "csv", "raw: the file is empty"),
        ("\n \n", "csv", "raw: the file has only blank lines"),
        (HEADER, "csv", "raw: no interactions"),
        ("one\n", "csv", "no separator found in the first line"),
        ("user,thing,time\n", "csv", "no column for the item.*it has 'user', 'thing', 'time'.*--item_column"),
        ("user,user_id,item,time\n", "csv", "several columns could be the user \\('user', 'user_id'\\)"),
        (HEADER + "u,i,1\nu,j\n", "csv", "line 3: 2 columns where 3"),
        (HEADER + "u,i,1\n\nu,j,2,x\n", "csv", "line 4: 4 columns where 3"),
        (HEADER + "u,i,1\nu,j,soon\n", "csv", "line 3: the time 'soon' is not"),
        (HEADER + "u,i,1\nu,j,\n", "csv", "line 3: the time '' is not"),
        (HEADER + "u,i,NaN\n", "csv", "line 2: the time 'nan' is not"),
        (HEADER + "u,i,1\nu,j,inf\n", "csv", "line 3: the time 'inf' is not"),
        (HEADER + "u,i,1.5\nu,j,1e17\n", "csv", "line 3: the time '1e\\+17' is not"),
        (HEADER + f"u,i,{2**63}\n", "csv", "line 2: the time '9.2"),
        (HEADER + "u,i,2014-05-01\n", "csv", "dates must be converted"),
        (HEADER + "u,i,1\n,j,2\n", "csv", "line 3: the user id '' is empty"),
        (HEADER + 'u,"i\tj",2\n', "csv", "line 2: the item id 'i\\\\tj' has a tab"),
        (HEADER + 'u,"i\nj",2\n', "csv", "line 3: the item id 'i\\\\nj' has a tab, a line end"),
        (HEADER + 'u,"""i""",2\n', "csv", "line 2: the item id '\"i\"' starts with a quotation mark"),
        (HEADER + "u,[PAD],2\n", "csv", "padding"),
        (HEADER + 'u,i,1\nu,"j,2\nu,k,3\n', "csv", "line 4: unexpected end of data.*quotation mark"),
        ("u\n", "sequences", "line 1: the user 'u' has no item"),
        ("1::2::5\n", "movielens", "line 1: 3 columns where 4"),
        ("1\t2\t5\tx\n", "movielens", "line 1: the time 'x'"),
        ("user,item,rating,timestamp\n" + AMAZON_ROW, "amazon2014", "line 1: the time 'timestamp'.*--source=csv"),
        (AMAZON_ROW, "amazon2018", "line 1: the user and item columns look swapped. Is it --source=amazon2014"),
        ("B000000001,A1XXXXXXXXX,5.0,1\n", "amazon2014", "--source=amazon2018"),
        ('{"reviewerID": "A"}\n', "amazon2014", "line 1: no 'asin'; the record has 'reviewerID'"),
        ('{"reviewerID": "A"\n', "amazon2014", "line 1: neither a JSON object nor a Python dictionary"),
        (json.dumps(REVIEW) + "\n[1]\n", "amazon2014", "line 2: neither"),
        (json.dumps(REVIEW) + "\n" + "[" * 100_000 + "\n", "amazon2014", "line 2: neither"),
        ("{'a': __import__('os').getcwd()}\n", "amazon2014", "line 1: neither"),
        (json.dumps(REVIEW | {"asin": None}), "amazon2014", "line 1: the id in 'asin' is None"),
        (json.dumps(REVIEW | {"unixReviewTime": float("nan")}), "amazon2014", "line 1: the time 'nan'"),
        (json.dumps(REVIEW | {"unixReviewTime": True}), "amazon2014", "line 1: the time 'True'"),
        ("{1: 2}\n", "amazon2014", "line 1: no 'reviewerID'"),
        ("{'reviewerID': 0x" + "f" * 5000 + ", 'asin': 1, 'unixReviewTime': 1}", "amazon2014", "thousands of digits"),
        (HEADER + f"u,i,{2**53 + 1}\nu,j,0.5\n", "csv", "line 2: the time '9007"),
    ],
)
def test_malformed_text_is_refused_in_one_line_that_says_where(text, source, expected):
    assert re.search(expected, refusal(text, source))


@pytest.mark.parametrize("word", sorted(STR_NA_VALUES - {""}))
def test_every_word_that_pandas_reads_as_missing_is_refused_as_an_id(word):
    assert "read as a missing value" in refusal(HEADER + f"{word},i,1\n")


def test_a_missing_file_is_refused_with_the_nearest_name():
    Path("ratings.csv").write_text(HEADER)
    assert "rating.csv: no such file. Did you mean 'ratings.csv'?" in refusal_of_file("rating.csv")


def test_a_folder_is_refused():
    Path("raw").mkdir()
    assert "raw: is a folder" in refusal_of_file("raw")


def test_a_misspelt_column_is_refused_with_the_nearest_name():
    message = refusal("visitor,page,at\nu,i,1\n", user_column="visitors", item_column="page", time_column="at")
    assert "no column 'visitors' for the user; it has 'visitor', 'page', 'at'. Did you mean 'visitor'?" in message


def test_one_column_with_two_roles_is_refused():
    assert "two roles" in refusal("user,item,time\n", user_column="item")


def test_a_pipe_is_refused():
    os.mkfifo("pipe")
    assert "pipe: is a pipe or a device" in refusal_of_file("pipe")


@pytest.mark.parametrize("place", ["input", "name"])
def test_a_name_that_the_file_system_refuses_is_refused(place):
    Path("raw").write_text(HEADER + "u,i,1\n")
    with pytest.raises(InputError, match="File name too long"):
        prepare("csv", "x" * 300 if place == "input" else "raw", "out", "x" * 300, k_core=0, progress=False)


@pytest.mark.parametrize("separator", ["", '"', "\n"])
def test_a_separator_that_can_separate_nothing_is_refused(separator):
    assert "--separator=" in refusal("u i\n", "sequences", separator=separator)


def test_fractions_beside_the_smallest_whole_number_are_refused():
    # It has no absolute value among numbers of its own kind. The two stand in different blocks of the file.
    assert "partly fractions" in refusal(HEADER + f"u,i,{-(2**63)}\n" + "u,i,1\n" * 20_000 + "u,i,0.5\n")


@pytest.mark.parametrize("cut", [1, 9, 200])
def test_a_gzip_file_that_is_cut_short_is_refused(cut):
    rows = "".join(f"user{row * 7919 % 1009},item{row},{row}\n" for row in range(2_000))
    message = refusal(gzip.compress((HEADER + rows).encode())[:-cut])
    assert "cut short" in message


def test_a_damaged_gzip_file_is_refused():
    data = bytearray(gzip.compress((HEADER + "u,i,1\n" * 500).encode()))
    data[25] ^= 0xFF
    assert "damaged" in refusal(bytes(data))


@pytest.mark.parametrize("fill", [b"", b"u,i,1\n" * 20_000], ids=["early", "beyond-the-first-block"])
def test_another_encoding_is_refused_with_its_line(fill):
    line = 3 + fill.count(b"\n")
    data = HEADER.encode() + fill + b"u,i,1\nu,caf\xe9,2\n"
    assert f"line {line}: not UTF-8 text (byte 0xe9)" in refusal(data)


@pytest.mark.parametrize(
    ("start", "expected"), [(b"PK\x03\x04", "zip"), (b"BZh9", "bzip2"), (b"PAR1", "--source=parquet")]
)
def test_other_kinds_of_files_are_refused_by_their_name(start, expected):
    assert expected in refusal(start + b"x" * 20)


def test_an_endless_line_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(text_lines, "LONGEST_LINE_BYTES", 1 << 18)
    assert "line 2: longer than" in refusal(HEADER.encode() + b"x" * (1 << 20))


def test_fractions_beside_whole_numbers_that_floats_cannot_hold_are_refused():
    # The two kinds stand in different blocks of the file.
    rows = f"u,i,{10**17}\n" + "u,i,1\n" * 20_000 + "u,i,0.5\n"
    assert "partly fractions" in refusal(HEADER + rows)


def test_nothing_left_after_the_k_core_is_refused():
    message = refusal(HEADER + "u,i,1\nu,j,2\n", k_core=5)
    assert "nothing is left of 2 interactions of 1 users and 2 items" in message
    assert "Lower --k_core" in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"k_core": -1}, "--k_core=-1"),
        ({"item_metadata": "absent"}, "absent: no such file"),
        ({"item_metadata": "raw"}, "neither a JSON object"),
    ],
)
def test_wrong_options_are_refused(options, expected):
    assert expected in refusal(HEADER + "u,i,1\n", **options)


def test_metadata_of_other_items_is_refused():
    Path("meta").write_text("{'asin': 'other', 'categories': [['x']]}\n")
    assert "no category for any of the 1 items" in refusal(HEADER + "u,i,1\n", item_metadata="meta")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "two words", "-flag"])
def test_a_name_that_is_no_plain_folder_name_is_refused(name):
    Path("raw").write_text(HEADER + "u,i,1\n")
    with pytest.raises(InputError, match="--name="):
        prepare("csv", "raw", "out", name, progress=False)


def test_an_unknown_source_is_refused_with_the_nearest_name():
    Path("raw").write_text(HEADER)
    assert "Did you mean 'movielens'?" in refusal_of_file("raw", "movielense")


def test_the_same_file_twice_is_refused():
    Path("raw").write_text(HEADER + "u,i,1\n")
    assert "given twice" in refusal_of_file(["raw", "./raw"])
    assert "at least one" in refusal_of_file([])


@pytest.mark.parametrize(
    ("source", "text", "options"),
    [
        ("movielens", "1::2::3::4\n", {"separator": ","}),
        ("movielens", "1::2::3::4\n", {"user_column": "user"}),
        ("amazon2014", AMAZON_ROW, {"time_column": "time"}),
        ("sequences", "u i\n", {"item_column": "item"}),
    ],
)
def test_options_that_a_format_has_no_use_for_are_refused(source, text, options):
    assert "leave the flag out" in refusal(text, source, **options)


def test_a_folder_that_cannot_be_made_is_refused():
    Path("out").write_text("a file, not a folder")
    Path("raw").write_text(HEADER + "u,i,1\n")
    with pytest.raises(InputError, match=r"out/set: cannot be made"):
        prepare("csv", "raw", "out", "set", k_core=0, progress=False)


def test_a_full_disk_is_reported_in_one_line(monkeypatch):
    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recbole_lpo.whole_files.os.fsync", no_space)
    assert "cannot be written (No space left on device)" in refusal(HEADER + "u,i,1\n")
    assert list(Path("out/set").iterdir()) == []


def test_parquet_without_pyarrow_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def without_pyarrow(name, *args, **kwargs):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    assert "pip install 'recbole-lpo[parquet]'" in refusal("PAR1", "parquet")


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("user", ["a", None], "row 2: the column 'user' has no value"),
        ("user", [1.0, 2.0], "the id column 'user' holds double"),
        ("time", [1.0, np.inf], "line 2: the time 'inf'"),
        ("time", ["1", "2"], "the time column 'time' holds"),
    ],
)
def test_parquet_columns_of_another_kind_are_refused(column, values, expected):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["i", "j"], "time": [1, 2]})
    frame[column] = values
    frame.to_parquet("raw.parquet")
    assert expected in refusal_of_file("raw.parquet", "parquet")


def test_a_parquet_file_that_is_cut_short_is_refused():
    pytest.importorskip("pyarrow")
    pd.DataFrame({"user": ["a"], "item": ["i"], "time": [1]}).to_parquet("whole.parquet")
    assert "not a whole Parquet file" in refusal(Path("whole.parquet").read_bytes()[:-20], "parquet")
