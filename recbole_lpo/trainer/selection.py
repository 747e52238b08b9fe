"""Which epoch's weights are kept under a validation metric, and when training has gone on long enough for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_lpo.run_folder import SELECTED


@dataclass
class Selection:
    """The best epoch of a training under one validation metric.

    metric            as the user wrote it, one or a weighted sum
    larger_is_better  its direction
    score, result     of the best epoch so far, with all results of that epoch; infinitely bad and None before the first
    epoch             the best one, from 0; None before the first
    waited            validations since then that used up patience
    passed_over       validations after the patience had run out, which were not looked at
    """

    metric: str
    larger_is_better: bool
    score: float = math.nan
    result: dict[str, float] | None = None
    epoch: int | None = None
    waited: int = 0
    passed_over: int = 0

    def __post_init__(self) -> None:
        if self.epoch is None:
            self.score = -math.inf if self.larger_is_better else math.inf

    def take(self, epoch: int, result: Mapping[str, float], *, patience: int, counts: bool) -> bool:
        """Whether an epoch is the best so far; a tie is not.

        Once the patience has run out nothing is taken any more, however long training goes on for another metric: what
        is kept is what a training for this metric alone would have kept. counts: whether a validation without
        improvement uses up patience.
        """
        if self.is_over(patience):
            self.passed_over += 1
            return False
        score = result[self.key]
        if not (score > self.score if self.larger_is_better else score < self.score):
            self.waited += counts
            return False
        self.score, self.result, self.epoch, self.waited = float(score), dict(result), epoch, 0
        return True

    @property
    def key(self) -> str:
        """The metric as results name it."""
        return self.metric.lower()

    def is_over(self, patience: int) -> bool:
        """Whether more than `patience` validations have passed without improvement."""
        return self.waited > patience

    def state(self) -> dict[str, Any]:
        """Plain values; `Selection(**state)` is this one again."""
        return asdict(self)


def selected_folder(run_dir: Path, metric: str) -> Path:
    """Where the run folder of a metric of `also_select` is, inside that of the run whose training it shares."""
    return run_dir / SELECTED / "".join(metric.lower().split()).replace("*", "x")
