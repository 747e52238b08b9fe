"""The Python API: run, load, objective_function, recommend."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole.utils import init_seed

from recbole_lpo.config import Config
from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.distributed.checks import check_processes
from recbole_lpo.distributed.group import launched, process_group
from recbole_lpo.distributed.launch import launch
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.distributed.shared_folder import shared_run_folder
from recbole_lpo.errors import InputError
from recbole_lpo.recommendation import recommend
from recbole_lpo.reference_run import lacks_reference, reference_folder
from recbole_lpo.run_folder import (
    CHECKPOINTS,
    read_settings,
    write_history,
    write_metrics,
    write_per_user,
)
from recbole_lpo.settings import ProcessSettings, RunSettings
from recbole_lpo.trainer.checkpoint import BEST, load_checkpoint, token_map_hash
from recbole_lpo.trainer.evaluation import Measured
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.memory import keep_freed_memory, peak_memory_mb
from recbole_lpo.trainer.run_log import without_tensorboard

__all__ = ["LoadedRun", "evaluate", "load", "objective_function", "recommend", "run"]


@dataclass(frozen=True)
class LoadedRun:
    """A trained model with the data that it was trained on.

    `trainer.evaluate(test_data, load_best_model=False)` measures it again.
    """

    config: Config
    dataset: Any
    train_data: Any
    valid_data: Any
    test_data: Any
    model: Any
    trainer: Any

    @property
    def split(self) -> HeadTailSplit:
        """Which items are head and which are tail."""
        return self.trainer.eval_collector.split


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a model, evaluate its best weights on the test set, and leave a run folder.

    Any model of RecBole will do; the arguments are those of RecBole's `run_recbole`, which this never calls. With
    `nproc` in the settings it starts that many processes; a script that torchrun starts is one of several already.
    quiet: no progress bars, and only warnings on stderr.
    Returns the content of `metrics.json` and `run_dir`. Raises InputError for input that the user can mend, RunError
    for a run that cannot go on.
    """
    arguments = {"model": model, "dataset": dataset, "config_file_list": config_file_list, "config_dict": config_dict}
    config = Config(**arguments)
    check_processes(config)
    processes = ProcessSettings.from_config(config)
    if processes.world > 1 and launched() is None:
        return launch({**arguments, "quiet": quiet}, processes)
    with process_group(config["device"]) as ranks:
        config.ranks = ranks
        return ranks.told(_run(config, quiet=quiet or not ranks.writes))


def _run(config: Config, *, quiet: bool) -> dict[str, Any]:
    """A run in one process, or in one of those that share it."""
    started, ranks = perf_counter(), ranks_of(config)
    keep_freed_memory()
    if quiet or not sys.stderr.isatty():
        # A bar redraws its line; in a file it would fill pages.
        config["show_progress"] = False
    if lacks_reference(config):
        folder = reference_folder(config, lambda settings: run(config_dict=settings, quiet=quiet))
        config["pref_reference"] = config.given["pref_reference"] = str(folder.resolve())
    named = {"dataset": config["dataset"], "model": config["model"], "seed": config["seed"]}
    with shared_run_folder(config, quiet=quiet, **named) as folder:
        config["checkpoint_dir"] = str(folder / CHECKPOINTS)
        prepared = _prepare(config)
        trainer = prepared.trainer
        trainer.run_dir, trainer.about = folder, _about(prepared)
        trainer.logger.info("%s on %s: %s", config["model"], config["dataset"], folder)
        ready, bars = perf_counter(), config["show_progress"]
        _, valid = trainer.fit(prepared.train_data, prepared.valid_data, saved=True, show_progress=bars)
        trained = perf_counter()
        strengths = (trainer.run_settings.eval_logit_adjust, *_curve(prepared))
        tested, *curve = trainer.evaluate_adjusted(prepared.test_data, strengths, show_progress=bars)
        adjusted = _adjusted(prepared, curve)
        finished = perf_counter()
        seconds = {"prepare": ready - started, "train": trained - ready, "evaluate": finished - trained}
        metrics = named | _found(prepared, valid or {}, tested, seconds | {"total": finished - started})
        metrics |= {"adjusted": adjusted, "memory": {"peak_mb": peak_memory_mb(config["device"])}}
        metrics["processes"] = ranks.world
        if ranks.writes:
            write_history(folder, getattr(trainer, "history", []))
            if tested.evaluation:
                users = prepared.dataset.field2id_token[prepared.dataset.uid_field]
                write_per_user(folder, tested.evaluation, users, _item_tokens(prepared))
            write_metrics(folder, metrics)
    return {**metrics, "run_dir": str(folder)}


def load(run_dir: str | Path, config_dict: dict[str, Any] | None = None) -> LoadedRun:
    """The best model of a run folder, ready to evaluate or to recommend, with its data.

    config_dict: settings in place of those of the run, for the evaluation (`eval_mask_history`, `topk`, ...).
    """
    folder = Path(run_dir)
    changes = {**(config_dict or {}), "checkpoint_dir": str(folder / CHECKPOINTS)}
    config = Config(config_dict=read_settings(folder) | changes)
    with without_tensorboard():
        prepared = _prepare(config)
    items = token_map_hash(_item_tokens(prepared))
    load_checkpoint(folder / CHECKPOINTS / BEST, prepared.model, items=items, device=config["device"])
    prepared.trainer.eval_collector.data_collect(prepared.train_data)
    prepared.trainer.run_dir = folder
    prepared.model.eval()
    return prepared


