"""Autograd's anomaly mode stays as the user has it, whatever RecBole's files do when they are imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once


def anomaly_mode_after(code: str, **environment: str) -> str:
    """What a process of its own says of the mode after some imports."""
    code += "\nimport torch; print(torch.is_anomaly_enabled())"
    variables = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "mode"),
    [
        ("import recbole_lpo", "False"),
        ("import torch; torch.autograd.set_detect_anomaly(True); import recbole_lpo", "True"),
    ],
)
def test_importing_the_plugin_leaves_the_mode_as_it_was(code, mode):
    assert anomaly_mode_after(code) == mode


def test_the_mode_is_turned_off_where_recbole_was_imported_first():
    code = "import numpy; numpy.float_ = numpy.float64; numpy.complex_ = complex; numpy.unicode_ = str\n"
    code += "import recbole.model.sequential_recommender, recbole_lpo"
    assert anomaly_mode_after(code) == "False"


def test_without_the_patch_recbole_turns_the_mode_on():
    code = "import recbole_lpo.compat as compat; compat.apply(); import recbole.model.sequential_recommender"
    assert anomaly_mode_after("import recbole.model.sequential_recommender") == "True"
    assert anomaly_mode_after(code) == "False"
