"""The softmax probability of a group of items, from scores that come some items at a time."""

from __future__ import annotations

import torch
from torch import Tensor


class GroupProbability:
    """The sum of a softmax over the items of a group, for each row of scores.

    The terms of the softmax are summed as they come, each against the highest score so far, so that no probabilities
    of all items are ever there together.

    group   (N,) bool, over the columns
    n_rows  B
    """

    def __init__(self, group: Tensor, n_rows: int, device: torch.device) -> None:
        self._group = group.to(device, torch.float32)
        self._highest = torch.full((n_rows, 1), -torch.inf, dtype=torch.float32, device=device)
        # (B, 2): the group and all items.
        self._sums = torch.zeros(n_rows, 2, dtype=torch.float64, device=device)

    def add(self, start: int, scores: Tensor) -> None:
        """Take in the next scores of every row, (B, C), of which `start` is the first column; -inf counts nothing."""
        scores = scores.float()
        highest = torch.maximum(self._highest, scores.amax(dim=1, keepdim=True))
        # Where all scores so far are -inf, any finite number gives sums of 0.
        base = highest.masked_fill(highest == -torch.inf, 0.0)
        terms = (scores - base).exp_()
        new = torch.stack([terms @ self._group[start : start + scores.shape[1]], terms.sum(dim=1)], dim=1)
        self._sums = self._sums * (self._highest - base).exp() + new
        self._highest = highest

    def result(self) -> Tensor:
        """(B,) float64, 0 to 1; NaN for a row in which every score is -inf."""
        return self._sums[:, 0] / self._sums[:, 1]
