"""What stands around the occurrences of each item in the histories, and what leads to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Occurrences:
    """The places of each item in histories that stand one after the other, and how much of its history each one sees.

    items  (E,) int, all histories
    place  (O,) int64 positions in `items`, those of item 0 first, then those of item 1, ...
    start  (N,) int64 where each item's begin in `place`; count (N,) how many it has
    left   (O,) int64 how many items before each place are in its context; right (O,) how many after it
    """

    items: Tensor
    place: Tensor
    start: Tensor
    count: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class Contexts:
    """Some contexts, padded on the right.

    items   (M, W) int64 the item itself among what stands around it
    offset  (M, W) int64 0 to 2 * reach, `reach` at the item itself; without meaning in the padding
    length  (M,) int64 how many of the W are no padding
    """

    items: Tensor
    offset: Tensor
    length: Tensor


def occurrences(users: Tensor, items: Tensor, n_items: int, *, reach: int, least: int) -> Occurrences:
    """Every occurrence in histories that has enough around it.

    users, items  (E,) int, sorted by user and within a user by time
    reach         how many items before and after a place belong to its context, at least 1
    least         how many that must be together, at least 0
    """
    n_events = len(items)
    event = torch.arange(n_events, device=items.device)
    _, of_history, length = torch.unique_consecutive(users, return_inverse=True, return_counts=True)
    end = torch.cumsum(length, 0)
    left = (event - (end - length)[of_history]).clamp(max=reach)
    right = (end[of_history] - 1 - event).clamp(max=reach)
    kept = (left + right >= least).nonzero()[:, 0]
    place = kept[torch.argsort(items[kept], stable=True)]
    count = torch.bincount(items[place], minlength=n_items)
    return Occurrences(items, place, torch.cumsum(count, 0) - count, count, left[place], right[place])


def contexts_at(found: Occurrences, which: Tensor, *, reach: int) -> Contexts:
    """The contexts of some occurrences: which (M,) int64 are positions in `found.place`; reach as in `occurrences`."""
    left = found.left[which]
    length = left + 1 + found.right[which]
    items = slices(found.items, found.place[which] - left, length)
    nth = torch.arange(items.shape[1], device=items.device)
    return Contexts(items, (reach - left)[:, None] + nth.expand_as(items), length)


def histories_at(found: Occurrences, which: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
    """(items (M, W) int64, length (M,)): the histories that end with some occurrences, padded on the right; where
    backward (M,) bool is set, what comes after the occurrence, read from its end to the occurrence."""
    place, left, right = found.place[which], found.left[which], found.right[which]
    length = torch.where(backward, right, left) + 1
    first = torch.where(backward, place + right, place - left)
    return slices(found.items, first, length, torch.where(backward, -1, 1)), length


def slices(items: Tensor, first: Tensor, length: Tensor, step: Tensor | None = None) -> Tensor:
    """(M, W) int64, padded on the right with 0: of items (E,) those from first (M,) on, length (M,) of them, each step
    (M,) after the one before; by default 1."""
    nth = torch.arange(int(length.max()) if len(length) else 0, device=items.device)
    inside = nth < length[:, None]
    cells = first[:, None] + (nth if step is None else nth * step[:, None])
    return items[cells.masked_fill(~inside, 0)].long().masked_fill(~inside, 0)


def drawn_occurrences(found: Occurrences, items: Tensor, n_drawn: int, generator: torch.Generator | None) -> Tensor:
    """(B, n_drawn) positions in `found.place`, drawn evenly and with repetition from those of each of items (B,), which
    must have some."""
    shape = (len(items), n_drawn)
    share = torch.rand(shape, generator=generator, device=items.device, dtype=torch.float64)
    count = found.count[items][:, None]
    nth = (share * count).long().clamp(max=count - 1)
    return found.start[items][:, None] + nth


def all_occurrences(found: Occurrences, items: Tensor) -> tuple[Tensor, Tensor]:
    """All positions in `found.place` of items (B,), padded: (B, C) int64, and (B, C) bool where there is one."""
    count = found.count[items]
    nth = torch.arange(int(count.max()) if len(items) else 0, device=items.device)
    inside = nth < count[:, None]
    return (found.start[items][:, None] + nth).masked_fill(~inside, 0), inside
