"""Backbones of the user's own: every objective on a class of theirs, and one clear error where it does not fit."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
from torch import nn

import recbole_lpo

# isort: split
# RecBole alone cannot be imported on today's libraries: the plugin comes first, as it does for its users.
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.sequential_recommender import FPMC, Caser, SASRec
from recbole.quick_start import run_recbole
from recbole.utils import get_model, get_trainer

from recbole_lpo import cli
from recbole_lpo.config import Config
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.registry import model_names
from recbole_lpo.trainer.lpo_trainer import LPOTrainer
from tests.conftest import SMALL

SOURCE = """
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn

import recbole_lpo


class MeanOfItems(SequentialRecommender):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"], padding_idx=0)
        self.last = nn.Linear(config["embedding_size"], config["embedding_size"])

    def forward(self, item_seq, item_seq_len):
        return self.last(self.item_embedding(item_seq).sum(dim=1) / item_seq_len[:, None])

    def calculate_loss(self, interaction):
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        scores = hidden @ self.item_embedding.weight.T
        return nn.functional.cross_entropy(scores, interaction[self.POS_ITEM_ID])

    def predict(self, interaction):
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID][:, None])[:, 0]

    def full_sort_predict(self, interaction):
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return hidden @ self.item_embedding.weight.T


recbole_lpo.register_backbone(MeanOfItems)
"""


@pytest.fixture(autouse=True)
def _forget_them(monkeypatch):
    before = dict(BACKBONES)
    yield
    for name in set(BACKBONES) - set(before):
        recbole_lpo.model.__dict__.pop(f"LPO{name}", None)
        del BACKBONES[name]


@pytest.fixture
def mean_of_items(tmp_path, monkeypatch):
    """The user's module, written where the command is given."""
    (tmp_path / "mine.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield "mine"
    sys.modules.pop("mine", None)


@pytest.fixture
def settings(toy):
    return {**SMALL, **toy, "epochs": 1}


def registered(module):
    return __import__(module).MeanOfItems


def model_of(name, settings):
    config = Config(name, None, None, settings)
    train, _, _ = split_dataset(config, load_dataset(config))
    return config.model_class(config, train._dataset)


def test_a_model_of_the_users_own_runs_with_objectives_and_a_reference(mean_of_items, settings):
    model = registered(mean_of_items)
    found = recbole_lpo.run("DPOMeanOfItems", config_dict=settings, quiet=True)
    assert found["n"]["users"] == 60
    reference = recbole_lpo.load(found["run_dir"]).model.reference.model
    assert isinstance(reference, model)
    loaded = recbole_lpo.load(recbole_lpo.run("LPOMeanOfItems", config_dict=settings, quiet=True)["run_dir"])
    assert isinstance(loaded.model, model)
    assert len(recbole_lpo.recommend(loaded, users=["u1"], k=3)) == 3


def test_recboles_entry_points_find_it(mean_of_items, settings):
    model = registered(mean_of_items)
    ours = get_model("LPOMeanOfItems")
    assert issubclass(ours, model) and get_model("MeanOfItems") is model
    assert pickle.loads(pickle.dumps(ours)) is ours
    assert get_trainer(model.type, "LPOMeanOfItems") is LPOTrainer
    assert {"MeanOfItems", "LPOMeanOfItems", "BPRMeanOfItems"} <= set(model_names())
    given = {**settings, "metrics": ["Hit", "NDCG"]}
    assert run_recbole("LPOMeanOfItems", config_dict=given, saved=False)["test_result"]


def test_the_command_imports_the_module_that_registers_it(mean_of_items, settings, tmp_path, capsys):
    words = [f"--{key}={value}" for key, value in settings.items()]
    assert cli.main(["run", f"--plugin={mean_of_items}", "--model=LPOMeanOfItems", "--quiet", *words]) == 0
    assert "LPOMeanOfItems" in capsys.readouterr().out


def test_a_module_that_cannot_be_imported_is_wrong_input(capsys):
    assert cli.main(["run", "--plugin=no.such.module", "--model=LPOSASRec", "--dataset=toy"]) == 2
    assert capsys.readouterr().err.startswith("error: --plugin=no.such.module: cannot be imported: ")


def test_a_class_derived_from_a_backbone_is_encoded_and_set_up_as_that_one(settings):
    class WideCaser(Caser):
        pass

    class Named(SASRec):
        pass

    recbole_lpo.register_backbone(WideCaser)
    recbole_lpo.register_backbone(Named, name="Renamed")
    wide = model_of("LPOWideCaser", {key: value for key, value in settings.items() if key != "MAX_ITEM_LIST_LENGTH"})
    assert wide.encode.__func__ is get_model("LPOCaser").encode
    assert (wide.n_v, wide.n_h, wide.max_seq_length) == (4, 8, 10)
    assert isinstance(model_of("SimPORenamed", settings), Named)


def test_an_encoder_says_how_a_model_without_the_usual_parts_scores(settings):
    class Markov(SequentialRecommender):
        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            self.source = nn.Embedding(self.n_items, 8)
            self.destination = nn.Embedding(self.n_items, 8)

        def full_sort_predict(self, interaction):
            return Latest.encode(self, interaction) @ self.destination.weight.T

    class Latest(recbole_lpo.SequenceEncoder):
        def encode(self, interaction):
            last = interaction[self.ITEM_SEQ].gather(1, interaction[self.ITEM_SEQ_LEN][:, None] - 1)
            return self.source(last[:, 0])

        def item_table(self):
            return self.destination.weight

    recbole_lpo.register_backbone(Markov, encoder=Latest)
    assert recbole_lpo.run("LPOMarkov", config_dict=settings, quiet=True)["n"]["users"] == 60


def test_a_class_given_again_takes_the_place_of_the_one_before(settings):
    for _ in range(2):

        class Again(SASRec):
            pass

        recbole_lpo.register_backbone(Again)
        assert issubclass(get_model("LPOAgain"), Again)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((object,), "is no subclass of RecBole's SequentialRecommender"),
        ((SASRec, nn.Module), "must be a subclass of recbole_lpo.SequenceEncoder"),
        ((FPMC, None, "MyFPMC"), r"MyFPMC.forward\(self, user, item_seq, item_seq_len, next_item\) is not called"),
        ((SASRec, None, "SASRec"), "name = SASRec: must be a word that no model of RecBole has"),
        ((SASRec, None, "my model"), "name = my model"),
    ],
)
def test_what_cannot_be_registered_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        recbole_lpo.register_backbone(*arguments)


