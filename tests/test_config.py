"""The settings of a run: which layer wins, what is refused, and that a value is never code."""

from __future__ import annotations

import ast
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import recbole.config.configurator as configurator
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config as RecBoleConfig

import recbole_lpo
from recbole_lpo import properties_files
from recbole_lpo.config import Config
from recbole_lpo.errors import InputError
from recbole_lpo.properties_files import PROPERTIES, parse_value, read_yaml

RECBOLE = Path(configurator.__file__).parent.parent / "properties"
HOSTILE = "__import__('os').system('touch pwned')"


def config(model="LPOSASRec", dataset="anything", files=None, **settings):
    return Config(model, dataset, files, settings)


def settings_file(name, text) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


# The settings files of the package, later ones over earlier ones.
LAYERS = ("overall", "dataset/d", "objective/lpo", "model/SASRec", "model/LPOSASRec", "preset/p")


@pytest.fixture
def layered(tmp_path, monkeypatch):
    """A folder of settings files that all set `checkpoint_dir`, and two settings that RecBole's own files have too."""
    folder = tmp_path / "properties"
    for layer in LAYERS:
        values = {"checkpoint_dir": layer}
        if layer == "overall":
            values = {**read_yaml(PROPERTIES / "overall.yaml"), **values, "hidden_act": "ours", "seq_separator": "ours"}
        (folder / layer).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{layer}.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(properties_files, "PROPERTIES", folder)
    return folder


@pytest.mark.parametrize("last", LAYERS)
def test_a_later_settings_file_wins_over_the_earlier_ones(last, layered):
    for layer in LAYERS[LAYERS.index(last) + 1 :]:
        (layered / f"{layer}.yaml").write_text("")
    assert config(dataset="d", preset="p")["checkpoint_dir"] == last


def test_the_settings_file_of_another_dataset_is_not_read(layered):
    assert config("SASRec", dataset="other")["checkpoint_dir"] == "model/SASRec"
    (layered / "model/SASRec.yaml").unlink()
    assert config("SASRec", dataset="other")["checkpoint_dir"] == "overall"


def test_our_settings_for_every_run_win_over_recboles_model_file(layered):
    assert read_yaml(RECBOLE / "model" / "SASRec.yaml")["hidden_act"] == "gelu"
    assert config(dataset="other")["hidden_act"] == "ours"


def test_our_settings_for_every_run_win_over_recboles_for_every_dataset(layered):
    assert read_yaml(RECBOLE / "dataset" / "sample.yaml")["seq_separator"] == " "
    assert config(dataset="other")["seq_separator"] == "ours"


def test_a_setting_in_a_users_file_wins_over_every_file_of_the_package(layered):
    mine = settings_file("mine.yaml", "checkpoint_dir: mine")
    assert config(dataset="d", files=[mine], preset="p")["checkpoint_dir"] == "mine"


def test_of_two_files_the_later_one_wins():
    files = [settings_file("a.yaml", "pref_tau: 1.0\npref_weight: 1.0"), settings_file("b.yaml", "pref_tau: 2.0")]
    found = config(files=files)
    assert (found["pref_tau"], found["pref_weight"]) == (2.0, 1.0)


def test_a_setting_given_in_code_wins_over_the_users_file():
    assert config(files=[settings_file("mine.yaml", "pref_tau: 1.0")], pref_tau=3.0)["pref_tau"] == 3.0


def test_the_settings_of_the_objective_are_read_for_our_models_alone():
    assert config("LPOGRU4Rec")["pref_num_rejected"] == 10
    assert "pref_num_rejected" not in config("GRU4Rec")


def test_the_settings_file_of_a_backbone_serves_our_model_on_it():
    assert config("LPOCaser")["MAX_ITEM_LIST_LENGTH"] == config("Caser")["MAX_ITEM_LIST_LENGTH"] == 10


@pytest.mark.parametrize("preset", ["paper", "published_code", "log_prob", "recommended"])
def test_a_preset_sets_every_one_of_its_settings(preset):
    found = config(preset=preset)
    wanted = read_yaml(PROPERTIES / "preset" / f"{preset}.yaml")
    assert wanted
    assert {key: found[key] for key in wanted} == wanted


