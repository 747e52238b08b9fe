"""What an optimizer remembers of weights that were overwritten from outside."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer


def forget_moments(optimizer: Optimizer, weight: Tensor, rows: Tensor) -> None:
    """Set to zero whatever the optimizer keeps for some rows of a parameter: they say where the old values were going.

    weight (N, ...) one of the optimizer's parameters; rows (R,) row numbers. Late in training Adam no longer corrects
    its running means for having started at zero, so the first step of these rows is (1 - beta1) / sqrt(1 - beta2), 3.2
    by its defaults, times as long as in a fresh optimizer.
    """
    for kept in optimizer.state.get(weight, {}).values():
        if isinstance(kept, Tensor) and kept.shape == weight.shape:
            kept[rows] = 0
