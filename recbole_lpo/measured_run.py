"""What a run folder gets once its training is over: figures, ranks and history, for every best epoch that is kept."""

from __future__ import annotations

import json
import os
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole_lpo.errors import InputError
from recbole_lpo.loaded_run import LoadedRun, item_tokens, load
from recbole_lpo.run_folder import (
    CHECKPOINTS,
    METRICS,
    read_history,
    write_history,
    write_metrics,
    write_per_user,
    write_settings,
)
from recbole_lpo.run_metrics import adjusted, curve_strengths, found_by
from recbole_lpo.trainer.checkpoint import BEST
from recbole_lpo.trainer.evaluation import Measured
from recbole_lpo.trainer.memory import peak_memory_mb
from recbole_lpo.trainer.selection import Selection, selected_folder
from recbole_lpo.valid_metric import parse_valid_metric


@dataclass(frozen=True)
class _Found:
    """What the best weights of an epoch were measured to be; curve: `adjusted` of `metrics.json`."""

    tested: Measured
    along_curve: list[Measured]
    curve: list[dict[str, Any]]
    seconds: float


def measure_run(
    prepared: LoadedRun, folder: Path, about: dict[str, Any], seconds: dict[str, float], *, test: bool
) -> dict[str, Any]:
    """Test the best weights that a training has kept, and write history, ranks and metrics; returns the metrics.

    Each metric of `also_select` gets a run folder inside that of the run, as a run of its own would leave it. about:
    model, dataset, seed. seconds: of preparing and training. test: whether the test items are looked at.
    """
    trainer, metrics = prepared.trainer, {}
    first, *others = getattr(trainer, "selections", [None])
    # A training without validation has no best epoch under a metric.
    places = [(selected_folder(folder, one.metric), one) for one in others if one.epoch is not None]
    of_epoch: dict[int | None, _Found] = {}
    # The metrics.json of the run says that it is whole, so it comes last.
    for place, selection in (*places, (folder, first)):
        epoch = selection.epoch if selection else None
        if epoch not in of_epoch:
            trainer.run_dir = place
            of_epoch[epoch] = _measured(prepared, test=test)
        metrics = about | _metrics_of(prepared, selection, of_epoch[epoch], seconds)
        if trainer.ranks.writes:
            if place != folder:
                write_settings(place, {**prepared.config.given, "valid_metric": selection.metric, "also_select": []})
            write_history(place, _history(prepared.trainer, selection))
            _write(prepared, place, of_epoch[epoch], metrics)
    trainer.run_dir = folder
    return metrics


def measure_again(source: Path, folder: Path, settings: dict[str, Any]) -> None:
    """Make a run folder of the best weights of another, ranked with settings of its own: figures, ranks, curve.

    settings: all of the run; of those that differ from the source's, training must not depend on any. What training
    was (epochs, history, seconds) is the source's. Raises InputError where the source has not finished.
    """
    if not (source / METRICS).is_file():
        raise InputError(f"{source}: the run whose weights this one ranks with has not finished.")
    trained = json.loads((source / METRICS).read_text(encoding="utf-8"))
    prepared = load(source, settings)
    trainer, metric = prepared.trainer, prepared.config["valid_metric"]
    strength = trainer.run_settings.eval_logit_adjust
    result = {}
    # None where the split leaves no validation items.
    for validated in trainer.evaluate_adjusted(prepared.valid_data, [strength], load_best_model=False):
        result = dict(validated.figures)
        result[metric.lower()] = parse_valid_metric(metric).value(result)
    selection = Selection(
        metric, prepared.config["valid_metric_bigger"], result=result, epoch=trained["epochs"]["best"]
    )
    found = _measured(prepared, test=True)
    of_training = {part: trained["seconds"][part] for part in ("prepare", "train")}
    metrics = {key: trained[key] for key in ("model", "dataset", "seed")}
    metrics |= _metrics_of(prepared, selection, found, of_training)
    metrics |= {"epochs": trained["epochs"], "weights_of": str(source)}
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    _link(source / CHECKPOINTS / BEST, folder / CHECKPOINTS / BEST)
    write_settings(folder, {key: value for key, value in prepared.config.given.items() if key != "checkpoint_dir"})
    write_history(folder, read_history(source))
    _write(prepared, folder, found, metrics)


def _link(file: Path, to: Path) -> None:
    """The same file under a second name; a copy where the file system cannot do that."""
    to.unlink(missing_ok=True)
    try:
        os.link(file, to)
    except OSError:
        shutil.copy2(file, to)


def _measured(prepared: LoadedRun, *, test: bool) -> _Found:
    started = perf_counter()
    config, trainer = prepared.config, prepared.trainer
    strength = trainer.run_settings.eval_logit_adjust
    tested, along_curve = Measured(strength, OrderedDict(), None), []
    if test:
        whole = config["eval_args"]["mode"]["test"] == "full"
        tested, *along_curve = trainer.evaluate_adjusted(
            prepared.test_data,
            (strength, *curve_strengths(prepared)),
            show_progress=config["show_progress"],
            tail_prob=whole and not prepared.split.is_head[1:].all(),
        )
    return _Found(tested, along_curve, adjusted(prepared, along_curve), perf_counter() - started)


def _metrics_of(prepared: LoadedRun, selection: Selection | None, found: _Found, seconds: dict[str, float]):
    seconds = {**seconds, "evaluate": found.seconds}
    seconds["total"] = sum(seconds.values())
    return found_by(prepared, selection, found.tested, seconds) | {
        "adjusted": found.curve,
        "memory": {"peak_mb": peak_memory_mb(prepared.config["device"])},
        "processes": prepared.trainer.ranks.world,
    }


def _write(prepared: LoadedRun, folder: Path, found: _Found, metrics: dict[str, Any]) -> None:
    if found.tested.evaluation:
        users = prepared.dataset.field2id_token[prepared.dataset.uid_field]
        curve_ranks = {one.logit_adjust: one.evaluation.rank for one in found.along_curve}
        write_per_user(folder, found.tested.evaluation, users, item_tokens(prepared), curve_ranks)
    write_metrics(folder, metrics)


def _history(trainer, selection: Selection | None) -> list[dict[str, Any]]:
    """The records of the epochs, in which `best` speaks of the selection."""
    history = getattr(trainer, "history", [])
    if selection is None or selection is trainer.selections[0]:
        return history
    others = {f"best/{one.key}" for one in trainer.selections[1:]}
    return [
        {key: value for key, value in record.items() if key not in others}
        | ({"best": record[f"best/{selection.key}"]} if "best" in record else {})
        for record in history
    ]
