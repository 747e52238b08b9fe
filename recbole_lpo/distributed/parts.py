"""Dividing batches among processes, so that together they see what one process sees."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recbole_lpo.data.sequences import PackedSequences
from recbole_lpo.distributed.ranks import Ranks


@dataclass(frozen=True)
class Part:
    """What one process has of a batch.

    rows   the part as a batch of its own; None where the batch has fewer rows than there are processes
    share  of the targets of the whole batch, 0 to 1
    """

    rows: Any
    share: float


def parts_of_packed(sequences: PackedSequences, epoch: int, ranks: Ranks) -> Iterator[Part]:
    """This process's part of every packed batch of an epoch."""
    for rows in sequences.row_numbers(epoch):
        # Rows stand in order of length: every n-th of them gives all processes as much to do.
        own = rows[ranks.rank :: ranks.world]
        share = sequences.targets_of(own) / sequences.targets_of(rows)
        yield Part(sequences.batch(own) if len(own) else None, share)


def parts_of_rows(loader: Any, ranks: Ranks, device: torch.device) -> Iterator[Part]:
    """This process's part of every batch of one of RecBole's training loaders; only its own rows are made."""
    own = copy.copy(loader)
    own.collate_fn = _CollateOwn(loader.collate_fn, ranks)
    for part in own:
        yield Part(part.rows if part.rows is None else part.rows.to(device), part.share)


def own_batches(loader: Any, ranks: Ranks) -> Any:
    """One of RecBole's evaluation loaders with this process's batches alone, as one process would make them.

    The batches of rank 0 come first, then those of rank 1, ...; processes may have none.
    """
    own = copy.copy(loader)
    # torch forbids it on a loader that may have given batches already; a copy has not.
    object.__setattr__(own, "batch_sampler", _Block(loader.batch_sampler, ranks))
    return own


@dataclass(frozen=True)
class _CollateOwn:
    collate: Callable[[Sequence[int]], Any]
    ranks: Ranks

    def __call__(self, index: Sequence[int]) -> Part:
        own = index[self.ranks.rank :: self.ranks.world]
        return Part(self.collate(own) if own else None, len(own) / len(index))


@dataclass(frozen=True)
class _Block:
    batches: Any
    ranks: Ranks

    def __iter__(self) -> Iterator[list[int]]:
        n, rank, world = len(self.batches), self.ranks.rank, self.ranks.world
        return itertools.islice(self.batches, n * rank // world, n * (rank + 1) // world)

    def __len__(self) -> int:
        # RecBole evaluates nothing with a loader of length 0, and a process without batches takes part all the same.
        n, rank, world = len(self.batches), self.ranks.rank, self.ranks.world
        return max(1, n * (rank + 1) // world - n * rank // world)
