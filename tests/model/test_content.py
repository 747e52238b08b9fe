"""Content in the item table: what it changes, what it leaves alone, and what it is good for."""

from __future__ import annotations

import copy
import itertools
import json
import random

import numpy as np
import pytest
import torch
from recbole.utils import init_seed

import recbole_lpo
from recbole_lpo.cli import main
from recbole_lpo.config import Config
from recbole_lpo.core.precision import half_precision
from recbole_lpo.data.loading import load_dataset
from recbole_lpo.errors import InputError
from recbole_lpo.loaded_run import prepare
from recbole_lpo.model import OBJECTIVE_NAMES
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.model.content_map import ContentMap
from recbole_lpo.model.mapped_embedding import MappedEmbedding
from recbole_lpo.model.packed import packed_loss
from tests.conftest import SMALL, write_atomic

ADD = {"content_fields": ["class"], "content_mode": "add", "content_min_count": 1}
# Nothing that is drawn at random, so that two losses can be compared.
STILL = {
    "hidden_dropout_prob": 0, "attn_dropout_prob": 0, "dropout_prob": 0, "pref_negatives": "head_top_k", "dropout": 0,
    "pref_exclude_history": False, "dropout_probs": [0, 0], "mask_ratio": 0.5, "sess_dropout": 0, "item_dropout": 0,
}  # fmt: skip


def prepared(name, *settings):
    """A model with its data and its trainer, under the settings, later ones over earlier ones."""
    return prepare(Config(name, None, None, merged(*settings)))


def merged(*settings):
    return {key: value for part in (SMALL, *settings) for key, value in part.items()}


def rows_of(loaded):
    return next(iter(loaded.test_data))[0]


def scores(loaded):
    loaded.model.eval()
    with torch.no_grad():
        return loaded.model.full_sort_predict(rows_of(loaded)).view(len(rows_of(loaded)), -1)


def loss_of(loaded, seed=0):
    """The loss of the first training batch and the gradient of the ids."""
    loaded.model.train()
    init_seed(seed, True)
    batch = next(iter(loaded.train_data))
    loss = loaded.model.calculate_loss(batch)
    ids = getattr(loaded.model.item_embedding, "ids", loaded.model.item_embedding)
    return loss, torch.autograd.grad(loss, ids.weight)[0]


def content_map_of(loaded) -> ContentMap:
    return loaded.model.item_embedding.maps[0]


WITH_ONE_TABLE = [name for name in BACKBONES if name != "HGN"]


@pytest.mark.parametrize("backbone", WITH_ONE_TABLE)
def test_with_content_at_zero_every_backbone_is_the_model_of_ids_to_the_last_digit(backbone, toy):
    ids = prepared(f"LPO{backbone}", toy, STILL)
    content = prepared(f"LPO{backbone}", toy, STILL, ADD, {"content_zero_init": True})
    assert isinstance(content.model.item_embedding, MappedEmbedding)
    assert torch.equal(scores(ids), scores(content))
    (loss, grad), (loss_with, grad_with) = loss_of(ids), loss_of(content)
    assert torch.equal(loss, loss_with)
    torch.testing.assert_close(grad, grad_with, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("backbone", WITH_ONE_TABLE)
def test_items_that_share_all_attributes_and_have_no_id_score_alike_on_every_backbone(backbone, toy):
    found = scores(prepared(f"CE{backbone}", toy, ADD, {"content_mode": "replace"}))
    tokens = prepared_tokens(toy)
    alike = [n for n, token in enumerate(tokens) if token.startswith("i") and int(token[1:]) % 3 == 1]
    other = next(n for n, token in enumerate(tokens) if token == "i2")
    own = found[:, alike]
    torch.testing.assert_close(own, own[:, :1].expand_as(own), rtol=1e-3, atol=1e-12)
    # The scores of some backbones are tiny at first.
    assert not torch.allclose(found[:, alike[0]], found[:, other], rtol=1e-2, atol=0)


def prepared_tokens(settings):
    return load_dataset(Config("SASRec", None, None, {**SMALL, **settings})).field2id_token["item_id"].tolist()


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
@pytest.mark.parametrize("mode", ["add", "gate"])
def test_every_objective_learns_from_content(objective, mode, toy):
    loaded = prepared(f"{objective}GRU4Rec", toy, ADD, {"content_mode": mode, "pref_init_from_reference": False})
    if getattr(loaded.model, "needs_reference", False):
        from recbole_lpo.model.reference import ReferencePolicy

        loaded.model.set_reference(ReferencePolicy(copy.deepcopy(loaded.model)))
    if hasattr(loaded.model, "start_epoch"):
        loaded.model.start_epoch(0)
    loaded.model.train()
    loaded.model.calculate_loss(next(iter(loaded.train_data))).backward()
    content = content_map_of(loaded)
    assert content.attributes.grad.abs().sum() > 0
    assert mode == "add" or content.gate.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["HGN", "LPOHGN", "Pop", "BPR"])
