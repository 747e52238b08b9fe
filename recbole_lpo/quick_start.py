"""The Python API: run, resume, load, evaluate, objective_function, recommend."""

from __future__ import annotations

import logging
import statistics
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole.utils import init_seed

from recbole_lpo.config import Config
from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.data.loading import load_dataset, split_dataset
from recbole_lpo.data.popularity import interactions_hash
from recbole_lpo.distributed.checks import check_processes
from recbole_lpo.distributed.group import launched, process_group, writes
from recbole_lpo.distributed.launch import launch
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.distributed.shared_folder import shared_log, shared_run_folder
from recbole_lpo.errors import InputError
from recbole_lpo.interruption import interruptible
from recbole_lpo.model.content import attach_content
from recbole_lpo.recommendation import recommend
from recbole_lpo.reference_run import lacks_reference, reference_folder
from recbole_lpo.resume import (
    check_same_data,
    is_resumable,
    made_with,
    saying_the_way_on,
    settings_and_checkpoint,
    warn_of_differences,
)
from recbole_lpo.run_folder import (
    CHECKPOINTS,
    held,
    read_settings,
    write_history,
    write_metrics,
    write_per_user,
)
from recbole_lpo.settings import ProcessSettings, RunSettings
from recbole_lpo.trainer.checkpoint import BEST, LAST, load_checkpoint, put_weights, token_map_hash
from recbole_lpo.trainer.collapse import collapse_warning
from recbole_lpo.trainer.evaluation import Measured
from recbole_lpo.trainer.lpo_trainer import trainer_class
from recbole_lpo.trainer.memory import keep_freed_memory, peak_memory_mb
from recbole_lpo.trainer.recbole_checkpoint import read_recbole_checkpoint
from recbole_lpo.trainer.run_log import without_tensorboard

