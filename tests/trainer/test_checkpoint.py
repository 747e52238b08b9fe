"""The weights of a run: whole or absent, of the right catalogue, and never code."""

from __future__ import annotations

import io
import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from torch import nn

from recbole_lpo.errors import InputError
from recbole_lpo.trainer import checkpoint
from recbole_lpo.trainer.checkpoint import load_checkpoint, save_checkpoint, token_map_hash

ABOUT = {"model": "Small", "items": "abc", "epoch": 3, "notes": [1, 2.5, None, {"a": True}]}
FILE = Path("checkpoint") / "best.pth"


class Small(nn.Module):
    """A model in RecBole's manner, with something beside its weights."""

    def __init__(self, seed=0, width=6):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(width, width)
        self.beside = None

    def other_parameter(self):
        return self.beside

    def load_other_parameter(self, parameter):
        self.beside = parameter


class Creature:
    """Touches a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def fail(*arguments):
    raise OSError(5, "Input/output error")


def weights(model):
    return [weight.tolist() for weight in model.state_dict().values()]


def refusal(model=None, **options) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(FILE, model or Small(), **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(FILE))
    return str(caught.value)


def written(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.fixture
def saved():
    model = Small(seed=1)
    save_checkpoint(FILE, model, ABOUT)
    return model


def test_weights_come_back_bit_for_bit(saved):
    other = Small(seed=2)
    assert weights(other) != weights(saved)
    load_checkpoint(FILE, other)
    assert weights(other) == weights(saved)


def test_what_the_weights_belong_to_comes_back(saved):
    assert load_checkpoint(FILE, Small()) == ABOUT


def test_what_a_model_keeps_beside_its_weights_comes_back():
    model, other = Small(), Small()
    model.beside = {"memory": torch.arange(3)}
    save_checkpoint(FILE, model, ABOUT)
    load_checkpoint(FILE, other)
    assert other.beside["memory"].tolist() == [0, 1, 2]


def test_the_folder_is_made_and_holds_nothing_else(saved):
    assert os.listdir("checkpoint") == ["best.pth"]


def test_a_later_save_takes_the_place_of_the_earlier_one(saved):
    save_checkpoint(FILE, Small(seed=5), {**ABOUT, "epoch": 9})
    other = Small()
    assert load_checkpoint(FILE, other)["epoch"] == 9
    assert weights(other) == weights(Small(seed=5))


@pytest.mark.parametrize("where", ["torch.save", "fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(where, saved, monkeypatch):
    before = FILE.read_bytes()

    def half(content, file):
        file.write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    if where == "torch.save":
        monkeypatch.setattr(checkpoint.torch, "save", half)
    else:
        monkeypatch.setattr(os, where, fail)
    with pytest.raises(OSError, match=r"No space|Input/output"):
        save_checkpoint(FILE, Small(seed=5), ABOUT)
    assert FILE.read_bytes() == before


def test_a_failure_in_the_first_save_leaves_no_checkpoint(monkeypatch):
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        save_checkpoint(FILE, Small(), ABOUT)
    assert "there is no such checkpoint" in refusal()


def test_the_bytes_are_on_the_disk_before_the_file_has_its_name(saved, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("flushed"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), replace(*names)))
    save_checkpoint(FILE, Small(), ABOUT)
    assert done == ["flushed", "named"]


def test_a_missing_file_is_named():
    assert refusal().startswith(f"{FILE}: there is no such checkpoint. Was the run finished?")


def test_weights_of_another_catalogue_are_refused(saved):
    assert "belongs to another catalogue" in refusal(items="xyz")


def test_weights_of_another_catalogue_are_not_put_into_the_model(saved):
    model = Small(seed=2)
    refusal(model, items="xyz")
    assert weights(model) == weights(Small(seed=2))


def test_weights_of_the_same_catalogue_are_taken(saved):
    assert load_checkpoint(FILE, Small(), items="abc") == ABOUT


def test_weights_of_another_shape_are_refused(saved):
    assert "the weights do not fit the model" in refusal(Small(width=7))


def test_a_file_cut_short_is_refused_wherever_it_is_cut(saved):
    content = FILE.read_bytes()
    for length in range(0, len(content) - 1, 101):
        FILE.write_bytes(content[:length])
        assert "not a checkpoint of recbole_lpo, or damaged" in refusal()


def test_a_flipped_bit_is_refused_or_harmless(saved):
    content, draw, refused = FILE.read_bytes(), random.Random(0), 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        FILE.write_bytes(damaged)
        model = Small()
        try:
            load_checkpoint(FILE, model)
            assert weights(model) == weights(saved)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no checkpoint at all", pickle.dumps({"state_dict": {}, "about": {}}), written(torch.zeros(3)),
        written([1, 2]), written(5), written({"state_dict": {}}), written({"state_dict": {}, "about": {}}),
        written({"state_dict": {}, "about": 7, "other_parameter": None}),
        written({"state_dict": 1, "about": {}, "other_parameter": None}),
    ],
    ids=["empty", "text", "pickle", "tensor", "list", "number", "weights alone", "no other", "about", "no weights"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(content):
    FILE.parent.mkdir()
    FILE.write_bytes(content)
    refusal()


def test_a_folder_in_the_place_of_the_file_is_refused():
    FILE.mkdir(parents=True)
    refusal()


@pytest.mark.parametrize("part", ["state_dict", "other_parameter", "about"])
def test_a_file_that_holds_code_is_refused_and_nothing_runs(part):
    content = {"state_dict": Small().state_dict(), "other_parameter": None, "about": ABOUT, part: Creature()}
    FILE.parent.mkdir()
    FILE.write_bytes(written(content))
    assert "not a checkpoint of recbole_lpo" in refusal()
    assert not Path("pwned").exists()


def test_a_bare_pickle_with_code_is_refused_and_nothing_runs():
    FILE.parent.mkdir()
    FILE.write_bytes(pickle.dumps(Creature()))
    refusal()
    assert not Path("pwned").exists()


def test_the_file_is_read_as_data_only(saved, monkeypatch):
    asked, load = [], torch.load
    monkeypatch.setattr(checkpoint.torch, "load", lambda *a, **options: asked.append(options) or load(*a, **options))
    load_checkpoint(FILE, Small())
    assert [options["weights_only"] for options in asked] == [True]


def test_one_catalogue_has_one_hash():
    assert token_map_hash(["[PAD]", "a", "b"]) == token_map_hash(["[PAD]", "a", "b"])


@pytest.mark.parametrize("other", [["[PAD]", "b", "a"], ["[PAD]", "a"], ["[PAD]", "a", "b", "c"], ["[PAD]", "a", "B"]])
def test_another_order_or_another_token_has_another_hash(other):
    assert token_map_hash(other) != token_map_hash(["[PAD]", "a", "b"])
