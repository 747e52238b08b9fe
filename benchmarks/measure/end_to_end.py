"""From the file to a validation score: RecBole's own best, and how long each side takes to reach it."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Any

from benchmarks import memory
from benchmarks.cases import OURS
from benchmarks.sides import build


class _Reached(Exception):
    """Ends a training that has reached the score."""


def measure(side: str, settings: dict[str, Any], folders: dict[str, str]) -> dict[str, Any]:
    """settings: those of `sides.build`, and for our side `target`, RecBole's best validation NDCG@10.

    RecBole trains until it stops by itself, or for `epochs`. Seconds from the start of the preparation; None where the
    score was not reached.
    """
    # RecBole would round to four digits, and take a tie for an improvement.
    config = settings.get("config", {}) | {"valid_metric": "NDCG@10", "metric_decimal_place": 10}
    target, curve, started = settings.get("target"), [], perf_counter()

    def heard(epoch: int, score: float) -> None:
        curve.append((perf_counter() - started, float(score)))
        if target is not None and score >= target:
            raise _Reached

    built = build(side, settings | {"config": config}, folders)
    with suppress(_Reached):
        built.trainer.fit(built.train_data, built.valid_data, saved=False, show_progress=False, callback_fn=heard)
    best = max(score for _, score in curve)
    epoch = next(number for number, (_, score) in enumerate(curve) if score == best)
    reached = side != OURS or best >= target
    return {
        "seconds": curve[epoch][0] if reached else None,
        "best_score": best,
        "epochs": epoch + 1,
        "epochs_trained": len(curve),
        "peak_mb": memory.peak(),
        "curve": [[round(seconds, 2), score] for seconds, score in curve],
    }
