"""The page of the study shows what its comparisons have found."""

from __future__ import annotations

import importlib.util
import re

import pytest

from tests.conftest import ROOT

_spec = importlib.util.spec_from_file_location("page_table", ROOT / "results" / "study" / "page_table.py")
page_table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(page_table)

PAGE = page_table.PAGE.read_text(encoding="utf-8")
NAMES = [name for name in re.findall(r"<!-- (\w+) -->", PAGE) if name != "end"]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_the_page_is_that_of_the_comparison_s_files(name):
    assert page_table.with_table(PAGE, name, page_table.page_table(name)) == PAGE


def test_every_comparison_has_its_table_on_the_page():
    assert {file.parent.name for file in page_table.HERE.glob("*/table.md")} == set(NAMES)
