"""The frozen policy that DPO and its kin compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_lpo.core.item_softmax import item_scores
from recbole_lpo.data.sequences import PackedBatch
from recbole_lpo.errors import InputError
from recbole_lpo.model.caser import trim_padding
from recbole_lpo.model.packed import can_pack, hidden_states


class ReferencePolicy:
    """A model that never changes: in eval mode, without gradients, and no part of the model that learns.

    It is kept outside the learning model's modules, so it is in no state dict, no optimizer and no parameter count, and
    `model.train()` does not turn its dropout on. For an item softmax the objectives need only its scores of a target
    and of K rivals; its hidden states do not change, so on packed batches each is computed once and kept.
    """

    def __init__(self, model: nn.Module, *, keep_states: bool = True) -> None:
        """model: of an `encoding_class`, or of a model of ours; keep_states: False for a policy that sees every target
        once."""
        self.model = trim_padding(model.eval().requires_grad_(False))
        self._keep_states = keep_states
        self._states: Tensor | None = None
        # On the CPU, like the events themselves: to ask it makes no device wait for the host.
        self._known: Tensor | None = None

    def to(self, device: torch.device) -> ReferencePolicy:
        """Itself, on the device."""
        if next(self.model.parameters()).device != device:
            self.model.to(device)
            self._states = self._known = None
        return self

    @torch.no_grad()
    def training_states(self, interaction) -> Tensor:
        """(T, D) hidden states of what a batch of RecBole's rows trains."""
        return self.model.training_states(interaction)[0]

    @torch.no_grad()
    def states(self, batch: PackedBatch, n_events: int) -> Tensor:
        """(T, D) hidden states of the targets of a packed batch, from the cache where they are in it.

        n_events: how many training interactions there are, the size of the cache. Raises InputError where the policy
        can only be trained on prefix rows.
        """
        if not self._keep_states:
            return hidden_states(self.model, batch)
        event = batch.event.to(batch.target.device)
        if self._known is not None and bool(self._known[batch.event].all()):
            return self._states[event]
        if not can_pack(self.model):
            raise InputError(
                f"pref_reference: {type(self.model).__name__} cannot read the whole histories that this model is "
                "trained on. Set batching to prefix, or take a reference of the same backbone."
            )
        found = hidden_states(self.model, batch)
        if self._known is None:
            self._states = found.new_zeros((n_events, found.shape[1]))
            self._known = torch.zeros(n_events, dtype=torch.bool)
        self._states[event], self._known[batch.event] = found, True
        return found

    def item_table(self) -> Tensor:
        """(N, D) what its hidden states are multiplied with to score every item, the padding included."""
        return self.model.item_table()

    @torch.no_grad()
    def scores(self, hidden: Tensor, columns: Tensor) -> Tensor:
        """(B, K) scores of some columns; only differences within a row mean anything to the objectives."""
        return item_scores(hidden, self.item_table(), columns)
