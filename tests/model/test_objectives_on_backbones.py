"""Every objective on every backbone: it trains, its settings arrive, and its reference stays what it was."""

from __future__ import annotations

import copy
import inspect
import json
import shutil
from pathlib import Path

import pytest
import torch

import recbole_lpo
from recbole_lpo.config import Config
from recbole_lpo.core.objectives import LIKELIHOODS, OBJECTIVES
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.errors import InputError
from recbole_lpo.model import MODEL_NAMES, OBJECTIVE_NAMES, TRANSFER_NAMES, WITH_REFERENCE, parts_of
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.model.objective_settings import hyper_of
from recbole_lpo.properties_files import PROPERTIES, read_property
from recbole_lpo.settings import KEYS, LikelihoodSettings, LossSettings, TransferSettings
from recbole_lpo.trainer.lpo_trainer import LPOTrainer
from tests.conftest import SMALL, toy_rows, write_atomic, write_toy

# What RecBole's models hold and do not train: NPE never reads its second table, and FDSA's attention over item features
# has nothing to weigh where there is one. SHAN adds two numbers to all inputs of a softmax, which only rounding moves.
UNTRAINED = {
    "NPE": ("embedding_seq_item.",), "FDSA": ("feature_att_layer.",), "SHAN": ("long_short_b", "long_short_w.bias"),
}  # fmt: skip

