"""MELT on a trained backbone: its transfers against slow twins, what it overwrites, and how it ranks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import recbole_lpo
from recbole_lpo.cli import main
from recbole_lpo.config import Config
from recbole_lpo.core.curriculum import item_curriculum, user_curriculum
from recbole_lpo.data.popularity import training_events
from recbole_lpo.errors import InputError
from recbole_lpo.loaded_run import prepare
from recbole_lpo.model.backbones import product_encoder
from recbole_lpo.model.packed import can_pack
from tests.conftest import SMALL, write_toy


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Settings of the toy dataset, and of a SASRec that is trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, **write_toy(folder / "data"), "MAX_ITEM_LIST_LENGTH": 12, "transfer_curriculum": 4}
    run_dir = str(folder / "SASRec")
    recbole_lpo.run("SASRec", config_dict={**settings, "run_dir": run_dir}, quiet=True)
    return settings | {"pref_reference": run_dir}


def prepared(settings, name="MELTSASRec", **changes):
    return prepare(Config(name, None, None, {**settings, **changes}))


def histories_of(loaded):
    """User number -> item numbers of the training part, in time order."""
    users, items = training_events(loaded.train_data._dataset)
    return {user: items[users == user].tolist() for user in np.unique(users)}


def state_of(model, history):
    history = history[-model.max_seq_length :]
    return model.forward(torch.tensor([history]), torch.tensor([len(history)]))[0]


def test_the_vector_of_a_tail_item_is_inferred_from_all_histories_that_end_with_it_from_either_side(trained):
    loaded = prepared(trained)
    model = loaded.model.eval()
    for item in model.tail_items[[0, len(model.tail_items) // 2, -1]].tolist():
        states = [
            state_of(model, part)
            for history in histories_of(loaded).values()
            for at, one in enumerate(history)
            if one == item
            for part in (history[: at + 1], history[: at - 1 if at else None : -1])
        ]
        expected = model.spread * model.item_transfer(torch.stack(states).mean(dim=0))
        torch.testing.assert_close(model.inferred(torch.tensor([item]))[0], expected, rtol=1e-4, atol=1e-6)


def test_before_every_epoch_but_the_first_the_tail_is_overwritten_and_nothing_else(trained):
    model = prepared(trained).model.eval()
    inferred = model.inferred(model.tail_items)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert model.start_epoch(0) is None
    [(weight, rows)] = model.start_epoch(1)
    assert weight is model.item_embedding.weight
    assert rows.tolist() == model.tail_items.tolist()
    is_tail = torch.zeros(len(weight), dtype=torch.bool)
    is_tail[rows] = True
    after = model.state_dict()
    for key, value in before.items():
        if key != "item_embedding.weight":
            assert torch.equal(after[key], value), key
    old = before["item_embedding.weight"]
    assert torch.equal(weight[~is_tail], old[~is_tail])
    assert (weight[is_tail] != old[is_tail]).all(dim=1).all()
    torch.testing.assert_close(weight[rows], inferred)


def test_the_state_of_a_tail_user_is_completed_and_that_of_a_head_user_is_not(trained):
    loaded = prepared(trained)
    model, batch = loaded.model.eval(), next(iter(loaded.test_data))[0]
    plain = model.forward(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])
    found, is_tail = model.encode(batch), model.is_tail_user[batch[model.USER_ID]]
    assert 0 < is_tail.sum() < len(is_tail)
    assert torch.equal(found[~is_tail], plain[~is_tail])
    torch.testing.assert_close(found[is_tail], plain[is_tail] + model.user_transfer(plain[is_tail]))
    length = {user: len(history) for user, history in histories_of(loaded).items()}
    longer = [length[user] > model.tail_length for user in batch[model.USER_ID].tolist()]
    assert (~is_tail).tolist() == longer
    assert np.mean([n > model.tail_length for n in length.values()]) <= 0.2


def test_all_ways_to_ask_for_scores_give_the_completed_ones(trained):
    loaded = prepared(trained)
    model, batch = loaded.model.eval(), next(iter(loaded.test_data))[0]
    scores = model.full_sort_predict(batch)
    assert product_encoder(model) is type(model)
    torch.testing.assert_close(scores, model.encode(batch) @ model.item_embedding.weight.T)
    torch.testing.assert_close(model.predict(batch), scores.gather(1, batch[model.ITEM_ID][:, None])[:, 0])
    whole = loaded.trainer.evaluate(loaded.test_data, load_best_model=False)
    parts = prepared(trained, eval_chunk_items=7).trainer
    assert parts.evaluate(loaded.test_data, load_best_model=False) == whole


def test_the_user_loss_compares_the_last_items_with_the_whole_history(trained):
    # Of three in four users the histories are this short: the few are one item.
    loaded = prepared(trained, transfer_user_share=0.05)
    model = loaded.model.eval()
    model.tail_length = 2
    model._progress = 0.3
    histories = list(histories_of(loaded).values())
    heads = torch.tensor([3, 7, 11])
    errors = []
    for user in heads.tolist():
        full, few = state_of(model, histories[user]), state_of(model, histories[user][-1:])
        length = torch.tensor([min(len(histories[user]), model.max_seq_length)])
        weight = user_curriculum(length, progress=0.3, tail_length=2, max_length=12)
        errors.append(weight * (model.user_transfer(few) - full).square())
    torch.testing.assert_close(model.user_loss(heads), torch.stack(errors).mean(), rtol=1e-4, atol=1e-6)


def test_the_item_loss_completes_the_states_and_compares_with_the_items_vector(trained, monkeypatch):
    loaded = prepared(trained)
    model = loaded.model.eval()
    model._progress = 0.7
    items, drawn = loaded.model.head_ids[:3], []
    inner = model._histories
    monkeypatch.setattr(model, "_histories", lambda of, nth: drawn.append((of, nth)) or inner(of, nth))
    found = model.item_loss(items)
    [(of, nth)] = drawn
    errors = []
    for item in items:
        own = nth[of == item]
        assert 1 <= len(own) <= model.tail_count
        assert len(own.unique()) == len(own)
        rows, length = inner(item.expand(len(own)), own)
        states = torch.stack([state_of(model, row[:n].tolist()) for row, n in zip(rows, length, strict=True)])
        mean = (states + model.user_transfer(states)).mean(dim=0)
        weight = item_curriculum(model._kept.found.count[item], progress=0.7, tail_count=model.tail_count)
        errors.append(weight * (model.spread * model.item_transfer(mean) - model.item_embedding.weight[item]).square())
    torch.testing.assert_close(found, torch.stack(errors).mean(), rtol=1e-4, atol=1e-6)


def test_without_the_transfers_the_loss_is_the_cross_entropy_to_the_last_digit(trained):
    still = {**trained, "hidden_dropout_prob": 0, "attn_dropout_prob": 0}
    loaded = prepared(still, transfer_user_weight=0, transfer_item_weight=0)
    plain = prepared({key: value for key, value in still.items() if key != "pref_reference"}, "CESASRec").model
    found = loaded.model.state_dict()
    plain.load_state_dict({key: found[key] for key in plain.state_dict()})
    batch = next(iter(loaded.train_data))
    assert torch.equal(loaded.model.train().calculate_loss(batch), plain.train().calculate_loss(batch))


@pytest.mark.parametrize("name", ["MELTSASRec", "MELTGRU4Rec"])
def test_it_trains_on_whole_histories(name, trained, tmp_path):
    settings = {key: value for key, value in trained.items() if key != "pref_reference"}
    run_dir = str(tmp_path / "base")
    recbole_lpo.run(name.removeprefix("MELT"), config_dict={**settings, "run_dir": run_dir}, quiet=True)
    loaded = prepared(settings | {"pref_reference": run_dir}, name)
    assert can_pack(loaded.model)
    before = {key: value.clone() for key, value in loaded.model.named_parameters()}
    loaded.trainer.fit(loaded.train_data, verbose=False, saved=False)
    assert loaded.trainer._packed is not None
    assert not [key for key, value in loaded.model.named_parameters() if torch.equal(value, before[key])]


def test_content_is_refused(trained):
    with pytest.raises(InputError, match="content_mode with MELTSASRec: it overwrites the vectors of tail items"):
        settings = {key: value for key, value in trained.items() if key != "pref_reference"}
        prepared(settings, content_fields=["class"], content_min_count=1)


def test_a_backbone_that_looks_at_the_user_is_refused_with_the_reason(capsys, toy):
    assert main(["run", "--model=MELTCaser", "--dataset=toy", f"--data_path={toy['data_path']}"]) == 2
    said = capsys.readouterr().err
    assert "Caser cannot be a backbone of MELT: its states are not made by `forward` of the history alone" in said


def test_data_without_head_users_is_refused(trained):
    with pytest.raises(
        InputError, match=r"transfer_user_share = 1\.0, tail_split_ratio = 0\.2: there are 0 head users"
    ):
        prepared(trained, transfer_user_share=1)


def test_the_command_trains_the_model_first_and_the_run_can_be_read_and_gone_on_with(toy, tmp_path, capsys):
    flags = [f"--{key}={value}" for key, value in {**SMALL, **toy, "epochs": 3}.items()]
    assert main(["run", "--model=MELTSASRec", "--run_dir=whole", *flags]) == 0
    capsys.readouterr()
    assert len(list(tmp_path.glob("runs/toy/SASRec/reference-*"))) == 1
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert main(["evaluate", "--run_dir=whole", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["test"] == metrics["test"]
    flags = [flag for flag in flags if not flag.startswith("--epochs")]
    reference = [f"--pref_reference={folder}" for folder in tmp_path.glob("runs/toy/SASRec/reference-*")]
    assert main(["run", "--model=MELTSASRec", "--run_dir=short", *flags, "--epochs=1", *reference]) == 0
    assert main(["run", "--resume=short", "--epochs=3"]) == 0
    assert json.loads((tmp_path / "short" / "metrics.json").read_text())["test"] == metrics["test"]
    assert main(["recommend", "--run_dir=whole", "--users=u1,u2"]) == 0


def test_histories_of_one_item_are_refused_as_nothing_is_left_of_them_to_learn_from(trained):
    with pytest.raises(InputError, match="MAX_ITEM_LIST_LENGTH = 1 with MELTSASRec"):
        prepared({**trained, "MAX_ITEM_LIST_LENGTH": 1})