__all__ = [
    "LoadedRun",
    "evaluate",
    "load",
    "load_recbole_checkpoint",
    "objective_function",
    "recommend",
    "resume",
    "run",
]


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
    test: bool = True,
    on_validation: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train a model, evaluate its best weights on the test set, and leave a run folder.

    Any model of RecBole will do; the arguments are those of RecBole's `run_recbole`, which this never calls. With
    `nproc` in the settings it starts that many processes; a script that torchrun starts is one of several already.
    quiet: no progress bars, and only warnings on stderr. test: False leaves the test items unseen, as a trial of a
    search must: `test` of the metrics is then empty and there is no rank for each user. on_validation(epoch, score) is
    called after every validation, epochs counted from 0; an exception in it ends the run. It is for a run in one
    process.
    Returns the content of `metrics.json` and `run_dir`. Raises InputError for input that the user can mend, RunError
    for a run that cannot go on.
    """
    arguments = {"model": model, "dataset": dataset, "config_file_list": config_file_list, "config_dict": config_dict}
    config = Config(**arguments)
    check_processes(config)
    processes = ProcessSettings.from_config(config)
    if processes.world > 1 and on_validation:
        raise InputError(
            f"nproc = {processes.nproc}: whoever listens to validations, as a search does, needs a run in one process. "
            "Leave nproc out; a search runs trials beside each other with --jobs."
        )
    if processes.world > 1 and launched() is None:
        return launch("run", {**arguments, "quiet": quiet, "test": test}, processes)
    with interruptible(), process_group(config["device"]) as ranks:
        config.ranks = ranks
        return ranks.told(_run(config, quiet=quiet or not ranks.writes, test=test, on_validation=on_validation))


def _run(
    config: Config, *, quiet: bool, test: bool, on_validation: Callable[[int, float], None] | None
) -> dict[str, Any]:
    """A run in one process, or in one of those that share it."""
    started = perf_counter()
    keep_freed_memory()
    _choose_bars(config, quiet)
    if lacks_reference(config):
        folder = reference_folder(config, lambda settings: run_to_the_end(settings, quiet=quiet, test=test))
        config["pref_reference"] = config.given["pref_reference"] = str(folder.resolve())
    with shared_run_folder(config, quiet=quiet, **_names(config)) as folder, saying_the_way_on(folder):
        return _train_and_test(config, folder, started, test=test, on_validation=on_validation)


def resume(
    run_dir: str | Path, config_dict: dict[str, Any] | None = None, *, quiet: bool = False, test: bool = True
) -> dict[str, Any]:
    """Go on with a run that was killed or interrupted, from the last epoch that it has kept; as `run` otherwise.

    On a CPU, with the same libraries and number of threads, the result is that of a run that never stopped, to the bit.
    A run of several processes goes on with as many. config_dict: settings in place of those of the run; `epochs` and
    `stopping_step` can be raised, which also extends a finished run, and some can be changed that the result does not
    depend on (`resume.MAY_CHANGE`). Raises InputError for others, and where there is nothing to go on from or nothing
    left to do.
    """
    folder, changes = Path(run_dir), config_dict or {}
    if not folder.is_dir():
        raise InputError(f"--resume={run_dir}: there is no such folder.")
    processes = ProcessSettings.from_config({**read_settings(folder), **changes})
    if processes.world > 1 and launched() is None:
        arguments = {"run_dir": str(folder), "config_dict": changes, "quiet": quiet, "test": test}
        return launch("resume", arguments, processes)
    started = perf_counter()
    keep_freed_memory()
    with interruptible(), held(folder) if writes() else nullcontext():
        settings, checkpoint = settings_and_checkpoint(folder, changes)
        config = Config(config_dict=settings)
        check_processes(config)
        with process_group(config["device"]) as ranks:
            config.ranks = ranks
            _choose_bars(config, quiet or not ranks.writes)
            with shared_log(config, folder, quiet=quiet), saying_the_way_on(folder):
                warn_of_differences(checkpoint["about"])
                return ranks.told(_train_and_test(config, folder, started, checkpoint, test=test))


def run_to_the_end(settings: dict[str, Any], *, quiet: bool = False, test: bool = True) -> dict[str, Any]:
    """The run that belongs into the folder `run_dir` of the settings: gone on with where it was begun there."""
    folder = Path(settings["run_dir"])
    if is_resumable(folder):
        return resume(folder, quiet=quiet, test=test)
    # What cannot be gone on with is begun again.
    (folder / CHECKPOINTS / LAST).unlink(missing_ok=True)
    return run(config_dict=settings, quiet=quiet, test=test)


def _names(config: Config) -> dict[str, Any]:
    return {"dataset": config["dataset"], "model": config["model"], "seed": config["seed"]}


def _choose_bars(config: Config, quiet: bool) -> None:
    if quiet or not sys.stderr.isatty():
        # A bar redraws its line; in a file it would fill pages.
        config["show_progress"] = False


def _train_and_test(
    config: Config,
    folder: Path,
    started: float,
    checkpoint: dict[str, Any] | None = None,
    *,
    test: bool,
    on_validation: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Fill a run folder; started: on the clock of `perf_counter`; checkpoint: the content of one to go on from."""
    config["checkpoint_dir"] = str(folder / CHECKPOINTS)
    ranks = ranks_of(config)
    prepared = _prepare(config)
    trainer = prepared.trainer
    # Says which items are head; what is kept of the run says so too.
    trainer.eval_collector.data_collect(prepared.train_data)
    trainer.run_dir, trainer.about = folder, _about(prepared)
    if checkpoint:
        check_same_data(folder, checkpoint["about"], trainer.about)
        trainer.resumed = checkpoint
    trainer.logger.info("%s on %s: %s", config["model"], config["dataset"], folder)
    ready, bars = perf_counter(), config["show_progress"]
    _, valid = trainer.fit(
        prepared.train_data, prepared.valid_data, saved=True, show_progress=bars, callback_fn=on_validation
    )
    trained = perf_counter()
    strength = trainer.run_settings.eval_logit_adjust
    tested, curve = Measured(strength, OrderedDict(), None), []
    if test:
        strengths = (strength, *_curve(prepared))
        whole = config["eval_args"]["mode"]["test"] == "full"
        tested, *curve = trainer.evaluate_adjusted(
            prepared.test_data, strengths, show_progress=bars, tail_prob=whole and not prepared.split.is_head[1:].all()
        )
    adjusted = _adjusted(prepared, curve)
    finished = perf_counter()
    seconds = {"prepare": ready - started, "train": trained - ready, "evaluate": finished - trained}
    metrics = _names(config) | _found(prepared, valid or {}, tested, seconds | {"total": finished - started})
    metrics |= {"adjusted": adjusted, "memory": {"peak_mb": peak_memory_mb(config["device"])}}
    metrics["processes"] = ranks.world
    if ranks.writes:
        write_history(folder, getattr(trainer, "history", []))
        if tested.evaluation:
            users = prepared.dataset.field2id_token[prepared.dataset.uid_field]
            curve_ranks = {one.logit_adjust: one.evaluation.rank for one in curve}
            write_per_user(folder, tested.evaluation, users, _item_tokens(prepared), curve_ranks)
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
    load_checkpoint(folder / CHECKPOINTS / BEST, prepared.model, items=items)
    prepared.trainer.eval_collector.data_collect(prepared.train_data)
    prepared.trainer.run_dir = folder
    prepared.model.eval()
    return prepared


