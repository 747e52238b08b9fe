"""RecBole's Config with the plugin's settings in it."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import recbole.config.configurator as configurator
from recbole.evaluator import metric_types
from recbole.utils import EvaluatorType, ModelType
from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from recbole_lpo.errors import InputError, did_you_mean, nearest
from recbole_lpo.model import parts_of
from recbole_lpo.properties_files import parse_value, read_preset, read_property, read_yaml
from recbole_lpo.settings import GROUPS, KEYS, PREFIXES, check_own_keys

RECBOLE_PROPERTIES = Path(configurator.__file__).parent.parent / "properties"
_EVERY_RUN = "overall"
# Read by RecBole from code, found in none of its settings files.
_UNLISTED_KEYS = {
    "model", "dataset", "config_files", "nproc", "world_size", "ip", "port", "offset", "local_rank", "tail_ratio",
    "single_spec", "wandb_project", "reg_weight", "loss_type", "preload_weight", "additional_feat_suffix",
}  # fmt: skip


def own_layers(model: str, dataset: str, *, every_run: bool) -> dict[str, Any]:
    """The plugin's defaults for a model on a dataset, later files over earlier ones.

    every_run: with `properties/overall.yaml` and the dataset's file, as a run of ours has them for any model; without,
    only what the loss of one of our models needs (RecBole's own entry points keep RecBole's defaults otherwise).
    """
    objective, backbone = parts_of(model) or (None, model)
    layers = [read_property(".", _EVERY_RUN), read_property("dataset", dataset)] if every_run else []
    if objective:
        layers.append(read_property("objective", objective))
    if every_run:
        layers.append(read_property("model", backbone))
        layers.append(read_property("model", model))
    return {key: value for layer in layers for key, value in layer.items()}


class Config(configurator.Config):
    """RecBole's Config for runs of the plugin.

    Differs from RecBole's in that it never looks at `sys.argv` (the command line passes what it was given), reads no
    value through `eval`, refuses unknown settings, and keeps a CUDA_VISIBLE_DEVICES that a scheduler has set.
    `given` holds the merged settings as they were before RecBole derives more from them: what a run folder keeps.
    """

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None) -> None:
        try:
            super().__init__(model=model, dataset=dataset, config_file_list=config_file_list, config_dict=config_dict)
        except InputError:
            raise
        except (KeyError, NotImplementedError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"RecBole refuses these settings: {reason}") from error
        for group in GROUPS:
            group.from_config(self)
        if self["eval_mask_history"] and set(self["eval_args"]["mode"].values()) != {"full"}:
            raise InputError(
                "eval_mask_history = True: RecBole draws the candidates of a sampled evaluation itself. Set the mode "
                "in eval_args to full, or eval_mask_history to False."
            )

    def _load_config_files(self, file_list: Iterable[str] | None) -> dict[str, Any]:
        return {key: value for file in file_list or () for key, value in read_yaml(file).items()}

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return {key: parse_value(value) for key, value in config_dict.items()}

    def _load_cmd_line(self) -> dict[str, Any]:
        return {}

    def _merge_external_config_dict(self) -> None:
        super()._merge_external_config_dict()
        check_keys(self.external_config_dict)

    def _get_model_and_dataset(self, model, dataset):
        for name, value in (("model", model), ("dataset", dataset)):
            if value is None and self.external_config_dict.get(name) is None:
                raise InputError(f"{name} is missing: name it as an argument, in a settings file or in config_dict.")
        model, model_class, dataset = super()._get_model_and_dataset(model, dataset)
        return model, model_class, str(dataset)

    def _get_final_config_dict(self) -> dict[str, Any]:
        final = super()._get_final_config_dict()
        inside, outside = self.internal_config_dict.get("eval_args"), self.external_config_dict.get("eval_args")
        if isinstance(inside, dict) and isinstance(outside, dict):
            # RecBole gives up the whole protocol where one part is set, and splits at random in its place.
            final["eval_args"] = {**inside, **outside}
        self.given = copy.deepcopy({**final, "model": self.model, "dataset": self.dataset})
        if "gpu_id" not in self.external_config_dict:
            # A default; where the run is loaded again it must not stand against what a scheduler has set there.
            del self.given["gpu_id"]
        return final

    def _set_default_parameters(self) -> None:
        check_metrics(self.final_config_dict)
        super()._set_default_parameters()

    def _init_device(self) -> None:
        if "gpu_id" not in self.external_config_dict and "CUDA_VISIBLE_DEVICES" in os.environ:
            self.final_config_dict["gpu_id"] = os.environ["CUDA_VISIBLE_DEVICES"]
        super()._init_device()


def load_internal_settings(config: configurator.Config, recbole_loads, model: str, model_class: type, dataset: str):
    """Fill `config.internal_config_dict`: RecBole's files for the backbone, then the plugin's.

    recbole_loads is RecBole's own method; it is called with the backbone's name in place of ours, whose file it lacks.
    """
    parts = parts_of(model)
    recbole_loads(config, parts[1] if parts else model, model_class, dataset)
    every_run = isinstance(config, Config)
    if not (parts or every_run):
        return
    internal, given = config.internal_config_dict, config.external_config_dict
    own = own_layers(model, dataset, every_run=every_run)
    if every_run or not (RECBOLE_PROPERTIES / "dataset" / f"{dataset}.yaml").is_file():
        own.setdefault("load_col", _columns_for_sequences({**internal, **own, **given}))
    if given.get("preset") is not None:
        own |= read_preset(given["preset"])
    internal.update(own)
    if _softmax_over_items({**internal, **given}, model_class):
        # RecBole's default asks for sampled negatives, which it then refuses for this loss.
        internal["train_neg_sample_args"] = None


def convert_given(config: configurator.Config, recbole_converts, given: dict[str, Any]) -> dict[str, Any]:
    """RecBole's conversion of typed values, except for settings of ours: those are data, never code."""
    ours = {key: parse_value(value) for key, value in given.items() if key in KEYS or key.startswith(PREFIXES)}
    check_own_keys(ours)
    rest = {key: value for key, value in given.items() if key not in ours}
    return {**recbole_converts(config, rest), **ours}


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
    """Refuse metrics that do not exist and a `valid_metric` that no evaluation will give, before any work is done."""
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
    if str(settings["valid_metric"]).lower() not in map(str.lower, measured):
        raise InputError(
            f"valid_metric = {settings['valid_metric']}: this run does not measure it. "
            f"Take one of {', '.join(measured)}, or add it to metrics and topk."
        )


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


def _columns_for_sequences(merged: dict[str, Any]) -> dict[str, list[str]]:
    return {"inter": [merged[field] for field in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD") if merged.get(field)]}


def _softmax_over_items(merged: dict[str, Any], model_class: type) -> bool:
    sequential = merged.get("MODEL_TYPE") == ModelType.SEQUENTIAL
    return sequential and not hasattr(model_class, "input_type") and merged.get("loss_type") == "CE"
