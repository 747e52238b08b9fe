"""What a process knows of those that train a model with it, and how they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Far enough apart that the seeds of a study, which count up from one, never meet those of another process.
_BETWEEN_SEEDS = 1_000_003


@dataclass(frozen=True)
class Ranks:
    """A process among `world` that run the same steps; alone it agrees with itself, at no cost.

    Every method is called by all of them, in the same order. rank: 0 to world - 1.
    """

    rank: int = 0
    world: int = 1

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return self.world > 1

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes files and talks to the user."""
        return self.rank == 0

    def own_seed(self, seed: int) -> int:
        """A seed for what each process draws for itself; that of rank 0 is the one given."""
        return seed + self.rank * _BETWEEN_SEEDS

    def sum(self, values: Tensor) -> Tensor:
        """The sum of what all processes hold, of the same shape, on all of them."""
        if self.several:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def told(self, value: Any) -> Any:
        """What rank 0 gives, on all processes; what the others give is dropped."""
        box = [value]
        if self.several:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """What each process gives, in the order of the ranks, on all of them."""
        found = [value] * self.world
        if self.several:
            dist.all_gather_object(found, value)
        return found

    @torch.no_grad()
    def take_from_first(self, values: Tensor) -> None:
        """Overwrite a tensor with that of rank 0."""
        if self.several:
            dist.broadcast(values, src=0)

    def wait(self) -> None:
        """Go on when all are here."""
        self.told(None)


ALONE = Ranks()


def ranks_of(config: Any) -> Ranks:
    """The processes that share the run of a RecBole Config; `run` notes them there, as an attribute."""
    return getattr(config, "ranks", ALONE)
