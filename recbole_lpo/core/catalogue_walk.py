"""Ranks, top-k lists and the probability of a group of items from one walk over the catalogue, some items at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lpo.core.group_probability import GroupProbability
from recbole_lpo.core.top_k import merge_top_k, top_k

# Scores that a walk has at a time by default: 16 MB of float32.
_CHUNK_CELLS = 2**22
# Scores that are counted at a time: 4 MB of float32 stay in a processor's cache.
_COUNT_CELLS = 2**20
_OWN_SCORE_ROWS = 256


@dataclass(frozen=True)
class Ranking:
    """Where the targets of a batch stand.

    rank  (B,) int64 place of the target among all items, from 1. An item that scores the same counts half, and the sum
          is rounded up (mid-rank): with t such items, rank = 1 + (items above) + ceil(t / 2). So a model that scores
          every item alike gets the middle of the list, not its top. RecBole leaves the order of equal scores to
          `torch.topk`.
    ties  (B,) int64 other items that score the same as the target
    top   (B, k) int64 columns of the highest scores, best first; of equal scores the lower column comes first
    group_prob  (B,) float64 softmax probability of all items of the group together, where one was given
    """

    rank: Tensor
    ties: Tensor
    top: Tensor
    group_prob: Tensor | None = None


@torch.no_grad()
def rank_scores(
    scores: Tensor,
    target: Tensor,
    *,
    biases: Sequence[Tensor | None] = (None,),
    k: int = 0,
    group: Tensor | None = None,
) -> list[Ranking]:
    """Rank the target of each row among scores that are all there.

    scores   (B, N) any float type; -inf puts an item last
    target   (B,) column numbers
    biases   (N,) each, added to the scores of every row; None: nothing
    k        length of the lists, 0 to N
    group    (N,) bool: items whose softmax probability is summed, under the first bias alone
    returns  a Ranking for each bias
    Raises ValueError for scores that are NaN.
    """
    return _walk([(0, scores)], scores.gather(1, target[:, None]), target, biases, k, group)[0]


@torch.no_grad()
def rank_products(
    hidden: Tensor,
    item_table: Tensor,
    target: Tensor,
    *,
    chunk: int | None = None,
    excluded: tuple[Tensor, Tensor] | None = None,
    biases: Sequence[Tensor | None] = (None,),
    k: int = 0,
    group: Tensor | None = None,
) -> list[Ranking]:
    """Rank the target of each row among scores hidden . item, of which (B, chunk) are there at a time.

    The ranking is exactly that of `rank_scores` on the chunks' scores side by side. One matrix product over the whole
    catalogue may round the last bit of a score otherwise; against it the rank of a target can differ where two scores
    agree to within that rounding, and nowhere else.

    hidden      (B, D)
    item_table  (N, D)
    target      (B,) column numbers
    chunk       items at a time, at least 1; None: as many as give 16 MB of scores in float32
    excluded    (rows, columns), two (cells,) int64: items that score -inf in that row; None: there are none
    biases, k, group, what is returned and what is raised: as in `rank_scores`
    """
    chunk = chunk or max(1, _CHUNK_CELLS // max(1, len(hidden)))
    rows, columns = excluded or (target.new_empty(0), target.new_empty(0))
    columns, order = columns.sort()
    rows = rows[order]

    def blocks() -> Iterator[tuple[int, Tensor]]:
        for start, stop in _parts(len(item_table), chunk):
            scores = torch.matmul(hidden, item_table[start:stop].transpose(0, 1))
            first, last = torch.searchsorted(columns, columns.new_tensor([start, stop])).tolist()
            scores[rows[first:last], columns[first:last] - start] = -torch.inf
            yield start, scores

    own = _own_scores(hidden, item_table, target)
    found, met = _walk(blocks(), own, target, biases, k, group)
    if not torch.equal(met, own):
        # The smaller products rounded otherwise than the chunks did: count again, from the scores of the chunks.
        found, _ = _walk(blocks(), met, target, biases, k, group)
    return found


def _own_scores(hidden: Tensor, item_table: Tensor, target: Tensor) -> Tensor:
    """(B, 1) the targets' scores, from matrix products, which mostly round as those of the chunks do."""
    own = hidden.new_empty(len(hidden), 1)
    for start, stop in _parts(len(hidden), _OWN_SCORE_ROWS):
        products = torch.matmul(hidden[start:stop], item_table[target[start:stop]].transpose(0, 1))
        own[start:stop, 0] = products.diagonal()
    return own


