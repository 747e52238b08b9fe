"""What turns a sequential model of RecBole into one that learns preferences: only the loss changes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_lpo.core.item_softmax import catalogue_log_sum, item_scores, target_nll
from recbole_lpo.core.objectives import OBJECTIVES
from recbole_lpo.core.weighting import published_code_tail_weights, tail_weights
from recbole_lpo.data.popularity import PAD_ID, head_tail_split
from recbole_lpo.errors import InputError
from recbole_lpo.model.monitor import LossMonitor
from recbole_lpo.model.rivals import draw_rivals
from recbole_lpo.settings import LossSettings, SplitSettings


class PreferenceMixin:
    """encode -> likelihood of the target -> rivals -> objective -> weighted sum (LPO4Rec Eq. 17).

    Stands before a backbone in the bases of a class. The split is made from the dataset that the model is built with
    (RecBole hands over the training part), so RecBole's plain Trainer trains the same loss as ours. No parameter and no
    buffer is added to the state dict: weights pass freely between `LPOX` and RecBole's `X`. With `pref_weight: 0` and
    `tail_reweight: False` the training is that of `X` to the last digit.
    """

    objective: str

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        if self.loss_type != "CE":
            raise InputError(
                f"loss_type = {self.loss_type}: {type(self).__name__} learns from the softmax over all items. "
                "Set loss_type to CE."
            )
        self.loss_settings = LossSettings.from_config(config)
        self.head_tail_split = head_tail_split(dataset, SplitSettings.from_config(config))
        self._check_rivals()
        position_in_head = torch.full((self.n_items,), -1, dtype=torch.int64)
        # torch refuses to wrap the split's read-only arrays without a copy.
        head_ids = torch.tensor(self.head_tail_split.head_ids)
        position_in_head[head_ids] = torch.arange(len(head_ids))
        self.register_buffer("head_ids", head_ids, persistent=False)
        self.register_buffer("position_in_head", position_in_head, persistent=False)
        self.loss_monitor = LossMonitor()
        # A stream of their own: drawing rivals must not move the dropout masks or the order of the data.
        self._rival_seed = config["seed"]
        self._rival_streams: dict[torch.device, torch.Generator] = {}

    def _check_rivals(self) -> None:
        n_head, k = len(self.head_tail_split.head_ids), self.loss_settings.pref_num_rejected
        if self.loss_settings.pref_weight > 0 and k > n_head:
            raise InputError(
                f"pref_num_rejected = {k}: rivals are head items, and the head has {n_head} of "
                f"{self.head_tail_split.n_items} items. Allowed: 1 to {n_head}; or make the head larger "
                "(tail_split_ratio, tail_split_threshold)."
            )

    def rival_stream(self, device: torch.device) -> torch.Generator:
        """The random stream of the rivals, seeded by `seed` alone."""
        if device not in self._rival_streams:
            self._rival_streams[device] = torch.Generator(device).manual_seed(self._rival_seed)
        return self._rival_streams[device]

    def calculate_loss(self, interaction) -> Tensor:
        """The complete training loss of a batch of RecBole's prefix rows, a scalar."""
        hidden = self.encode(interaction)
        return self.loss_of(hidden, interaction[self.POS_ITEM_ID], lambda: interaction[self.ITEM_SEQ])

    def loss_of(self, hidden: Tensor, target: Tensor, known_items: Callable[[], Tensor]) -> Tensor:
        """The complete training loss of some targets, a scalar.

        hidden (B, D), target (B,), known_items gives (B, L) item numbers known before each target, 0 for none.
        """
        settings = self.loss_settings
        logits = torch.matmul(hidden, self.item_embedding.weight.transpose(0, 1)).float()
        is_tail = self.position_in_head[target] < 0
        nll = target_nll(logits, target)
        rows = settings.ce_weight * nll
        if settings.pref_weight > 0:
            barred = self.position_in_head[target][:, None]
            if settings.pref_exclude_history:
                barred = torch.cat([barred, self.position_in_head[known_items()]], dim=1)
            rows = rows + settings.pref_weight * self._preference(hidden, target, nll, is_tail, barred)
        else:
            prob = (-nll.detach()).exp()
            self.loss_monitor.add(is_tail, ce=nll, prob=prob, grad_ce=settings.ce_weight * (1 - prob))
        loss = self._weighted_sum(rows, is_tail)
        penalty = self.regulariser()
        return loss if penalty is None else loss + penalty

    def _weighted_sum(self, rows: Tensor, is_tail: Tensor) -> Tensor:
        settings = self.loss_settings
        if not settings.tail_reweight:
            return rows.mean()
        weigh = published_code_tail_weights if settings.pref_form == "published_code" else tail_weights
        weights = weigh(is_tail, alpha_tail=settings.tail_alpha, alpha_head=settings.tail_alpha_head)
        return (weights * rows).sum()

    def _preference(self, hidden: Tensor, target: Tensor, nll: Tensor, is_tail: Tensor, barred: Tensor):
        """The preference objective of each row, unweighted; (B,). barred: positions in the head not to be drawn."""
        settings, weight = self.loss_settings, self.item_embedding.weight
        own_and_pad = torch.stack([target, torch.full_like(target, PAD_ID)], dim=1)
        score, pad_score = item_scores(hidden, weight, own_and_pad).unbind(dim=1)
        log_sum = catalogue_log_sum(nll, score, None if settings.pref_pad_in_softmax else pad_score)
        stream = self.rival_stream(hidden.device)
        rivals = draw_rivals(hidden, weight, log_sum, self.head_ids, barred, settings, stream)
        chosen, rejected = score - log_sum, rivals.score - log_sum[:, None]
        loss = self._objective(chosen, rejected, rivals.weight)
        prob = chosen.detach().exp()
        self.loss_monitor.add(
            is_tail,
            ce=nll,
            pref=loss,
            prob=prob,
            grad_ce=settings.ce_weight * (1 - (-nll.detach()).exp()),
            grad_pref=settings.pref_weight * self._pull_on_target(chosen, rejected, rivals.weight, prob),
        )
        return loss

    def _objective(self, chosen: Tensor, rejected: Tensor, weight: Tensor | None) -> Tensor:
        settings = self.loss_settings
        hyper = {"tau": settings.pref_tau, "score": settings.pref_score, "form": settings.pref_form}
        return OBJECTIVES[self.objective](chosen, rejected, **hyper, rejected_weight=weight)

    def _pull_on_target(self, chosen: Tensor, rejected: Tensor, weight: Tensor | None, prob: Tensor) -> Tensor:
        """|d objective / d score of the target|, (B,): through its own log-probability and through the softmax."""
        with torch.enable_grad():
            chosen, rejected = chosen.detach().requires_grad_(), rejected.detach().requires_grad_()
            loss = self._objective(chosen, rejected, None if weight is None else weight.detach()).sum()
            by_chosen, by_rejected = torch.autograd.grad(loss, [chosen, rejected])
        return (by_chosen - prob * (by_chosen + by_rejected.sum(dim=1))).abs()
