"""What a run folder gets once its training is over: figures, ranks and history, for every best epoch that is kept."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole_lpo.loaded_run import LoadedRun, item_tokens
from recbole_lpo.run_folder import write_history, write_metrics, write_per_user, write_settings
from recbole_lpo.run_metrics import adjusted, curve_strengths, found_by
from recbole_lpo.trainer.evaluation import Measured
from recbole_lpo.trainer.memory import peak_memory_mb
from recbole_lpo.trainer.selection import Selection, selected_folder


def measure_selections(
    prepared: LoadedRun, folder: Path, about: dict[str, Any], seconds: dict[str, float], *, test: bool
) -> None:
    """Fill a run folder for each metric of `also_select`, inside that of the run: its best epoch, measured as a run of
    its own would measure it. Arguments as in `measure`."""
    trainer = prepared.trainer
    for selection in getattr(trainer, "selections", ())[1:]:
        # A training without validation has no best epoch.
        if selection.epoch is None:
            continue
        place = selected_folder(folder, selection.metric)
        if trainer.ranks.writes:
            chosen = {"valid_metric": selection.metric, "also_select": []}
            write_settings(place, {**prepared.config.given, **chosen})
        trainer.run_dir = place
        measure(prepared, place, about, seconds, selection, test=test)
    trainer.run_dir = folder


def measure(
    prepared: LoadedRun,
    folder: Path,
    about: dict[str, Any],
    seconds: dict[str, float],
    selection: Selection | None,
    *,
    test: bool,
) -> dict[str, Any]:
    """Test the weights that a folder keeps, and write history, ranks and metrics there; returns the metrics.

    about: model, dataset, seed. seconds: of preparing and training. selection: the best epoch that the folder keeps;
    None for trainers that have none. test: whether the test items are looked at.
    """
    started = perf_counter()
    config, trainer = prepared.config, prepared.trainer
    strength = trainer.run_settings.eval_logit_adjust
    tested, curve = Measured(strength, OrderedDict(), None), []
    if test:
        whole = config["eval_args"]["mode"]["test"] == "full"
        tested, *curve = trainer.evaluate_adjusted(
            prepared.test_data,
            (strength, *curve_strengths(prepared)),
            show_progress=config["show_progress"],
            tail_prob=whole and not prepared.split.is_head[1:].all(),
        )
    adjusted_figures = adjusted(prepared, curve)
    seconds = {**seconds, "evaluate": perf_counter() - started}
    seconds["total"] = sum(seconds.values())
    metrics = about | found_by(prepared, selection, tested, seconds) | {"adjusted": adjusted_figures}
    metrics |= {"memory": {"peak_mb": peak_memory_mb(config["device"])}, "processes": trainer.ranks.world}
    if trainer.ranks.writes:
        write_history(folder, _history(trainer, selection))
        if tested.evaluation:
            users = prepared.dataset.field2id_token[prepared.dataset.uid_field]
            curve_ranks = {one.logit_adjust: one.evaluation.rank for one in curve}
            write_per_user(folder, tested.evaluation, users, item_tokens(prepared), curve_ranks)
        write_metrics(folder, metrics)
    return metrics


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
