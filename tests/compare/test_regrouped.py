"""Rows that were trained with another head and tail than the baseline's."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from recbole_lpo.compare.report.write import write_report
from recbole_lpo.compare.results import gather
from recbole_lpo.compare.tables import markdown
from recbole_lpo.run_folder import METRICS, PER_USER, read_history, write_history
from tests.compare.made_study import CUT, make_runs, study_of_methods

METHOD = "LPO"


def take_another_split(folder) -> None:
    """As if the run had been trained with the least popular fifth of the items as its tail."""
    users = pd.read_csv(folder / PER_USER, dtype={"user": str, "target": str})
    users["group"] = np.where(users["decile"] >= 9, "tail", "head")
    users.to_csv(folder / PER_USER, index=False)
    run = json.loads((folder / METRICS).read_text())
    run["split"]["ratio"], run["n"]["tail"] = 0.8, int((users["group"] == "tail").sum())
    for figures in (run["valid"], run["test"], *(one[on] for one in run["adjusted"] for on in ("valid", "test"))):
        figures |= {f"tailndcg@{CUT}": 0.123, f"headhit@{CUT}": 0.123, f"tailcoverage@{CUT}": 0.123}
    (folder / METRICS).write_text(json.dumps(run))


@pytest.fixture
def before_and_after(tmp_path):
    study = study_of_methods()
    make_runs(study, tmp_path)
    (before,) = gather(study, tmp_path)
    for run in study.runs():
        if run.method == METHOD:
            take_another_split(run.folder(tmp_path))
    (after,) = gather(study, tmp_path)
    return study, before, after


def test_every_figure_and_test_is_that_of_a_row_with_the_split_of_the_baseline(before_and_after):
    _, before, after = before_and_after
    for method in [row.method for row in before.rows]:
        ours, theirs = after.row(method), before.row(method)
        for key in (f"{group}{measure}@{CUT}" for group in ("", "head", "tail") for measure in ("hit", "ndcg")):
            np.testing.assert_allclose(ours.values(key), theirs.values(key), atol=1e-12)
            for strength in theirs.strengths():
                np.testing.assert_allclose(ours.adjusted(strength, key), theirs.adjusted(strength, key), atol=1e-12)
        assert {key: vars(test) for key, test in ours.tests.items()} == {
            key: pytest.approx(vars(test)) for key, test in theirs.tests.items()
        }
        assert (ours.height, ours.tails.keys()) == (theirs.height, theirs.tails.keys())
        assert (ours.no_loss and ours.no_loss.strength) == (theirs.no_loss and theirs.no_loss.strength)


def test_the_row_says_that_its_split_is_another_and_what_is_left_out(before_and_after):
    study, before, after = before_and_after
    assert [row.method for row in after.rows if row.regrouped] == [METHOD]
    assert not any(row.regrouped for row in before.rows)
    assert np.isnan(after.row(METHOD).values(f"tailcoverage@{CUT}")).all()
    table = markdown([after], study.baseline)
    assert f"{METHOD}: trained with another head and tail, measured on those of SASRec" in table
    assert "do not compare" not in table


def test_a_row_with_other_targets_is_not_tested(tmp_path):
    study = study_of_methods()
    make_runs(study, tmp_path)
    for run in study.runs():
        if run.method == METHOD:
            users = pd.read_csv(run.folder(tmp_path) / PER_USER, dtype={"user": str, "target": str})
            users.loc[0, "target"] = "another"
            users.to_csv(run.folder(tmp_path) / PER_USER, index=False)
    (found,) = gather(study, tmp_path)
    assert not found.row(METHOD).tests
    assert "other test users or targets" in found.row(METHOD).untested


def test_the_row_has_the_deciles_of_the_baseline_and_nothing_of_its_own_tail(tmp_path):
    study = study_of_methods()
    make_runs(study, tmp_path)
    for run in study.runs():
        if run.method != METHOD:
            continue
        folder = run.folder(tmp_path)
        take_another_split(folder)
        users = pd.read_csv(folder / PER_USER, dtype={"user": str, "target": str})
        users["decile"] = 11 - users["decile"]
        users.to_csv(folder / PER_USER, index=False)
        write_history(folder, [{**one, f"valid/tailndcg@{CUT}": 0.1} for one in read_history(folder)])
    (found,) = gather(study, tmp_path)
    row, baseline = found.row(METHOD), found.row(study.baseline)
    assert row.users.tail_prob is None and baseline.users.tail_prob is not None
    np.testing.assert_array_equal(row.users.decile, baseline.users.decile)
    keys = {key for history in row.histories for record in history for key in record}
    assert f"valid/ndcg@{CUT}" in keys and f"valid/tailndcg@{CUT}" not in keys
    write_report([found], study, tmp_path)
    assert METHOD in (tmp_path / "report.html").read_text(encoding="utf-8")