def test_a_model_without_one_item_table_of_its_own_is_refused_with_the_reason(name, toy):
    reason = "looks items up in one table and predicts them with another" if "HGN" in name else "no backbone"
    with pytest.raises(InputError, match=f"content_mode = add: {name} cannot take the content of items: .*{reason}"):
        prepared(name, toy, ADD)


def trained(name, folder, *settings):
    return recbole_lpo.run(name, config_dict=merged(*settings, {"run_dir": str(folder)}), quiet=True)


def test_the_order_of_fields_and_tokens_changes_no_digit_of_a_run(tmp_path, toy):
    item = tmp_path / "data" / "toy" / "toy.item"
    rows = [f"i{n}\tc{n % 3} d{n % 5}\tb{n % 4}\t{n}" for n in range(40)]
    item.write_text("\n".join(["item_id:token\tclass:token_seq\tbrand:token\tprice:float", *rows]) + "\n")
    one = trained("LPOSASRec", tmp_path / "one", toy, {"content_fields": ["class", "brand", "price"]})
    rows = [f"i{n}\t{n}\td{n % 5} c{n % 3}\tb{n % 4}" for n in reversed(range(40))]
    item.write_text("\n".join(["item_id:token\tprice:float\tclass:token_seq\tbrand:token", *rows]) + "\n")
    two = trained("LPOSASRec", tmp_path / "two", toy, {"content_fields": "[price, brand, class]"})
    assert (one["test"], one["valid"]) == (two["test"], two["valid"])


@pytest.mark.parametrize("side", ["both", "input", "output"])
@pytest.mark.parametrize("mode", ["add", "replace", "gate"])
@pytest.mark.parametrize("item_softmax", ["dense", "chunked"])
def test_whole_histories_give_the_loss_and_gradients_of_prefix_rows(side, mode, item_softmax, toy):
    settings = {
        "train_batch_size": 10_000, "content_mode": mode, "content_side": side, "item_softmax": item_softmax,
        "batching_window_step": 1, "tail_reweight": False, "pref_weight": 0,
    }  # fmt: skip
    loaded = prepared("LPOSASRec", toy, STILL, ADD, settings)
    model, trainer = loaded.model.train(), loaded.trainer
    packed = trainer._pack(loaded.train_data)
    weights = [weight for name, weight in model.named_parameters()]
    model.calculate_loss(next(iter(loaded.train_data))).backward()
    expected = [weight.grad.clone() for weight in weights]
    model.zero_grad()
    packed_loss(model, next(packed.epoch(0)), packed.n_events).backward()
    assert model.item_embedding.sparse == (item_softmax == "chunked")
    for weight, grad in zip(weights, expected, strict=True):
        assert not weight.grad.is_sparse
        torch.testing.assert_close(weight.grad, grad, rtol=1e-3, atol=1e-6)


def test_content_on_one_side_leaves_the_other_table_as_it_is(toy):
    tables = {}
    for side in ("both", "input", "output"):
        embedding = prepared("CESASRec", toy, ADD, {"content_side": side}).model.item_embedding
        tables[side] = embedding(torch.arange(embedding.num_embeddings)), embedding.weight, embedding.ids.weight
    (looked_up, scored, ids), mapped = tables["input"], tables["both"][0]
    assert torch.equal(looked_up, mapped) and torch.equal(scored, ids)
    looked_up, scored, ids = tables["output"]
    assert torch.equal(looked_up, ids) and torch.equal(scored, mapped)
    assert not torch.equal(mapped, ids)


