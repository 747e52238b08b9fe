"""Seconds per epoch and peak memory of training; seconds and peak memory of the preparation before it."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Any

from benchmarks import memory, turns
from benchmarks.measure.reference import reference_for
from benchmarks.sides import build

# User, item and time of an interaction.
_ROW_BYTES = 3 * 8


class _Enough(Exception):
    """Ends the training of a trainer whose steps were measured."""


class _StepTimes:
    """Hears of every step of a trainer through its optimizer, the same way for RecBole's trainer and for ours.

    Times after `warm_steps` steps, until `max_steps` more were done, or until `seconds` have passed and at least
    `min_steps` were done; then raises _Enough out of the training.
    """

    def __init__(self, optimizer, *, warm_steps: int, min_steps: int, max_steps: int, seconds: float) -> None:
        self._warm, self._min, self._max, self._seconds = warm_steps, min_steps, max_steps, seconds
        self._done = 0
        self._waited = 0.0
        self.first_batch_at: float | None = None
        self.prepared_peak = self.prepared = 0.0
        self._zero_grad = optimizer.zero_grad
        optimizer.zero_grad = self._before_step
        optimizer.register_step_post_hook(lambda *_: self._after_step())

    def _before_step(self, *arguments, **named):
        if self.first_batch_at is None:
            # RecBole and we both clear the gradients once the first batch is there.
            self.first_batch_at, self.prepared_peak = perf_counter(), memory.peak()
            memory.start_again()
            self.prepared = memory.resident()
            self._started = self._now()
        return self._zero_grad(*arguments, **named)

    def _after_step(self) -> None:
        self._done += 1
        now = self._now()
        if self._done == self._warm:
            self._started = now
        self.steps, self.seconds = self._done - self._warm, now - self._started
        if self.steps >= self._max or (self.steps >= self._min and self.seconds >= self._seconds):
            raise _Enough
        self._waited += turns.hand_over()

    def _now(self) -> float:
        """Seconds of its own turns."""
        return perf_counter() - self._waited


def measure(side: str, settings: dict[str, Any], folders: dict[str, str]) -> dict[str, float]:
    """settings: those of `sides.build`, and `warm_steps` (or `warm_epoch`), `min_steps`, `seconds`; `reference`: the
    model compares with a reference policy, which is trained beforehand.

    Returns times in seconds, memory in MB. above_mb: peak of the training over what was held before it, less the
    gradients and the two moments of Adam; peak_mb: of the whole process, from its start; prepare_above_frame_mb:
    peak of the preparation over the imports and over the interactions as three columns of 8 bytes.
    """
    baseline = memory.resident()
    config = dict(settings.get("config", {}))
    if settings.get("reference"):
        config["pref_reference"] = reference_for(settings, folders)
    started = perf_counter()
    built = build(side, settings | {"config": config}, folders)
    times = _StepTimes(
        built.trainer.optimizer,
        warm_steps=built.steps if settings.get("warm_epoch") else settings["warm_steps"],
        min_steps=settings["min_steps"],
        max_steps=built.steps,
        seconds=settings["seconds"],
    )
    with suppress(_Enough):
        built.trainer.fit(built.train_data, None, saved=False, show_progress=False)
    train_peak = memory.peak()
    parameters = sum(weight.numel() * weight.element_size() for weight in built.model.parameters()) / 1e6
    return {
        "prepare_seconds": times.first_batch_at - started,
        "prepare_peak_mb": times.prepared_peak,
        "epoch_seconds": times.seconds / times.steps * built.steps,
        "step_seconds": times.seconds / times.steps,
        "steps": times.steps,
        "steps_per_epoch": built.steps,
        "targets": built.n_targets,
        "interactions": built.n_interactions,
        "prepare_above_frame_mb": times.prepared_peak - baseline - built.n_interactions * _ROW_BYTES / 1e6,
        "baseline_mb": baseline,
        "prepared_mb": times.prepared,
        "train_peak_mb": train_peak,
        "peak_mb": max(times.prepared_peak, train_peak),
        "parameters_mb": parameters,
        "above_mb": train_peak - times.prepared - 3 * parameters,
    }