def evaluate(
    run_dir: str | Path,
    *,
    logit_adjust: Sequence[float] = (0.0,),
    on: str = "test",
    config_dict: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Measure a finished run again, without training: once for each strength of the post-hoc logit adjustment.

    on: `test`, or `valid`, which is where a strength should be chosen. config_dict as in `load`. Returns, for each
    strength, what `metrics.json` holds of an evaluation; the figures stand under "test" for validation items too.
    """
    if on not in ("test", "valid"):
        raise InputError(f"on = {on}: must be test or valid.")
    strengths = [RunSettings(eval_logit_adjust=strength).eval_logit_adjust for strength in logit_adjust]
    loaded = load(run_dir, config_dict)
    data = loaded.test_data if on == "test" else loaded.valid_data
    name = {"model": loaded.config["model"], "dataset": loaded.config["dataset"], "seed": loaded.config["seed"]}
    return [
        {
            **name,
            "protocol": _protocol(loaded.config, measured) | {"measured_on": on},
            "split": loaded.split.describe(),
            "test": dict(measured.figures),
            "n": measured.evaluation.sizes() if measured.evaluation else None,
        }
        for measured in loaded.trainer.evaluate_adjusted(data, strengths, load_best_model=False)
    ]


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """One trial of a search, in the form that RecBole's `HyperTuning` asks for; every trial keeps its run folder.

    Returns model, best_valid_score, valid_score_bigger, best_valid_result and test_result as RecBole's own
    `objective_function` does. saved: taken for RecBole's sake; the run folder is always written.
    """
    # A search has no use for the curve, which also looks at the test items.
    config_dict = {"eval_logit_adjust_curve": [], **(config_dict or {})}
    metrics = run(config_file_list=config_file_list, config_dict=config_dict, quiet=True)
    config = Config(config_dict=read_settings(Path(metrics["run_dir"])))
    return {
        "model": metrics["model"],
        "best_valid_score": metrics["valid"][config["valid_metric"].lower()],
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": metrics["valid"],
        "test_result": metrics["test"],
    }


def _prepare(config: Config) -> LoadedRun:
    """Data, model and trainer, in RecBole's order of drawing random numbers."""
    init_seed(config["seed"], config["reproducibility"])
    dataset = load_dataset(config)
    train_data, valid_data, test_data = split_dataset(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = config.model_class(config, train_data._dataset).to(config["device"])
    trainer = trainer_class(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.know_histories(train_data, valid_data)
    if not ranks_of(config).writes:
        # Weights are the same everywhere by now; dropout and negatives are each process's own.
        init_seed(ranks_of(config).own_seed(config["seed"]), config["reproducibility"])
    return LoadedRun(config, dataset, train_data, valid_data, test_data, model, trainer)


def _curve(prepared: LoadedRun) -> list[float]:
    """The strengths of the adjustment that a run measures beside its own.

    None where there is no tail to lift, where the held-out item is ranked among a few candidates, and where a user may
    have several.
    """
    config, settings = prepared.config, prepared.trainer.run_settings
    ranked = set(config["eval_args"]["mode"].values()) == {"full"} and "LS" in config["eval_args"]["split"]
    if not ranked or prepared.split.is_head[1:].all():
        return []
    return [strength for strength in settings.eval_logit_adjust_curve if strength != settings.eval_logit_adjust]


def _adjusted(prepared: LoadedRun, tested: list[Measured]) -> list[dict[str, Any]]:
    """The curve as `metrics.json` holds it: figures on test items, and of the same weights on validation items."""
    strengths = [measured.logit_adjust for measured in tested]
    validated = prepared.trainer.evaluate_adjusted(prepared.valid_data, strengths, load_best_model=False)
    valid = {measured.logit_adjust: dict(measured.figures) for measured in validated}
    return [
        {"strength": strength, "valid": valid.get(strength, {}), "test": dict(measured.figures)}
        for strength, measured in zip(strengths, tested, strict=True)
    ]


def _found(prepared: LoadedRun, valid: dict[str, float], tested: Measured, seconds: dict[str, float]):
    """What `metrics.json` holds beside the names of the run."""
    trainer = prepared.trainer
    history = getattr(trainer, "history", [])
    epochs = [record["seconds"] for record in history]
    return {
        "protocol": _protocol(prepared.config, tested),
        "split": prepared.split.describe(),
        "valid": dict(valid),
        "test": dict(tested.figures),
        "n": tested.evaluation.sizes() if tested.evaluation else None,
        "epochs": {"trained": len(history), "best": getattr(trainer, "best_epoch", None)},
        "parameters": sum(weight.numel() for weight in prepared.model.parameters() if weight.requires_grad),
        "seconds": {**seconds, "train_epoch": statistics.median(epochs) if epochs else None},
    }


def _item_tokens(prepared: LoadedRun):
    return prepared.dataset.field2id_token[prepared.dataset.iid_field]


def _about(prepared: LoadedRun) -> dict[str, Any]:
    config = prepared.config
    return {"model": config["model"], "dataset": config["dataset"], "items": token_map_hash(_item_tokens(prepared))}


def _protocol(config: Config, measured: Measured) -> dict[str, Any]:
    return {
        "split": config["eval_args"]["split"],
        "order": config["eval_args"]["order"],
        "candidates": config["eval_args"]["mode"]["test"],
        "mask_history": config["eval_mask_history"],
        "logit_adjust": measured.logit_adjust,
        "max_history": config["MAX_ITEM_LIST_LENGTH"],
        "valid_metric": config["valid_metric"],
        "ties": "middle rank, rounded up",
        "tied_users": measured.evaluation.n_ties if measured.evaluation else None,
    }