def test_the_table_is_made_once_a_step_and_once_an_evaluation(toy, monkeypatch):
    made = []
    forward = ContentMap.forward
    monkeypatch.setattr(ContentMap, "forward", lambda self, ids: made.append(self.training) or forward(self, ids))
    loaded = prepared("LPOSASRec", toy, ADD, {"eval_batch_size": 7})
    loaded.trainer.fit(loaded.train_data, loaded.valid_data, saved=False)
    steps = sum(len(loaded.trainer._packed) for _ in range(SMALL["epochs"]))
    assert made.count(True) == steps > SMALL["epochs"]
    assert len(loaded.valid_data) > 1
    assert made.count(False) == SMALL["epochs"]


def test_after_a_step_the_table_is_that_of_the_new_weights(toy):
    loaded = prepared("CESASRec", toy, ADD)
    model, optimizer = loaded.model.train(), loaded.trainer.optimizer
    assert optimizer.defaults["fused"]
    before = model.item_embedding.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        model.calculate_loss(next(iter(loaded.train_data))).backward()
        optimizer.step()
    table = model.item_embedding.weight.detach()
    assert not torch.allclose(table, before)
    fresh = copy.deepcopy(model).item_embedding
    assert torch.equal(table, fresh.weight)


def test_writing_to_a_weight_changes_the_table(toy):
    embedding = prepared("CESASRec", toy, ADD).model.eval().item_embedding
    before = embedding.weight
    with torch.no_grad():
        embedding.maps[0].attributes.zero_()
    assert not torch.equal(before, embedding.weight)
    assert torch.equal(embedding.weight, embedding.ids.weight)


def test_rare_items_lean_on_content_in_the_gate_and_items_without_content_are_their_ids(tmp_path, toy):
    item = tmp_path / "data" / "toy" / "toy.item"
    item.write_text("\n".join(line for line in item.read_text().splitlines() if not line.startswith("i7\t")) + "\n")
    loaded = prepared("CESASRec", toy, ADD, {"content_mode": "gate"})
    content, model = content_map_of(loaded), loaded.model
    share = content.share(content.content())[:, 0]
    counts = torch.tensor(model.head_tail_split.counts)
    tokens = loaded.dataset.field2id_token["item_id"].tolist()
    assert share[0] == share[tokens.index("i7")] == 0
    known = [n for n, token in enumerate(tokens) if token not in ("[PAD]", "i7") and counts[n] > 0]
    order = sorted(known, key=lambda n: int(counts[n]))
    assert all(share[a] >= share[b] for a, b in itertools.pairwise(order))
    assert share[order[0]] > 0.5 > share[order[-1]]
    for mode in ("add", "replace", "gate"):
        embedding = prepared("CESASRec", toy, ADD, {"content_mode": mode}).model.item_embedding
        row = tokens.index("i7")
        assert torch.equal(embedding.weight[row], embedding.ids.weight[row])


def test_init_starts_the_embeddings_from_content_and_changes_nothing_else(toy):
    loaded, ids = prepared("CESASRec", toy, ADD, {"content_mode": "init"}), prepared("CESASRec", toy)
    start, plain = loaded.model.state_dict(), ids.model.state_dict()
    assert list(start) == list(plain)
    assert [name for name in start if not torch.equal(start[name], plain[name])] == ["item_embedding.weight"]
    tokens = prepared_tokens(toy)
    table = start["item_embedding.weight"]
    assert torch.equal(table[tokens.index("i1")], table[tokens.index("i4")])
    assert torch.equal(table[0], ids.model.item_embedding.weight[0])
    assert float(table[1:].std()) == pytest.approx(float(plain["item_embedding.weight"][1:].std()), rel=0.05)


def test_dropout_of_content_acts_in_training_alone(toy):
    loaded = prepared("CESASRec", toy, ADD, {"content_dropout": 0.5})
    embedding, plain = loaded.model.item_embedding, prepared("CESASRec", toy, ADD).model.item_embedding
    assert torch.equal(embedding.eval().weight, plain.eval().weight)
    changed = (embedding.train().weight - embedding.ids.weight)[1:]
    assert float((changed == 0).float().mean()) == pytest.approx(0.5, abs=0.1)