def test_a_preset_may_be_named_in_a_file():
    assert config(files=[settings_file("mine.yaml", "preset: published_code")])["pref_form"] == "published_code"


def test_an_explicit_setting_wins_over_the_preset():
    found = config(preset="published_code", pref_tau=0.7)
    assert (found["pref_tau"], found["pref_form"]) == (0.7, "published_code")


def test_an_explicit_setting_in_a_file_wins_over_the_preset_given_in_code():
    assert config(files=[settings_file("mine.yaml", "pref_tau: 0.7")], preset="published_code")["pref_tau"] == 0.7


def test_an_unknown_preset_is_refused_with_all_presets_and_the_nearest():
    with pytest.raises(InputError, match=r"^preset = papr: unknown\. Allowed: .*paper.*Did you mean 'paper'\?$"):
        config(preset="papr")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("lerning_rate", "learning_rate"), ("epoch", "epochs"), ("hiden_size", "hidden_size"), ("topK", "topk")],
)
def test_a_slip_of_the_pen_in_a_setting_of_recbole_is_refused_with_the_nearest(typo, meant):
    with pytest.raises(InputError, match=rf"^{typo}: there is no such setting\. Did you mean '{meant}'\?$"):
        config(**{typo: 1})


def test_a_slip_of_the_pen_in_a_file_is_refused():
    with pytest.raises(InputError, match="lerning_rate: there is no such setting"):
        config(files=[settings_file("mine.yaml", "lerning_rate: 0.1")])


def test_a_setting_that_is_like_no_other_is_kept_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert config(zzz_my_own=5)["zzz_my_own"] == 5
    assert "zzz_my_own" in caplog.text


def refused_by_a_run(**settings) -> str:
    """The message with which a run ends that must leave nothing behind."""
    with pytest.raises(InputError) as caught:
        recbole_lpo.run("LPOSASRec", "absent", None, settings)
    assert os.listdir(".") == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "beginning"),
    [
        ({"metrics": ["NDCG", "TailNDGC"]}, "metrics: there is no metric 'TailNDGC'. Did you mean 'tailndcg'?"),
        ({"metrics": ["NDCG"], "valid_metric": "Hit@10"}, "valid_metric = Hit@10: this run does not measure it."),
        ({"topk": [5, 20]}, "valid_metric = NDCG@10: this run does not measure it."),
        ({"valid_metric": "NDCG"}, "valid_metric = NDCG: this run does not measure it."),
        ({"metrics": ["GAUC"], "valid_metric": "GAUC@10"}, "valid_metric = GAUC@10: this run does not measure it."),
        ({"metrics": ["NDCG", "AUC"]}, "metrics = NDCG, AUC: metrics of rankings and of values"),
        ({"topk": 0}, "topk = 0: must be a whole number > 0"),
        ({"topk": [10, -1]}, "topk = [10, -1]: must be a whole number > 0"),
        ({"topk": []}, "topk = []: must be a whole number > 0"),
        ({"topk": "ten"}, "topk = ten: must be a whole number > 0"),
        ({"topk": [10, True]}, "topk = [10, True]: must be a whole number > 0"),
        ({"pref_tau": 0}, "pref_tau = 0.0: out of range"),
        ({"preset": 5}, "preset = 5: unknown"),
        ({"run_dir": "x" * 300}, f"run_dir = '{'x' * 80}': cannot be made: File name too long"),
        ({"run_dir": "a\0b"}, "run_dir = 'a\\x00b': cannot be made: embedded null byte"),
        ({"run_dir": "\ud800"}, "run_dir = '\\ud800': cannot be made: "),
        ({"warmup_ratio": 2}, "warmup_ratio = 2.0: out of range"),
        ({"tail_split_rule": "count_threshold"}, "tail_split_rule = count_threshold needs tail_split_threshold"),
        ({"eval_args": {"mode": "half"}}, "RecBole refuses these settings: the mode [half] in eval_args"),
        ({"repeatable": False}, "RecBole refuses these settings: Sequential models currently only support"),
    ],
)
def test_wrong_settings_end_a_run_before_any_work(settings, beginning):
    assert refused_by_a_run(**settings).startswith(beginning)


