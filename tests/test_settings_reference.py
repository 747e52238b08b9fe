"""The reference of all settings."""

from __future__ import annotations

import pytest

from recbole_lpo.cli import main
from recbole_lpo.properties_files import PROPERTIES
from recbole_lpo.settings import KEYS
from recbole_lpo.settings_reference import _begins_alike, reference


def test_the_command_writes_the_reference_that_is_in_the_repository(capsys):
    assert main(["settings"]) == 0
    written = (PROPERTIES / "README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == written, "out of date: recbole-lpo settings > properties/README.md"


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_setting_has_a_row_with_its_type_its_default_and_its_meaning(key):
    (row,) = [line for line in reference().splitlines() if line.startswith(f"| `{key}` |")]
    kind, default, allowed, meaning, file = (cell.strip() for cell in row.replace(r"\|", "/").split("|")[2:7])
    assert kind.split(",")[0].split()[0] in ("str", "int", "float", "bool", "dict", "list")
    assert default.strip("`") and allowed and file.startswith("[")
    assert meaning
    begun, _, more = meaning.partition(". ")
    assert not (more and _begins_alike(begun, more)), "says twice what it means"
    # What the comment of the yaml file says, where it says more.
    assert not meaning.endswith(".")


def test_a_setting_that_objectives_start_from_otherwise_says_which_and_from_what():
    row = next(line for line in reference().splitlines() if line.startswith("| `pref_beta` |"))
    assert "(0.1 with cpo, dpo, ipo; 2.0 with simpo)" in row
