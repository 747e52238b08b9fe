"""With the preference term and the weights off, LPOX is RecBole's X."""

from __future__ import annotations

import copy

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

import recbole_lpo  # noqa: F401  registers the models
from recbole_lpo.model.backbones import BACKBONES
from tests.conftest import SMALL

COLUMNS = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}
PLAIN = {"pref_weight": 0, "tail_reweight": False}


def trained_by_recbole(name: str, settings: dict):
    """(validation score, test metrics, weights) under RecBole's own Config, data and Trainer."""
    settings = {**SMALL, **settings, "metrics": ["Hit", "NDCG"], "metric_decimal_place": 10}
    settings |= {"train_neg_sample_args": None, "load_col": COLUMNS}
    config = Config(model=name, config_dict=copy.deepcopy(settings))
    init_seed(config["seed"], True)
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], True)
    model = get_model(name)(config, train.dataset)
    trainer = Trainer(config, model)
    score, _ = trainer.fit(train, valid, verbose=False)
    return score, trainer.evaluate(test), model.state_dict()


# A temperature divides the hidden state, and not the score: of a power of two to the same digits.
SETTINGS = {"CORE": {"temperature": 0.0625}}


@pytest.mark.parametrize("backbone", [backbone for backbone in BACKBONES if backbone != "BERT4Rec"])
def test_without_preference_and_weights_recboles_trainer_gives_recboles_model_to_the_last_digit(backbone, toy):
    settings = {**toy, **SETTINGS.get(backbone, {})}
    theirs = trained_by_recbole(backbone, settings)
    ours = trained_by_recbole(f"LPO{backbone}", {**settings, **PLAIN})
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert list(ours[2]) == list(theirs[2])
    assert all(torch.equal(ours[2][name], theirs[2][name]) for name in theirs[2])


def test_bert4rec_with_its_bias_in_the_item_table_is_recboles_but_for_rounding(toy):
    settings = {**toy, "mask_ratio": 0.4}
    theirs = trained_by_recbole("BERT4Rec", settings)
    ours = trained_by_recbole("LPOBERT4Rec", {**settings, **PLAIN})
    assert ours[1] == pytest.approx(theirs[1], abs=1e-9)
    assert list(ours[2]) == list(theirs[2])
    for name, weight in theirs[2].items():
        torch.testing.assert_close(ours[2][name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("contrast", ["us", "us_x"])
def test_the_contrastive_losses_of_fearec_are_recboles_to_the_last_digit(contrast, toy):
    settings = {**toy, "contrast": contrast, "tau": 1.0, "sim": "dot", "fredom": True, "fredom_type": "us_x"}
    theirs = trained_by_recbole("FEARec", settings)
    ours = trained_by_recbole("LPOFEARec", {**settings, **PLAIN})
    without = trained_by_recbole("FEARec", toy)
    assert ours[1] == theirs[1]
    assert all(torch.equal(ours[2][name], theirs[2][name]) for name in theirs[2])
    assert not all(torch.equal(without[2][name], theirs[2][name]) for name in theirs[2])


def test_with_the_preference_term_the_model_is_another_one(toy):
    plain = trained_by_recbole("LPOSASRec", {**toy, **PLAIN})
    preferring = trained_by_recbole("LPOSASRec", toy)
    assert not torch.equal(plain[2]["item_embedding.weight"], preferring[2]["item_embedding.weight"])
