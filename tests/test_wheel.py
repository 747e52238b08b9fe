"""The package as others install it: a wheel, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.once

_TRY = """
import recbole_lpo, sys
from recbole_lpo.properties_files import PROPERTIES
assert recbole_lpo.__file__.startswith(sys.argv[1]), recbole_lpo.__file__
assert str(PROPERTIES).startswith(sys.argv[1]), PROPERTIES
from recbole_lpo.config import Config
assert Config("LPOSASRec", "ml-100k", None, {"preset": "log_prob"})["pref_score"] == "log_prob"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("recbole_lpo-*.whl"))


def test_a_wheel_holds_every_module_and_every_settings_file(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "recbole_lpo").rglob("*.py")}
    settings = {f"recbole_lpo/{path.relative_to(ROOT)}" for path in (ROOT / "properties").rglob("*.yaml")}
    assert modules | settings <= inside


def test_a_wheel_works_outside_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", _TRY, str(site)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
