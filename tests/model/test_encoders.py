"""Hidden state times item table: for every backbone the scores that it ranks by."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
import torch
from recbole.model import sequential_recommender

from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError
from recbole_lpo.model.backbones import BACKBONES, NO_BACKBONES, encoding_class
from recbole_lpo.model.reference import ReferencePolicy
from recbole_lpo.registry import unknown_model
from tests.conftest import SMALL


def built(name, settings):
    """(model, a training batch, a batch of test rows)"""
    config = Config(name, None, None, {**SMALL, **settings})
    train, _, test = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    model = config.model_class(config, train._dataset)
    return model, next(iter(train)), next(iter(test))[0]


@pytest.fixture
def bert(toy):
    return built("LPOBERT4Rec", {**toy, "mask_ratio": 0.5, "ft_ratio": 0, "pref_exclude_history": True})


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_scores_that_are_ranked_are_the_product_of_hidden_state_and_item_table(backbone, toy):
    model, _, rows = built(f"LPO{backbone}", toy)
    model.eval()
    with torch.no_grad():
        scores = model.full_sort_predict(rows).view(len(rows), -1)
        torch.testing.assert_close(model.encode(rows) @ model.item_table().T, scores, rtol=1e-4, atol=1e-5)
    assert scores.shape == (len(rows), model.n_items)
    assert scores.std() > 0


def test_every_sequential_model_of_recbole_is_a_backbone_or_is_refused_with_a_reason():
    folder = sequential_recommender.__path__
    modules = [
        importlib.import_module(f"{sequential_recommender.__name__}.{m.name}") for m in pkgutil.iter_modules(folder)
    ]
    known = {name.lower() for name in [*BACKBONES, *NO_BACKBONES]}
    assert known == {module.__name__.rpartition(".")[2] for module in modules}


@pytest.mark.parametrize("name", NO_BACKBONES)
def test_a_model_that_cannot_be_a_backbone_is_refused_with_the_reason_and_the_way_out(name):
    message = str(unknown_model(f"DPO{name}"))
    assert message.startswith(f"model = DPO{name}: {name} cannot be a backbone: {NO_BACKBONES[name]}. ")
    assert "DPO can be had on SASRec, " in message and message.endswith(", as DPOSASRec.")


def test_hrm_with_average_pooling_leaves_the_lengths_of_a_batch_alone(toy):
    model, batch, _ = built("LPOHRM", {**toy, "pooling_type_layer_1": "average"})
    before = batch["item_length"].clone()
    assert (before > model.high_order).any()
    model.encode(batch)
    assert torch.equal(batch["item_length"], before)


def test_bert4rec_learns_the_masked_items_of_a_row_each_from_its_own_position(bert):
    model, batch, _ = bert
    hidden, target, row = model.eval().training_states(batch)
    states = model.forward(batch["Mask_item_id_list"])
    expected = [
        (i, batch["item_id_list"][i, position].item(), states[i, position])
        for i, positions in enumerate(batch["MASK_INDEX"].tolist())
        for position in positions
        if position > 0
    ]
    assert row.tolist() == [i for i, _, _ in expected]
    assert target.tolist() == [item for _, item, _ in expected]
    torch.testing.assert_close(hidden[:, :-1], torch.stack([state for _, _, state in expected]))
    assert (hidden[:, -1] == 1).all()
    assert len(target) > len(row.unique())


def test_the_mask_token_of_bert4rec_is_no_item_and_no_rival(bert):
    model, batch, _ = bert
    assert model.item_embedding.num_embeddings == model.n_items + 1
    assert len(model.item_table()) == model.n_items
    hidden, target, row = model.training_states(batch)
    barred = torch.cat([target[:, None], batch["item_id_list"][row]], dim=1)
    drawn = model._draw(hidden, model.item_table(), torch.zeros(len(hidden)), target, barred, None).columns
    assert (drawn < model.n_items).all()
    assert not (drawn[:, :, None] == barred[:, None, :]).any()


def test_a_batch_in_which_nothing_is_masked_teaches_bert4rec_nothing(bert):
    model, batch, _ = bert
    batch["MASK_INDEX"].zero_()
    loss = model.calculate_loss(batch)
    loss.backward()
    assert loss.item() == 0
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())


def test_a_reference_of_bert4rec_sees_the_same_masked_rows(toy):
    model, batch, _ = built("DPOBERT4Rec", {**toy, "mask_ratio": 0.5})
    config = Config("BERT4Rec", None, None, {**SMALL, **toy, "mask_ratio": 0.5})
    train, _, _ = split_dataset(config, load_dataset(config))
    policy = encoding_class("BERT4Rec")(config, train._dataset)
    policy.load_state_dict(model.state_dict())
    model.set_reference(ReferencePolicy(policy))
    model.eval().calculate_loss(batch)
    assert model.loss_monitor.pop()["tail/pref"] == pytest.approx(0.6931472, abs=1e-5)


def test_a_mask_ratio_that_masks_nothing_is_refused(toy):
    with pytest.raises(InputError, match=r"mask_ratio = 0.1: .* MAX_ITEM_LIST_LENGTH is 8"):
        built("LPOBERT4Rec", {**toy, "mask_ratio": 0.1})


def test_shan_is_ranked_by_the_scores_that_it_gives_single_items(toy):
    model, _, rows = built("SHAN", toy)
    model.eval()
    some = rows[rows["item_length"] < 8]
    assert len(some)
    with torch.no_grad():
        ranked = model.full_sort_predict(some)
        for item in range(1, 6):
            some["item_id"] = torch.full((len(some),), item)
            torch.testing.assert_close(ranked[:, item], model.predict(some))
