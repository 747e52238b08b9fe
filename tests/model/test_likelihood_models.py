"""Models with a likelihood objective: their loss against slow twins, what they refuse, and R2Rec's re-embedding."""

from __future__ import annotations

import copy
import logging
import math

import pytest
import torch
from recbole.trainer import Trainer
from torch.nn import functional

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError
from recbole_lpo.trainer.lpo_trainer import LPOTrainer
from recbole_lpo.trainer.moments import forget_moments
from tests.conftest import SMALL

WEIGHTED = {"tail_reweight": True}
# What trains as the plain backbone does: no strength, or none by nature.
NEUTRAL = {
    "CE": {},
    "WeightedCE": {"tail_reweight": False},
    "R2Rec": {"tail_reweight": False},
    "LogitAdjustedCE": {"likelihood_adjust_strength": 0},
    "Focal": {"likelihood_gamma": 0},
    "ClassBalanced": {"likelihood_beta": 0},
    "IPS": {"likelihood_ips_power": 0},
}


def built(name, settings):
    """(model in evaluation mode with uneven scores, first batch of RecBole's rows, train loader, config)"""
    config = Config(name, None, None, {**SMALL, **settings})
    train, _, _ = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    model = config.model_class(config, train._dataset).eval()
    with torch.no_grad():
        model.item_embedding.weight.mul_(20)
    torch.manual_seed(0)
    return model, next(iter(train)), train, config


def logits_of(model, batch):
    """(logits in float64 (B, N), target (B,), training interactions of the items (N,), is_tail (B,))"""
    with torch.no_grad():
        logits = model.encode(batch).double() @ model.item_table().double().T
    split = model.head_tail_split
    target = batch["item_id"]
    return logits, target, torch.tensor(split.counts).double(), torch.tensor(~split.is_head)[target]


def cross_entropy(logits, target):
    return functional.cross_entropy(logits, target, reduction="none")


def twin(objective, logits, target, counts):
    """The rows of an objective, as its formula is printed."""
    nll = cross_entropy(logits, target)
    seen = counts.clamp(min=1)
    if objective == "LogitAdjustedCE":
        return cross_entropy(logits + ((counts + 1) / (counts + 1).sum()).log(), target)
    if objective == "BalancedSoftmax":
        return cross_entropy(logits + seen.log(), target)
    if objective == "Focal":
        return (1 - (-nll).exp()) ** 2 * nll
    if objective == "ClassBalanced":
        weight = (1 - 0.99) / (1 - 0.99**seen)
        return (weight / weight.mean())[target] * nll
    if objective == "IPS":
        weight = (seen.max() / seen).sqrt().clamp(max=10)
        return weight[target] * nll * seen.sum() / (seen * weight).sum()
    return nll


@pytest.mark.parametrize("weights", [{}, WEIGHTED], ids=["mean", "weighted"])
@pytest.mark.parametrize("objective", ["CE", "LogitAdjustedCE", "BalancedSoftmax", "Focal", "ClassBalanced", "IPS"])
def test_the_loss_is_that_of_a_slow_twin(objective, weights, toy):
    model, batch, _, _ = built(f"{objective}SASRec", {**toy, **weights})
    logits, target, counts, is_tail = logits_of(model, batch)
    assert len(set(is_tail.tolist())) == 2
    rows = twin(objective, logits, target, counts)
    weight = torch.where(is_tail, math.e, 1.0) if weights else torch.ones(len(rows))
    expected = (weight * rows).sum() / weight.sum()
    assert model.calculate_loss(batch).item() == pytest.approx(expected.item(), rel=2e-5)


@pytest.mark.parametrize(
    ("name", "settings", "ratio", "divisor"),
    [
        ("WeightedCESASRec", {}, math.e, 1),
        ("R2RecSASRec", {}, math.e**2, 1),
        ("R2RecSASRec", {"likelihood_form": "published_code"}, math.e**2, 64),
    ],
)
def test_a_re_balanced_loss_is_torch_s_cross_entropy_with_class_weights(name, settings, ratio, divisor, toy):
    model, batch, _, _ = built(name, {**toy, **settings})
    logits, target, _, _ = logits_of(model, batch)
    weight = torch.where(torch.tensor(model.head_tail_split.is_head), 1.0, ratio).double()
    expected = functional.cross_entropy(logits, target, weight=weight).item()
    assert model.calculate_loss(batch).item() * divisor == pytest.approx(expected, rel=2e-5)