@pytest.mark.parametrize("metric", ["NDCG@10", "ndcg@10", "TailNDCG@5", "Coverage@20"])
def test_every_metric_that_is_measured_can_stop_a_run(metric):
    assert config(valid_metric=metric)["valid_metric"] == metric


def test_a_metric_without_a_list_length_can_stop_a_run():
    assert config(metrics=["GAUC"], valid_metric="GAUC")["valid_metric"] == "GAUC"


@pytest.mark.parametrize(("model", "dataset", "name"), [(None, "toy", "model"), ("SASRec", None, "dataset")])
def test_a_missing_model_or_dataset_is_named(model, dataset, name):
    with pytest.raises(InputError, match=f"^{name} is missing"):
        Config(model, dataset)


def test_a_dataset_may_have_a_number_for_a_name():
    assert Config("SASRec", None, None, {"dataset": "2014"})["dataset"] == "2014"


@pytest.mark.parametrize("key", ["checkpoint_dir", "run_dir"])
def test_a_value_given_in_code_is_data(key):
    assert config(**{key: HOSTILE})[key] == HOSTILE
    assert not Path("pwned").exists()


@pytest.mark.parametrize("key", ["pref_tau", "pref_score", "tail_split_ratio", "lr_schedule"])
def test_a_value_that_is_code_is_refused_where_it_does_not_belong(key):
    with pytest.raises(InputError, match=f"^{key} = "):
        config(**{key: HOSTILE})
    assert not Path("pwned").exists()


def test_a_value_in_a_file_is_data():
    mine = settings_file("mine.yaml", f'checkpoint_dir: "{HOSTILE}"')
    assert config(files=[mine])["checkpoint_dir"] == HOSTILE
    assert not Path("pwned").exists()


def test_a_file_cannot_make_python_objects():
    mine = settings_file("mine.yaml", "checkpoint_dir: !!python/object/apply:os.system ['touch pwned']")
    with pytest.raises(InputError, match=r"mine\.yaml: not a readable yaml file"):
        config(files=[mine])
    assert not Path("pwned").exists()


@pytest.mark.parametrize("key", ["pref_score", "run_dir", "tail_split_rule", "batching"])
def test_our_settings_are_data_in_recboles_config_too(key):
    assert RecBoleConfig("LPOSASRec", "toy", None, {key: HOSTILE})[key] == HOSTILE
    assert not Path("pwned").exists()


def test_a_preset_that_is_code_is_refused_by_recboles_config_as_unknown():
    with pytest.raises(InputError, match=r"^preset = __import__"):
        RecBoleConfig("LPOSASRec", "toy", None, {"preset": HOSTILE})
    assert not Path("pwned").exists()


def test_our_settings_are_data_in_recboles_config_from_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script.py", f"--run_dir={HOSTILE}", "--pref_weight=0.25"])
    found = RecBoleConfig("LPOSASRec", "toy")
    assert (found["run_dir"], found["pref_weight"]) == (HOSTILE, 0.25)
    assert not Path("pwned").exists()


def test_a_slip_of_the_pen_in_a_setting_of_ours_is_refused_by_recboles_config():
    with pytest.raises(InputError, match=r"pref_wieght: there is no such setting\. Did you mean 'pref_weight'"):
        RecBoleConfig("LPOSASRec", "toy", None, {"pref_wieght": 1})


