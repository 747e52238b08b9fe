"""Where the rivals of a model come from: the catalogue, the batch, or its own list of the epoch before."""

from __future__ import annotations

import copy

import pytest
import torch

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError
from recbole_lpo.model.packed import packed_loss
from recbole_lpo.model.preference import PreferenceMixin
from recbole_lpo.model.rivals import Rivals
from recbole_lpo.trainer.lpo_trainer import LPOTrainer
from tests.conftest import SMALL


def built(settings, name="LPOSASRec"):
    """(model, first batch of RecBole's rows, train loader, config)"""
    config = Config(name, None, None, {**SMALL, **settings})
    train, _, _ = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    return config.model_class(config, train._dataset), next(iter(train)), train, config


@pytest.fixture
def drawn(monkeypatch):
    """The rivals of every step, (B, K) item numbers, -1 for none."""
    found = []
    draw = PreferenceMixin._draw

    def note(*args):
        found.append(draw(*args).columns)
        return Rivals(found[-1])

    monkeypatch.setattr(PreferenceMixin, "_draw", note)
    return found


def known_of(batch):
    return torch.cat([batch["item_id"][:, None], batch["item_id_list"]], dim=1)


def shared(rows, others):
    """Whether a row has a number of the other's row; (B,)."""
    return (rows[:, :, None] == others[:, None, :]).flatten(1).any(dim=1)


@pytest.mark.parametrize("negatives", ["uniform", "popularity", "in_batch", "self_play"])
def test_rivals_leave_target_history_and_padding_out(negatives, toy, drawn):
    changes = {"pref_negatives": negatives, "pref_exclude_history": True, "pref_num_rejected": 9}
    model, batch, _, _ = built({**toy, **changes})
    model.start_epoch(0)
    model.calculate_loss(batch)
    assert ((drawn[0] > 0) | (drawn[0] == -1)).all()
    assert (drawn[0] > 0).float().mean() > 0.9
    assert not shared(drawn[0], known_of(batch).masked_fill(known_of(batch) == 0, -2)).any()


def test_in_batch_rivals_are_targets_of_the_same_batch_in_packed_and_prefix_rows(toy, drawn):
    model, batch, train, config = built({**toy, "pref_negatives": "in_batch"})
    packed = LPOTrainer(config, model)._pack(train)
    whole = next(iter(packed.epoch(0)))
    packed_loss(model, whole, packed.n_events)
    model.calculate_loss(batch)
    for target, found in zip([whole.target, batch["item_id"]], drawn, strict=True):
        assert (found > 0).all()
        assert torch.isin(found, target).all()
        assert not shared(found, target[:, None]).any()


def test_rows_alone_in_their_batch_have_no_rival_and_no_preference_loss(toy):
    model, batch, _, _ = built({**toy, "pref_negatives": "in_batch", "tail_reweight": False})
    alone = batch[:1]
    plain, _, _, _ = built({**toy, "pref_weight": 0, "tail_reweight": False})
    assert model.eval().calculate_loss(alone).item() == pytest.approx(plain.eval().calculate_loss(alone).item())


def test_more_rivals_than_other_rows_in_a_batch_are_refused_with_the_size_of_the_batch(toy):
    changes = {"pref_negatives": "in_batch", "train_batch_size": 4}
    with pytest.raises(InputError, match=r"pref_num_rejected = 4: .*there are 3 .*Allowed: 1 to 3; or raise train"):
        built({**toy, **changes})
    built({**toy, **changes, "pref_num_rejected": 3})


def test_more_rivals_than_items_are_refused_where_the_model_plays_against_itself(toy):
    changes = {"pref_negatives": "self_play", "pref_num_rejected": 50}
    with pytest.raises(InputError, match=r"pref_num_rejected = 50: .*there are 40"):
        built({**toy, **changes})


# Self-play


def best_of(model, batch, m):
    """The m best-scored items of each row, target and padding left out."""
    scores = model.encode(batch) @ model.item_embedding.weight.T
    scores[:, 0] = -torch.inf
    return scores.scatter(1, batch["item_id"][:, None], -torch.inf).topk(m, dim=1).indices


@pytest.mark.parametrize("top", [4, 10])
def test_self_play_draws_from_the_best_items_of_the_model_as_the_epoch_began(top, toy, drawn):
    model, batch, _, _ = built({**toy, "pref_negatives": "self_play", "pref_self_play_top": top})
    model.start_epoch(0)
    then = best_of(copy.deepcopy(model).eval(), batch, top)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    for _ in range(3):
        model.calculate_loss(batch)
        for row, best in zip(drawn.pop().tolist(), then.tolist(), strict=True):
            assert len(set(row) & set(best)) == 4


def test_each_of_the_best_items_is_as_likely_as_another(toy, drawn):
    model, batch, _, _ = built({**toy, "pref_negatives": "self_play", "pref_self_play_top": 8})
    model.start_epoch(0)
    best = best_of(copy.deepcopy(model).eval(), batch, 8)
    for _ in range(40):
        model.calculate_loss(batch)
    counts = sum((best[:, :, None] == found[:, None, :]).sum(dim=(0, 2)) for found in drawn).double()
    assert counts.sum() == 40 * 4 * len(batch)
    expected = counts.sum() / 8
    assert ((counts - expected).abs() < 5 * expected.sqrt()).all()


def test_the_next_epoch_plays_against_what_this_one_has_learned(toy):
    model, _, _, _ = built({**toy, "pref_negatives": "self_play"})
    model.start_epoch(0)
    first = model.previous
    with torch.no_grad():
        model.item_embedding.weight.add_(1)
    assert not torch.equal(first.item_table(), model.item_embedding.weight)
    model.start_epoch(1)
    assert torch.equal(model.previous.item_table(), model.item_embedding.weight)


def test_the_model_of_the_epoch_before_is_frozen_and_no_part_of_the_model(toy):
    model, batch, _, _ = built({**toy, "pref_negatives": "self_play"})
    keys, count = list(model.state_dict()), len(list(model.parameters()))
    model.start_epoch(0)
    model.train().calculate_loss(batch).backward()
    twin = model.previous.model
    assert (list(model.state_dict()), len(list(model.parameters()))) == (keys, count)
    assert not twin.training
    assert not any(weight.requires_grad for weight in twin.parameters())
    model.start_epoch(1)
    assert not model.previous.model._previous
    assert all(weight.grad is None for weight in model.previous.model.parameters())


def test_a_loop_that_begins_no_epoch_is_told_what_self_play_needs(toy):
    model, batch, _, _ = built({**toy, "pref_negatives": "self_play"})
    with pytest.raises(InputError, match=r"pref_negatives = self_play.*start_epoch"):
        model.calculate_loss(batch)


@pytest.mark.parametrize(
    ("name", "negatives"), [("LPOSASRec", "in_batch"), ("DPOGRU4Rec", "self_play"), ("SimPOCaser", "self_play")]
)
def test_a_run_with_these_rivals_ends_with_metrics_that_the_seed_alone_decides(name, negatives, toy):
    changes = {"pref_negatives": negatives, "pref_num_rejected": 3}
    one, other = (recbole_lpo.run(name, config_dict={**SMALL, **toy, **changes}, quiet=True)["valid"] for _ in range(2))
    assert one == other
    assert one["ndcg@5"] > 0
