"""Which epoch is the best under a metric, and when it has been waited for long enough."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from recbole_lpo.trainer.selection import Selection, selected_folder

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), max_size=12)


def taken(scores, *, patience, larger_is_better=True, counts=True) -> Selection:
    found = Selection("NDCG@5", larger_is_better)
    for epoch, score in enumerate(scores):
        found.take(epoch, {"ndcg@5": score}, patience=patience, counts=counts)
    return found


@given(SCORES, st.integers(0, 4))
def test_the_best_epoch_is_the_first_with_the_best_score_before_the_patience_ran_out(scores, patience):
    seen = []
    for score in scores:
        seen.append(score)
        # A slow twin: stop where the last `patience + 1` brought nothing new.
        if len(seen) - 1 - seen.index(max(seen)) > patience:
            break
    found = taken(scores, patience=patience)
    assert found.epoch == (seen.index(max(seen)) if seen else None)
    assert found.passed_over == len(scores) - len(seen)
    assert found.is_over(patience) == bool(seen and len(seen) - 1 - seen.index(max(seen)) > patience)


@given(SCORES, st.integers(0, 4))
def test_the_smaller_score_is_the_better_one_where_the_metric_says_so(scores, patience):
    mirrored = taken([-score for score in scores], patience=patience, larger_is_better=False)
    assert mirrored.epoch == taken(scores, patience=patience).epoch


@given(SCORES, st.integers(0, 4))
def test_validations_that_do_not_count_use_up_no_patience(scores, patience):
    found = taken(scores, patience=patience, counts=False)
    assert not found.is_over(patience)
    assert found.epoch == (scores.index(max(scores)) if scores else None)


@given(SCORES, st.integers(0, 4))
def test_a_selection_comes_back_from_its_state(scores, patience):
    found = taken(scores, patience=patience)
    assert Selection(**found.state()) == found


def test_folders_of_metrics_have_no_spaces_and_no_stars():
    folder = selected_folder(Path("run"), "0.5*NDCG@10 + 0.5*TailNDCG@10")
    assert folder == Path("run/selected/0.5xndcg@10+0.5xtailndcg@10")
