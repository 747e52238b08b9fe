"""CITIES on a trained backbone: what it replaces, what it leaves alone, and that it learns."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pytest
import torch
from recbole.trainer import Trainer
from recbole.utils import init_seed

import recbole_lpo
from recbole_lpo.cli import main
from recbole_lpo.config import Config
from recbole_lpo.data.popularity import training_counts, training_events
from recbole_lpo.errors import InputError
from recbole_lpo.loaded_run import prepare
from recbole_lpo.model.mapped_embedding import MappedEmbedding, id_embedding
from tests.conftest import SMALL, toy_rows, write_atomic, write_toy

FAST = {"transfer_learning_rate": 0.01, "transfer_reach": 4, "transfer_batch_size": 16}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Settings of the toy dataset, and of a SASRec that is trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, **FAST, **write_toy(folder / "data"), "epochs": 3}
    run_dir = str(folder / "SASRec")
    recbole_lpo.run("SASRec", config_dict={**settings, "run_dir": run_dir}, quiet=True)
    return settings | {"pref_reference": run_dir}


def prepared(settings, name="CITIESSASRec", **changes):
    return prepare(Config(name, None, None, {**settings, **changes}))


def fitted(settings, **changes):
    loaded = prepared(settings, **changes)
    loaded.trainer.fit(loaded.train_data, verbose=False, saved=False)
    return loaded


def tables(loaded):
    """(N, D) the item table of the trained model, and the one that items are ranked by."""
    loaded.model.eval()
    return id_embedding(loaded.model).weight.detach(), loaded.model.item_embedding.weight.detach()


def counts_of(loaded):
    return training_counts(loaded.train_data._dataset)


@pytest.mark.parametrize("items", ["rare", "tail"])
def test_the_vectors_of_rare_items_are_replaced_and_all_others_stay_to_the_bit(items, trained):
    loaded = fitted(trained, transfer_items=items, transfer_max_count=6)
    before, after = tables(loaded)
    count = counts_of(loaded)
    is_rare = torch.from_numpy(count <= 6) if items == "rare" else loaded.model.position_in_head < 0
    replaced = is_rare & torch.from_numpy(count > 0)
    assert 0 < replaced.sum() < len(replaced) - 1
    assert torch.equal(after[~replaced], before[~replaced])
    assert (after[replaced] != before[replaced]).all(dim=1).all()


def test_a_rare_item_without_contexts_keeps_its_vector(tmp_path):
    # u0 and u1 have one training item each: i8 and i9 stand alone there.
    rows = [(f"u{user}", f"i{item}", time) for user in range(2) for time, item in enumerate([8 + user, 1, 2])]
    rows += [(f"u{user}", f"i{1 + (user + time) % 7}", time) for user in range(2, 20) for time in range(8)]
    rows += [("u2", "i10", -1)]
    data_path = str(write_atomic(tmp_path, "alone", rows))
    settings = {**SMALL, **FAST, "dataset": "alone", "data_path": data_path, "epochs": 1, "transfer_max_count": 1}
    run_dir = recbole_lpo.run("SASRec", config_dict=settings, quiet=True)["run_dir"]
    loaded = fitted(settings | {"pref_reference": run_dir})
    before, after = tables(loaded)
    number = loaded.dataset.field2token_id["item_id"]
    for token in ("i8", "i9", "i1"):
        assert torch.equal(after[number[token]], before[number[token]])
    assert not torch.equal(after[number["i10"]], before[number["i10"]])


def test_inferred_vectors_may_keep_the_length_of_those_that_they_replace(trained):
    before, after = tables(fitted(trained, transfer_keep_norm=True))
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1))
    assert not torch.equal(after, before)


def test_training_changes_the_network_and_nothing_of_the_trained_model(trained):
    loaded = prepared(trained)
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    loaded.trainer.fit(loaded.train_data, verbose=False, saved=False)
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[key]) != (".network." in key), key


def test_the_trained_model_drops_nothing_out_while_the_network_learns(trained):
    model = prepared(trained, hidden_dropout_prob=0.5).model.train()
    modes = {name: module.training for name, module in model.named_modules() if name}
    assert model.training
    assert all(on == (".network" in name) for name, on in modes.items())


def test_an_epoch_learns_from_every_well_known_item_once(trained):
    loaded = prepared(trained)
    model, count = loaded.model, counts_of(loaded)
    epochs = [torch.cat(list(model.own_batches.epoch(epoch))) for epoch in (0, 1, 0)]
    assert sorted(epochs[0].tolist()) == np.flatnonzero(count > 5).tolist()
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    assert max(len(batch) for batch in model.own_batches.epoch(0)) <= 16


def test_the_loss_of_saying_the_mean_is_one_and_training_gets_below_it(tmp_path):
    # Items come in three kinds, and a history holds one kind: a context tells the kind, and the kind the vector.
    rows = [
        (f"u{user}", f"i{kind}{(3 * user + step) % 6}", step)
        for user in range(90)
        for kind in [user % 3]
        for step in range(8)
    ]
    # One item is rare, so that there is something to infer.
    rows += [("u90", f"i0{nth}", step) for step, nth in enumerate("r0123450")]
    settings = {**SMALL, **FAST, "dataset": "kinds", "data_path": str(write_atomic(tmp_path, "kinds", rows))}
    run_dir = recbole_lpo.run("SASRec", config_dict={**settings, "epochs": 2}, quiet=True)["run_dir"]
    loaded = prepared(settings | {"pref_reference": run_dir}, transfer_max_count=1, epochs=60)
    model, table = loaded.model, id_embedding(loaded.model).weight
    kinds = torch.tensor(
        [int(token[1]) if token != "[PAD]" else -1 for token in loaded.dataset.field2id_token["item_id"]]
    )
    with torch.no_grad():
        centres = 2 * torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
        table[1:] = centres[kinds[1:]] + 0.1 * torch.randn(len(table) - 1, 16)
    transfer = model.item_embedding.maps[-1]
    transfer.spread.copy_(table[1:].var(dim=0, unbiased=False).mean().sqrt())
    with torch.no_grad():
        transfer.network.out.weight.zero_()
        transfer.network.out.bias.copy_(table[1:].mean(dim=0) / transfer.spread)
    items = torch.arange(1, len(table))
    assert model.calculate_loss(items).item() == pytest.approx(1, abs=1e-4)
    init_seed(0, True)
    torch.nn.init.xavier_uniform_(transfer.network.out.weight)
    loaded.trainer.fit(loaded.train_data, verbose=False, saved=False)
    assert model.eval().calculate_loss(items).item() < 0.1


def test_recboles_own_trainer_trains_it_on_the_well_known_targets_of_its_batches(trained):
    loaded = prepared(trained)
    loss = loaded.model.calculate_loss(next(iter(loaded.train_data)))
    loss.backward()
    assert loss > 0
    assert loaded.model.item_embedding.maps[-1].network.out.weight.grad.abs().sum() > 0
    Trainer(loaded.config, loaded.model).fit(loaded.train_data, verbose=False, saved=False)
    rare_alone = loaded.model.calculate_loss({loaded.model.POS_ITEM_ID: loaded.model.item_embedding.maps[-1].rare})
    assert rare_alone == 0 and rare_alone.requires_grad


def test_only_training_histories_are_contexts(trained):
    loaded = prepared(trained)
    users, items = training_events(loaded.train_data._dataset)
    found = loaded.model.item_embedding.maps[-1].found
    assert np.array_equal(found.items.numpy(), items)
    held_out = len(loaded.valid_data._dataset) + len(loaded.test_data._dataset)
    assert len(users) == len(toy_rows()) - held_out


def test_it_works_on_top_of_content(trained, tmp_path):
    settings = {key: value for key, value in trained.items() if key != "pref_reference"}
    settings |= {"content_fields": ["class"], "content_min_count": 1, "content_dropout": 0.3}
    run_dir = recbole_lpo.run("SASRec", config_dict=settings, quiet=True)["run_dir"]
    loaded = fitted(settings | {"pref_reference": run_dir})
    content, transfer = loaded.model.item_embedding.maps
    _, after = tables(loaded)
    with_content = content(id_embedding(loaded.model).weight).detach()
    rest = torch.ones(len(after), dtype=torch.bool)
    rest[transfer.rare] = False
    assert torch.equal(after[rest], with_content[rest])
    assert not torch.isclose(after[transfer.rare], with_content[transfer.rare]).all(dim=1).any()
    with pytest.raises(InputError, match="content_side = output"):
        prepared(settings | {"pref_reference": run_dir}, content_side="output")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transfer_heads": 3}, "transfer_heads = 3: must divide the width of the item vectors, 16"),
        ({"transfer_max_count": 10_000}, "transfer_max_count = 10000: of the items with contexts 40 are to be"),
        ({"pref_init_from_reference": False}, "pref_init_from_reference = False: CITIESSASRec begins with the weights"),
        ({"nproc": 2}, "nproc with CITIESSASRec: it learns of items beside histories, in one process"),
    ],
)  # fmt: skip
def test_settings_that_it_cannot_work_with_are_named(changes, said, trained, tmp_path):
    with pytest.raises(InputError, match=re.escape(said)):
        recbole_lpo.run("CITIESSASRec", config_dict={**trained, **changes, "run_dir": str(tmp_path / "x")}, quiet=True)


def test_a_backbone_with_two_item_tables_is_refused_with_the_reason(capsys, toy):
    assert main(["run", "--model=CITIESHGN", "--dataset=toy", f"--data_path={toy['data_path']}"]) == 2
    said = capsys.readouterr().err
    assert "HGN cannot be a backbone of CITIES: it looks items up in one table and predicts them with another" in said
    assert "as CITIESSASRec" in said


def test_the_command_trains_the_model_first_then_infers_and_the_run_can_be_read_again(toy, tmp_path, capsys, caplog):
    flags = [f"--{key}={value}" for key, value in {**SMALL, **FAST, **toy, "epochs": 2}.items()]
    with caplog.at_level(logging.INFO):
        assert main(["run", "--model=CITIESGRU4Rec", "--run_dir=cities", *flags]) == 0
    capsys.readouterr()
    [reference] = tmp_path.glob("runs/toy/GRU4Rec/reference-*")
    # What the network needs is no setting of the trained model.
    assert "transfer_reach" not in (reference / "settings.yaml").read_text()
    metrics = json.loads((tmp_path / "cities" / "metrics.json").read_text())
    plain = json.loads((reference / "metrics.json").read_text())
    assert metrics["test"] != plain["test"]
    history = [json.loads(line) for line in (tmp_path / "cities" / "history.jsonl").read_text().splitlines()]
    assert [record["learning_rate"] for record in history] == [FAST["transfer_learning_rate"]] * 2
    assert main(["evaluate", "--run_dir=cities", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["test"] == metrics["test"]


def test_an_interrupted_run_goes_on_to_the_same_end(trained, tmp_path):
    whole = recbole_lpo.run("CITIESSASRec", config_dict={**trained, "run_dir": str(tmp_path / "whole")}, quiet=True)
    short = {**trained, "run_dir": str(tmp_path / "short"), "epochs": 1}
    recbole_lpo.run("CITIESSASRec", config_dict=short, quiet=True)
    resumed = recbole_lpo.resume(tmp_path / "short", {"epochs": 3}, quiet=True)
    assert resumed["test"] == whole["test"]
    assert resumed["valid"] == whole["valid"]


def test_a_copy_of_the_table_is_made_once_an_evaluation(trained, monkeypatch):
    loaded = prepared(trained)
    made = []
    inner = MappedEmbedding._made
    monkeypatch.setattr(MappedEmbedding, "_made", lambda self: made.append(1) or inner(self))
    loaded.trainer.evaluate(loaded.test_data, load_best_model=False)
    assert len(made) == 1
