"""What is wrong with a user's settings, found out before any work is done."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import recbole
from recbole.evaluator import metric_types
from recbole.evaluator.register import smaller_metrics
from recbole.utils import EvaluatorType, ModelType
from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from recbole_lpo.errors import InputError, did_you_mean, nearest
from recbole_lpo.properties_files import read_yaml
from recbole_lpo.settings import KEYS, RunSettings, check_own_keys
from recbole_lpo.valid_metric import parse_valid_metric

RECBOLE_PROPERTIES = Path(recbole.__file__).parent / "properties"
# Read by RecBole from code, found in none of its settings files.
_UNLISTED_KEYS = {
    "model", "dataset", "config_files", "local_rank", "tail_ratio", "single_spec", "wandb_project", "reg_weight",
    "loss_type", "preload_weight", "additional_feat_suffix", "contrast", "tau", "sim",
}  # fmt: skip
# RecBole's settings that must not fall below these; it checks none of them.
_LOWEST = {
    "epochs": 0, "train_batch_size": 1, "eval_batch_size": 1, "stopping_step": 0, "learning_rate": 0, "weight_decay": 0,
    "MAX_ITEM_LIST_LENGTH": 1, "seed": 0, "worker": 0,
}  # fmt: skip
# RecBole's settings that count something; a search draws them as 64.0.
WHOLE_NUMBERS = frozenset(
    {"epochs", "train_batch_size", "eval_batch_size", "stopping_step", "eval_step", "MAX_ITEM_LIST_LENGTH", "seed"}
    | {"worker", "hidden_size", "inner_size", "embedding_size", "n_layers", "n_heads", "num_layers", "nv", "nh"}
)
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")
# The arguments of torch's clip_grad_norm_.
_CLIPPING = {"max_norm", "norm_type", "error_if_nonfinite", "foreach"}
_INTERVAL_KEYS = ("user_inter_num_interval", "item_inter_num_interval")
_NUMBER = r"\s*-?(?:\d+(?:\.\d*)?|inf)\s*"
_INTERVAL = re.compile(rf"[\[(]{_NUMBER},{_NUMBER}[\])]")


def check_keys(given: dict[str, Any]) -> None:
    """Refuse settings that look like a slip of the pen; warn of those that nothing here knows."""
    check_own_keys(given)
    known = known_keys()
    for key in given:
        if key in known:
            continue
        match = nearest(key, known, cutoff=0.8)
        if match:
            raise InputError(f"{key}: there is no such setting. Did you mean {match!r}?")
        logging.getLogger().warning(
            "%s: neither RecBole nor recbole_lpo has such a setting; a model that reads it will see it.", key
        )


def check_metrics(settings: dict[str, Any]) -> None:
    """Refuse metrics that do not exist and a `valid_metric` that no evaluation will give, before any work is done.

    `also_select` names further ones.
    """
    metrics = settings["metrics"] if isinstance(settings["metrics"], list) else [settings["metrics"]]
    for metric in metrics:
        if str(metric).lower() not in metric_types:
            raise InputError(
                f"metrics: there is no metric {metric!r}.{did_you_mean(str(metric), metric_types)} "
                f"Allowed: {', '.join(sorted(metric_types))}."
            )
    topk = settings["topk"] if isinstance(settings["topk"], list) else [settings["topk"]]
    if not topk or not all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in topk):
        raise InputError(f"topk = {settings['topk']}: must be a whole number > 0 or a list of them, as [5, 10, 20].")
    if len({metric_types[str(metric).lower()] for metric in metrics}) > 1:
        raise InputError(
            f"metrics = {', '.join(map(str, metrics))}: metrics of rankings and of values do not go into one run."
        )
    measured = [f"{metric}@{k}" for metric in metrics for k in topk if _is_cut(str(metric))]
    measured += [str(metric) for metric in metrics if not _is_cut(str(metric))]
    known = {name.lower() for name in measured}
    selected_by = [("valid_metric", str(settings["valid_metric"]))]
    selected_by += [("also_select", metric) for metric in RunSettings.from_config(settings).also_select]
    for setting, metric in selected_by:
        wanted = parse_valid_metric(metric, setting).names
        for name in wanted:
            if name.lower() not in known:
                raise InputError(
                    f"{setting} = {metric}: this run does not measure {'it' if len(wanted) == 1 else name}. "
                    f"Take one of {', '.join(measured)}, or add it to metrics and topk."
                )
        larger_is_better(metric, setting)
    _check_selected_twice([metric for _, metric in selected_by])


def _check_selected_twice(metrics: Sequence[str]) -> None:
    plain = ["".join(metric.lower().split()) for metric in metrics]
    twice = [metric for metric, name in zip(metrics, plain, strict=True) if plain.count(name) > 1]
    if twice:
        raise InputError(
            f"also_select: names {twice[0]} a second time, or it is the valid_metric already. Leave it out."
        )


def larger_is_better(metric: str, setting: str = "valid_metric") -> bool:
    """Whether a larger value is the better one; metrics of both kinds in one sum raise InputError. setting: its name.

    RecBole looks at the text before the first @ only, and takes every sum for one of the larger kind.
    """
    names = parse_valid_metric(metric, setting).names
    smaller = [name for name in names if name.partition("@")[0].lower() in smaller_metrics]
    if smaller and len(smaller) < len(names):
        raise InputError(
            f"{setting} = {metric}: of {', '.join(smaller)} the smaller value is the better one, of the "
            "others the larger. A sum takes metrics of one kind."
        )
    return not smaller


@cache
def known_keys() -> frozenset[str]:
    """Every setting that RecBole's files or ours name."""
    keys = set(KEYS) | _UNLISTED_KEYS
    keys.update(general_arguments, training_arguments, evaluation_arguments, dataset_arguments)
    for path in RECBOLE_PROPERTIES.rglob("*.yaml"):
        if not path.stem.endswith("url"):
            keys.update(read_yaml(path))
    return frozenset(keys)


