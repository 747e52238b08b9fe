"""`prepare` on whole and broken files of every format: the dataset that a slow reading gives, or one clear line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from recbole_lpo.data.prepare import prepare
from recbole_lpo.errors import InputError
from tests.fuzz import slow_reader
from tests.fuzz.raw_files import RawFile, raw_files

OUTPUT = Path("out/set/set.inter")


def check(raw: RawFile) -> None:
    """`prepare` must write just what the slow reader reads, or refuse where it does."""
    Path("raw").write_bytes(raw.data)
    shutil.rmtree("out", ignore_errors=True)
    how = {"k_core": raw.k_core, "drop_duplicates": raw.drop_duplicates, **raw.options}
    expected = slow_reader.prepared(raw.source, raw.data, **how)
    try:
        done = prepare(raw.source, "raw", "out", "set", progress=False, **how)
    except InputError as error:
        assert expected is None, f"refused: {error}"
        assert "\n" not in str(error)
        assert not OUTPUT.exists()
        return
    found = OUTPUT.read_text(encoding="utf-8")
    assert found == expected
    assert done.interactions == found.count("\n") - 1
    # As RecBole reads it.
    table = pd.read_csv(OUTPUT, delimiter="\t", dtype={0: str, 1: str, 2: float}, engine="python")
    assert ["\t".join((user, item, f"{time:.0f}")) for user, item, time in table.values] == found.splitlines()[1:]
    assert not Path("pwned").exists()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw_files())
def test_any_raw_file_gives_the_dataset_of_a_slow_reading_or_one_clear_line(raw):
    check(raw)


@pytest.mark.long
@settings(max_examples=8000, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw_files())
def test_thousands_of_raw_files_give_the_dataset_of_a_slow_reading_or_one_clear_line(raw):
    check(raw)