def test_the_table_stays_in_full_precision_under_mixed_precision(toy):
    embedding = prepared("CESASRec", toy, ADD).model.item_embedding
    expected = embedding.weight.detach().clone()
    embedding.train()
    with torch.autocast("cpu", half_precision(torch.device("cpu"))):
        assert embedding.weight.dtype == torch.float32
        assert torch.equal(embedding.weight, expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_vectors_of_a_file_are_projected_and_learn_only_if_not_frozen(frozen, tmp_path, toy):
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(40, 6)))
    (tmp_path / "v.tokens").write_text("".join(f"i{n}\n" for n in range(40)))
    vectors = {"content_file": str(tmp_path / "v.npy"), "content_mode": "replace", "content_frozen": frozen}
    found = trained("LPOSASRec", tmp_path / "run", toy, vectors, {"enable_amp": True})
    loaded = recbole_lpo.load(found["run_dir"])
    content = content_map_of(loaded)
    before = loaded.model.content_coder.catalogue.vectors
    assert torch.equal(content.vectors, before) == frozen
    assert ("item_embedding.maps.0.vectors" in loaded.model.state_dict()) == (not frozen)
    assert loaded.trainer.evaluate(loaded.test_data, load_best_model=False) == found["test"]


def test_a_reference_policy_has_the_content_of_the_run(tmp_path, toy):
    found = trained("DPOSASRec", tmp_path / "run", toy, ADD)
    (folder,) = (tmp_path / "runs" / "toy" / "SASRec").glob("reference-*")
    assert "content_fields" in (folder / "settings.yaml").read_text()
    model = recbole_lpo.load(found["run_dir"]).model
    assert isinstance(model.reference.model.item_embedding, MappedEmbedding)


def test_self_play_and_reembedding_work_with_content(tmp_path, toy):
    trained("LPOSASRec", tmp_path / "one", toy, ADD, {"pref_negatives": "self_play", "pref_self_play_top": 8})
    trained("R2RecSASRec", tmp_path / "two", toy, ADD, {"likelihood_reembed_epoch": 1})
    assert all((tmp_path / name / "metrics.json").is_file() for name in ("one", "two"))


def test_a_run_whose_item_file_has_changed_is_not_read_with_other_content(tmp_path, toy):
    found = trained("CESASRec", tmp_path / "run", toy, ADD)
    item = tmp_path / "data" / "toy" / "toy.item"
    item.write_text(item.read_text() + "brand-new\tc1\n")
    assert recbole_lpo.load(found["run_dir"])
    item.write_text(item.read_text().replace("i5\tc2", "i5\tc0"))
    with pytest.raises(InputError, match=r"the content of the items .* is not what the weights were trained with"):
        recbole_lpo.load(found["run_dir"])


GROUPS, OF_GROUP = 6, 30


@pytest.fixture(scope="module")
def told_apart(tmp_path_factory):
    """Users who keep to one group of items; in a group few items are popular, and its last one is only ever tested.

    The group of an item is in the `.item` file.
    """
    draw = random.Random(1)
    rows = []
    for user in range(240):
        group = user % GROUPS
        weight = [1 / (1 + place) ** 1.2 for place in range(OF_GROUP - 1)]
        items = list(dict.fromkeys(draw.choices(range(OF_GROUP - 1), weight, k=12)))[:6]
        if user < 4 * GROUPS:
            items.append(OF_GROUP - 1)
        rows.extend((f"u{user}", f"g{group}-{item}", step) for step, item in enumerate(items))
    folder = tmp_path_factory.mktemp("told-apart")
    write_atomic(folder, "groups", rows)
    items = [f"g{group}-{item}\tg{group}" for group in range(GROUPS) for item in range(OF_GROUP)]
    (folder / "groups" / "groups.item").write_text("\n".join(["item_id:token\tgroup:token", *items]) + "\n")
    return {
        **SMALL, "dataset": "groups", "data_path": str(folder), "topk": [10, OF_GROUP], "epochs": 25, "eval_step": 5,
        "valid_metric": "NDCG@10", "learning_rate": 0.005, "seed": 1, "n_layers": 1,
        "metrics": ["Hit", "NDCG", "TailHit", "TailNDCG", "UnseenHit", "UnseenNDCG"], "eval_mask_history": True,
    }  # fmt: skip