def test_weighted_cross_entropy_is_lpo_without_its_preference(toy):
    ours, batch, _, _ = built("WeightedCESASRec", toy)
    lpo, _, _, _ = built("LPOSASRec", {**toy, "pref_weight": 0})
    assert torch.equal(ours.calculate_loss(batch), lpo.calculate_loss(batch))


def trained_by_recbole(name, settings):
    """The weights of two epochs under RecBole's own Trainer."""
    _, _, train, config = built(name, settings)
    torch.manual_seed(1)
    model = config.model_class(config, train._dataset)
    Trainer(config, model).fit(train, verbose=False, saved=False)
    return model.state_dict()


def test_without_strength_the_training_is_that_of_the_backbone_to_the_last_digit(toy):
    theirs = trained_by_recbole("SASRec", toy)
    for objective, settings in NEUTRAL.items():
        ours = trained_by_recbole(f"{objective}SASRec", {**toy, **settings})
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), objective


# Drawn items


def sampled_model(name, toy, **settings):
    model, batch, _, _ = built(name, {**toy, "likelihood_num_sampled": 5, **settings})
    return model, batch, *logits_of(model, batch)[:3]


def the_draw_of(model, batch):
    """The columns that the next loss will draw."""
    again = copy.deepcopy(model)
    return again._draw(batch["item_id"])


def test_gbce_is_the_printed_formula_on_the_drawn_items(toy):
    model, batch, logits, target, _ = sampled_model("GBCESASRec", toy)
    drawn = the_draw_of(model, batch)
    beta = 1 - 0.75 * (1 - 5 / (model.head_tail_split.n_items - 1))
    expected = []
    for row, wanted, columns in zip(logits, target.tolist(), drawn.tolist(), strict=True):
        others = [column for column in columns if column >= 0]
        negative = sum(-math.log1p(-torch.sigmoid(row[column]).item()) for column in others)
        expected.append((-beta * math.log(torch.sigmoid(row[wanted]).item()) + negative) / (len(others) + 1))
    assert model.calculate_loss(batch).item() == pytest.approx(sum(expected) / len(expected), rel=2e-5)


@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
@pytest.mark.parametrize("log_q", [True, False])
def test_sampled_softmax_is_the_printed_formula_on_the_drawn_items(negatives, log_q, toy):
    settings = {"likelihood_negatives": negatives, "likelihood_log_q": log_q}
    model, batch, logits, target, counts = sampled_model("SampledSoftmaxSASRec", toy, **settings)
    drawn = the_draw_of(model, batch)
    share = counts / counts.sum() if negatives == "popularity" else torch.full_like(counts, 1 / (len(counts) - 1))
    expected = []
    for row, wanted, columns in zip(logits, target.tolist(), drawn.tolist(), strict=True):
        correction = 5 * share if log_q else torch.ones_like(share)
        others = sum((row[column].exp() / correction[column]).item() for column in columns if column >= 0)
        own = row[wanted].exp().item()
        expected.append(-math.log(own / (own + others)))
    assert model.calculate_loss(batch).item() == pytest.approx(sum(expected) / len(expected), rel=2e-5)


@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
def test_items_are_drawn_by_their_weight_but_for_the_padding_and_the_target(negatives, toy):
    model, _, _, _, counts = sampled_model("SampledSoftmaxSASRec", toy, likelihood_negatives=negatives)
    weight = counts if negatives == "popularity" else (torch.arange(len(counts)) > 0).double()
    target = torch.full((4000,), 3)
    drawn = model._draw(target)
    assert not ((drawn == 3) | (drawn == 0)).any()
    found = torch.bincount(drawn[drawn >= 0], minlength=len(counts)) / drawn.numel()
    expected = weight / weight.sum()
    expected[3] = 0
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.015)


# What the user sees