def test_the_command_line_is_not_read(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--epochs=77", "--model=BPR", "--lerning_rate=1", "--cov=x"])
    found = config()
    assert (found["epochs"], found["model"], found["cov"]) == (300, "LPOSASRec", None)


def test_the_device_that_a_scheduler_has_set_is_kept(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    found = config()
    assert (os.environ["CUDA_VISIBLE_DEVICES"], found["gpu_id"]) == ("3", "3")


def test_a_device_that_is_asked_for_is_taken(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    config(gpu_id="1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_the_settings_kept_for_another_run_hold_no_device_that_nobody_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    Config(config_dict=config().given)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_the_settings_kept_for_another_run_hold_a_device_that_was_asked_for():
    assert config(gpu_id="1").given["gpu_id"] == 1


def test_the_settings_kept_for_another_run_give_the_same_config_again():
    first = config(preset="log_prob", pref_tau=0.5, topk=7, metrics="NDCG", valid_metric="NDCG@7", seed=5)
    again = Config(config_dict=first.given)
    assert again.final_config_dict == first.final_config_dict


def negatives_of(model, **settings):
    return config(model, **settings)["train_neg_sample_args"]["distribution"]


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "Caser", "LPOSASRec", "LPOGRU4Rec", "LPOCaser", "STAMP"])
def test_a_model_that_learns_from_the_softmax_draws_no_negatives(model):
    assert negatives_of(model) == "none"


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "FPMC"])
def test_a_model_that_learns_from_pairs_keeps_its_negatives(model):
    assert negatives_of(model) == "uniform"


def test_a_sequential_model_that_is_told_to_learn_from_pairs_keeps_its_negatives():
    assert negatives_of("SASRec", loss_type="BPR") == "uniform"


@pytest.mark.parametrize("model", ["LPOSASRec", "SASRec", "BPR"])
def test_times_are_loaded_by_default(model):
    assert config(model)["load_col"] == {"inter": ["user_id", "item_id", "timestamp"]}


def test_columns_of_other_names_are_loaded_by_default():
    found = config(USER_ID_FIELD="uid", ITEM_ID_FIELD="iid", TIME_FIELD="t")
    assert found["load_col"] == {"inter": ["uid", "iid", "t"]}


def test_columns_that_are_asked_for_are_loaded():
    wanted = {"inter": ["user_id", "item_id", "timestamp", "rating"]}
    assert config(load_col=wanted)["load_col"] == wanted


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_a_model_of_recbole_keeps_its_hyper_parameters(model):
    theirs = read_yaml(RECBOLE / "model" / f"{model}.yaml")
    for name in (model, f"LPO{model}"):
        found = config(name)
        assert {key: found[key] for key in theirs} == theirs


@pytest.mark.parametrize("model", ["BPR", "STAMP", "LightGCN"])
def test_a_model_that_we_have_no_file_for_has_recboles_settings(model):
    theirs = read_yaml(RECBOLE / "model" / f"{model}.yaml")
    found = config(model)
    assert {key: found[key] for key in theirs} == theirs


def test_every_model_is_measured_in_one_way():
    keys = (
        "eval_args",
        "metrics",
        "topk",
        "valid_metric",
        "metric_decimal_place",
        "eval_mask_history",
        "stopping_step",
    )
    ours, sequential, general = ({key: config(name)[key] for key in keys} for name in ("LPOSASRec", "SASRec", "BPR"))
    assert ours == sequential == general
    assert ours["eval_args"]["split"] == {"LS": "valid_and_test"}
    assert ours["eval_args"]["order"] == "TO"


def test_one_part_of_the_protocol_can_be_set_alone():
    found = config(eval_args={"mode": "uni50"})["eval_args"]
    assert found["mode"] == {"valid": "uni50", "test": "uni50"}
    assert (found["split"], found["order"]) == ({"LS": "valid_and_test"}, "TO")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E+2", 500.0),
        ("1.5e3", 1500.0),
        (".5e-1", 0.05),
        ("-2e-4", -0.0002),
        ("10", 10),
        ("0.5", 0.5),
    ],
)
def test_numbers_of_a_file_are_numbers(text, value):
    found = config(files=[settings_file("mine.yaml", f"initializer_range: {text}")])["initializer_range"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["e3", "1e", "1e-", "1-e3", "v1e-3"])
def test_what_only_looks_like_a_number_is_text(text):
    assert config(files=[settings_file("mine.yaml", f"checkpoint_dir: {text}")])["checkpoint_dir"] == text