# Their states also come of the user, of masks or of a scale, or they score with more than item vectors: no MELT.
NOT_FROM_THE_HISTORY_ALONE = {"Caser", "NextItNet", "CORE", "BERT4Rec", "HGN", "SHAN", "NPE", "HRM", "FOSSIL"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Settings of the toy dataset, and a function that gives the run folder of a trained backbone."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, **write_toy(folder / "data")}
    found = {}

    def of(backbone, **changes):
        key = (backbone, *changes.items())
        if key not in found:
            run_dir = str(folder / f"run{len(found)}")
            given = {**settings, **changes, "run_dir": run_dir, "epochs": 1}
            recbole_lpo.run(backbone, config_dict=given, quiet=True)
            found[key] = run_dir
        return found[key]

    return settings, of


def built(name, settings):
    """(model, first batch of RecBole's rows, train loader, config)"""
    config = Config(name, None, None, settings)
    train, _, _ = split_dataset(config, load_dataset(config))
    torch.manual_seed(0)
    return config.model_class(config, train._dataset), next(iter(train)), train, config


def with_reference(name, trained, **changes):
    settings, of = trained
    objective, backbone = parts_of(name)
    reference = {"pref_reference": of(backbone)} if objective in WITH_REFERENCE else {}
    return {**settings, **reference, **changes}


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_two_epochs_move_every_parameter_that_is_not_frozen(name, trained):
    model, _, train, config = built(name, with_reference(name, trained, epochs=2))
    learned = [key for key, value in model.named_parameters() if value.requires_grad]
    before = copy.deepcopy(model.state_dict())
    trainer = LPOTrainer(config, model)
    trainer.fit(train, verbose=False, saved=False)
    after = model.state_dict()
    assert len(trainer.train_loss_dict) == 2
    # Rows of users and items that no batch holds stay; a whole tensor that stays would have no gradient.
    unmoved = [key for key in learned if torch.equal(before[key], after[key])]
    untrained = UNTRAINED.get(parts_of(name)[1], ())
    assert not [key for key in unmoved if not key.startswith(untrained)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_settings_of_an_objective_are_arguments_of_its_function(objective):
    arguments = inspect.signature(OBJECTIVES[objective]).parameters
    assert set(hyper_of(objective, LossSettings())) <= set(arguments)


@pytest.mark.parametrize("objective", LIKELIHOODS)
def test_the_settings_of_a_likelihood_are_arguments_of_the_part_that_it_changes(objective):
    taken = [inspect.signature(part).parameters for part in vars(LIKELIHOODS[objective]).values() if part is not None]
    assert set(hyper_of(objective, LikelihoodSettings())) <= {name for arguments in taken for name in arguments}


def test_every_method_has_a_name_for_its_models_and_a_settings_file():
    assert sorted(OBJECTIVE_NAMES.values()) == sorted([*OBJECTIVES, *LIKELIHOODS])
    files = {path.stem for path in (PROPERTIES / "objective").glob("*.yaml")}
    assert files == {*OBJECTIVES, *LIKELIHOODS, *TRANSFER_NAMES.values()}


def test_every_name_means_one_method_and_one_backbone():
    methods = OBJECTIVE_NAMES | TRANSFER_NAMES
    expected = {
        prefix + backbone: (method, backbone)
        for prefix, method in methods.items()
        for backbone in BACKBONES
        if not (prefix == "CITIES" and backbone == "HGN")
        and not (prefix == "MELT" and backbone in NOT_FROM_THE_HISTORY_ALONE)
    }
    # RecBole finds a model's module by its name in lower case.
    assert len({name.lower() for name in MODEL_NAMES}) == len(expected)
    assert {name: parts_of(name) for name in MODEL_NAMES} == expected
    assert parts_of("CITIESHGN") is None and parts_of("MELTCaser") is None


@pytest.mark.parametrize("method", [*OBJECTIVES, *LIKELIHOODS, *TRANSFER_NAMES.values()])
def test_a_settings_file_holds_our_settings_only_and_they_are_valid(method):
    found = read_property("objective", method)
    assert set(found) <= set(KEYS)
    for group in (LossSettings, LikelihoodSettings, TransferSettings):
        group.from_config(found)


@pytest.mark.parametrize("name", ["DPOSASRec", "SDPOCaser", "IPOGRU4Rec", "CITIESSASRec", "MELTGRU4Rec"])
def test_a_model_without_its_reference_says_how_to_get_one(name, trained):
    model, batch, _, _ = built(name, trained[0])
    with pytest.raises(InputError, match="pref_reference"):
        model.calculate_loss(batch)


def test_a_model_starts_from_its_reference_and_its_loss_is_that_of_equal_policies(trained):
    model, batch, _, _ = built("DPOSASRec", with_reference("DPOSASRec", trained))
    for key, value in model.reference.model.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    model.eval().calculate_loss(batch)
    found = model.loss_monitor.pop()
    assert found["tail/pref"] == pytest.approx(0.6931472, abs=1e-5)


@pytest.mark.parametrize("name", ["DPOSASRec", "CITIESSASRec", "MELTSASRec"])
def test_a_finished_run_ranks_as_before_where_its_reference_is_gone(name, trained, tmp_path):
    settings, of = trained
    reference = shutil.copytree(of("SASRec"), tmp_path / "reference")
    given = {**settings, "pref_reference": str(reference), "run_dir": str(tmp_path / "run"), "epochs": 1}
    metrics = recbole_lpo.run(name, config_dict=given, quiet=True)
    shutil.rmtree(reference)
    [again] = recbole_lpo.evaluate(tmp_path / "run")
    assert again["test"] == metrics["test"]


def test_a_model_may_start_from_its_own_random_weights(trained):
    settings = with_reference("DPOSASRec", trained, pref_init_from_reference=False)
    model = built("DPOSASRec", settings)[0]
    plain = built("LPOSASRec", trained[0])[0]
    assert torch.equal(model.item_embedding.weight, plain.item_embedding.weight)
    assert not torch.equal(model.item_embedding.weight, model.reference.model.item_embedding.weight)


def test_the_reference_is_frozen_and_no_part_of_the_model(trained):
    model, _, train, config = built("SDPOSASRec", with_reference("SDPOSASRec", trained, epochs=1))
    plain = built("LPOSASRec", trained[0])[0]
    assert list(model.state_dict()) == list(plain.state_dict())
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    before = copy.deepcopy(model.reference.model.state_dict())
    LPOTrainer(config, model).fit(train, verbose=False, saved=False)
    model.train()
    assert not model.reference.model.training
    after = model.reference.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(weight.requires_grad for weight in model.reference.model.parameters())


def test_states_kept_from_an_earlier_epoch_give_the_loss_of_states_made_anew(trained):
    model, _, train, config = built("DPOSASRec", with_reference("DPOSASRec", trained))
    trainer = LPOTrainer(config, model)
    packed = trainer._pack(train)
    batch = next(iter(packed.epoch(0)))
    anew = model.reference.states(batch, packed.n_events)
    for other in packed.epoch(0):
        model.reference.states(other, packed.n_events)
    torch.testing.assert_close(model.reference.states(batch, packed.n_events), anew, rtol=0, atol=0)


def test_a_run_trains_its_reference_first_and_the_next_run_finds_it(trained, tmp_path):
    settings, _ = trained
    first = recbole_lpo.run("DPOSASRec", config_dict={**settings, "epochs": 1}, quiet=True)
    folders = list((tmp_path / "runs" / "toy" / "SASRec").iterdir())
    assert [folder.name.startswith("reference-") for folder in folders] == [True]
    assert json.loads((folders[0] / "metrics.json").read_text())["adjusted"] == []
    made = (folders[0] / "metrics.json").stat().st_mtime_ns
    recbole_lpo.run("SDPOSASRec", config_dict={**settings, "epochs": 1}, quiet=True)
    assert list((tmp_path / "runs" / "toy" / "SASRec").iterdir()) == folders
    assert (folders[0] / "metrics.json").stat().st_mtime_ns == made
    again = recbole_lpo.run(config_file_list=[f"{first['run_dir']}/settings.yaml"], quiet=True)
    assert again["test"] == first["test"]


def test_other_training_settings_get_a_reference_of_their_own(trained, tmp_path):
    settings, _ = trained
    for seed in (1, 2):
        recbole_lpo.run("IPOSASRec", config_dict={**settings, "epochs": 1, "seed": seed}, quiet=True)
    assert len(list((tmp_path / "runs" / "toy" / "SASRec").iterdir())) == 2


def test_other_attributes_of_the_items_get_a_reference_of_their_own(tmp_path):
    settings = {**SMALL, **write_toy(tmp_path / "data"), "epochs": 1, "selected_features": ["class"]}
    items = tmp_path / "data" / "toy" / "toy.item"
    for text in (items.read_text(), items.read_text().replace("c2", "c1")):
        items.write_text(text)
        # Not read by the run.
        (items.parent / "toy.class.npy").write_text(text)
        recbole_lpo.run("DPOSASRecF", config_dict=settings, quiet=True)
    assert len(list((tmp_path / "runs" / "toy" / "SASRecF").iterdir())) == 2


def test_a_reference_of_another_catalogue_is_refused(trained, tmp_path):
    other = {**trained[0], "data_path": str(write_atomic(tmp_path, "toy", toy_rows(n_items=41, seed=5)))}
    with pytest.raises(InputError, match="another catalogue"):
        built("DPOSASRec", {**other, "pref_reference": trained[1]("SASRec")})


def test_a_reference_of_another_size_cannot_lend_its_weights_but_can_be_compared_with(trained):
    settings, of = trained
    reference = {"pref_reference": of("SASRec", hidden_size=8, n_heads=1)}
    with pytest.raises(InputError, match="pref_init_from_reference"):
        built("DPOSASRec", {**settings, **reference})
    model, batch, _, _ = built("DPOSASRec", {**settings, **reference, "pref_init_from_reference": False})
    assert model.calculate_loss(batch).isfinite()


def test_a_reference_of_another_history_length_is_refused(trained):
    settings, of = trained
    with pytest.raises(InputError, match="MAX_ITEM_LIST_LENGTH"):
        built("DPOSASRec", {**settings, "MAX_ITEM_LIST_LENGTH": 6, "pref_reference": of("SASRec")})


@pytest.mark.parametrize(("model", "reference"), [("DPOBERT4Rec", "SASRec"), ("DPONARM", "BERT4Rec")])
def test_a_reference_that_learns_other_targets_is_refused(model, reference, trained):
    settings, of = trained
    with pytest.raises(InputError, match=f"holds {reference}, which learns from other targets than {model}"):
        built(model, {**settings, "pref_reference": of(reference), "pref_init_from_reference": False})


def test_a_reference_that_reads_prefix_rows_only_asks_for_these(trained):
    settings, of = trained
    given = {**settings, "pref_reference": of("NARM"), "pref_init_from_reference": False}
    model, batch, train, config = built("DPOSASRec", given)
    with pytest.raises(InputError, match=r"NARM cannot read the whole histories .* Set batching to prefix"):
        LPOTrainer(config, model).fit(train, verbose=False, saved=False)
    assert model.calculate_loss(batch).isfinite()


def test_a_reference_whose_training_has_not_finished_is_refused(trained):
    settings, of = trained
    folder = Path(of("SASRec", seed=77))
    (folder / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"its training has not finished\. End it with --resume="):
        built("DPOSASRec", {**settings, "pref_reference": str(folder)})


def test_a_model_that_is_no_backbone_cannot_be_a_reference(trained):
    settings, of = trained
    with pytest.raises(InputError, match="Pop"):
        built("DPOSASRec", {**settings, "pref_reference": of("Pop")})


def test_an_objective_without_a_reference_refuses_one(trained):
    with pytest.raises(InputError, match="SimPOSASRec has no reference"):
        built("SimPOSASRec", {**trained[0], "pref_reference": trained[1]("SASRec")})


def test_only_lpo_takes_the_gradient_through_the_draw(trained):
    changes = {"pref_straight_through": True, "pref_negatives": "head_gumbel"}
    with pytest.raises(InputError, match="pref_straight_through"):
        built("SimPOSASRec", {**trained[0], **changes})
