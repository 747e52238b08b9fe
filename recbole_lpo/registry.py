"""What makes RecBole find the plugin's models, trainers, metrics and settings by name."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator, Sequence

import recbole.config.configurator as configurator
import recbole.evaluator.register as metric_register
import recbole.model
import recbole.trainer
import recbole.trainer.trainer as trainer_module
import recbole.utils
import recbole.utils.utils as recbole_utils

import recbole_lpo.model
from recbole_lpo import compat
from recbole_lpo.config import convert_given, load_internal_settings
from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.evaluator.collector import TailCollector
from recbole_lpo.evaluator.metrics import METRICS
from recbole_lpo.model import OBJECTIVE_NAMES, TRANSFER_NAMES
from recbole_lpo.model.backbones import BACKBONES
from recbole_lpo.trainer.lpo_trainer import LPOTrainer
from recbole_lpo.trainer.run_log import tensorboard_writer

# The sequential models first: the others take a second and 70 MB to import, scikit-learn among them.
_FAMILIES = (
    "sequential_recommender",
    "general_recommender",
    "context_aware_recommender",
    "knowledge_aware_recommender",
)
_EXTERNAL_LIBRARY_MODELS = ("LightGBM", "XGBoost")
# What `register` changes in RecBole, for `recbole-lpo doctor`: name, reason, what was done.
_CHANGES = (
    (
        "collector",
        "Four of RecBole's popularity metrics crash in 1.2.1, and no metric sees which item was held out.",
        "recbole.trainer.trainer.Collector is recbole_lpo's TailCollector, a subclass of RecBole's",
    ),
    (
        "settings",
        "RecBole reads settings files from its own folder only, and typed values through eval.",
        "Config reads the plugin's files for the plugin's models, and its keys as data",
    ),
    (
        "model names",
        "RecBole answers an unknown model name with 'No module named lightgbm'.",
        "get_model names the models that exist and the nearest one",
    ),
    (
        "tensorboard",
        "RecBole writes the curves of all runs of a process into the first one's folder.",
        "a run of recbole_lpo writes into its run folder; others as before",
    ),
)
_registered = False


def register() -> None:
    """Make RecBole's `run_recbole`, `objective_function`, `load_data_and_model`, `HyperTuning`, `get_model` and
    `get_trainer` accept the plugin's names. Idempotent; edits no file of RecBole's."""
    global _registered
    if _registered:
        return
    _registered = True
    announce(recbole_lpo.model.model_names())
    _register_metrics()
    trainer_module.Collector = TailCollector
    trainer_module.get_tensorboard = functools.partial(tensorboard_writer, trainer_module.get_tensorboard)
    _wrap_config()
    _wrap_get_model()
    for name, reason, detail in _CHANGES:
        compat.register(compat.Patch(name, reason, "any", "applied", detail))


def announce(names: list[str]) -> None:
    """Let RecBole find models of ours and their trainer under these names."""
    for name in names:
        sys.modules[_module_of(name)] = recbole_lpo.model
        setattr(recbole.trainer, f"{name}Trainer", LPOTrainer)


def announce_backbone(name: str) -> None:
    """Let RecBole find a backbone of the user's own under its plain name, and ours on it; anew where it is replaced."""
    sys.modules[_module_of(name)] = recbole_lpo.model
    made = recbole_lpo.model.names_on(name)
    for one in made:
        vars(recbole_lpo.model).pop(one, None)
    announce(made)


def unknown_model(name: str) -> InputError:
    """What to tell a user who asked for a model that does not exist."""
    refusal = recbole_lpo.model.refusal(name)
    if refusal:
        return InputError(f"model = {name}: {refusal}")
    return InputError(f"model = {name}: unknown.{did_you_mean(name, model_names())} {models_are_called()}")


def models_are_called() -> str:
    """What names there are; all of them would fill a screen."""
    methods = ", ".join((*OBJECTIVE_NAMES, *TRANSFER_NAMES))
    return (
        f"Ours have the name of a method before that of a backbone, as LPOSASRec: {methods} before "
        f"{', '.join(BACKBONES)}. RecBole's have their own, as LightGCN."
    )


def model_names() -> list[str]:
    """Every model that can be asked for: ours, RecBole's, the user's own."""
    return list(dict.fromkeys(name for names in _names_by_family() for name in names))


def is_model(name: str) -> bool:
    """Whether `name` is one of `model_names`; imports no other family of RecBole's models for a sequential one."""
    return any(name in names for names in _names_by_family())


def _names_by_family() -> Iterator[Sequence[str]]:
    yield recbole_lpo.model.model_names()
    yield tuple(BACKBONES)
    for family in _FAMILIES:
        package = importlib.import_module(f"recbole.model.{family}")
        modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
        yield sorted(
            name for name in vars(package) if name.lower() in modules and isinstance(vars(package)[name], type)
        )
    yield _EXTERNAL_LIBRARY_MODELS


def _module_of(name: str) -> str:
    return f"recbole.model.sequential_recommender.{name.lower()}"


def _register_metrics() -> None:
    for metric in METRICS:
        name = metric.__name__.lower()
        metric_register.metrics_dict[name] = metric
        metric_register.metric_information[name] = metric.metric_need
        metric_register.metric_types[name] = metric.metric_type


def _wrap_config() -> None:
    base = configurator.Config
    recbole_loads, recbole_converts = base._load_internal_config_dict, base._convert_config_dict

    @functools.wraps(recbole_loads)
    def load(self, model, model_class, dataset):
        load_internal_settings(self, recbole_loads, model, model_class, dataset)

    @functools.wraps(recbole_converts)
    def convert(self, config_dict):
        return convert_given(self, recbole_converts, config_dict)

    base._load_internal_config_dict, base._convert_config_dict = load, convert


def _wrap_get_model() -> None:
    original = recbole_utils.get_model

    @functools.wraps(original)
    def get_model(model_name):
        try:
            # RecBole's search imports all its general models before it comes to the sequential ones.
            module = _module_of(model_name)
            if importlib.util.find_spec(module):
                return getattr(importlib.import_module(module), model_name)
            return original(model_name)
        except (ValueError, ModuleNotFoundError, AttributeError) as error:
            # For a name that it does not know RecBole's search ends in its LightGBM and XGBoost models, and so in
            # "No module named lightgbm".
            if is_model(model_name):
                if isinstance(error, ModuleNotFoundError):
                    raise InputError(
                        f"model = {model_name}: needs the package {error.name}, which is not installed: pip install "
                        f"{error.name}."
                    ) from None
                raise
        raise unknown_model(model_name)

    for module in (recbole_utils, recbole.utils, configurator, sys.modules.get("recbole.quick_start.quick_start")):
        if module is not None:
            module.get_model = get_model
