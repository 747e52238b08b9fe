"""A training that has gone wrong: where its numbers ceased to be finite, and what is left of it."""

from __future__ import annotations

import math

import torch

from recbole_lpo.errors import InputError, RunError

_WAY_OUT = "Lower learning_rate, or set clip_grad_norm to {'max_norm': 1.0}."


def check_losses(trainer, losses: torch.Tensor, rates: list[float]) -> None:
    """Raise RunError where a step's loss is not finite, with the first such step and the parts of its loss.

    losses (S,) of the steps of an epoch; rates: the learning rate in each.
    """
    finite = torch.isfinite(losses)
    if finite.all():
        return
    step = int(finite.int().argmin())
    where = f"in epoch {trainer.epoch}, step {step + 1} of {len(losses)},"
    before = f"The step before had {losses[step - 1].item():g}. " if step else "It was the first step of its epoch. "
    monitor = getattr(trainer.model, "loss_monitor", None)
    parts = monitor.parts_of(step) if monitor else {}
    shown = ", ".join(f"{name} {value:g}" for name, value in parts.items())
    if shown and any(name.endswith("/pref") for name in parts):
        weights = trainer.model.loss_settings
        shown += f" (ce_weight {weights.ce_weight:g}, pref_weight {weights.pref_weight:g})"
    fail(trainer, losses[step], where, rates[step], (f"Its parts: {shown}. " if shown else "") + before)


def fail(trainer, loss: torch.Tensor, where: str, rate: float | None, more: str = "") -> None:
    """Raise RunError for a loss; where: epoch and step; more: sentences with a space at the end."""
    best = f"best so far: epoch {trainer.best_epoch}" if trainer.best_epoch is not None else "no epoch was finished"
    at = "" if rate is None else f" at learning rate {rate:g}"
    raise RunError(
        f"{trainer.config['model']}: the training loss is {loss.item()} {where}{at} ({best}). {more}{kept(trainer)}"
        f"{_WAY_OUT}"
    )


def check_validation(trainer, metric: str, score: float) -> None:
    """Refuse a score that is not finite: InputError where no user is in its group, else RunError. metric: its name."""
    if math.isfinite(score):
        return
    # A group without users has no mean. NaN scores of a model are refused before a metric sees them.
    if math.isnan(score) and any(group in metric for group in ("head", "tail")):
        setting = "valid_metric" if metric == trainer.valid_metric else "also_select"
        raise InputError(
            f"{setting} = {metric}: no validation user is in that group, so it has no value. "
            "Take another metric, or another head/tail split (tail_split_ratio)."
        )
    raise RunError(
        f"{trainer.config['model']}: the validation metric {metric} is {score} after epoch "
        f"{trainer.epoch}. {last_loss(trainer)}{kept(trainer)}{_WAY_OUT}"
    )


def nan_scores(trainer, error: ValueError) -> RunError:
    """The error of an evaluation in which the model scored NaN."""
    when = "" if trainer.epoch is None else f"It was evaluated after epoch {trainer.epoch}. "
    return RunError(f"{trainer.config['model']}: {error} {when}{last_loss(trainer)}{kept(trainer)}{_WAY_OUT}")


def last_loss(trainer) -> str:
    """A sentence with the training loss of the latest epoch; empty where none was trained."""
    history = getattr(trainer, "history", None)
    return f"Its training loss was {history[-1]['train_loss']:g}. " if history else ""


def kept(trainer) -> str:
    """A sentence with the checkpoints of a run that could not go on; empty where it has none."""
    files = [file for file in (trainer.best_file, trainer.last_file) if file.is_file()] if trainer.run_dir else []
    return f"Kept: {', '.join(map(str, files))}. " if files else ""
