"""`eval_neighbours`: what followed the items of a history in training has a share in the ranking."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from recbole.utils import ModelType
from scipy import sparse

from recbole_lpo.config import Config
from recbole_lpo.core.alike_items import alike_items
from recbole_lpo.core.neighbours import mixed_log_prob, neighbour_table, neighbour_weight, with_alike_items
from recbole_lpo.data.neighbours import Neighbours
from recbole_lpo.data.popularity import training_events
from recbole_lpo.errors import InputError
from recbole_lpo.settings import RunSettings
from recbole_lpo.trainer import evaluation
from tests.conftest import SMALL, toy_rows, write_atomic, write_toy
from tests.evaluator.test_tail_metrics import EVERYTHING, built, per_user
from tests.test_cli import QUICK, answer, evaluated

SHARE, DISCOUNT, REACH, RECENCY = 0.4, 0.5, 3, 0.7
WITH_NEIGHBOURS = {
    "eval_neighbours": SHARE, "eval_neighbours_discount": DISCOUNT, "eval_neighbours_reach": REACH,
    "eval_neighbours_recency": RECENCY,
}  # fmt: skip


@pytest.fixture(scope="module")
def toy_settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_atomic(folder, "toy", toy_rows())
    return {**SMALL, "dataset": "toy", "data_path": str(folder), "metrics": EVERYTHING, "topk": [1, 5, 10]}


def mixture_by_hand(trainer, train, rows, *, mask):
    """(scores of the mixture, target) of test rows; mask: their history is left out."""
    model, items = trainer.model.eval(), rows["item_id_list"]
    with torch.no_grad():
        scores = model.full_sort_predict(rows)
    scores[:, 0] = -torch.inf
    if mask:
        scores[trainer._before_test.cells(rows["user_id"], rows["item_id"])] = -torch.inf
    users, bought = training_events(train._dataset)
    table = neighbour_table(users, bought, model.n_items, reach=REACH, discount=DISCOUNT)
    weight = neighbour_weight(table, items, rows["item_length"], reach=REACH, recency=RECENCY)
    return mixed_log_prob(scores, weight, SHARE), rows["item_id"]


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("model", ["LPOSASRec", "GRU4Rec", "LPOCaser"])
def test_ranks_are_those_of_the_mixture(model, mask, toy_settings):
    trainer, train, _, test = built(model, toy_settings, eval_mask_history=mask, **WITH_NEIGHBOURS)
    trainer.evaluate(test, load_best_model=False)
    rows = test._dataset.inter_feat
    mixture, target = mixture_by_hand(trainer, train, rows[list(range(len(rows)))], mask=mask)
    own = mixture.gather(1, target[:, None])
    above, level = (mixture > own + 1e-6).sum(1), ((mixture - own).abs() <= 1e-6).sum(1) - 1
    assert per_user(trainer) == dict(
        zip(rows["user_id"].tolist(), (1 + above + (level + 1) // 2).tolist(), strict=True)
    )


@pytest.mark.parametrize("mask", [False, True])
def test_histories_encoded_without_padding_give_the_same_ranks(mask, toy_settings, monkeypatch):
    trainer, _, _, test = built("LPOSASRec", toy_settings, eval_mask_history=mask, **WITH_NEIGHBOURS)
    trainer.evaluate(test, load_best_model=False)
    found = per_user(trainer)
    monkeypatch.setattr(evaluation, "_WHOLE_CELLS", 0)
    trainer.evaluate(test, load_best_model=False)
    assert per_user(trainer) == found


def test_validation_too_and_fewer_users_at_once_give_the_same_ranks(toy_settings, monkeypatch):
    trainer, _, valid, test = built("LPOSASRec", toy_settings, **WITH_NEIGHBOURS)
    plain, *_ = built("LPOSASRec", toy_settings)
    for part in (valid, test):
        trainer.evaluate(part, load_best_model=False)
        plain.evaluate(part, load_best_model=False)
        found = per_user(trainer)
        assert found != per_user(plain)
        monkeypatch.setattr(evaluation, "_MOST_CELLS", 100)
        trainer.evaluate(part, load_best_model=False)
        assert per_user(trainer) == found
        monkeypatch.undo()


def test_the_adjustment_comes_on_top_of_the_mixture(toy_settings):
    trainer, _, _, test = built("LPOSASRec", toy_settings, **WITH_NEIGHBOURS)
    none, much = trainer.evaluate_adjusted(test, (0.0, 3.0), load_best_model=False)
    assert much.figures["tailshare@5"] > none.figures["tailshare@5"]


def test_the_probability_of_the_tail_is_that_of_the_mixture(toy_settings):
    trainer, train, _, test = built("LPOSASRec", toy_settings, eval_mask_history=True, **WITH_NEIGHBOURS)
    (measured,) = trainer.evaluate_adjusted(test, (0.0,), load_best_model=False, tail_prob=True)
    rows = test._dataset.inter_feat
    mixture, _ = mixture_by_hand(trainer, train, rows[list(range(len(rows)))], mask=True)
    tail = ~torch.tensor(trainer.eval_collector.split.is_head)
    tail[0] = False
    torch.testing.assert_close(
        measured.evaluation.tail_prob.float(), mixture.exp()[:, tail].sum(1), rtol=1e-4, atol=1e-5
    )


def test_models_without_histories_and_sampled_candidates_are_refused_before_data_are_read(toy_settings):
    with pytest.raises(InputError, match=r"eval_neighbours = 0.4 with model = BPR"):
        Config("BPR", None, None, {**toy_settings, **WITH_NEIGHBOURS})
    sampled = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni5"}
    with pytest.raises(InputError, match=r"eval_args.mode"):
        Config("SASRec", None, None, {**toy_settings, "eval_args": sampled, **WITH_NEIGHBOURS})
    with pytest.raises(InputError, match=r"eval_neighbours = 0.4 with model = BPR"):
        Neighbours(None, {"MODEL_TYPE": ModelType.GENERAL, "model": "BPR", "eval_neighbours": 0.4}, None)


def test_through_the_commands_run_evaluate_and_recommend_rank_alike(tmp_path, monkeypatch, capsys):
    write_atomic(tmp_path / "dataset", "toy", toy_rows())
    monkeypatch.chdir(tmp_path)
    code, out, err = answer(
        capsys, "run", "--model=LPOSASRec", "--dataset=toy", *QUICK, "--eval_neighbours=0.4", "--eval_mask_history=True"
    )
    assert code == 0, err
    assert "share 0.4" in out
    folder = out.splitlines()[-1].partition(": ")[2]
    metrics = json.loads((tmp_path / folder / "metrics.json").read_text())
    assert metrics["protocol"]["neighbours"] == {"share": 0.4, "discount": 0.5, "reach": 10, "recency": 0.8}
    assert evaluated(capsys, folder)[0]["test"] == metrics["test"]
    without = evaluated(capsys, folder, "--eval_neighbours=0")[0]
    assert without["protocol"]["neighbours"] is None and without["test"] != metrics["test"]
    for change in ("discount=2", "reach=1", "recency=0.1"):
        assert evaluated(capsys, folder, f"--eval_neighbours_{change}")[0]["test"] != metrics["test"]
    code, out, err = answer(capsys, "recommend", f"--run_dir={folder}", "--users=u1", "--k=39", "--format=json")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()] if out.startswith("{") else json.loads(out)
    total = sum(math.exp(line["score"]) for line in lines)
    assert total == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("setting", "word"), [("eval_neighbours=1", "< 1"), ("eval_neighbours_recency=0", "> 0")])
def test_values_out_of_range_are_one_line(setting, word, tmp_path, monkeypatch, capsys):
    write_atomic(tmp_path / "dataset", "toy", toy_rows())
    monkeypatch.chdir(tmp_path)
    code, _, err = answer(capsys, "run", "--model=SASRec", "--dataset=toy", *QUICK, f"--{setting}")
    assert code == 2 and len(err.strip().splitlines()) == 1 and setting.partition("=")[0] in err and word in err


BRANDS = {"i1": "acme", "i2": "acme", "i3": "bolt", "i4": "bolt", "i5": "acme", "never-sold": "acme"}
KINDS = {"i2": "a b", "i3": "b", "i5": "acme"}


def write_items(folder, header="item_id:token\tbrand:token\tkind:token_seq\tprice:float"):
    """The toy dataset with a file of items in which most have nothing."""
    given = write_toy(folder)
    lines = [f"{item}\t{brand}\t{KINDS.get(item, '')}\t1.5" for item, brand in BRANDS.items()]
    (folder / "toy" / "toy.item").write_text("\n".join([header, *lines]) + "\n")
    return given


def test_items_of_the_same_values_are_neighbours_as_the_core_weighs_them(tmp_path):
    given = {**SMALL, **write_items(tmp_path), **WITH_NEIGHBOURS, "metrics": EVERYTHING, "topk": [5]}
    asked = {"eval_neighbours_fields": ["kind", "brand"], "eval_neighbours_alike": 2.0}
    trainer, train, _, test = built("SASRec", given | asked)
    trainer.evaluate(test, load_best_model=False)
    dataset = train._dataset
    words = {("brand", word): [item for item in BRANDS if BRANDS[item] == word] for word in ("acme", "bolt")}
    words |= {("kind", word): [item for item in KINDS if word in KINDS[item].split()] for word in ("a", "b", "acme")}
    values = np.zeros((dataset.item_num, len(words)), dtype=np.float32)
    for number, items in enumerate(words.values()):
        values[[dataset.token2id("item_id", item) for item in items if item != "never-sold"], number] = 1
    table = neighbour_table(*training_events(dataset), dataset.item_num, reach=REACH, discount=DISCOUNT)
    expected = with_alike_items(table, alike_items(sparse.csr_matrix(values)), 2.0)
    np.testing.assert_allclose(trainer.neighbours._table.toarray(), expected.toarray(), rtol=1e-6)
    assert abs(expected - table).sum() > 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["nothing"], r"has no column 'nothing'"),
        (["price"], r"eval_neighbours_fields = price: has type float"),
        (["empty"], r"eval_neighbours_fields = empty: .* for none of the dataset's items"),
    ],
)
def test_columns_that_say_nothing_of_likeness_are_refused(fields, said, tmp_path):
    given = write_items(tmp_path, "item_id:token\tbrand:token\tkind:token_seq\tprice:float\tempty:token")
    train = built("SASRec", {**SMALL, **given})[1]._dataset
    config = Config("SASRec", "toy", None, {**SMALL, **given, "eval_neighbours_fields": fields})
    with pytest.raises(InputError, match=said):
        Neighbours(train, config, RunSettings.from_config(config))


def test_a_file_of_items_that_is_missing_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    write_atomic(tmp_path / "dataset", "toy", toy_rows())
    monkeypatch.chdir(tmp_path)
    asked = ("--eval_neighbours=0.4", "--eval_neighbours_fields=[brand]")
    code, _, err = answer(capsys, "run", "--model=SASRec", "--dataset=toy", *QUICK, *asked)
    assert code == 2 and len(err.strip().splitlines()) == 1 and "toy.item: there is no such file" in err


def test_through_the_commands_items_that_training_never_saw_are_found_by_their_values(tmp_path, monkeypatch, capsys):
    # 40 items follow each other; "new" is bought last, by the users of u0 to u3 alone, and is like i0.
    rows = [*toy_rows(), *((f"u{user}", "new", 99) for user in range(4))]
    write_atomic(tmp_path / "dataset", "toy", rows)
    (tmp_path / "dataset" / "toy" / "toy.item").write_text("item_id:token\tbrand:token\ni0\tacme\nnew\tacme\n")
    monkeypatch.chdir(tmp_path)
    code, out, err = answer(capsys, "run", "--model=SASRec", "--dataset=toy", *QUICK)
    assert code == 0, err
    folder = out.splitlines()[-1].partition(": ")[2]
    share = "--eval_neighbours=0.9"
    counted, alike = (
        evaluated(capsys, folder, *asked)[0] for asked in ([share], [share, "--eval_neighbours_fields=[brand]"])
    )
    assert alike["test"]["unseenhit@5"] > counted["test"]["unseenhit@5"]
    assert alike["protocol"]["neighbours"]["fields"] == ["brand"]
    code, out, err = answer(capsys, "evaluate", f"--run_dir={folder}", share, "--eval_neighbours_fields=[brand]")
    assert code == 0 and "and what is like them by brand (1)" in out
