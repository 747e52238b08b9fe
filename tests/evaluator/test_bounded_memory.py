"""Evaluation in chunks of items and in fewer users at once: the figures of scoring everything at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_lpo.evaluator.collector import ProductScores
from recbole_lpo.model.backbones import BACKBONES, product_encoder
from recbole_lpo.trainer import evaluation
from tests.conftest import SMALL, toy_rows, write_atomic, write_toy
from tests.evaluator.test_tail_metrics import EVERYTHING, built, evaluated_by_recbole, per_user

ML_100K = {
    "dataset": "ml-100k", "MAX_ITEM_LIST_LENGTH": 10, "hidden_size": 16, "inner_size": 16, "embedding_size": 16,
    "topk": [5, 10], "metrics": ["Hit", "NDCG", "MRR", "Recall", "Precision", "MAP"],
    "valid_metric": "NDCG@10", "metric_decimal_place": 15, "show_progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def toy_settings(tmp_path_factory):
    # With a user whose last item nobody has trained on, so that every group has a figure.
    rows = toy_rows() + [("late", f"i{item}", step) for step, item in enumerate([0, 1, 2, 90])]
    folder = tmp_path_factory.mktemp("data")
    toy = write_toy(folder)
    write_atomic(folder, "toy", rows)
    return {**SMALL, **toy, "metrics": EVERYTHING, "topk": [1, 5, 10]}


def spied(trainer):
    """The scores that the collector is given from now on."""
    seen, collect = [], trainer.eval_collector.eval_batch_collect

    def spy(scores, *rest):
        seen.append(scores)
        collect(scores, *rest)

    trainer.eval_collector.eval_batch_collect = spy
    return seen


@pytest.fixture(scope="module", params=["LPOSASRec", "GRU4Rec", "LPOCaser"])
def in_one_piece(request, toy_settings):
    """(trainer, test loader, figures and ranks of whole rows with the history masked), untrained."""
    trainer, _, _, test = built(request.param, toy_settings, eval_mask_history=True)
    return trainer, test, trainer.evaluate(test, load_best_model=False), per_user(trainer)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(1, 39))
def test_evaluation_in_any_chunk_gives_the_same_figures_and_ranks(in_one_piece, chunk):
    trainer, test, figures, ranks = in_one_piece
    given_settings = trainer.run_settings
    trainer.run_settings = evaluation.RunSettings(eval_mask_history=True, eval_chunk_items=chunk)
    seen = spied(trainer)
    found = trainer.evaluate(test, load_best_model=False)
    del trainer.eval_collector.eval_batch_collect
    trainer.run_settings = given_settings
    assert (found, per_user(trainer)) == (figures, ranks)
    assert all(isinstance(scores, ProductScores) for scores in seen)


def test_a_catalogue_too_large_for_whole_rows_is_ranked_in_chunks_by_itself(toy_settings, monkeypatch):
    trainer, _, _, test = built("LPOSASRec", toy_settings)
    whole = trainer.evaluate(test, load_best_model=False)
    monkeypatch.setattr(evaluation, "_WHOLE_CELLS", 2000)
    seen = spied(trainer)
    assert trainer.evaluate(test, load_best_model=False) == whole
    assert all(isinstance(scores, ProductScores) for scores in seen)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BPR"])
def test_on_ml_100k_the_figures_are_recboles_to_the_last_digit_in_one_piece_and_in_chunks(model):
    # RecBole leaves the history out for general models only.
    mask = model == "BPR"
    trainer, _, _, test = built(model, ML_100K, eval_mask_history=mask)
    recboles = evaluated_by_recbole(trainer, test)
    assert recboles["hit@10"] > 0
    for chunk in (None, 500):
        trainer.run_settings = evaluation.RunSettings(eval_mask_history=mask, eval_chunk_items=chunk)
        assert trainer.evaluate(test, load_best_model=False) == recboles


def test_where_a_metric_reads_all_scores_of_a_row_they_are_there(toy_settings):
    changes = {"metrics": ["GAUC", "Hit"], "valid_metric": "GAUC"}
    trainer, _, _, test = built("SASRec", toy_settings, **changes, eval_chunk_items=5)
    found = trainer.evaluate(test, load_best_model=False)
    trainer, _, _, test = built("SASRec", toy_settings, **changes)
    assert found == trainer.evaluate(test, load_best_model=False)
    assert 0 < found["gauc"] < 1


@pytest.mark.parametrize("mask", [True, False])
def test_users_whose_whole_rows_take_too_much_are_scored_in_smaller_batches(mask, toy_settings, monkeypatch):
    trainer, _, _, test = built("HGN", toy_settings, eval_mask_history=mask)
    found, ranks = trainer.evaluate(test, load_best_model=False), per_user(trainer)
    monkeypatch.setattr(evaluation, "_MOST_CELLS", 10 * 41)
    seen = spied(trainer)
    assert trainer.evaluate(test, load_best_model=False) == found
    assert per_user(trainer) == ranks
    assert max(len(scores) for scores in seen) <= 10


# The temperature and the bias are part of the product here, and follow it in RecBole.
ROUNDED = ("CORE", "BERT4Rec")


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_of_recbole_and_ours_scores_by_its_product(name, toy_settings):
    for model in (name, f"LPO{name}"):
        trainer, _, _, test = built(model, toy_settings)
        interaction = next(iter(test))[0]
        trainer.model.eval()
        encoder = product_encoder(trainer.model)
        with torch.no_grad():
            product = encoder.encode(trainer.model, interaction) @ encoder.item_table(trainer.model).T
            scores = trainer.model.full_sort_predict(interaction)
        if name in ROUNDED:
            torch.testing.assert_close(product, scores, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(product, scores)


def test_a_model_that_scores_in_its_own_way_has_no_product(toy_settings):
    trainer, _, _, _ = built("SASRec", toy_settings)
    own = type("Own", (type(trainer.model),), {"full_sort_predict": lambda self, interaction: None})
    trainer.model.__class__ = own
    assert product_encoder(trainer.model) is None
    assert product_encoder(built("BPR", toy_settings)[0].model) is None


@pytest.mark.parametrize("chunk", [None, 7])
def test_several_strengths_measured_at_once_are_those_measured_one_by_one(chunk, toy_settings):
    trainer, _, _, test = built("SASRec", toy_settings, eval_chunk_items=chunk)
    strengths = [0.5, 0.0, 2.0]
    at_once = trainer.evaluate_adjusted(test, strengths, load_best_model=False)
    for strength, measured in zip(strengths, at_once, strict=True):
        trainer.run_settings = evaluation.RunSettings(eval_logit_adjust=strength, eval_chunk_items=chunk)
        assert measured.figures == trainer.evaluate(test, load_best_model=False)
        assert torch.equal(measured.evaluation.rank, trainer.last_evaluation.rank)
        assert measured.logit_adjust == strength
    assert len({tuple(measured.evaluation.rank.tolist()) for measured in at_once}) == 3
