"""What turns a sequential model of RecBole into one of ours: only the loss changes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_lpo.core.objectives import NEEDS_REFERENCE
from recbole_lpo.core.precision import at_least_float32, full_precision
from recbole_lpo.core.weighting import group_counts, tail_weights
from recbole_lpo.data.popularity import head_tail_split
from recbole_lpo.distributed.ranks import ALONE, Ranks
from recbole_lpo.errors import InputError
from recbole_lpo.model.content import attach_content
from recbole_lpo.model.monitor import LossMonitor
from recbole_lpo.model.objective_settings import check_combination
from recbole_lpo.model.reference import ReferencePolicy
from recbole_lpo.settings import LossSettings, RunSettings, SplitSettings


class ObjectiveMixin:
    """encode -> a loss for each row -> weighted sum, plus the backbone's own losses (LPO4Rec Eq. 16 and 17).

    Stands before an encoder and a backbone in the bases of a class; a subclass says what the loss of a row is. The
    split is made from the dataset that the model is built with (RecBole hands over the training part), so RecBole's
    plain Trainer trains the same loss as ours. No parameter and no buffer is added to the state dict, but for those of
    the content of items where that is asked for (`content_mode`), and those of MELT and CITIES: weights pass freely
    between `LPOX` and RecBole's `X`.

    ranks: the processes that train the model together, each with a part of every batch. The loss is then this one's
    part of the loss of the whole batch, times their number, as gradients are averaged over them. A backbone's own
    losses come from the process's own part.
    """

    objective: str
    ranks: Ranks = ALONE

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        attach_content(self, config, dataset)
        if config["loss_type"] != "CE":
            raise InputError(
                f"loss_type = {config['loss_type']}: {type(self).__name__} learns from the softmax over all items. Set "
                "loss_type to CE."
            )
        self.loss_settings = LossSettings.from_config(config)
        self.item_softmax = RunSettings.from_config(config).item_softmax
        self.head_tail_split = head_tail_split(dataset, SplitSettings.from_config(config))
        position_in_head = torch.full((self.n_items,), -1, dtype=torch.int64)
        # torch refuses to wrap the split's read-only arrays without a copy.
        head_ids = torch.tensor(self.head_tail_split.head_ids)
        position_in_head[head_ids] = torch.arange(len(head_ids))
        self.register_buffer("head_ids", head_ids, persistent=False)
        self.register_buffer("position_in_head", position_in_head, persistent=False)
        self.loss_monitor = LossMonitor()
        # A stream of their own: drawing rivals must not move the dropout masks or the order of the data.
        self._rival_seed = config["seed"]
        self.rival_streams: dict[torch.device, torch.Generator] = {}

    @property
    def takes_reference(self) -> bool:
        """Whether `pref_reference` means anything to it."""
        return self.objective in NEEDS_REFERENCE

    def check_settings(self) -> None:
        """Raise InputError for settings of the loss that the objective cannot work with."""
        name, settings = type(self).__name__, self.loss_settings
        check_combination(name, self.objective, settings, takes_reference=self.takes_reference)

    def rival_stream(self, device: torch.device) -> torch.Generator:
        """The random stream of what the objective draws, seeded by `seed` and the process alone."""
        if device not in self.rival_streams:
            self.rival_streams[device] = torch.Generator(device).manual_seed(self.ranks.own_seed(self._rival_seed))
        return self.rival_streams[device]

    def calculate_loss(self, interaction) -> Tensor:
        """The complete training loss of a batch of RecBole's prefix rows, a scalar."""
        hidden, target, row = self.training_states(interaction)
        if not len(target):
            # Masking at random may leave nothing to predict in a small batch.
            self.tell_of_no_rows()
            return hidden.sum()
        loss = self.loss_of(
            hidden,
            target,
            known_items=lambda: interaction[self.ITEM_SEQ][row],
            reference_states=lambda policy: policy.training_states(interaction),
        )
        return self.with_own_losses(loss, interaction, hidden)

    def loss_of(
        self,
        hidden: Tensor,
        target: Tensor,
        *,
        known_items: Callable[[], Tensor],
        reference_states: Callable[[ReferencePolicy], Tensor],
    ) -> Tensor:
        """The training loss of some targets without the backbone's own losses, a scalar.

        hidden (B, D), target (B,); known_items gives (B, L) item numbers known before each target, 0 for none;
        reference_states gives the hidden states of a frozen policy, (B, D'). Both are asked for where needed only.
        """
        is_tail = self.position_in_head[target] < 0
        with full_precision(hidden.device):
            rows = self.row_losses(at_least_float32(hidden), target, is_tail, known_items, reference_states)
            return self._weighted_sum(rows, is_tail)

    def row_losses(self, hidden, target, is_tail, known_items, reference_states) -> Tensor:
        """The loss of each row, unweighted, (B,); the arguments of `loss_of`, and is_tail (B,) bool."""
        raise NotImplementedError

    def tell_of_no_rows(self) -> None:
        """Takes the place of `loss_of` where this process has no target: the others count the whole batch with it."""
        self._counts_of_whole_batch(torch.zeros(0, dtype=torch.bool, device=self.head_ids.device))

    def _counts_of_whole_batch(self, is_tail: Tensor) -> Tensor | None:
        """(2,) its `group_counts`; None where this process has all of it."""
        return self.ranks.sum(group_counts(is_tail)) if self.ranks.several else None

    def _weighted_sum(self, rows: Tensor, is_tail: Tensor) -> Tensor:
        settings, counts = self.loss_settings, self._counts_of_whole_batch(is_tail)
        if settings.tail_reweight:
            alphas = {"alpha_tail": settings.tail_alpha, "alpha_head": settings.tail_alpha_head}
            part = (self.row_weights(is_tail, **alphas, counts=counts) * rows).sum()
        else:
            part = rows.mean() if counts is None else rows.sum() / counts.sum()
        return self.ranks.world * part

    def row_weights(self, is_tail: Tensor, *, counts: Tensor | None = None, **alphas: float) -> Tensor:
        """How much each row counts where `tail_reweight` is on, (B,); is_tail (B,), the rest as in `core.weighting`."""
        return tail_weights(is_tail, counts=counts, **alphas)
