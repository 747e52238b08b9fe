"""What this project wants to reach, as ratios and limits of measured figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Goal:
    """A figure, or a figure over another one, and its bound. top, bottom: (case, side, figure)."""

    text: str
    top: tuple[str, str, str]
    bottom: tuple[str, str, str] | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    def measured(self, figures: Figures) -> float | None:
        """The value; None where a part of it was not measured."""
        top = _figure(figures, self.top)
        bottom = 1.0 if self.bottom is None else _figure(figures, self.bottom)
        return None if top is None or not bottom else top / bottom

    def is_met(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value >= self.at_least if self.at_least is not None else value <= self.at_most


def _figure(figures: Figures, place: tuple[str, str, str]) -> float | None:
    case, side, name = place
    return figures.get((case, side), {}).get(name)


def _faster(dataset: str, model: str, times: float) -> Goal:
    case = f"epoch/{dataset}/{model}"
    text = f"{model}, {dataset}: RecBole's seconds per epoch over ours"
    return Goal(text, (case, "recbole", "epoch_seconds"), (case, "ours", "epoch_seconds"), at_least=times)


def _beside(model: str, other: str, figure: str, times: float) -> Goal:
    case = "preference/amazon-beauty"
    what = "seconds per epoch" if figure == "epoch_seconds" else "peak memory"
    return Goal(f"{model} over {other}: {what}", (case, model, figure), (case, other, figure), at_most=times)


_BEAUTY = "epoch/amazon-beauty/SASRec"
_LOSS, _MILLION = "catalogue/loss/1000000", "1 million items"

GOALS = (
    _faster("amazon-beauty", "SASRec", 28),
    Goal("SASRec, amazon-beauty: RecBole's peak memory over ours", (_BEAUTY, "recbole", "peak_mb"),
         (_BEAUTY, "ours", "peak_mb"), at_least=7),
    _faster("ml-100k", "SASRec", 80),
    _faster("amazon-beauty", "GRU4Rec", 4),
    _faster("ml-100k", "GRU4Rec", 12),
    _faster("amazon-beauty", "Caser", 5),
    _faster("ml-100k", "Caser", 5),
    _beside("LPOSASRec", "SASRec", "epoch_seconds", 1.15),
    _beside("LPOSASRec", "SASRec", "peak_mb", 1.05),
    _beside("DPOSASRec", "LPOSASRec", "epoch_seconds", 1.15),
    _beside("DPOSASRec", "LPOSASRec", "peak_mb", 1.1),
    Goal(f"{_MILLION}: memory of a training step above parameters, gradients, optimizer and data",
         ("catalogue/training/1000000", "ours", "above_mb"), None, at_most=200, unit=" MB"),
    Goal(f"{_MILLION}: memory of the loss above its inputs and gradients", (_LOSS, "ours", "above_mb"), None,
         at_most=200, unit=" MB"),
    Goal(f"{_MILLION}: the loss over its three matrix products", (_LOSS, "ours", "step_seconds"),
         (_LOSS, "matmuls", "step_seconds"), at_most=1.3),
    Goal(f"{_MILLION}: the same with the products of the gradient in bfloat16", (_LOSS, "bfloat16", "step_seconds"),
         (_LOSS, "matmuls", "step_seconds"), at_most=1.3),
    Goal(f"{_MILLION}: torch's linear_cross_entropy over our loss", (_LOSS, "linear_cross_entropy", "step_seconds"),
         (_LOSS, "ours", "step_seconds"), at_least=8),
    Goal(f"{_MILLION}: peak memory of the evaluation of 22,363 users",
         ("catalogue/evaluation/1000000", "ours", "evaluate_peak_mb"), None, at_most=1500, unit=" MB"),
    Goal("20 million interactions: preparation", ("users/1000000", "ours", "prepare_seconds"), None,
         at_most=60, unit=" s"),
    Goal("20 million interactions: memory of the preparation above the raw table",
         ("users/1000000", "ours", "prepare_above_frame_mb"), None, at_most=2000, unit=" MB"),
)  # fmt: skip