@pytest.mark.parametrize(
    "text",
    ["a: [1, 2", "a: b: c", "\tepochs: 3", "epochs: 3\n- 5", "just words", "- 1\n- 2", "a: !!python/name:os.system"],
)
def test_a_broken_file_is_refused_in_one_line_with_its_name(text):
    with pytest.raises(InputError, match=r"^broken\.yaml: ") as caught:
        config(files=[settings_file("broken.yaml", text)])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused_in_one_line():
    Path("broken.yaml").write_bytes(b"\xff\xfe\x00epochs")
    with pytest.raises(InputError, match=r"^broken\.yaml: not a readable yaml file") as caught:
        config(files=["broken.yaml"])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"^absent\.yaml: there is no such file\. Check --config_files"):
        config(files=["absent.yaml"])


def test_an_empty_file_sets_nothing():
    assert config(files=[settings_file("empty.yaml", "# nothing\n")])["epochs"] == 300


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(PLAIN)
def test_a_typed_literal_is_the_value_that_it_writes(value):
    assert parse_value(repr(value)) == value


@settings(deadline=None)
@given(st.text())
def test_a_typed_value_is_plain_data_or_the_text_itself(text):
    value = parse_value(text)
    assert value is None or isinstance(value, str | int | float | list | tuple | dict)
    if isinstance(value, str) and value != text:
        assert ast.literal_eval(text) == value


@settings(deadline=None)
@given(PLAIN.filter(lambda value: not isinstance(value, str)))
def test_a_value_that_is_no_text_is_left_as_it_is(value):
    assert parse_value(value) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("FALSE", False), ("None", None), ("~", None), ("1e-3", 0.001), ("[5, 10]", [5, 10]),
        ("('a', 1)", ("a", 1)), ("{'LS': 'valid_and_test'}", {"LS": "valid_and_test"}), ("NDCG@10", "NDCG@10"),
        ("a/b", "a/b"), ("1/0", "1/0"), ("os", "os"), ("[1, 2", "[1, 2"), ("[5,inf)", "[5,inf)"), ("", ""),
        ("[Hit, TailNDCG]", ["Hit", "TailNDCG"]), ("[categories]", ["categories"]), ("[5,inf]", "[5,inf]"),
        ("[a,]", "[a,]"), ("[]", []),
        ("...", "..."), ("2j", "2j"), ("b'x'", "b'x'"), ("{1, 2}", "{1, 2}"), ("{[]: 1}", "{[]: 1}"), ("\x00", "\x00"),
        ("(" * 5000, "(" * 5000), (HOSTILE, HOSTILE),
    ],
    ids=lambda value: str(value)[:20].replace("\x00", "nul"),
)  # fmt: skip
def test_a_typed_value_is_a_literal_or_else_text(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize(("drawn", "value"), [(np.float64(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True)])
def test_a_number_that_a_search_has_drawn_is_a_number_of_python(drawn, value):
    found = config(zzz_drawn=drawn).given["zzz_drawn"]
    assert found == value
    assert type(found) is type(value)


# Settings of RecBole's own, which RecBole takes without a look


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("epochs", "many", ["epochs", "many", "whole number"]),
        ("epochs", 2.5, ["epochs", "2.5", "whole number"]),
        ("epochs", -1, ["epochs", "-1", ">= 0"]),
        ("learning_rate", "fast", ["learning_rate", "fast", "number"]),
        ("learning_rate", float("nan"), ["learning_rate", "nan"]),
        ("train_batch_size", 0, ["train_batch_size", "0", ">= 1"]),
        ("hidden_size", True, ["hidden_size", "True"]),
        ("hidden_dropout_prob", 1.5, ["hidden_dropout_prob", "1.5", ">= 0 and <= 1"]),
        ("n_heads", 7, ["hidden_size = 64", "n_heads = 7", "multiple"]),
        ("n_heads", 0, ["hidden_size = 64", "n_heads = 0"]),
        ("tail_split_threshold", 5, ["tail_split_threshold = 5", "item_share", "only count_threshold"]),
        ("batching_window_step", 51, ["batching_window_step = 51", "1 to MAX_ITEM_LIST_LENGTH"]),
        ("teacher", "__import__('os')", ["teacher", "name of a model"]),
        ("enable_amp", "perhaps", ["enable_amp", "perhaps", "True or False"]),
        ("user_inter_num_interval", "5", ["user_inter_num_interval", "5", "[5,inf)"]),
        ("item_inter_num_interval", "[a,b]", ["item_inter_num_interval", "['a', 'b']"]),
    ],
)
def test_a_value_that_recbole_would_stumble_over_later_is_refused_at_once(key, value, words):
    with pytest.raises(InputError) as refused:
        Config("SASRec", "ml-100k", None, {key: value})
    assert all(word in str(refused.value) for word in words)


