"""What `metrics.json` says of a run."""

from __future__ import annotations

import statistics
from typing import Any

from recbole.utils import ModelType

from recbole_lpo.config import Config
from recbole_lpo.loaded_run import LoadedRun
from recbole_lpo.settings import RunSettings
from recbole_lpo.trainer.collapse import collapse_warning
from recbole_lpo.trainer.evaluation import Measured
from recbole_lpo.trainer.selection import Selection


def curve_strengths(prepared: LoadedRun) -> list[float]:
    """The strengths of the adjustment that a run measures beside its own.

    None where there is no tail to lift, where the held-out item is ranked among a few candidates, and where a user may
    have several.
    """
    config, settings = prepared.config, prepared.trainer.run_settings
    ranked = set(config["eval_args"]["mode"].values()) == {"full"} and "LS" in config["eval_args"]["split"]
    if not ranked or prepared.split.is_head[1:].all():
        return []
    return [strength for strength in settings.eval_logit_adjust_curve if strength != settings.eval_logit_adjust]


def adjusted(prepared: LoadedRun, tested: list[Measured]) -> list[dict[str, Any]]:
    """The curve as `metrics.json` holds it: figures on test items, and of the same weights on validation items."""
    strengths = [measured.logit_adjust for measured in tested]
    validated = prepared.trainer.evaluate_adjusted(prepared.valid_data, strengths, load_best_model=False)
    valid = {measured.logit_adjust: dict(measured.figures) for measured in validated}
    return [
        {"strength": strength, "valid": valid.get(strength, {}), "test": dict(measured.figures)}
        for strength, measured in zip(strengths, tested, strict=True)
    ]


def found_by(
    prepared: LoadedRun, selection: Selection | None, tested: Measured, seconds: dict[str, float]
) -> dict[str, Any]:
    """What `metrics.json` holds beside the names of the run.

    selection: how the epoch that was tested was chosen; None where the trainer has a choice of its own.
    """
    trainer = prepared.trainer
    valid_metric = selection.metric if selection else prepared.config["valid_metric"]
    valid = (selection.result if selection else trainer.best_valid_result) or {}
    history = getattr(trainer, "history", [])
    epochs = [record["seconds"] for record in history]
    return {
        "protocol": protocol(prepared.config, tested) | {"valid_metric": valid_metric},
        "split": prepared.split.describe(),
        "valid": {key: round(value, trainer.config["metric_decimal_place"]) for key, value in valid.items()},
        "test": dict(tested.figures),
        "n": tested.evaluation.sizes() if tested.evaluation else None,
        "warning": collapse_warning(tested.evaluation),
        "epochs": {
            "trained": len(history),
            "best": selection.epoch if selection else None,
            "stopped_early": getattr(trainer, "stopped_early", False),
        },
        "parameters": sum(weight.numel() for weight in prepared.model.parameters() if weight.requires_grad),
        "seconds": {**seconds, "train_epoch": statistics.median(epochs) if epochs else None},
    }


def protocol(config: Config, measured: Measured) -> dict[str, Any]:
    """How an evaluation was made: split, order, candidates, history, adjustment, ties."""
    return {
        "split": config["eval_args"]["split"],
        "order": config["eval_args"]["order"],
        "candidates": config["eval_args"]["mode"]["test"],
        "mask_history": config["eval_mask_history"],
        "logit_adjust": measured.logit_adjust,
        "neighbours": _neighbours(config),
        "max_history": config["MAX_ITEM_LIST_LENGTH"] if config["MODEL_TYPE"] == ModelType.SEQUENTIAL else None,
        "valid_metric": config["valid_metric"],
        "ties": "middle rank, rounded up",
        "tied_users": measured.evaluation.n_ties if measured.evaluation else None,
        "collapsed_users": measured.evaluation.n_collapsed if measured.evaluation else None,
    }


def _neighbours(config: Config) -> dict[str, Any] | None:
    settings = RunSettings.from_config(config)
    if not settings.eval_neighbours:
        return None
    fields = list(settings.eval_neighbours_fields)
    return {
        "share": settings.eval_neighbours,
        "discount": settings.eval_neighbours_discount,
        "reach": settings.eval_neighbours_reach,
        "recency": settings.eval_neighbours_recency,
        **({"fields": fields, "alike": settings.eval_neighbours_alike} if fields else {}),
    }
