"""Caser without the work on padding: the states, the gradients and the training of RecBole's Caser."""

from __future__ import annotations

import pytest
import torch
from recbole.model.sequential_recommender import Caser

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.model.caser import caser_states, trim_padding
from recbole_lpo.quick_start import load
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.run_log import without_tensorboard
from tests.conftest import SMALL


def built(toy, name="Caser", max_length=8, **changes):
    """(model in float64 and eval mode, RecBole's training rows, config)"""
    settings = {**SMALL, **toy, "MAX_ITEM_LIST_LENGTH": max_length, **changes}
    config = Config(name, None, None, settings)
    train, _, _ = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    model = config.model_class(config, train._dataset).double().eval()
    # RecBole's own biases of the convolutions are small; let some windows of padding win.
    with torch.no_grad():
        for conv in [*model.conv_h, model.conv_v]:
            conv.weight.normal_()
            conv.bias.normal_()
        model.item_embedding.weight.normal_()
    return model, train, config


def every_length(max_length, n_items=40, rows=60):
    """Users and histories of 0 to max_length items, items repeated, in any order of length."""
    length = torch.arange(rows) * 7 % (max_length + 1)
    items = torch.randint(1, 9, (rows, max_length))
    items[::2] = torch.randint(1, n_items, items[::2].shape)
    return torch.arange(rows), items.masked_fill(torch.arange(max_length) >= length[:, None], 0)


@pytest.mark.parametrize("max_length", [1, 2, 8, 13])
def test_the_states_are_those_of_recbole_for_histories_of_every_length(max_length, toy):
    model, _, _ = built(toy, max_length=max_length)
    histories = every_length(max_length)
    assert model.item_embedding.weight[0].abs().min() > 0
    torch.testing.assert_close(caser_states(model, *histories), model.forward(*histories), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["Caser", "LPOCaser"])
def test_the_gradient_of_every_weight_is_that_of_recbole(name, toy):
    model, train, _ = built(toy, name, max_length=13, pref_negatives="head_top_k")
    batch = next(iter(train))
    found = []
    for forward in (model.forward, trim_padding(model).forward):
        model.forward = forward
        model.zero_grad()
        model.calculate_loss(batch).backward()
        found.append({key: weight.grad.clone() for key, weight in model.named_parameters()})
    assert set(found[0]) == set(found[1])
    for key, gradient in found[0].items():
        assert gradient.any()
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["Caser", "LPOCaser"])
def test_without_dropout_the_run_is_that_of_recboles_rows(name, toy):
    settings = {**SMALL, **toy, "dropout_prob": 0.0, "epochs": 1}
    trimmed, whole = (
        load(recbole_lpo.run(name, config_dict={**settings, "batching": batching}, quiet=True)["run_dir"]).model
        for batching in ("packed", "prefix")
    )
    for ours, theirs in zip(trimmed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("batching", "trimmed"), [("packed", True), ("prefix", False)])
def test_our_trainer_trims_the_model_it_is_given_and_never_the_class(batching, trimmed, toy):
    model, _, config = built(toy, batching=batching)
    before = Caser.forward
    with without_tensorboard():
        trainer_class(config["MODEL_TYPE"], "Caser")(config, model)
    assert ("forward" in vars(model)) == trimmed
    assert Caser.forward is before
    assert type(model) is Caser


def test_a_model_with_a_forward_of_its_own_keeps_it(toy):
    model, _, _ = built(toy)

    class Other(Caser):
        def forward(self, user, item_seq):
            return super().forward(user, item_seq)

    model.__class__ = Other
    assert "forward" not in vars(trim_padding(model))
