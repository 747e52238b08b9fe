"""The Python API: run, resume, load, evaluate, objective_function, recommend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole_lpo.config import Config
from recbole_lpo.distributed.checks import check_processes
from recbole_lpo.distributed.group import launched, process_group, writes
from recbole_lpo.distributed.launch import launch
from recbole_lpo.distributed.shared_folder import shared_log, shared_run_folder
from recbole_lpo.errors import InputError
from recbole_lpo.interruption import interruptible
from recbole_lpo.loaded_run import LoadedRun, about_of, load, load_recbole_checkpoint, prepare
from recbole_lpo.measured_run import measure_run
from recbole_lpo.recommendation import recommend
from recbole_lpo.reference_run import lacks_reference, reference_folder
from recbole_lpo.resume import (
    check_same_data,
    is_resumable,
    saying_the_way_on,
    settings_and_checkpoint,
    warn_of_differences,
)
from recbole_lpo.run_folder import (
    CHECKPOINTS,
    SETTINGS,
    held,
    read_settings,
)
from recbole_lpo.run_metrics import protocol
from recbole_lpo.settings import ProcessSettings, RunSettings
from recbole_lpo.trainer.checkpoint import LAST
from recbole_lpo.trainer.memory import keep_for_next_step

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
    keep_for_next_step()
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
    before = read_settings(folder) if (folder / SETTINGS).is_file() else {}
    processes = ProcessSettings.from_config({**before, **changes})
    if processes.world > 1 and launched() is None:
        arguments = {"run_dir": str(folder), "config_dict": changes, "quiet": quiet, "test": test}
        return launch("resume", arguments, processes)
    started = perf_counter()
    keep_for_next_step()
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
    prepared = prepare(config)
    trainer = prepared.trainer
    # Says which items are head; what is kept of the run says so too.
    trainer.eval_collector.data_collect(prepared.train_data)
    trainer.run_dir, trainer.about = folder, about_of(prepared)
    if checkpoint:
        check_same_data(folder, checkpoint["about"], trainer.about)
        trainer.resumed = checkpoint
    trainer.logger.info("%s on %s: %s", config["model"], config["dataset"], folder)
    ready, bars = perf_counter(), config["show_progress"]
    trainer.fit(prepared.train_data, prepared.valid_data, saved=True, show_progress=bars, callback_fn=on_validation)
    seconds = {"prepare": ready - started, "train": perf_counter() - ready}
    metrics = measure_run(prepared, folder, _names(config), seconds, test=test)
    return {**metrics, "run_dir": str(folder)}


def evaluate(
    run_dir: str | Path | LoadedRun,
    *,
    logit_adjust: Sequence[float] | None = None,
    on: str = "test",
    config_dict: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Measure a finished run again, without training: once for each strength of the post-hoc logit adjustment.

    run_dir: the folder, or what `load` or `load_recbole_checkpoint` has returned (config_dict is then not looked at).
    logit_adjust: None for the run's own `eval_logit_adjust`. on: `test`, or `valid`, which is where a strength should
    be chosen. config_dict as in `load`. Returns, for each strength, what `metrics.json` holds of an evaluation; the
    figures stand under the name of what they are of. Raises InputError where the split has left nothing to measure on.
    """
    if on not in ("test", "valid"):
        raise InputError(f"on = {on}: must be test or valid.")
    loaded = run_dir if isinstance(run_dir, LoadedRun) else load(run_dir, config_dict)
    if logit_adjust is None:
        logit_adjust = [loaded.trainer.run_settings.eval_logit_adjust]
    strengths = [RunSettings(eval_logit_adjust=strength).eval_logit_adjust for strength in logit_adjust]
    data = loaded.test_data if on == "test" else loaded.valid_data
    if not data:
        split = loaded.config["eval_args"]["split"]
        raise InputError(f"on = {on}: the run's split {split} leaves no items to validate on. Measure on = test.")
    name = {"model": loaded.config["model"], "dataset": loaded.config["dataset"], "seed": loaded.config["seed"]}
    return [
        {
            **name,
            "protocol": protocol(loaded.config, measured) | {"measured_on": on},
            "split": loaded.split.describe(),
            on: dict(measured.figures),
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
