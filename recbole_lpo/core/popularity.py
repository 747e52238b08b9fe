"""Which items are head and which are tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RULES = ("item_share", "interaction_share", "count_threshold")


@dataclass(frozen=True, eq=False)
class HeadTailSplit:
    """A frozen division of the catalogue into popular (head) and all other (tail) items.

    One split serves rival sampling, loss weights and evaluation, so that all three mean the same tail.

    is_head     (N,) bool; False for the padding column
    head_ids    (H,) int64, most popular first
    tail_ids    (T,) int64, most popular first; items never seen in training come last
    counts      (N,) int64, the training interactions of each item
    n_tied      items that share the count at the cut, where the cut goes through them (0: the counts alone decide).
                Another tie-break would swap some of these between head and tail.
    """

    is_head: np.ndarray
    head_ids: np.ndarray
    tail_ids: np.ndarray
    counts: np.ndarray
    n_tied: int
    rule: str
    ratio: float | None
    threshold: float | None
    pad_id: int | None

    @classmethod
    def from_counts(
        cls,
        counts: Sequence[int] | np.ndarray,
        *,
        rule: str = "item_share",
        ratio: float | None = None,
        threshold: float | None = None,
        tie_break: Sequence[Any] | np.ndarray | None = None,
        pad_id: int | None = None,
    ) -> HeadTailSplit:
        """Split by popularity, most popular item first.

        counts      (N,) training interactions per item, >= 0; index = column number of the logit matrix
        rule        `item_share`         head = the floor(ratio * items) most popular items (Pareto: 0.2, the default;
                                         0.8 is the split of LPO4Rec's published code)
                    `interaction_share`  head = the fewest most popular items that hold `ratio` of the interactions
                                         (default 0.8)
                    `count_threshold`    head = items with more than `threshold` interactions
        ratio       in [0, 1]; for the two share rules
        threshold   >= 0; for `count_threshold`
        tie_break   (N,) sort keys that order items of equal count, smallest first (external tokens, say);
                    None orders them by column number
        pad_id      the padding column: neither head nor tail, and not counted as an item; None: there is none

        An item that training never saw is tail under every rule. Raises ValueError for values out of range.
        """
        counts = _checked_counts(counts, pad_id)
        if tie_break is not None and len(tie_break) != len(counts):
            raise ValueError(f"tie_break has {len(tie_break)} keys for {len(counts)} items; give one key an item.")
        order = _most_popular_first(counts, tie_break, pad_id)
        sorted_counts = counts[order]
        if rule == "item_share":
            ratio = _checked_ratio(0.2 if ratio is None else ratio)
            n_head, threshold = _floor(ratio * len(order)), None
        elif rule == "interaction_share":
            ratio = _checked_ratio(0.8 if ratio is None else ratio)
            n_head, threshold = _fewest_holding(sorted_counts, ratio), None
        elif rule == "count_threshold":
            if threshold is None or threshold < 0:
                raise ValueError(f"threshold = {threshold}: the rule count_threshold needs a number >= 0.")
            n_head, ratio = int((sorted_counts > threshold).sum()), None
        else:
            raise ValueError(f"rule = {rule!r}: must be one of {', '.join(RULES)}.")
        n_head = min(n_head, int((sorted_counts > 0).sum()))
        is_head = np.zeros(len(counts), dtype=bool)
        is_head[order[:n_head]] = True
        return cls(
            is_head=_frozen(is_head),
            head_ids=_frozen(order[:n_head]),
            tail_ids=_frozen(order[n_head:]),
            counts=_frozen(counts),
            n_tied=_tied_at(sorted_counts, n_head),
            rule=rule,
            ratio=ratio,
            threshold=threshold,
            pad_id=pad_id,
        )

    @property
    def n_items(self) -> int:
        """Items of the catalogue, without the padding column."""
        return len(self.head_ids) + len(self.tail_ids)

    @property
    def cut_count(self) -> int | None:
        """Training interactions of the least popular head item; None without a head."""
        return int(self.counts[self.head_ids[-1]]) if len(self.head_ids) else None

    @property
    def n_unseen(self) -> int:
        """Items that training never saw (all of them tail)."""
        return int((self.counts[self.tail_ids] == 0).sum())

    def describe(self) -> dict[str, Any]:
        """The split in plain values, as `metrics.json` keeps it."""
        total = int(self.counts.sum())
        return {
            "rule": self.rule,
            "ratio": self.ratio,
            "threshold": self.threshold,
            "items": self.n_items,
            "head_items": len(self.head_ids),
            "tail_items": len(self.tail_ids),
            "unseen_items": self.n_unseen,
            "interactions": total,
            "head_interaction_share": float(self.counts[self.head_ids].sum() / total) if total else None,
            "cut_count": self.cut_count,
            "n_tied": self.n_tied,
        }


def _checked_counts(counts: Sequence[int] | np.ndarray, pad_id: int | None) -> np.ndarray:
    counts = np.array(counts)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"counts must be a one-dimensional integer array, got {counts.dtype} of shape {counts.shape}.")
    if (counts < 0).any():
        raise ValueError(f"counts must be >= 0, got {counts.min()} at item {int(counts.argmin())}.")
    if pad_id is not None and not 0 <= pad_id < len(counts):
        raise ValueError(f"pad_id = {pad_id}: must be a column number from 0 to {len(counts) - 1}, or None.")
    counts = counts.astype(np.int64)
    if pad_id is not None:
        counts[pad_id] = 0
    return counts


def _checked_ratio(ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio = {ratio}: must be from 0 to 1 (a share, not per cent).")
    return float(ratio)


def _most_popular_first(counts: np.ndarray, tie_break: Sequence[Any] | np.ndarray | None, pad_id: int | None):
    keys = np.arange(len(counts)) if tie_break is None else np.asarray(tie_break)
    order = np.lexsort((keys, -counts))
    return order if pad_id is None else order[order != pad_id]


def _floor(x: float) -> int:
    # 0.29 * 100 is 28.999999999999996 in floating point; the slack keeps it 29.
    return int(np.floor(x + 1e-9))


def _fewest_holding(sorted_counts: np.ndarray, ratio: float) -> int:
    if ratio == 0 or not sorted_counts.sum():
        return 0
    wanted = ratio * sorted_counts.sum() - 1e-9
    return int(np.searchsorted(np.cumsum(sorted_counts), wanted)) + 1


def _tied_at(sorted_counts: np.ndarray, n_head: int) -> int:
    if n_head in (0, len(sorted_counts)) or sorted_counts[n_head - 1] != sorted_counts[n_head]:
        return 0
    return int((sorted_counts == sorted_counts[n_head]).sum())


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