def test_content_beats_ids_on_the_tail_and_reaches_items_that_training_never_saw(told_apart, tmp_path):
    found = {
        mode: trained("CESASRec", tmp_path / mode, told_apart, {"content_fields": ["group"], "content_mode": mode})
        for mode in ("none", "add", "gate", "replace")
    }
    k = OF_GROUP
    assert found["none"]["n"]["unseen"] >= 20
    for mode in ("add", "gate", "replace"):
        assert found[mode]["test"][f"tailhit@{k}"] > found["none"]["test"][f"tailhit@{k}"] + 0.1
        assert found[mode]["test"][f"unseenhit@{k}"] > 0.8
    assert found["none"]["test"][f"unseenhit@{k}"] < 0.3


def test_recommend_ranks_items_that_were_added_after_training(told_apart, tmp_path, capsys):
    run = tmp_path / "run"
    trained("CESASRec", run, told_apart, {"content_fields": ["group"], "content_mode": "replace", "epochs": 10})
    (tmp_path / "new.item").write_text("item_id:token\tgroup:token\nnew-0\tg0\nnew-1\tg1\n")
    # User 0 keeps to group 0.
    command = ["recommend", f"--run_dir={run}", "--users=u0", "--k=300", "--format=json"]
    assert main([*command, f"--new_items={tmp_path / 'new.item'}", "--keep_history"]) == 0
    rows = {row["item"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["new-0"]["group"] == "new"
    assert rows["new-0"]["score"] == pytest.approx(rows["g0-3"]["score"], abs=1e-4)
    assert rows["new-0"]["rank"] < rows["new-1"]["rank"]
    assert len(rows) == prepared_items(told_apart) + 2
    for text, told in (
        ("item_id:token\tgroup:token\ng0-1\tg0\n", "'g0-1' is in the catalogue already (1 such items)"),
        ("item_id:token\tbrand:token\nnew-0\tg0\n", "has no column 'group'"),
        ("item_id:token\tgroup:token\nnew-0\tnever-met\n", "nothing that the model knows is said of item 'new-0'"),
    ):
        (tmp_path / "new.item").write_text(text)
        assert main([*command, f"--new_items={tmp_path / 'new.item'}"]) == 2
        assert told in capsys.readouterr().err


def prepared_items(settings):
    return load_dataset(Config("SASRec", None, None, settings)).item_num - 1


def test_new_items_are_refused_by_a_model_that_knows_ids_alone(told_apart, tmp_path):
    run = trained("CESASRec", tmp_path / "run", told_apart, {"epochs": 1, "eval_step": 1})
    with pytest.raises(InputError, match="CESASRec does not score items by their content"):
        recbole_lpo.recommend(recbole_lpo.load(run["run_dir"]), ["u0"], new_items_file=tmp_path / "new.item")


@pytest.mark.parametrize("backbone", WITH_ONE_TABLE)
def test_every_backbone_scores_a_new_item_as_it_scores_its_content(backbone, toy, tmp_path):
    loaded = prepared(f"CE{backbone}", toy, ADD, {"content_mode": "replace"})
    (tmp_path / "new.item").write_text("item_id:token\tclass:token_seq\nnew\tc1\n")
    lists = recbole_lpo.recommend(
        with_split(loaded), ["u1"], k=50, keep_history=True, new_items_file=tmp_path / "new.item"
    )
    score = {line.item: line.score for line in lists}
    assert score["new"] == pytest.approx(score["i1"], rel=1e-3, abs=1e-12)
    assert score["new"] != pytest.approx(score["i2"], rel=1e-2, abs=1e-12)


def with_split(loaded):
    loaded.trainer.eval_collector.data_collect(loaded.train_data)
    return loaded


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"content_mode": "add"}, "content_mode = add: no content is named. Set content_fields"),
        ({**ADD, "content_mode": "init", "content_side": "input"}, "content_side = input with content_mode = init"),
        ({**ADD, "content_mode": "replace", "content_zero_init": True}, "content_zero_init = True with content_mode"),
    ],
)
def test_settings_of_content_that_contradict_each_other_are_refused(given, told, toy):
    with pytest.raises(InputError) as caught:
        prepared("CESASRec", toy, given)
    assert told in str(caught.value)
