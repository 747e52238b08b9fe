"""The k highest scores of each row, with a fixed order among equal ones."""

from __future__ import annotations

import torch
from torch import Tensor


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest scores of each row, best first, and their columns; of equal scores the lower column comes first.

    `torch.topk` leaves open which of the scores that are equal to the last one are in the list, and their order.

    scores   (B, N) any float type, without NaN
    k        1 to N
    returns  (B, k) scores and (B, k) int64 columns
    """
    best, columns = torch.topk(scores, min(k + 1, scores.shape[1]), dim=1)
    equal_to_the_next = best[:, :-1] == best[:, 1:]
    tied = equal_to_the_next.any(dim=1).nonzero()[:, 0]
    best, columns = best[:, :k], columns[:, :k]
    if len(tied):
        lowest = _with_the_lowest_last(scores[tied], best[tied], columns[tied]).sort(dim=1).values
        best[tied], order = scores[tied].gather(1, lowest).sort(dim=1, descending=True, stable=True)
        columns[tied] = lowest.gather(1, order)
    return best, columns


def merge_top_k(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    """The k best of two lists as `top_k` gives them, where all columns of the first are lower than the second's."""
    scores, columns = (torch.cat(parts, dim=1) for parts in zip(first, second, strict=True))
    best, order = scores.sort(dim=1, descending=True, stable=True)
    return best[:, :k], columns.gather(1, order[:, :k])


def _with_the_lowest_last(scores: Tensor, best: Tensor, columns: Tensor) -> Tensor:
    """`columns` of the best k, with the lowest of the columns that share the last score in the places of that score."""
    n, k = scores.shape[1], best.shape[1]
    last = best[:, -1:]
    lowest_first = torch.arange(n, 0, -1, device=scores.device)
    lowest = n - torch.topk(torch.where(scores == last, lowest_first, 0), k, dim=1).values
    n_above = (best > last).sum(dim=1, keepdim=True)
    place = torch.arange(k, device=scores.device) - n_above
    return torch.where(place < 0, columns, lowest.gather(1, place.clamp(min=0)))