def _is_cut(metric: str) -> bool:
    """Whether a metric has a value for each length of list, as NDCG has, and GAUC has not."""
    return metric_types[metric.lower()] == EvaluatorType.RANKING and metric.lower() != "gauc"


def check_values(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a setting of RecBole's whose kind differs from that of its default, or that is out of range.

    RecBole itself takes any value and fails where it is used, after the data were loaded, or goes on without it.
    """
    for key, value in given.items():
        default = defaults.get(key)
        if key in KEYS or value is None or key == "gpu_id":
            continue
        if isinstance(default, bool) and not isinstance(value, bool):
            raise InputError(f"{key} = {value!r}: must be True or False.")
        if isinstance(default, int | float) and not isinstance(default, bool):
            _check_number(key, value, whole=key in WHOLE_NUMBERS)
            if "dropout" in key and isinstance(value, int | float) and not 0 <= value <= 1:
                raise InputError(f"{key} = {value}: out of range. Allowed: >= 0 and <= 1.")
    if "teacher" in given and not str(given["teacher"]).isidentifier():
        # KD_DAGFM hands it to `eval`.
        raise InputError(f"teacher = {given['teacher']!r}: must be the name of a model.")
    _check_optimizer(given)
    for key in _INTERVAL_KEYS:
        value = given.get(key)
        if value is not None and not all(_INTERVAL.fullmatch(part.strip()) for part in str(value).split(";")):
            raise InputError(f"{key} = {value!r}: must be an interval as [5,inf) or (0,10], several separated by ;.")


def _check_optimizer(given: Mapping[str, Any]) -> None:
    """RecBole takes Adam for a learner that it does not know, and looks at `clip_grad_norm` in the first step."""
    learner = given.get("learner")
    if learner is not None and str(learner).lower() not in _LEARNERS:
        why = "no model here has the sparse gradients that it needs" if learner == "sparse_adam" else "unknown"
        raise InputError(
            f"learner = {learner}: {why}.{did_you_mean(str(learner), _LEARNERS)} Allowed: {', '.join(_LEARNERS)}."
        )
    clip = given.get("clip_grad_norm")
    # RecBole clips nothing where there is nothing in it.
    if not clip:
        return
    known = isinstance(clip, Mapping) and "max_norm" in clip and clip.keys() <= _CLIPPING
    if not known or isinstance(clip["max_norm"], bool | str | list) or not 0 < clip["max_norm"] < float("inf"):
        raise InputError(f"clip_grad_norm = {clip!r}: must say the norm, as {{'max_norm': 5.0}}, or be left out.")


def check_contradictions(settings: Mapping[str, Any]) -> None:
    """Refuse settings that cannot go together, which RecBole finds out after the data were loaded, or never.

    settings: the merged ones. Those of ours alone are checked by their own groups (`recbole_lpo.settings`).
    """
    heads, width = settings.get("n_heads"), settings.get("hidden_size")
    if isinstance(heads, int) and isinstance(width, int) and (heads < 1 or width < 1 or width % heads):
        raise InputError(f"hidden_size = {width} with n_heads = {heads}: the heads share the width. Take a multiple.")
    layers = settings.get("n_layers")
    if heads is not None and isinstance(layers, int) and layers < 1:
        raise InputError(f"n_layers = {layers} with n_heads = {heads}: a transformer has a layer or more. Take >= 1.")
    if settings.get("tail_split_threshold") is not None and settings.get("tail_split_rule") != "count_threshold":
        raise InputError(
            f"tail_split_threshold = {settings['tail_split_threshold']} with tail_split_rule = "
            f"{settings.get('tail_split_rule')}: only count_threshold reads it. Set that rule, or leave it out."
        )
    if settings.get("also_select") and settings.get("eval_step") == 0:
        raise InputError(
            f"also_select = {settings['also_select']} with eval_step = 0: nothing is validated, so there is no best "
            "epoch. Leave also_select out, or validate."
        )
    step, longest = settings.get("batching_window_step"), settings.get("MAX_ITEM_LIST_LENGTH")
    if step is not None and settings.get("batching") == "prefix":
        raise InputError(
            f"batching_window_step = {step} with batching = prefix: only packed batches have windows. Leave it out."
        )
    if isinstance(step, int) and isinstance(longest, int) and step > longest:
        raise InputError(f"batching_window_step = {step}: must be 1 to MAX_ITEM_LIST_LENGTH, {longest} here.")


def _check_number(key: str, value: Any, *, whole: bool) -> None:
    if isinstance(value, list | tuple):
        # Some models take one number a layer.
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    lowest = _LOWEST.get(key)
    at_least = "" if lowest is None else f" >= {lowest}"
    finite = number and abs(value) < float("inf")
    if not finite or (whole and value != int(value)):
        raise InputError(f"{key} = {value!r}: must be a {'whole ' if whole else ''}number{at_least}.")
    if lowest is not None and value < lowest:
        raise InputError(f"{key} = {value}: out of range. Allowed:{at_least}.")


def check_neighbours(config) -> None:
    """Refuse neighbours in the ranking for a model without histories, and where a few candidates are ranked."""
    share = RunSettings.from_config(config).eval_neighbours
    if not share:
        return
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        raise InputError(
            f"eval_neighbours = {share} with model = {config['model']}: neighbours are those of the items of a "
            "history, which only sequential models are given. Set it to 0."
        )
    modes = set(config["eval_args"]["mode"].values())
    if modes != {"full"}:
        raise InputError(
            f"eval_neighbours = {share} with eval_args.mode = {', '.join(sorted(map(str, modes)))}: the probabilities "
            "that are mixed are over all items. Set eval_args.mode to full, or eval_neighbours to 0."
        )