def load_recbole_checkpoint(file: str | Path, config_dict: dict[str, Any] | None = None) -> LoadedRun:
    """As `load`, of a file that RecBole's own trainer has written (`saved/<model>-<time>.pth`), with a warning.

    The file is a pickle; it is read as data, nothing in it runs. It does not say which items its weights are of: the
    dataset must be the very file that the model was trained on. config_dict: settings in place of those of the file,
    `data_path` say.
    """
    path = Path(file)
    settings, weights, others = read_recbole_checkpoint(path)
    logging.getLogger().warning(
        "%s: RecBole's checkpoints do not say which items they are of. If %s is not the file that this model was "
        "trained on, all figures are wrong without a sign of it.",
        path,
        settings["dataset"],
    )
    settings |= config_dict or {}
    cuts = settings.get("topk", 10)
    # Nothing is trained: any metric that is measured will do.
    settings["valid_metric"] = f"NDCG@{max(cuts) if isinstance(cuts, list) else cuts}"
    config = Config(config_dict=settings)
    with without_tensorboard():
        prepared = _prepare(config)
    put_weights(path, {"weights": weights, "other_parameter": others}, prepared.model)
    prepared.trainer.eval_collector.data_collect(prepared.train_data)
    prepared.model.eval()
    return prepared


def evaluate(
    run_dir: str | Path | LoadedRun,
    *,
    logit_adjust: Sequence[float] = (0.0,),
    on: str = "test",
    config_dict: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Measure a finished run again, without training: once for each strength of the post-hoc logit adjustment.

    run_dir: the folder, or what `load` or `load_recbole_checkpoint` has returned (config_dict is then not looked at).
    on: `test`, or `valid`, which is where a strength should be chosen. config_dict as in `load`. Returns, for each
    strength, what `metrics.json` holds of an evaluation; the figures stand under "test" for validation items too.
    """
    if on not in ("test", "valid"):
        raise InputError(f"on = {on}: must be test or valid.")
    strengths = [RunSettings(eval_logit_adjust=strength).eval_logit_adjust for strength in logit_adjust]
    loaded = run_dir if isinstance(run_dir, LoadedRun) else load(run_dir, config_dict)
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
    config_dict: dict[str, Any] | None = None,
    config_file_list: list[str] | None = None,
    saved: bool = True,
    *,
    test: bool = False,
) -> dict[str, Any]:
    """One trial of a search, in the form that RecBole's `HyperTuning` asks for; every trial keeps its run folder.

    Returns model, best_valid_score, valid_score_bigger, best_valid_result and test_result as RecBole's own
    `objective_function` does, and run_dir. HyperTuning prints and exports the test figures of every trial, and who sees
    them chooses by them; so `test_result` is empty unless `test` is True. Measure the winner once, when the search is
    over: `recbole_lpo.evaluate(run_dir)`. saved: taken for RecBole's sake; the run folder is always written.
    """
    metrics = run(config_file_list=config_file_list, config_dict=config_dict, quiet=True, test=test)
    config = Config(config_dict=read_settings(Path(metrics["run_dir"])))
    return {
        "model": metrics["model"],
        "best_valid_score": metrics["valid"][config["valid_metric"].lower()],
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": metrics["valid"],
        "test_result": metrics["test"],
        "run_dir": metrics["run_dir"],
    }


def _prepare(config: Config) -> LoadedRun:
    """Data, model and trainer, in RecBole's order of drawing random numbers."""
    init_seed(config["seed"], config["reproducibility"])
    dataset = load_dataset(config)
    train_data, valid_data, test_data = split_dataset(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = config.model_class(config, train_data._dataset)
    # Models of ours have it by now, RecBole's own do not.
    attach_content(model, config, train_data._dataset)
    model.to(config["device"])
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
        "warning": collapse_warning(tested.evaluation),
        "epochs": {
            "trained": len(history),
            "best": getattr(trainer, "best_epoch", None),
            "stopped_early": getattr(trainer, "stopped_early", False),
        },
        "parameters": sum(weight.numel() for weight in prepared.model.parameters() if weight.requires_grad),
        "seconds": {**seconds, "train_epoch": statistics.median(epochs) if epochs else None},
    }


def _item_tokens(prepared: LoadedRun):
    return prepared.dataset.field2id_token[prepared.dataset.iid_field]


def _about(prepared: LoadedRun) -> dict[str, Any]:
    """What checkpoints of the run say of themselves."""
    config = prepared.config
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "items": token_map_hash(_item_tokens(prepared)),
        "interactions": interactions_hash(prepared.train_data._dataset),
        "split": prepared.split.describe() | {"held_out": str(config["eval_args"]["split"])},
        "made_with": made_with() | {"device": str(config["device"])},
    }


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
        "collapsed_users": measured.evaluation.n_collapsed if measured.evaluation else None,
    }
