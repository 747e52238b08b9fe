"""Seconds and memory of ranking all items for every test user. The weights are the initial ones: it costs the same."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from benchmarks import memory
from benchmarks.sides import build


def measure(side: str, settings: dict[str, Any], folders: dict[str, str]) -> dict[str, float]:
    """settings: those of `sides.build`. above_mb: peak of the evaluation over what was held before
    it; evaluate_peak_mb: with that."""
    baseline = memory.resident()
    built = build(side, settings, folders)
    # RecBole's and our metrics ask for the training data; `fit` would have handed it over.
    built.trainer.eval_collector.data_collect(built.train_data)
    before_peak = memory.peak()
    memory.start_again()
    before, started = memory.resident(), perf_counter()
    built.trainer.evaluate(built.test_data, load_best_model=False)
    seconds, peak = perf_counter() - started, memory.peak()
    return {
        "evaluate_seconds": seconds,
        "users": len(built.test_data._dataset),
        "items": built.model.n_items - 1,
        "baseline_mb": baseline,
        "above_mb": peak - before,
        "evaluate_peak_mb": peak,
        "peak_mb": max(peak, before_peak),
    }