def _parts(n: int, most: int) -> Iterator[tuple[int, int]]:
    """0 to n in even parts of at most so many: a narrow last one would be left to another kernel, with other bits."""
    number = math.ceil(n / most)
    return ((n * part // number, n * (part + 1) // number) for part in range(number))


def _walk(
    blocks: Iterable[tuple[int, Tensor]],
    own: Tensor,
    target: Tensor,
    biases: Sequence[Tensor | None],
    k: int,
    group: Tensor | None,
) -> tuple[list[Ranking], Tensor]:
    """The rankings, and the targets' scores as the blocks have them, (B, 1)."""
    groups = [group] + [None] * (len(biases) - 1)
    standings = [_Standing(own, target, *each, k) for each in zip(biases, groups, strict=True)]
    met, broken = own.clone(), torch.zeros(len(own), dtype=torch.bool, device=own.device)
    for start, scores in blocks:
        # A maximum over a row with NaN is NaN.
        broken |= scores.amax(dim=1).isnan()
        inside = ((target >= start) & (target < start + scores.shape[1])).nonzero()[:, 0]
        met[inside, 0] = scores[inside, target[inside] - start]
        for standing in standings:
            standing.add(start, scores)
    if broken.any():
        raise ValueError(f"{int(broken.sum())} of {len(own)} rows of scores hold NaN: the model gave no usable score.")
    return [standing.ranking() for standing in standings], met


class _Standing:
    """Counts, lists and the probability of a group under one bias, as far as the walk has come."""

    def __init__(self, own: Tensor, target: Tensor, bias: Tensor | None, group: Tensor | None, k: int) -> None:
        self._own = own if bias is None else own + bias[target][:, None]
        self._bias, self._k = bias, k
        self._above = torch.zeros(len(own), dtype=torch.int64, device=own.device)
        self._level = torch.zeros_like(self._above)
        self._best = own.new_empty(len(own), 0), self._above.new_empty(len(own), 0)
        self._group = None if group is None else GroupProbability(group, len(own), own.device)

    def add(self, start: int, scores: Tensor) -> None:
        """Take in the next scores of every row, (B, C), of which `start` is the first column."""
        if self._bias is not None:
            scores = scores + self._bias[start : start + scores.shape[1]]
        for first, last in _parts(scores.shape[1], max(1, _COUNT_CELLS // max(1, len(scores)))):
            part = scores[:, first:last]
            # Ones in float32 are compared and summed many times faster than booleans, and exactly up to 2^24 of them.
            ones = torch.empty(part.shape, dtype=torch.float32, device=part.device)
            self._above += torch.gt(part, self._own, out=ones).sum(dim=1).long()
            self._level += torch.eq(part, self._own, out=ones).sum(dim=1).long()
            if self._group:
                self._group.add(start + first, part)
        if self._k:
            self._extend_lists(start, scores)

    def _extend_lists(self, start: int, scores: Tensor) -> None:
        best, columns = self._best
        new = min(self._k, scores.shape[1])
        if best.shape[1] < self._k:
            found, place = top_k(scores, new)
            self._best = merge_top_k(self._best, (found, place + start), self._k)
            return
        # At an equal score the lower column stays.
        rows = (scores.amax(dim=1) > best[:, -1]).nonzero()[:, 0]
        if len(rows):
            found, place = top_k(scores[rows], new)
            best[rows], columns[rows] = merge_top_k((best[rows], columns[rows]), (found, place + start), self._k)

    def ranking(self) -> Ranking:
        ties = self._level - 1
        group_prob = self._group.result() if self._group else None
        return Ranking(rank=1 + self._above + (ties + 1) // 2, ties=ties, top=self._best[1], group_prob=group_prob)