def test_the_history_shows_likelihoods_for_head_and_tail_and_no_preference(toy):
    metrics = recbole_lpo.run("LogitAdjustedCEGRU4Rec", config_dict={**SMALL, **toy, "run_dir": "run"}, quiet=True)
    loaded = recbole_lpo.load("run")
    assert loaded.trainer.evaluate(loaded.test_data, load_best_model=False)["ndcg@5"] == metrics["test"]["ndcg@5"]
    lines = recbole_lpo.run("FocalSASRec", config_dict={**SMALL, **toy, "run_dir": "other"}, quiet=True)
    assert lines["epochs"]["trained"] == 2
    with open("run/history.jsonl") as history, open("run/train.log") as log:
        first, text = history.readline(), log.read()
    assert '"tail/ce"' in first
    assert '"head/prob"' in first
    assert "pref" not in first
    assert "tail ce" in text


@pytest.mark.parametrize("name", ["FocalSASRec", "GBCECaser"])
def test_a_reference_policy_is_refused_by_a_model_that_has_none(name, toy):
    with pytest.raises(InputError, match=f"^pref_reference = runs/x: {name} has no reference policy. Leave it out"):
        built(name, {**toy, "pref_reference": "runs/x"})


def test_a_gradient_through_the_draw_of_rivals_is_refused_by_a_model_without_rivals(toy):
    with pytest.raises(InputError, match=r"^pref_straight_through = True: IPSSASRec"):
        built("IPSSASRec", {**toy, "pref_straight_through": True})


# R2Rec's re-embedding


def r2rec(toy, trainer, **settings):
    """(model, trainer) before training."""
    _, _, train, config = built("R2RecSASRec", {**toy, **settings})
    torch.manual_seed(1)
    model = config.model_class(config, train._dataset)
    return model, trainer(config, model), train


@pytest.mark.parametrize("batching", ["packed", "prefix"])
def test_at_its_epoch_the_tail_gets_new_vectors_and_the_optimizer_forgets_the_old(batching, toy, monkeypatch):
    settings = {"likelihood_reembed_epoch": 1, "epochs": 2, "batching": batching}
    model, trainer, train = r2rec(toy, LPOTrainer, **settings)
    spread = model.item_embedding.weight.detach()[1:].std().item()
    tail, head = (torch.tensor(ids) for ids in (model.head_tail_split.tail_ids, model.head_tail_split.head_ids))
    states = []
    own = model.start_epoch

    def watched(epoch):
        before = model.item_embedding.weight.detach().clone()
        found = own(epoch)
        states.append((before, model.item_embedding.weight.detach().clone(), found))
        return found

    monkeypatch.setattr(model, "start_epoch", watched)
    seen = []
    monkeypatch.setattr(
        "recbole_lpo.trainer.epoch_steps.forget_moments", lambda *told: seen.append(told) or forget_moments(*told)
    )
    trainer.fit(train, verbose=False, saved=False)
    assert torch.equal(states[0][0], states[0][1])
    before, after, _ = states[1]
    assert torch.equal(before[head], after[head])
    assert (before[tail] != after[tail]).any(dim=1).all()
    assert after[tail].std().item() == pytest.approx(spread, rel=0.15)
    [(optimizer, weight, rows)] = seen
    assert optimizer is trainer.optimizer
    assert weight is model.item_embedding.weight
    assert torch.equal(rows, tail)


def test_the_new_vectors_are_the_same_in_every_run_of_a_seed(toy):
    tables = []
    for _ in range(2):
        model, trainer, train = r2rec(toy, LPOTrainer, likelihood_reembed_epoch=0, epochs=1)
        trainer.fit(train, verbose=False, saved=False)
        tables.append(model.item_embedding.weight.detach().clone())
    assert torch.equal(*tables)


def test_recboles_own_trainer_does_not_re_embed_and_the_model_says_so_once(toy, caplog):
    _, trainer, train = r2rec(toy, Trainer, likelihood_reembed_epoch=1, epochs=2)
    with caplog.at_level(logging.WARNING):
        trainer.fit(train, verbose=False, saved=False)
    told = [record.getMessage() for record in caplog.records if "likelihood_reembed_epoch" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("likelihood_reembed_epoch = 1: this trainer does not say when an epoch starts")


def test_other_likelihoods_do_not_re_embed(toy):
    model, _, _, _ = built("FocalSASRec", {**toy, "likelihood_reembed_epoch": 0})
    before = model.item_embedding.weight.detach().clone()
    assert model.start_epoch(0) is None
    assert torch.equal(model.item_embedding.weight, before)
