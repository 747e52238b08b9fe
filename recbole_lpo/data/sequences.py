"""Training batches of whole histories: every target once, no padded row for each prefix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_lpo.data.popularity import PAD_ID, training_events
from recbole_lpo.data.runs import runs

# Batches whose rows are sorted by length together: long enough to pad little, short enough to keep batches mixed.
_POOL_BATCHES = 16


@dataclass(frozen=True)
class PackedBatch:
    """Histories, and the targets that are predicted at some of their positions.

    items     (R, L) int64, padded on the right with 0
    length    (R,) int64
    row       (T,) int64 the history of each target
    position  (T,) int64 the position in it from which the target is predicted; what stands at or before it is known
    target    (T,) int64
    event     (T,) int64 which training interaction each target is, 0 to `PackedSequences.n_events` - 1; on the CPU
    """

    items: Tensor
    length: Tensor
    row: Tensor
    position: Tensor
    target: Tensor
    event: Tensor

    def known_items(self) -> Tensor:
        """(T, L) what is known where each target is predicted; 0 beyond."""
        later = torch.arange(self.items.shape[1], device=self.items.device) > self.position[:, None]
        return self.items[self.row].masked_fill(later, PAD_ID)


class PackedSequences:
    """The training part of a dataset as one flat int32 array, and batches of about `batch_targets` targets from it.

    For a model whose state at a position depends only on what came before, and which pads on the right, one row of n
    items stands for n prefixes: the targets and (without dropout) the loss are those of RecBole's prefix rows, one by
    one. Users with more than `max_length` items before a target go on in overlapping windows of `max_length` items,
    each of which adds `window_step` targets at its end. These see from max_length - window_step + 1 to max_length
    items, where RecBole's rows always show them max_length; window_step = 1 gives exactly RecBole's rows.
    """

    def __init__(
        self,
        train_dataset,
        *,
        max_length: int,
        window_step: int,
        batch_targets: int,
        seed: int,
        shuffle: bool = True,
        device="cpu",
    ) -> None:
        users, items = training_events(train_dataset)
        first, count = runs(users)
        several = count > 1
        first, count = first[several], count[several]
        start, length, n_targets = _rows(first, count, max_length, window_step)
        self._flat = torch.from_numpy(items).to(device)
        self._start, self._length = torch.from_numpy(start), torch.from_numpy(length)
        self._n_targets = torch.from_numpy(n_targets)
        self._batch_targets, self._seed, self._shuffle, self._device = batch_targets, seed, shuffle, device
        self.n_targets, self.n_events = int(n_targets.sum()), len(items)

    def __len__(self) -> int:
        """Batches of an epoch; fewer than the targets would fill where there are not as many rows."""
        return min(-(-self.n_targets // self._batch_targets), len(self._start))

    def epoch(self, number: int) -> Iterator[PackedBatch]:
        """The batches of an epoch, every target once, in an order that only the seed and the epoch's number decide;
        without `shuffle` in that of the users."""
        return map(self.batch, self.row_numbers(number))

    def row_numbers(self, number: int) -> Iterator[Tensor]:
        """(R,) int64 the histories of each batch of an epoch, for `batch` and `targets_of`."""
        if not self._shuffle:
            yield from self._cut(self._sorted_in_pools(torch.arange(len(self._start))))
            return
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**63)
        rows = torch.randperm(len(self._start), generator=generator)
        batches = self._cut(self._sorted_in_pools(rows))
        for index in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[index]

    def targets_of(self, rows: Tensor) -> int:
        """How many targets some rows have together."""
        return int(self._n_targets[rows].sum())

    def _sorted_in_pools(self, rows: Tensor) -> Tensor:
        """Pools of about equal size, every other one from its longest row down: a batch that reaches over two of them
        then holds rows of like length, and pads none of the short ones of one to the long ones of the other."""
        n_pools = max(1, round(len(self) / _POOL_BATCHES))
        before = torch.cumsum(self._n_targets[rows], 0) - self._n_targets[rows]
        pool, length = (before * n_pools // self.n_targets).numpy(), self._length[rows].numpy()
        return rows[torch.from_numpy(np.lexsort((np.where(pool % 2, -length, length), pool)))]

    def _cut(self, rows: Tensor) -> list[Tensor]:
        """Consecutive rows, one or more, that together hold about the wanted number of targets: `len(self)` batches."""
        before = torch.cumsum(self._n_targets[rows], 0) - self._n_targets[rows]
        n, nth = len(self), np.arange(1, len(self))
        first = np.searchsorted((before * n // self.n_targets).numpy(), nth)
        # A row with more targets than a batch would leave the next ones without any.
        first = np.minimum(np.maximum.accumulate(first - nth) + nth, len(rows) - n + nth)
        return list(torch.tensor_split(rows, torch.from_numpy(first)))

    def batch(self, rows: Tensor) -> PackedBatch:
        """The batch of some rows, (R,) of `row_numbers`, at least one."""
        start, length, n_targets = self._start[rows], self._length[rows], self._n_targets[rows]
        steps = torch.arange(int(length.max()))
        known = steps < length[:, None]
        cells = (start[:, None] + steps).masked_fill(~known, 0)
        row = torch.repeat_interleave(torch.arange(len(rows)), n_targets)
        nth = torch.arange(len(row)) - torch.repeat_interleave(torch.cumsum(n_targets, 0) - n_targets, n_targets)
        position = (length - n_targets)[row] + nth
        event = start[row] + position + 1
        to = self._device
        return PackedBatch(
            items=self._flat[cells.to(to)].long().masked_fill(~known.to(to), PAD_ID),
            length=length.to(to),
            row=row.to(to),
            position=position.to(to),
            target=self._flat[event.to(to)].long(),
            event=event,
        )


def _rows(
    first: np.ndarray, count: np.ndarray, max_length: int, window_step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start, length, n_targets) of every row: one for the first items of each user, which predicts at every position,
    and windows for the targets after these, which predict at their last positions.

    first, count: where each user's items start in the flat array, and how many there are (at least 2).
    """
    whole = np.minimum(count - 1, max_length)
    left = count - 1 - whole
    n_windows = -(-left // window_step)
    nth = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    # The last window of a user ends with the user and adds what is left.
    reached = np.minimum((nth + 1) * window_step, np.repeat(left, n_windows))
    start = np.concatenate([first, np.repeat(first, n_windows) + reached])
    length = np.concatenate([whole, np.full(len(reached), max_length)])
    return start, length, np.concatenate([whole, reached - nth * window_step])