def test_a_window_step_without_packed_batches_is_refused():
    with pytest.raises(InputError, match="batching_window_step = 3 with batching = prefix"):
        Config("SASRec", "ml-100k", None, {"batching": "prefix", "batching_window_step": 3})


@pytest.mark.parametrize("interval", ["[5,inf)", "(0, 10]", "[1,2];[5,inf)"])
def test_intervals_in_recboles_form_are_taken(interval):
    assert (
        Config("SASRec", "ml-100k", None, {"user_inter_num_interval": interval})["user_inter_num_interval"] == interval
    )


def test_a_size_that_a_search_draws_as_64_point_0_is_a_whole_number():
    size = Config("SASRec", "ml-100k", None, {"hidden_size": 32.0})["hidden_size"]
    assert (size, type(size)) == (32, int)


def test_a_preset_sets_for_other_models_what_they_share_with_lpo_and_leaves_their_loss_alone():
    plain, preset = (Config("DPOSASRec", "ml-100k", None, given) for given in ({}, {"preset": "published_code"}))
    assert preset["tail_split_ratio"] == 0.8
    assert preset["warmup_ratio"] == 0.1
    assert (preset["pref_negatives"], preset["tail_reweight"]) == (plain["pref_negatives"], plain["tail_reweight"])


def test_recboles_own_config_refuses_a_misspelt_setting_of_ours_in_a_file_for_our_models():
    file = settings_file("slip.yaml", "pref_wieght: 1")
    with pytest.raises(InputError, match=r"pref_wieght.*pref_weight"):
        RecBoleConfig(model="LPOSASRec", dataset="ml-100k", config_file_list=[file])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clip_grad_norm": 1.0}, r"clip_grad_norm = 1\.0: must say the norm, as \{'max_norm': 5\.0\}"),
        ({"clip_grad_norm": {"max": 1.0}}, "clip_grad_norm"),
        ({"clip_grad_norm": {"max_norm": "much"}}, "clip_grad_norm = {'max_norm': 'much'}: must say the norm"),
        ({"clip_grad_norm": {"max_norm": 0}}, "clip_grad_norm"),
        ({"clip_grad_norm": {"max_norm": [5]}}, "clip_grad_norm"),
        ({"learner": "adamm"}, r"learner = adamm: unknown\. Did you mean 'adam'\?"),
        ({"learner": "sparse_adam"}, "no model here has the sparse gradients that it needs"),
        ({"n_layers": 0}, "n_layers = 0 with n_heads = 2: a transformer has a layer or more"),
    ],
)
def test_what_would_end_the_first_step_or_train_something_else_is_refused_before_it(given, said):
    with pytest.raises(InputError, match=said):
        Config("SASRec", "ml-100k", None, given)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("SASRec", {"clip_grad_norm": {"max_norm": 5, "norm_type": 2}}),
        ("SASRec", {"clip_grad_norm": {}}),
        ("SASRec", {"clip_grad_norm": None}),
        ("SASRec", {"learner": "AdamW"}),
        ("SASRec", {"output": "a setting of one's own"}),
        ("LightGCN", {"n_layers": 0}),
    ],
)
def test_what_recbole_can_do_is_let_through(model, given):
    assert Config(model, "ml-100k", None, given)[next(iter(given))] == next(iter(given.values()))
