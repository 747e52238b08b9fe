"""The weights of a run: whole or absent, of the right catalogue, and never code."""

from __future__ import annotations

import ast
import io
import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

import recbole_lpo
from recbole_lpo.errors import InputError, WriteError
from recbole_lpo.trainer import checkpoint
from recbole_lpo.trainer.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint, token_map_hash

ABOUT = {"model": "Small", "items": "abc", "epoch": 3, "notes": [1, 2.5, None, {"a": True}]}
FILE = Path("checkpoint") / "best.safetensors"


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
    assert os.listdir("checkpoint") == ["best.safetensors"]


def test_a_later_save_takes_the_place_of_the_earlier_one(saved):
    save_checkpoint(FILE, Small(seed=5), {**ABOUT, "epoch": 9})
    other = Small()
    assert load_checkpoint(FILE, other)["epoch"] == 9
    assert weights(other) == weights(Small(seed=5))


def test_the_state_of_a_training_comes_back():
    state = {"epoch": 3, "optimizer": {0: {"step": torch.tensor(2.0), "betas": (0.9, 0.999)}}, "none": None}
    save_checkpoint(FILE, Small(), ABOUT, state)
    found = read_checkpoint(FILE)["state"]
    assert found == state
    assert list(found["optimizer"]) == [0]


def test_weights_that_are_tied_stay_tied():
    model, other = Small(seed=1), Small(seed=2)
    for one in (model, other):
        one.twin = nn.Linear(6, 6, bias=False)
        one.twin.weight = one.layer.weight
    save_checkpoint(FILE, model, ABOUT)
    load_checkpoint(FILE, other)
    assert torch.equal(other.twin.weight, model.layer.weight)
    assert other.twin.weight is other.layer.weight


def test_the_same_content_gives_the_same_bytes(saved):
    before = FILE.read_bytes()
    save_checkpoint(FILE, saved, ABOUT)
    assert FILE.read_bytes() == before


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(where, saved, monkeypatch):
    before = FILE.read_bytes()

    def half(path, *_):
        path.write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    if where == "write":
        monkeypatch.setattr(checkpoint, "write_safetensors", half)
    else:
        monkeypatch.setattr(os, where, fail)
    with pytest.raises(WriteError, match=r"cannot be written \(.*(No space|Input/output).*is as it was"):
        save_checkpoint(FILE, Small(seed=5), ABOUT)
    assert FILE.read_bytes() == before
    assert os.listdir("checkpoint") == ["best.safetensors"]


def test_a_failure_in_the_first_save_leaves_no_checkpoint(monkeypatch):
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WriteError, match="There is none from before"):
        save_checkpoint(FILE, Small(), ABOUT)
    assert "there is no such checkpoint" in refusal()


def test_the_bytes_are_on_the_disk_before_the_file_has_its_name(saved, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("flushed"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), replace(*names)))
    save_checkpoint(FILE, Small(), ABOUT)
    # The name is flushed as well, with the folder that it is in.
    assert done == ["flushed", "named", "flushed"]


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


def test_a_flipped_bit_is_refused(saved):
    content, draw = FILE.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        FILE.write_bytes(damaged)
        model = Small()
        try:
            load_checkpoint(FILE, model)
            # A space that fills up the header may turn into another blank.
            assert weights(model) == weights(saved)
            assert bytes(damaged).split() == content.split()
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no checkpoint at all", pickle.dumps({"weights": {}, "about": {}}), written(torch.zeros(3)),
        written({"state_dict": {}, "about": {}, "other_parameter": None}), save({}), save({"a": torch.zeros(3)}),
        save({}, {"checkpoint": "{}"}), save({}, {"checkpoint": "5"}), save({}, {"checkpoint": "not JSON"}),
        save({}, {"checkpoint": '{"format": "recbole_lpo 2", "tree": "{}", "sha256": ""}'}),
    ],
    ids=[
        "empty", "text", "pickle", "tensor", "torch's", "no tensors", "tensors alone", "no entries", "number", "entry",
        "later",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(content):
    FILE.parent.mkdir()
    FILE.write_bytes(content)
    refusal()


def test_a_checkpoint_of_an_earlier_version_is_named():
    FILE.parent.mkdir()
    FILE.with_suffix(".pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"^checkpoint/best\.pth: was written by an earlier version"):
        load_checkpoint(FILE, Small())


def test_a_folder_in_the_place_of_the_file_is_refused():
    FILE.mkdir(parents=True)
    refusal()


def test_an_archive_of_torch_that_holds_code_is_refused_and_nothing_runs():
    FILE.parent.mkdir()
    FILE.write_bytes(written({"weights": Creature()}))
    assert "not a checkpoint of recbole_lpo" in refusal()
    assert not Path("pwned").exists()


@pytest.mark.parametrize("part", ["about", "state", "beside"])
def test_what_is_no_plain_value_is_not_written(part):
    model, odd = Small(), {"creature": Creature()}
    model.beside = odd if part == "beside" else None
    with pytest.raises(TypeError, match="creature: a checkpoint cannot hold a Creature"):
        save_checkpoint(FILE, model, odd if part == "about" else ABOUT, odd if part == "state" else None)
    assert not FILE.exists()


def test_a_bare_pickle_with_code_is_refused_and_nothing_runs():
    FILE.parent.mkdir()
    FILE.write_bytes(pickle.dumps(Creature()))
    refusal()
    assert not Path("pwned").exists()


def test_nothing_in_the_package_unpickles():
    """`torch.load`, `pickle.load` and their like are called nowhere; compat only lets RecBole call its own."""
    package, found = Path(recbole_lpo.__file__).parent, []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if owner in ("torch", "pickle", "joblib", "dill") and node.func.attr in ("load", "loads"):
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_one_catalogue_has_one_hash():
    assert token_map_hash(["[PAD]", "a", "b"]) == token_map_hash(["[PAD]", "a", "b"])


@pytest.mark.parametrize("other", [["[PAD]", "b", "a"], ["[PAD]", "a"], ["[PAD]", "a", "b", "c"], ["[PAD]", "a", "B"]])
def test_another_order_or_another_token_has_another_hash(other):
    assert token_map_hash(other) != token_map_hash(["[PAD]", "a", "b"])
