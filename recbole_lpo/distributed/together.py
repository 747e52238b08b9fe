"""A training step of several processes that is the step of one process on the whole batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from recbole_lpo.distributed.parts import Part
from recbole_lpo.distributed.ranks import Ranks
from recbole_lpo.errors import InputError

# Buffers are made of the training data or constant, the same everywhere. The option has changed its name in torch.
_NEW_NAME = "forward_sync_buffers"
_BUFFERS_STAY = {
    _NEW_NAME if _NEW_NAME in inspect.signature(DistributedDataParallel).parameters else "broadcast_buffers": False
}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Together:
    """One model trained on parts of batches, its gradients averaged by torch's DistributedDataParallel.

    The weights are those of rank 0 from the start. A parameter that the loss of no process reaches keeps no gradient,
    as in one process. Gradients of item tables are dense: nccl adds up no sparse ones, and the softmax makes them dense
    anyway. Raises InputError for a model whose layers normalise over the batch, of which each process sees a part only.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        if any(isinstance(layer, _BATCH_NORMS) for layer in model.modules()):
            raise InputError(
                f"nproc: {type(model).__name__} has batch normalisation, which would see a part of each batch only. "
                "Train it with one process."
            )
        model.ranks = ranks
        self._step = DistributedDataParallel(_Step(model), find_unused_parameters=True, **_BUFFERS_STAY)

    def loss_of(self, loss_of: Callable[[Any], Any]) -> Callable[[Part], Tensor]:
        """The loss of a part, from the loss of a batch; its mean over the processes is the loss of the whole batch."""
        return lambda part: self._step(loss_of, part)


class _Step(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # torch warns on every process where a model has no unused parameter. It does not know beforehand, nor do we.
        self.never_used = nn.Parameter(torch.zeros((), device=next(model.parameters()).device))

    def forward(self, loss_of: Callable[[Any], Any], part: Part) -> Tensor:
        # A loss of ours is that of the whole batch, in parts; one of RecBole's is the mean over the rows it is given.
        ours = hasattr(self.model, "tell_of_no_rows")
        if part.rows is None:
            if ours:
                self.model.tell_of_no_rows()
            return 0.0 * next(weight for weight in self.model.parameters() if weight.requires_grad).sum()
        loss = loss_of(part.rows)
        # Models of RecBole may give the parts of their loss.
        loss = sum(loss) if isinstance(loss, tuple) else loss
        return loss if ours else part.share * self.model.ranks.world * loss
