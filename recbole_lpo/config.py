"""RecBole's Config with the plugin's settings in it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import recbole.config.configurator as configurator
import torch
from recbole.utils import ModelType

from recbole_lpo.config_checks import (
    RECBOLE_PROPERTIES,
    WHOLE_NUMBERS,
    check_contradictions,
    check_keys,
    check_metrics,
    check_neighbours,
    check_values,
    larger_is_better,
)
from recbole_lpo.distributed.group import launched
from recbole_lpo.errors import InputError
from recbole_lpo.model import parts_of
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.properties_files import parse_value, read_preset, read_property, read_yaml
from recbole_lpo.settings import GROUPS, KEYS, LOSS_KEYS, PREFIXES, ProcessSettings, check_own_keys

_EVERY_RUN = "overall"
# What RecBole last put into CUDA_VISIBLE_DEVICES for a Config that had no other choice: no scheduler has set that.
_chosen_here: list[str] = []


def own_layers(model: str, dataset: str, *, every_run: bool) -> dict[str, Any]:
    """The plugin's defaults for a model on a dataset, later files over earlier ones.

    every_run: with `properties/overall.yaml` and the dataset's file, as a run of ours has them for any model; without,
    only what the loss of one of our models needs (RecBole's own entry points keep RecBole's defaults otherwise).
    """
    objective, _ = parts_of(model) or (None, model)
    layers = [read_property(".", _EVERY_RUN), read_property("dataset", dataset)] if every_run else []
    if objective:
        layers.append(read_property("objective", objective))
    if every_run:
        layers.append(read_property("model", _recbole_name(model)))
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
        check_neighbours(self)

    def _load_config_files(self, file_list: Iterable[str] | None) -> dict[str, Any]:
        return {key: value for file in file_list or () for key, value in read_yaml(file).items()}

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return {key: parse_value(value) for key, value in config_dict.items()}

    def _load_cmd_line(self) -> dict[str, Any]:
        return {}

    def _merge_external_config_dict(self) -> None:
        super()._merge_external_config_dict()
        self.external_config_dict = {
            key: int(value) if key in WHOLE_NUMBERS and isinstance(value, float) and value.is_integer() else value
            for key, value in self.external_config_dict.items()
        }
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
        check_values(self.external_config_dict, self.internal_config_dict)
        check_metrics(self.final_config_dict)
        check_contradictions(self.final_config_dict)
        super()._set_default_parameters()
        self.final_config_dict["valid_metric_bigger"] = larger_is_better(str(self.final_config_dict["valid_metric"]))

    def _init_device(self) -> None:
        final, place = self.final_config_dict, launched()
        # The environment says it; RecBole would open a process group of its own.
        final.pop("local_rank", None)
        here = place.local_world if place else ProcessSettings.from_config(final).nproc
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if "gpu_id" not in self.external_config_dict:
            if visible is not None and visible not in _chosen_here:
                final["gpu_id"] = visible
            else:
                final["gpu_id"] = ",".join(map(str, range(here)))
                _chosen_here[:] = [final["gpu_id"]]
        super()._init_device()
        if place and final["device"].type == "cuda":
            final["device"] = torch.device("cuda", place.local_rank)


def load_internal_settings(config: configurator.Config, recbole_loads, model: str, model_class: type, dataset: str):
    """Fill `config.internal_config_dict`: RecBole's files for the backbone, then the plugin's.

    recbole_loads is RecBole's own method; it is called with the backbone's name in place of ours, whose file it lacks.
    """
    parts = parts_of(model)
    recbole_loads(config, _recbole_name(model), model_class, dataset)
    every_run = isinstance(config, Config)
    if not (parts or every_run):
        return
    internal, given = config.internal_config_dict, config.external_config_dict
    check_own_keys(given)
    own = own_layers(model, dataset, every_run=every_run)
    if every_run or not (RECBOLE_PROPERTIES / "dataset" / f"{dataset}.yaml").is_file():
        own.setdefault("load_col", _columns_for_sequences({**internal, **own, **given}))
    if given.get("preset") is not None:
        preset = read_preset(given["preset"])
        if parts is None or parts[0] != "lpo":
            # A preset is a way to run LPO; of other models it sets what they share with it: split and schedule.
            preset = {key: value for key, value in preset.items() if key not in LOSS_KEYS}
        own |= preset
    internal.update(own)
    if parts or model in BACKBONES:
        # RecBole's files name one for each of its models; a backbone of the user's own has no file.
        internal.setdefault("loss_type", "CE")
    if _softmax_over_items({**internal, **given}, model_class, ours=parts is not None):
        # RecBole's default asks for sampled negatives, which it then refuses for this loss.
        internal["train_neg_sample_args"] = None


def convert_given(config: configurator.Config, recbole_converts, given: dict[str, Any]) -> dict[str, Any]:
    """RecBole's conversion of typed values, except for settings of ours: those are data, never code.

    Numbers of numpy, which hyperopt draws, become Python's: no settings file can hold them.
    """
    given = {key: value.item() if isinstance(value, np.generic) else value for key, value in given.items()}
    ours = {key: parse_value(value) for key, value in given.items() if key in KEYS or key.startswith(PREFIXES)}
    check_own_keys(ours)
    rest = {key: value for key, value in given.items() if key not in ours}
    return {**recbole_converts(config, rest), **ours}


def _recbole_name(model: str) -> str:
    """The model of RecBole whose settings a model starts from: for ours the backbone, for a backbone of the user's own
    the nearest model of RecBole that it is derived from."""
    _, backbone = parts_of(model) or (None, model)
    if backbone not in BACKBONES:
        return model
    names = (base.__name__ for base in BACKBONES[backbone][0].__mro__)
    return next((name for name in names if (RECBOLE_PROPERTIES / "model" / f"{name}.yaml").is_file()), backbone)


def _columns_for_sequences(merged: dict[str, Any]) -> dict[str, list[str]]:
    columns = {"inter": [merged[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD") if merged.get(key)]}
    if merged.get("selected_features"):
        columns["item"] = [merged["ITEM_ID_FIELD"], *merged["selected_features"]]
    return columns


def _softmax_over_items(merged: dict[str, Any], model_class: type, *, ours: bool) -> bool:
    sequential = merged.get("MODEL_TYPE") == ModelType.SEQUENTIAL
    # SINE asks for pairs by its `input_type`, whatever its loss; ours on it never look at one.
    pointwise = ours or not hasattr(model_class, "input_type")
    return sequential and pointwise and merged.get("loss_type") == "CE"
