"""Test figures of a model trained on packed batches and on prefix rows, all else equal."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from benchmarks.cases import OURS
from benchmarks.prefix_rows import on_prefix_rows
from benchmarks.sides import build

FIGURES = ("hit@10", "ndcg@10", "tailhit@10", "tailndcg@10")


def measure(side: str, settings: dict[str, Any], folders: dict[str, str]) -> dict[str, float]:
    """settings: those of `sides.build`, with the seed under `config`. side: `packed` or `prefix`."""
    started = perf_counter()
    adapt = on_prefix_rows if side == "prefix" else (lambda trainer: trainer)
    config = settings.get("config", {}) | {"batching": side, "valid_metric": "NDCG@10", "topk": [10]}
    built = build(OURS, settings | {"config": config}, folders, adapt)
    built.trainer.fit(built.train_data, built.valid_data, saved=True, show_progress=False)
    test = built.trainer.evaluate(built.test_data)
    return {
        **{figure: test[figure] for figure in FIGURES},
        "valid_ndcg@10": built.trainer.best_valid_score,
        "epochs_trained": len(built.trainer.history),
        "seconds": perf_counter() - started,
    }
