"""The users of an evaluation and the groups that their held-out items put them in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS = ("head", "tail", "unseen")


@dataclass(frozen=True)
class Evaluation:
    """One row per evaluated user.

    user    (U,) int64 user numbers
    target  (U,) int64 item number of the held-out item
    rank    (U,) int64 its rank, from 1
    is_head (N,) bool, over item numbers
    seen    (N,) bool: the item has training interactions
    decile  (N,) int64, over item numbers: tenth of the catalogue by popularity, 1 the most popular
    n_ties  users whose target shares its score with another item
    n_collapsed  users whose target shares its score with more than half of the items that it is ranked among
    tail_prob  (U,) float64: softmax probability of all tail items together; None where it was not asked for
    """

    user: Tensor
    target: Tensor
    rank: Tensor
    is_head: Tensor
    seen: Tensor
    decile: Tensor
    n_ties: int
    n_collapsed: int
    tail_prob: Tensor | None = None

    @property
    def in_head(self) -> Tensor:
        """(U,) bool: users whose held-out item is in the head."""
        return self.is_head[self.target]

    def sizes(self) -> dict[str, int]:
        """How many users, and how many of them in each group. `unseen` users are in `tail` too."""
        return {
            "users": len(self.rank),
            "head": int(self.in_head.sum()),
            "tail": int((~self.in_head).sum()),
            "unseen": int((~self.seen[self.target]).sum()),
        }

    def group_of(self) -> list[str]:
        """The group of each user, as `per_user.csv.gz` names it: head, tail, or unseen (tail without any training)."""
        code = torch.where(self.in_head, 0, torch.where(self.seen[self.target], 1, 2))
        return [GROUPS[index] for index in code.tolist()]
