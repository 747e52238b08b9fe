"""The tail under both definitions of LPO4Rec, from the ranks of finished runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recbole_lpo.compare.both_tails import DEFINITIONS, both_tails
from recbole_lpo.compare.results import gather
from recbole_lpo.compare.tables import markdown
from tests.compare.made_study import CUT, N_ITEMS, STORY, make_runs, study_of_methods


@pytest.fixture
def made(tmp_path):
    study = study_of_methods()
    make_runs(study, tmp_path)
    return study, gather(study, tmp_path)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("method", STORY)
def test_figures_are_means_over_users_whose_target_is_in_that_share_of_the_catalogue(method, definition, made):
    row = made[1][0].row(method)
    target, share = row.users.who["target"].astype(int).to_numpy(), float(definition.split()[0]) / 100
    rank = row.users.rank[target > round((1 - share) * N_ITEMS)]
    ndcg = np.where(rank <= CUT, 1 / np.log2(1 + rank), 0).mean(axis=0)
    tail = row.tails[definition]
    assert tail.n == len(rank)
    np.testing.assert_allclose(tail.hit, (rank <= CUT).mean(axis=0))
    np.testing.assert_allclose(tail.ndcg, ndcg)


def test_the_definition_that_the_runs_had_gives_the_tail_metric_that_they_report(made):
    for row in made[1][0].rows:
        np.testing.assert_allclose(row.tails["80 %"].ndcg, row.values(f"tailndcg@{CUT}"))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_what_is_gained_is_the_difference_from_the_baseline_over_the_same_users(definition, made):
    one = made[1][0]
    theirs = one.row("SASRec").tails[definition]
    assert theirs.gained is None
    for method in ("LPO", "DPO"):
        ours = one.row(method).tails[definition]
        assert ours.gained.n == theirs.n
        assert ours.gained.mean == pytest.approx(ours.ndcg.mean() - theirs.ndcg.mean())
    assert one.row("LPO").tails[definition].gained.p_users < 0.05


def test_there_are_none_without_deciles_or_without_the_baseline(made, tmp_path):
    study, (one,) = made
    users = {row.method: row.users for row in one.rows}
    seeds = {method: [2020, 2021] for method in users}
    assert both_tails(users, seeds, "GRU4Rec", "ndcg", CUT) == {}
    users["SASRec"] = replace(users["SASRec"], decile=None)
    assert both_tails(users, seeds, "SASRec", "ndcg", CUT) == {}
    make_runs(study, tmp_path / "older", older=True)
    assert "Two definitions" not in markdown(gather(study, tmp_path / "older"), "SASRec")


def test_a_definition_without_users_is_left_out(made):
    one = made[1][0]
    users = {row.method: replace(row.users, decile=np.minimum(row.users.decile, 8)) for row in one.rows}
    found = both_tails(users, {method: [2020, 2021] for method in users}, "SASRec", "ndcg", CUT)
    assert all(list(tails) == ["80 %"] for tails in found.values())


def test_the_table_has_a_line_for_each_method_and_definition(made):
    text = markdown(made[1], "SASRec").split("### Two definitions of the tail")[1].split("###")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].strip("| ") for line in lines[1:] if not line.startswith("| -")] == [
        method for method in STORY for _ in DEFINITIONS
    ]
    assert "gained" in lines[0] and "Gained: over SASRec" in text
