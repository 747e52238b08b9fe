"""What a method has for the tail at the strength of adjustment that costs nothing overall on validation items."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest

from recbole_lpo.compare.at_no_loss import at_no_loss
from recbole_lpo.compare.paired import Comparison, paired_tests
from recbole_lpo.compare.report.headline import headline
from recbole_lpo.compare.results import gather
from recbole_lpo.compare.significance import holm, paired_differences, paired_over_seeds
from recbole_lpo.compare.tables import markdown
from recbole_lpo.run_folder import write_metrics
from tests.compare.made_study import CUT, STRENGTHS, make_runs, study_of_methods

OVERALL, TAIL = f"ndcg@{CUT}", f"tailndcg@{CUT}"
# Overall on validation items, as it was run and along the curve (t = 0.3, 1).
VALID = {"SASRec": (0.50, 0.45, 0.40), "LPO": (0.60, 0.55, 0.45), "DPO": (0.40, 0.35, 0.30), "ORPO": (0.5, 0.5, 0.5)}
CHOSEN = {"SASRec": 0.0, "LPO": 0.3, "ORPO": 1.0}


@pytest.fixture
def study(tmp_path):
    """Runs whose test figures do not say what those on validation items say."""
    made = study_of_methods(VALID)
    make_runs(made, tmp_path)
    return made


@pytest.fixture
def found(study, tmp_path):
    """(metrics, users) of every method, as `at_no_loss` takes them."""
    rows = gather(study, tmp_path)[0].rows
    metrics = {row.method: copy.deepcopy(row.runs) for row in rows}
    for method, (as_it_was_run, *curve) in VALID.items():
        for number, run in enumerate(metrics[method]):
            # Seeds lie on both sides of the mean.
            shift = 0.1 * (-1) ** number
            run["valid"][OVERALL] = as_it_was_run + shift
            for point, value in zip(run["adjusted"], curve, strict=True):
                point["valid"] = {OVERALL: value + shift}
    return metrics, {row.method: row.users for row in rows}


def test_the_strength_is_the_largest_that_is_not_below_the_baseline_on_validation_items(found):
    lifted = at_no_loss(*found, "SASRec", "ndcg", CUT)
    assert {method: one.strength for method, one in lifted.items()} == CHOSEN
    assert (lifted["SASRec"].overall, lifted["SASRec"].tail) == (None, None)


@pytest.mark.parametrize("method", ["LPO", "ORPO"])
def test_what_is_gained_is_the_paired_difference_on_test_items_at_that_strength(method, found):
    metrics, users = found
    one = at_no_loss(metrics, users, "SASRec", "ndcg", CUT)[method]
    own, theirs = users[method].curve[CHOSEN[method]], users["SASRec"].rank
    gained = [np.where(rank <= CUT, 1 / np.log2(1 + rank), 0.0).mean(axis=1) for rank in (own, theirs)]
    difference, in_tail = gained[0] - gained[1], users["SASRec"].in_tail
    assert one.overall.mean == pytest.approx(difference.mean())
    assert one.tail.mean == pytest.approx(difference[in_tail].mean())
    assert (one.overall.n, one.tail.n) == (len(difference), in_tail.sum())


def test_the_baseline_itself_is_lifted_where_its_curve_costs_it_nothing(found):
    metrics, users = found
    for run in metrics["SASRec"]:
        run["adjusted"][0]["valid"][OVERALL] = run["valid"][OVERALL]
    one = at_no_loss(metrics, users, "SASRec", "ndcg", CUT)["SASRec"]
    assert one.strength == STRENGTHS[0]
    assert one.tail.mean > 0 > one.overall.mean


def test_a_method_without_validation_figures_is_left_out(found):
    metrics, users = found
    for run in metrics["LPO"]:
        run["valid"], run["adjusted"] = {}, []
    assert "LPO" not in at_no_loss(metrics, users, "SASRec", "ndcg", CUT)


def test_without_a_tail_or_a_curve_or_a_baseline_there_is_nothing_to_lift(found, tmp_path):
    metrics, users = found
    assert at_no_loss(metrics, users, "absent", "ndcg", CUT) == {}
    bare = study_of_methods(VALID)
    for folder, options in (("older", {"older": True}), ("no tail", {"tail": False})):
        make_runs(bare, tmp_path / folder, **options)
        assert all(row.no_loss is None for row in gather(bare, tmp_path / folder)[0].rows)


def test_tables_and_page_say_what_is_gained_at_no_loss(study, tmp_path):
    one = gather(study, tmp_path)[0]
    assert "### The tail lifted" not in markdown([one], "SASRec")
    for run in study.runs():
        number = study.seeds.index(run.seed)
        kept = one.row(run.method).runs[number]
        kept["valid"] = {OVERALL: VALID[run.method][0] + number}
        for point, value in zip(kept["adjusted"], VALID[run.method][1:], strict=True):
            point["valid"] = {OVERALL: value + number}
        write_metrics(run.folder(tmp_path), kept)
    one = gather(study, tmp_path)[0]
    table = markdown([one], "SASRec").split("### The tail lifted at no loss overall")[1].split("###")[0]
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("|")}
    assert "| 0.3 |" in rows["LPO"]
    assert "DPO" not in rows
    assert rows["SASRec"].count("| - ") == 5
    said = next(each for each in headline(one) if each.question == "Most for the tail at no loss overall")
    assert said.answer in CHOSEN
    assert "costs nothing overall on validation items" in said.figures


def test_a_baseline_without_any_hit_on_the_tail_has_no_share_to_gain(found, tmp_path, study):
    metrics, users = found
    one = gather(study, tmp_path)[0]
    lifted = at_no_loss(metrics, users, "SASRec", "ndcg", CUT)
    rows = [replace(row, no_loss=lifted.get(row.method)) for row in one.rows]
    for run in rows[0].runs:
        run["test"][TAIL] = 0.0
    table = markdown([replace(one, rows=rows)], "SASRec").split("### The tail lifted")[1]
    (line,) = [line for line in table.splitlines() if line.startswith("| LPO |")][:1]
    assert line.split("|")[7].strip() == "-"


def test_the_page_says_so_where_nothing_can_be_lifted_without_a_loss(found, tmp_path, study):
    metrics, users = found
    one = gather(study, tmp_path)[0]
    lifted = at_no_loss(metrics, users, "SASRec", "ndcg", CUT)
    rows = [replace(row, no_loss=lifted["SASRec"] if row.method == "SASRec" else None) for row in one.rows]
    said = next(each for each in headline(replace(one, rows=rows)) if each.question.endswith("at no loss overall"))
    assert said.answer == "SASRec, the baseline"
    assert "every other method is below SASRec overall" in said.figures


def test_several_tests_are_those_of_each_alone_but_for_the_correction():
    draw = np.random.default_rng(5)
    member = np.array([[True] * 200, draw.random(200) < 0.4])
    seeds = [{1: 0.1, 2: 0.2, 3: 0.35}, {1: 0.0, 2: 0.11, 4: 0.5, 3: None}]
    pairs = [
        Comparison(draw.normal(0.1 * number, 1, 200), member[number], *seeds[:: (-1) ** number]) for number in (0, 1)
    ]
    found = paired_tests(pairs, seed=7)
    stacked = [np.stack([getattr(one, name) for one in pairs], axis=1) for name in ("difference", "member")]
    alone = paired_differences(*stacked, seed=7)
    assert [one.mean for one in found] == list(alone.mean)
    assert [one.p_users for one in found] == list(holm(alone.p))
    # Seeds 1 and 2 are those that both have a value for.
    p_seeds = [paired_over_seeds(np.array([0.1, 0.2]), np.array([0.0, 0.11]))] * 2
    assert [one.p_seeds for one in found] == pytest.approx(list(holm(np.array(p_seeds))))
    assert paired_tests([]) == []


def test_one_seed_has_no_test_over_seeds():
    one = Comparison(np.ones(20), np.full(20, True), {1: 0.2}, {1: 0.1})
    assert math.isnan(paired_tests([one])[0].p_seeds)
