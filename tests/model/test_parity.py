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

PLAIN = {"pref_weight": 0, "tail_reweight": False}


def trained_by_recbole(name: str, settings: dict):
    """(validation score, test metrics, weights) under RecBole's own Config, data and Trainer."""
    settings = {**SMALL, **settings, "metrics": ["Hit", "NDCG"], "metric_decimal_place": 10}
    settings |= {"train_neg_sample_args": None, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    config = Config(model=name, config_dict=copy.deepcopy(settings))
    init_seed(config["seed"], True)
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], True)
    model = get_model(name)(config, train.dataset)
    trainer = Trainer(config, model)
    score, _ = trainer.fit(train, valid, verbose=False)
    return score, trainer.evaluate(test), model.state_dict()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_without_preference_and_weights_recboles_trainer_gives_recboles_model_to_the_last_digit(backbone, toy):
    theirs = trained_by_recbole(backbone, toy)
    ours = trained_by_recbole(f"LPO{backbone}", {**toy, **PLAIN})
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert list(ours[2]) == list(theirs[2])
    assert all(torch.equal(ours[2][name], theirs[2][name]) for name in theirs[2])


def test_with_the_preference_term_the_model_is_another_one(toy):
    plain = trained_by_recbole("LPOSASRec", {**toy, **PLAIN})
    preferring = trained_by_recbole("LPOSASRec", toy)
    assert not torch.equal(plain[2]["item_embedding.weight"], preferring[2]["item_embedding.weight"])
