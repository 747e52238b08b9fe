"""Raw files of every format come out as the same atomic file, in true time order, whole or not at all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_lpo.data.interactions import positions_in_runs
from recbole_lpo.data.prepare import PreparedDataset, prepare
from recbole_lpo.errors import InputError

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
HEADER = "user_id:token\titem_id:token\ttimestamp:float"

# (user, item, time in seconds): times out of order within and between users, and one of two equal times.
EVENTS = [
    ("A2XXXXXXXXX", "B000000003", 1_400_000_090),
    ("A1XXXXXXXXX", "B000000002", 1_400_000_002),
    ("A2XXXXXXXXX", "B000000001", 1_400_000_010),
    ("A1XXXXXXXXX", "B000000001", 1_400_000_001),
    ("A1XXXXXXXXX", "B000000003", 1_400_000_002),
    ("A2XXXXXXXXX", "B000000002", 1_400_000_011),
]
IN_TRUE_ORDER = [
    "A2XXXXXXXXX\tB000000001\t1",
    "A2XXXXXXXXX\tB000000002\t2",
    "A2XXXXXXXXX\tB000000003\t3",
    "A1XXXXXXXXX\tB000000001\t1",
    "A1XXXXXXXXX\tB000000002\t2",
    "A1XXXXXXXXX\tB000000003\t3",
]


def review(user: str, item: str, time: int) -> dict:
    return {
        "reviewerID": user,
        "asin": item,
        "reviewText": 'It\'s "fine",\n\\d',
        "overall": 5.0,
        "unixReviewTime": time,
    }


def lines(rows) -> str:
    return "".join(f"{row}\n" for row in rows)


def prepare_text(text: str, source: str = "csv", *, file: str = "raw", **options) -> tuple[PreparedDataset, list[str]]:
    """Prepares a file with this text in the current folder; returns the result and the written rows."""
    Path(file).write_bytes(text.encode())
    return prepare_file(file, source, **options)


def prepare_file(file, source: str, *, k_core: int = 0, **options) -> tuple[PreparedDataset, list[str]]:
    prepared = prepare(source, file, "out", "set", k_core=k_core, progress=False, **{"overwrite": True, **options})
    assert prepared.path == Path("out/set/set.inter")
    header, *rows = prepared.path.read_text(encoding="utf-8").splitlines()
    assert header == HEADER
    assert len(rows) == prepared.interactions == prepared.read - prepared.dropped
    return prepared, rows


def table(events, separator: str = ",", header: str = "user_id,item_id,timestamp") -> str:
    return lines([header.replace(",", separator), *(separator.join(map(str, event)) for event in events)])


def test_gzipped_amazon_reviews_come_out_in_true_time_order():
    Path("reviews.json.gz").write_bytes(gzip.compress(lines(json.dumps(review(*event)) for event in EVENTS).encode()))
    prepared, rows = prepare_file("reviews.json.gz", "amazon2014")
    assert rows == IN_TRUE_ORDER
    assert (prepared.users, prepared.items, prepared.interactions, prepared.read, prepared.dropped) == (2, 3, 6, 6, 0)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("amazon2014", lines(repr(review(*event)) for event in EVENTS)),
        ("amazon2014", lines(f"{user},{item},5.0,{time}" for user, item, time in EVENTS)),
        ("amazon2018", lines(f"{item},{user},5.0,{time}" for user, item, time in EVENTS)),
        ("amazon2018", lines(json.dumps(review(*event)) for event in EVENTS)),
        ("movielens", lines(f"{user}::{item}::5::{time}" for user, item, time in EVENTS)),
        ("movielens", lines(f"{user}\t{item}\t5\t{time}" for user, item, time in EVENTS)),
        ("movielens", lines(["userId,movieId,rating,timestamp", *(f"{u},{i},3.5,{t}" for u, i, t in EVENTS)])),
        ("csv", table(EVENTS)),
        ("csv", table(EVENTS, "\t", "user_id:token,item_id:token,timestamp:float")),
        ("csv", table(EVENTS, ";", "reviewerID,asin,unixReviewTime")),
        ("csv", "\ufeff" + table(EVENTS).replace("\n", "\r\n\r\n")),
        ("csv", table([(f'"{user}"', f'" {item} "', f"{time}.0") for user, item, time in EVENTS])),
    ],
    ids=[
        *("python-dictionaries", "ratings-2014", "ratings-2018", "reviews-2018", "dat", "u.data", "ratings.csv"),
        *("commas", "atomic-file", "semicolons", "windows-ends-and-blank-lines", "quoted"),
    ],
)
def test_every_format_gives_the_same_file(source, text):
    assert prepare_text(text, source)[1] == IN_TRUE_ORDER


def test_named_columns_and_separator_are_used():
    text = "note|who|what|user_id|when\n" + lines(f"x|{u}|{i}|no|{t}" for u, i, t in EVENTS)
    options = {"user_column": "who", "item_column": "what", "time_column": "when", "separator": "|"}
    assert prepare_text(text, **options)[1] == IN_TRUE_ORDER


def test_a_quoted_text_column_may_hold_separators_and_line_ends():
    text = 'user,text,item,time\nu,"one, ""two""\nthree",i,2\nu,,j,1\n'
    assert prepare_text(text)[1] == ["u\tj\t1", "u\ti\t2"]


def test_whole_ids_in_json_are_text():
    text = '{"user": 7, "item": "07", "time": 1}\n'
    assert prepare_text(text, "amazon2018", user_column="user", item_column="item", time_column="time")[1] == [
        "7\t07\t1"
    ]


def test_times_that_float32_would_merge_keep_their_order():
    start = 1_400_000_000
    times = [start + 60, start + 1, start + 59, start]
    assert len(set(np.float32(times))) < len(times)
    _, rows = prepare_text(table([("u", f"i{time - start}", time) for time in times]))
    assert rows == ["u\ti0\t1", "u\ti1\t2", "u\ti59\t3", "u\ti60\t4"]


@pytest.mark.parametrize(
    "times",
    [
        ["1700000000000000003", "1700000000000000001", "1700000000000000002"],
        ["1.75", "1.25", "1.5"],
        ["1e3", "-5", "0.5"],
    ],
    ids=["nanoseconds", "fractions", "mixed"],
)
def test_the_order_of_times_is_exact(times):
    _, rows = prepare_text(table([("u", f"i{place}", time) for place, time in enumerate(times)]))
    assert rows == ["u\ti1\t1", "u\ti2\t2", "u\ti0\t3"]


def test_equal_times_keep_their_order_in_the_file():
    items = [f"i{number}" for number in range(50, 0, -1)]
    _, rows = prepare_text(table([("u", item, 9) for item in items]))
    assert rows == [f"u\t{item}\t{place}" for place, item in enumerate(items, start=1)]


def test_the_k_core_is_taken_and_what_was_dropped_is_counted():
    dense = [(f"u{user}", f"i{item}", item) for user in range(2) for item in range(2)]
    prepared, rows = prepare_text(table([("alone", "i0", 0), *dense, ("u0", "rare", 5)]), k_core=2)
    assert rows == ["u0\ti0\t1", "u0\ti1\t2", "u1\ti0\t1", "u1\ti1\t2"]
    assert (prepared.users, prepared.items, prepared.read, prepared.dropped) == (2, 2, 6, 2)


REPEATED = table([("u", "i", 3), ("u", "j", 2), ("u", "i", 1), ("u", "i", 1)])


def test_repeated_rows_are_kept_by_default():
    assert prepare_text(REPEATED)[1] == ["u\ti\t1", "u\ti\t2", "u\tj\t3", "u\ti\t4"]


def test_drop_duplicates_keeps_the_earliest_of_each_pair_before_the_k_core():
    assert prepare_text(REPEATED, drop_duplicates=True)[1] == ["u\ti\t1", "u\tj\t2"]
    with pytest.raises(InputError, match="nothing is left"):
        prepare_text(REPEATED, drop_duplicates=True, k_core=2)


def test_sequences_keep_the_order_of_the_line_and_later_lines_continue():
    assert prepare_text("u  b a\tb\nv c\n\nu d\n", "sequences")[1] == [
        *("u\tb\t1", "u\ta\t2", "u\tb\t3", "u\td\t4"),
        "v\tc\t1",
    ]


def test_several_inputs_are_one_table_in_the_order_given():
    Path("late").write_text(table([("u", "b", 2)]))
    Path("early").write_text("time,item,user\n1,a,u\n2,c,u\n")
    assert prepare_file(["late", "early"], "csv")[1] == ["u\ta\t1", "u\tb\t2", "u\tc\t3"]


def test_rows_beyond_one_block_and_chunk_are_all_read():
    events = [(f"u{row % 977}", f"i{row % 1009}", row) for row in range(20_000)]
    plain = prepare_text(table(events))
    assert plain[0].interactions == len(events)
    assert prepare_text(lines("::".join((u, i, "1", str(t))) for u, i, t in events), "movielens")[1] == plain[1]


@pytest.mark.parametrize("kind", ["int64", "float64", "datetime64[us]"])
def test_parquet_gives_the_same_file(kind):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(EVENTS, columns=["user_id", "item_id", "timestamp"])
    frame["timestamp"] = frame["timestamp"].astype(kind)
    frame["item_id"] = frame["item_id"].astype("category")
    frame.to_parquet("raw.parquet")
    assert prepare_file("raw.parquet", "parquet")[1] == IN_TRUE_ORDER


def test_item_metadata_gives_numbered_categories_of_the_items_that_are_left():
    records = [
        {"asin": "B000000009", "categories": [["Not", "In"]]},
        {"asin": "B000000003", "categories": [["Beauty", "Hair  Care"], ["Beauty", "Sale"]]},
        {"asin": "B000000001", "category": ["Beauty", "Nails\ud800"]},
        {"asin": "B000000002", "title": "no category"},
        {"asin": "B000000003", "categories": [["Second record"]]},
    ]
    Path("meta").write_text(lines(map(repr, records)))
    prepared, _ = prepare_text(table(EVENTS), item_metadata="meta")
    assert prepared.item_path.read_text().splitlines() == [
        *("item_id:token\tcategories:token_seq", "B000000003\t1 2 3", "B000000001\t1 4"),
    ]
    names = Path("out/set/set.categories.tsv").read_text().splitlines()
    assert names == ["number\tcategory", "1\tBeauty", "2\tHair Care", "3\tSale", "4\tNails?"]


def test_an_existing_dataset_is_replaced_only_when_asked():
    prepare_text(table([("u", "old", 1)]))
    with pytest.raises(InputError, match="--overwrite"):
        prepare_text(table([("u", "new", 1)]), overwrite=False)
    assert "old" in Path("out/set/set.inter").read_text()
    assert prepare_text(table([("u", "new", 1)]))[1] == ["u\tnew\t1"]


def test_a_preparation_that_is_killed_leaves_the_old_file_and_no_half_one(monkeypatch):
    prepare_text(table([("u", "old", 1)]))

    def kill(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_lpo.whole_files.os.fsync", kill)
    with pytest.raises(KeyboardInterrupt):
        prepare_text(table([("u", "new", 1)]))
    assert [path.name for path in Path("out/set").iterdir()] == ["set.inter"]
    assert "old" in Path("out/set/set.inter").read_text()


tokens = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="\"' \t\\#,a\u0085\u2028", max_size=4),
    st.sampled_from(["NA", "null", "nan", "None", "#N/A", "[PAD]", "007", "1e5", "True", "inf", "\ud800"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(token=tokens)
def test_every_id_that_is_written_is_read_back_by_recbole_as_it_is(token):
    record = json.dumps({"user": token, "item": "i", "time": 1}, ensure_ascii=True)
    try:
        prepared, _ = prepare_text(record, "amazon2018", user_column="user", item_column="item", time_column="time")
    except InputError as refusal:
        assert "user id" in str(refusal)
        return
    # As in RecBole's Dataset._load_feat.
    frame = pd.read_csv(prepared.path, delimiter="\t", dtype={"user_id:token": str}, encoding="utf-8", engine="python")
    assert frame["user_id:token"].tolist() == [token.strip()]


@given(st.lists(st.integers(0, 3), max_size=30))
def test_positions_count_from_one_within_each_user(users):
    users = sorted(users)
    expected = [users[: place + 1].count(user) for place, user in enumerate(users)]
    assert positions_in_runs(np.array(users, dtype=np.int32)).tolist() == expected


@pytest.mark.parametrize(
    ("name", "counts"), [("amazon-beauty", (22_363, 12_101, 198_502)), ("amazon-toys-games", (19_412, 11_924, 167_597))]
)
@pytest.mark.parametrize("source", ["csv", "sequences"])
def test_real_data_makes_the_round_trip_with_its_exact_counts(name, counts, source):
    original = REAL_DATA / name / f"{name}.inter"
    if not original.is_file():
        pytest.skip(f"needs ../shared/data/{name}, which is not part of the repository")
    if source == "csv":
        prepared, _ = prepare_file(original, "csv", k_core=5)
    else:
        frame = pd.read_csv(original, sep="\t", dtype=str, keep_default_na=False)
        by_user = frame.groupby("user_id:token", sort=False)["item_id:token"].agg(" ".join)
        prepared, _ = prepare_text(lines(f"{user} {items}" for user, items in by_user.items()), "sequences", k_core=5)
    assert (prepared.users, prepared.items, prepared.interactions) == counts
    assert prepared.path.read_bytes() == original.read_bytes()