def test_a_model_that_ranks_by_other_scores_is_refused_when_it_is_built(settings):
    class Shifted(SASRec):
        def full_sort_predict(self, interaction):
            return super().full_sort_predict(interaction) + torch.arange(self.n_items)

    recbole_lpo.register_backbone(Shifted)
    with pytest.raises(InputError, match="LPOShifted: full_sort_predict ranks by other scores"):
        model_of("LPOShifted", settings)


def test_a_model_without_an_item_embedding_is_refused_when_it_is_built(settings):
    class Nameless(SASRec):
        def item_table(self):
            return self.item_embedding.weight

        def full_sort_predict(self, interaction):
            raise AttributeError("'Nameless' object has no attribute 'item_embedding'")

    recbole_lpo.register_backbone(Nameless)
    with pytest.raises(InputError, match="LPONameless: it fails on 4 rows of the data with AttributeError"):
        model_of("LPONameless", settings)


@pytest.mark.parametrize(
    ("encode", "table", "message"),
    [
        (lambda self, rows: torch.zeros(4, 8, 16), None, r"the hidden states of 4 rows have the shape \(4, 8, 16\)"),
        (None, lambda self: torch.zeros(7, 16), r"the item table has the shape \(7, 16\), it must have \(41, 16\)"),
    ],
)
def test_wrong_shapes_are_refused_when_the_model_is_built(encode, table, message, settings):
    class Odd(SASRec):
        pass

    methods = {"encode": encode, "item_table": table}
    encoder = type("OddEncoder", (recbole_lpo.SequenceEncoder,), {key: one for key, one in methods.items() if one})
    recbole_lpo.register_backbone(Odd, encoder=encoder)
    with pytest.raises(InputError, match=f"LPOOdd: {message}"):
        model_of("LPOOdd", settings)


def test_the_command_refuses_a_model_that_cannot_be_a_backbone(capsys):
    assert cli.main(["run", "--model=LPOTransRec", "--dataset=ml-100k"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: model = LPOTransRec: TransRec cannot be a backbone: it ranks items by their distance"
    )
    assert error.count("\n") == 1
