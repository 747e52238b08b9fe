"""Every setting of the plugin: what it refuses, how it says so, and that the files and the code agree on it."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict, fields

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_lpo.config_checks import known_keys
from recbole_lpo.core.objectives import LIKELIHOODS
from recbole_lpo.errors import InputError
from recbole_lpo.properties_files import PROPERTIES, read_yaml
from recbole_lpo.settings import (
    GROUPS,
    KEYS,
    PREFIXES,
    ContentSettings,
    LikelihoodSettings,
    LossSettings,
    ProcessSettings,
    RunSettings,
    SplitSettings,
    TransferSettings,
    check_own_keys,
)

# key: (values out of range, what the message must allow)
OUT_OF_RANGE = {
    "ce_weight": ((-0.1, -1), ">= 0"),
    "pref_weight": ((-0.1, -3), ">= 0"),
    "pref_tau": ((0, 0.0, -1.0), "> 0"),
    "pref_num_rejected": ((0, -1), ">= 1"),
    "pref_self_play_top": ((0, -1), ">= 1"),
    "pref_gumbel_scale": ((-1e-9,), ">= 0"),
    "pref_straight_through_temperature": ((0.0, -2), "> 0"),
    "pref_beta": ((0, -0.5), "> 0"),
    "pref_gamma": ((-0.1,), ">= 0"),
    "pref_label_smoothing": ((-0.1, 0.5, 1), ">= 0 and < 0.5"),
    "pref_dynamic_margin": ((-0.1,), ">= 0"),
    "pref_dynamic_scale": ((-0.1, 1), ">= 0 and < 1"),
    "likelihood_adjust_strength": ((-0.1,), ">= 0"),
    "likelihood_gamma": ((-0.1,), ">= 0"),
    "likelihood_beta": ((-0.1, 1), ">= 0 and < 1"),
    "likelihood_ips_power": ((-0.1,), ">= 0"),
    "likelihood_ips_clip": ((0.9, 0), ">= 1"),
    "likelihood_num_sampled": ((0, -1), ">= 1"),
    "likelihood_calibration": ((-0.1, 1.1), ">= 0 and <= 1"),
    "likelihood_reembed_epoch": ((-1,), ">= 0"),
    "tail_split_ratio": ((-0.01, 1.01, 20), ">= 0 and <= 1"),
    "tail_split_threshold": ((-1,), ">= 0"),
    "eval_logit_adjust": ((-0.1,), ">= 0"),
    "eval_neighbours": ((-0.1, 1), ">= 0 and < 1"),
    "eval_neighbours_discount": ((-0.1,), ">= 0"),
    "eval_neighbours_reach": ((0, -1), ">= 1"),
    "eval_neighbours_recency": ((0, 1.1), "> 0 and <= 1"),
    "eval_neighbours_alike": ((-0.1,), ">= 0"),
    "eval_chunk_items": ((0, -5), ">= 1"),
    "warmup_ratio": ((-0.1, 1.0, 10), ">= 0 and < 1"),
    "batching_window_step": ((0, -4), ">= 1"),
    "checkpoint_every": ((-1, -3), ">= 0"),
    "content_dropout": ((-0.1, 1.0), ">= 0 and < 1"),
    "content_min_count": ((0, -2), ">= 1"),
    "transfer_max_count": ((0, -2), ">= 1"),
    "transfer_reach": ((0, -2), ">= 1"),
    "transfer_max_contexts": ((0, -2), ">= 1"),
    "transfer_batch_size": ((0, -2), ">= 1"),
    "transfer_learning_rate": ((0, -0.1), "> 0"),
    "transfer_layers": ((0, -2), ">= 1"),
    "transfer_heads": ((0, -2), ">= 1"),
    "transfer_user_weight": ((-0.1,), ">= 0"),
    "transfer_item_weight": ((-0.1,), ">= 0"),
    "transfer_user_share": ((-0.1, 1.1), ">= 0 and <= 1"),
    "transfer_curriculum": ((0, -2), ">= 1"),
    "nproc": ((0, -2), ">= 1"),
    "world_size": ((0, -1), ">= 1"),
    "port": ((0, 65536), ">= 1 and <= 65535"),
    "offset": ((-1,), ">= 0"),
}
AT_THE_EDGE = {
    "ce_weight": (0,),
    "pref_weight": (0,),
    "pref_tau": (1e-9,),
    "pref_num_rejected": (1,),
    "pref_self_play_top": (1,),
    "pref_gumbel_scale": (0,),
    "pref_straight_through_temperature": (1e-9,),
    "pref_beta": (1e-9,),
    "pref_gamma": (0,),
    "pref_label_smoothing": (0, 0.499),
    "pref_dynamic_margin": (0,),
    "pref_dynamic_scale": (0, 0.999),
    "likelihood_adjust_strength": (0,),
    "likelihood_gamma": (0,),
    "likelihood_beta": (0, 0.9999),
    "likelihood_ips_power": (0,),
    "likelihood_ips_clip": (1,),
    "likelihood_num_sampled": (1,),
    "likelihood_calibration": (0, 1),
    "likelihood_reembed_epoch": (0,),
    "tail_split_ratio": (0, 1),
    "tail_split_threshold": (0,),
    "eval_logit_adjust": (0,),
    "eval_neighbours": (0, 0.999),
    "eval_neighbours_discount": (0,),
    "eval_neighbours_reach": (1,),
    "eval_neighbours_recency": (1e-9, 1),
    "eval_neighbours_alike": (0,),
    "eval_chunk_items": (1,),
    "warmup_ratio": (0, 0.999),
    "batching_window_step": (1,),
    "checkpoint_every": (0,),
    "content_dropout": (0, 0.999),
    "content_min_count": (1,),
    "transfer_max_count": (1,),
    "transfer_reach": (1,),
    "transfer_max_contexts": (1,),
    "transfer_batch_size": (1,),
    "transfer_learning_rate": (1e-9,),
    "transfer_layers": (1,),
    "transfer_heads": (1,),
    "transfer_user_weight": (0,),
    "transfer_item_weight": (0,),
    "transfer_user_share": (0, 1),
    "transfer_curriculum": (1,),
    "nproc": (1,),
    "world_size": (1,),
    "port": (1, 65535),
    "offset": (0,),
}
CHOICES = {
    "pref_score": ("prob", "log_prob"),
    "pref_form": ("paper", "published_code"),
    "pref_negatives": (
        "head_gumbel",
        "head_random",
        "head_top_k",
        "uniform",
        "popularity",
        "in_batch",
        "self_play",
    ),
    "pref_dynamic_base": ("dmpo", "sdpo"),
    "pref_sample_space": ("prob", "log_prob"),
    "likelihood_negatives": ("uniform", "popularity"),
    "likelihood_form": ("normalised", "published_code"),
    "tail_split_rule": ("item_share", "interaction_share", "count_threshold"),
    "tail_split_tie_break": ("token", "id"),
    "tail_split_counts": ("train", "augmented"),
    "lr_schedule": ("constant", "cosine", "linear"),
    "batching": ("packed", "prefix"),
    "item_softmax": ("auto", "dense", "chunked", "chunked_bfloat16", "fused"),
    "content_mode": ("none", "add", "replace", "gate", "init"),
    "content_side": ("both", "input", "output"),
    "transfer_items": ("rare", "tail"),
}
FLAGS = (
    "pref_straight_through", "pref_exclude_history", "pref_pad_in_softmax", "pref_robust", "pref_init_from_reference",
    "tail_reweight", "eval_mask_history", "likelihood_log_q", "content_frozen", "content_zero_init",
    "transfer_keep_norm",
)  # fmt: skip
LISTS = ("eval_logit_adjust_curve",)
NAME_LISTS = ("content_fields", "content_file", "eval_neighbours_fields", "also_select")
MAY_BE_NONE = {
    "tail_split_threshold", "batching_window_step", "run_dir", "preset", "dataset_counts", "pref_reference",
    "likelihood_reembed_epoch", "eval_chunk_items", "content_mode", "world_size", "port",
}  # fmt: skip
ANY_NUMBER = ("tail_alpha", "tail_alpha_head")
NUMBERS = (*OUT_OF_RANGE, *ANY_NUMBER)
WHOLE_NUMBERS = (
    "pref_num_rejected", "pref_self_play_top", "batching_window_step", "likelihood_num_sampled",
    "likelihood_reembed_epoch", "eval_neighbours_reach", "eval_chunk_items", "checkpoint_every", "content_min_count",
    "nproc", "world_size", "port", "offset", "transfer_max_count", "transfer_reach", "transfer_max_contexts",
    "transfer_batch_size", "transfer_layers", "transfer_heads", "transfer_curriculum",
)  # fmt: skip
TEXTS = ("run_dir", "preset", "pref_reference", "ip")

GROUP_OF = {spec.name: group for group in GROUPS for spec in fields(group)}
# What a choice cannot do without.
CONTENT = {"content_fields": ["class"]}
TOGETHER_WITH = {"count_threshold": {"tail_split_threshold": 5}}
TOGETHER_WITH |= dict.fromkeys(("add", "replace", "gate", "init"), CONTENT)


def made(key, value):
    return getattr(GROUP_OF[key](**{key: value}), key)


def range_of(key):
    return OUT_OF_RANGE[key][1] if key in OUT_OF_RANGE else "any finite number"


def refusal(key, value) -> str:
    with pytest.raises(InputError) as caught:
        made(key, value)
    return str(caught.value)


def test_the_lists_above_name_every_setting():
    assert {*NUMBERS, *CHOICES, *FLAGS, *TEXTS, *LISTS, *NAME_LISTS, "dataset_counts"} == set(KEYS)


@pytest.mark.parametrize(("key", "value"), [(key, bad) for key, (values, _) in OUT_OF_RANGE.items() for bad in values])
def test_a_value_out_of_range_is_refused_with_key_value_and_range(key, value):
    message = refusal(key, value)
    assert message.startswith(f"{key} = ")
    assert f"{value:g}" in message
    assert f"Allowed: {OUT_OF_RANGE[key][1]}." in message


@pytest.mark.parametrize(("key", "value"), [(key, good) for key, values in AT_THE_EDGE.items() for good in values])
def test_a_value_at_the_edge_of_the_range_is_taken(key, value):
    assert made(key, value) == value


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_with_key_value_and_range(key, value):
    message = refusal(key, value)
    assert message.startswith(f"{key} = {value}:")
    assert f"Allowed: {range_of(key)}." in message


def test_a_whole_number_too_large_for_a_float_is_refused_like_infinity():
    assert refusal("pref_weight", 10**400).startswith("pref_weight = inf: out of range")


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["much", "0.5", True, False, [1], {"a": 1}])
def test_what_is_no_number_is_refused_where_a_number_belongs(key, value):
    message = refusal(key, value)
    assert message.startswith(f"{key} = {value!r}: must be a")
    assert ("whole number" if key in WHOLE_NUMBERS else "a number") in message
    assert f"Allowed: {range_of(key)}." in message


@pytest.mark.parametrize("key", WHOLE_NUMBERS)
def test_a_fraction_is_refused_where_a_whole_number_belongs(key):
    assert refusal(key, 2.5).startswith(f"{key} = 2.5: must be a whole number")


@pytest.mark.parametrize("key", WHOLE_NUMBERS)
def test_a_whole_number_written_as_a_fraction_is_a_whole_number(key):
    assert (made(key, 4.0), type(made(key, 4.0))) == (4, int)


@pytest.mark.parametrize("key", [*FLAGS])
@pytest.mark.parametrize("value", [0, 1, 1.0, "yes", "", [True]])
def test_what_is_neither_true_nor_false_is_refused_for_a_flag(key, value):
    assert refusal(key, value).startswith(f"{key} = {value!r}: must be True or False")


@pytest.mark.parametrize("key", [*FLAGS])
@pytest.mark.parametrize(("value", "meant"), [("true", True), ("False", False), (True, True), (False, False)])
def test_a_flag_may_be_written_in_any_case(key, value, meant):
    assert made(key, value) is meant


@pytest.mark.parametrize("key", CHOICES)
def test_an_unknown_choice_is_refused_with_all_choices_and_the_nearest(key):
    nearest = CHOICES[key][-1]
    message = refusal(key, f"{nearest}x")
    assert message.startswith(f"{key} = {nearest}x: unknown")
    assert f"Allowed: {', '.join(CHOICES[key])}." in message
    assert f"Did you mean {nearest!r}?" in message


@pytest.mark.parametrize("key", CHOICES)
@pytest.mark.parametrize("value", [3, 0.5, True, ["prob"]])
def test_what_is_no_text_is_refused_for_a_choice_with_all_choices(key, value):
    message = refusal(key, value)
    assert message.startswith(f"{key} = {value!r}: must be text")
    assert f"Allowed: {', '.join(CHOICES[key])}." in message


@pytest.mark.parametrize(("key", "choice"), [(key, choice) for key, choices in CHOICES.items() for choice in choices])
def test_every_choice_is_taken(key, choice):
    assert getattr(GROUP_OF[key](**{key: choice}, **TOGETHER_WITH.get(choice, {})), key) == choice


@pytest.mark.parametrize("key", TEXTS)
@pytest.mark.parametrize("value", [5, 0.5, True, ["a"]])
def test_what_is_no_text_is_refused_where_text_belongs(key, value):
    assert refusal(key, value).startswith(f"{key} = {value!r}: must be text")


@pytest.mark.parametrize("value", ["users: 5", 5, [1, 2, 3], True])
def test_dataset_counts_must_be_a_mapping(value):
    assert refusal("dataset_counts", value).startswith(f"dataset_counts = {value!r}: must be a mapping")


@pytest.mark.parametrize("key", sorted(set(KEYS) - MAY_BE_NONE - {*LISTS, *NAME_LISTS}))
def test_none_is_refused_where_the_default_is_a_value(key):
    assert refusal(key, None).startswith(f"{key} = None: must be ")


@pytest.mark.parametrize("key", sorted(MAY_BE_NONE))
def test_none_is_taken_where_it_is_the_default(key):
    assert KEYS[key]["optional"]
    assert made(key, None) is None


@pytest.mark.parametrize("key", LISTS)
@pytest.mark.parametrize(("value", "meant"), [([0, 0.5, 2], (0.0, 0.5, 2.0)), ((1,), (1.0,)), ([], ()), (None, ())])
def test_a_list_of_numbers_is_taken_and_none_is_the_empty_one(key, value, meant):
    assert made(key, value) == meant


@pytest.mark.parametrize("key", LISTS)
@pytest.mark.parametrize("value", [0.3, "0.1 0.3", {"a": 1}, True])
def test_what_is_no_list_is_refused_where_a_list_belongs(key, value):
    message = refusal(key, value)
    assert message.startswith(f"{key} = {value!r}: must be a list of numbers")
    assert "Allowed: >= 0." in message


@pytest.mark.parametrize("key", LISTS)
@pytest.mark.parametrize("value", [-0.1, "much", float("nan"), float("inf"), True, None])
def test_a_list_with_one_wrong_number_is_refused_with_that_number(key, value):
    message = refusal(key, [0.5, value])
    assert message.startswith(f"{key} = {value!r}: ")
    assert "Allowed: >= 0." in message


@pytest.mark.parametrize("key", NAME_LISTS)
@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("[a, b]", ("a", "b")),
        ("a,b", ("a", "b")),
        ("['a']", ("a",)),
        (["a", "b"], ("a", "b")),
        (("a",), ("a",)),
        ("[]", ()),
        ("", ()),
        (None, ()),
    ],
)
def test_a_list_of_names_may_be_written_with_commas_and_brackets(key, value, meant):
    assert made(key, value) == meant


@pytest.mark.parametrize("key", NAME_LISTS)
@pytest.mark.parametrize(
    ("value", "told"),
    [(3, "3: must be a list of names"), ({"a": 1}, "{'a': 1}: must be a list"), ([3], "3: must be text")],
)
def test_what_is_no_name_is_refused_where_names_belong(key, value, told):
    assert refusal(key, value).startswith(f"{key} = {told}")


@pytest.mark.parametrize(
    ("given", "meant"),
    [({}, "none"), (CONTENT, "add"), ({**CONTENT, "content_mode": "none"}, "none"), ({"content_file": "v.npy"}, "add")],
)
def test_content_is_added_where_it_is_named_and_no_mode_is(given, meant):
    assert ContentSettings(**given).mode == meant


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        LossSettings().pref_weight = 3


@settings(deadline=None)
@given(st.data(), st.sampled_from(PREFIXES), st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
def test_a_key_of_ours_with_one_letter_wrong_behind_its_prefix_is_refused_with_the_nearest(data, prefix, letter):
    key = data.draw(st.sampled_from([key for key in KEYS if key.startswith(prefix)]))
    place = data.draw(st.integers(len(prefix), len(key)))
    typo = key[:place] + letter + key[place + 1 :]
    assume(typo not in KEYS)
    with pytest.raises(InputError, match=f"^{typo}: there is no such setting. Did you mean ") as caught:
        check_own_keys({typo: 1})
    assert re.search(r"'(\w+)'", str(caught.value))[1] in KEYS


def test_the_nearest_key_is_the_one_that_was_meant():
    with pytest.raises(InputError, match=r"^pref_wieght: there is no such setting\. Did you mean 'pref_weight'\?$"):
        check_own_keys({"pref_wieght": 1})


def test_keys_of_others_are_let_pass():
    check_own_keys({"learning_rate": 1, "tau": 2, "beta": 3, "tail_ratio": 0.1, "n_layers": 1})


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_key_of_ours_is_let_pass(key):
    check_own_keys({key: None})


def test_with_both_weights_zero_nothing_would_be_learned_so_it_is_refused():
    with pytest.raises(InputError, match="ce_weight = 0 and pref_weight = 0"):
        LossSettings(ce_weight=0, pref_weight=0)


def test_more_rivals_than_self_play_lists_are_refused_with_both_settings():
    with pytest.raises(InputError, match=r"pref_num_rejected = 6 .*Allowed: 1 to 5; or raise pref_self_play_top"):
        LossSettings(pref_negatives="self_play", pref_num_rejected=6, pref_self_play_top=5)
    assert LossSettings(pref_negatives="self_play", pref_num_rejected=5, pref_self_play_top=5).pref_num_rejected == 5


@pytest.mark.parametrize("negatives", ["head_random", "head_top_k", "in_batch", "self_play"])
def test_a_gradient_through_the_draw_needs_the_gumbel_draw(negatives):
    with pytest.raises(InputError, match=f"pref_straight_through = True with pref_negatives = {negatives}"):
        LossSettings(pref_straight_through=True, pref_negatives=negatives)


def test_a_gradient_through_the_gumbel_draw_is_taken():
    assert LossSettings(pref_straight_through=True, pref_negatives="head_gumbel").pref_straight_through


def test_the_rule_of_a_threshold_needs_the_threshold():
    with pytest.raises(InputError, match="tail_split_rule = count_threshold needs tail_split_threshold: a number >= 0"):
        SplitSettings(tail_split_rule="count_threshold")


def test_a_group_reads_its_own_settings_of_a_mapping_and_no_others():
    found = SplitSettings.from_config({"tail_split_ratio": 0.5, "pref_weight": -1, "learning_rate": 1e-3})
    assert found == SplitSettings(tail_split_ratio=0.5)


def test_what_a_mapping_does_not_name_keeps_its_default():
    assert RunSettings.from_config({}) == RunSettings()


def every_file():
    return sorted(PROPERTIES.rglob("*.yaml"))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_setting_is_documented_with_its_type_in_a_settings_file(key):
    line = re.compile(rf"^{key}:[^#\n]*#\s*\((str|int|float|bool|dict|list)", re.MULTILINE)
    assert any(line.search(path.read_text(encoding="utf-8")) for path in every_file())


@pytest.mark.parametrize("path", every_file(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_settings_file_names_no_setting_that_does_not_exist(path):
    content = read_yaml(path)
    check_own_keys(content)
    assert set(content) <= known_keys()


@pytest.mark.parametrize("path", every_file(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_settings_file_holds_values_that_are_taken(path):
    content = read_yaml(path)
    for group in GROUPS:
        group.from_config(content)


def defaults(*groups):
    return {spec.name: spec.default for group in groups for spec in fields(group)}


def test_the_settings_file_of_lpo_has_the_defaults_of_the_code():
    content = read_yaml(PROPERTIES / "objective" / "lpo.yaml")
    assert content == {key: value for key, value in defaults(LossSettings).items() if key in content}
    assert {"pref_weight", "pref_tau", "pref_score", "pref_num_rejected", "tail_alpha"} <= set(content)


def test_the_settings_files_of_likelihood_objectives_have_the_defaults_of_the_code():
    found = {}
    for objective in LIKELIHOODS:
        found |= read_yaml(PROPERTIES / "objective" / f"{objective}.yaml")
    assert {key: value for key, value in found.items() if key.startswith("likelihood_")} == defaults(LikelihoodSettings)


def test_the_settings_files_of_cities_and_melt_have_the_defaults_of_the_code():
    found = {}
    for method in ("cities", "melt"):
        found |= read_yaml(PROPERTIES / "objective" / f"{method}.yaml")
    assert {key: value for key, value in found.items() if key.startswith("transfer_")} == defaults(TransferSettings)


def test_the_settings_file_of_every_run_has_the_defaults_of_the_code():
    content = {
        key: tuple(value) if key in (*LISTS, *NAME_LISTS) else value
        for key, value in read_yaml(PROPERTIES / "overall.yaml").items()
        if key in KEYS
    }
    assert content == defaults(SplitSettings, RunSettings, ContentSettings, ProcessSettings)


@settings(deadline=None)
@given(st.floats(0, 1e30), st.floats(1e-30, 1e30), st.integers(1, 10**9))
def test_numbers_in_range_come_back_as_they_are(weight, tau, rivals):
    found = LossSettings(pref_weight=weight, pref_tau=tau, pref_num_rejected=rivals)
    assert (found.pref_weight, found.pref_tau, found.pref_num_rejected) == (weight, tau, rivals)


@pytest.mark.parametrize("group", GROUPS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_a_group_written_as_a_mapping_and_read_again_is_the_same(group, data):
    chosen = {}
    for spec in fields(group):
        if spec.name in AT_THE_EDGE:
            chosen[spec.name] = data.draw(st.sampled_from((spec.default, *AT_THE_EDGE[spec.name])))
        elif spec.name in FLAGS:
            chosen[spec.name] = data.draw(st.booleans())
    assume(chosen.get("ce_weight", 1) or chosen.get("pref_weight", 1))
    written = asdict(group(**chosen))
    assert asdict(group.from_config(written)) == written


def test_a_number_of_numpy_is_a_number():
    assert LossSettings(pref_weight=np.float64(0.25)).pref_weight == 0.25
