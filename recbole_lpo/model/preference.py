"""The models that learn preferences: cross-entropy plus a preference objective on rivals of each target."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.gathered_rows import with_sparse_rows
from recbole_lpo.core.item_softmax import catalogue_log_sum, item_scores, softmax_method, target_nll
from recbole_lpo.core.objectives import NEEDS_REFERENCE, OBJECTIVES
from recbole_lpo.core.weighted_sampling import batch_draw, cumulative_weight, weighted_draw
from recbole_lpo.core.weighting import published_code_tail_weights, tail_weights
from recbole_lpo.data.popularity import PAD_ID
from recbole_lpo.distributed.ranks import ranks_of
from recbole_lpo.errors import InputError
from recbole_lpo.model.objective import ObjectiveMixin
from recbole_lpo.model.objective_settings import hyper_of
from recbole_lpo.model.reference import ReferencePolicy
from recbole_lpo.model.rivals import Rivals, draw_from_best, draw_rivals


class PreferenceMixin(ObjectiveMixin):
    """likelihood of the target -> rivals -> preference objective (LPO4Rec Eq. 13).

    With `pref_weight: 0` and `tail_reweight: False` the training is that of the backbone to the last digit.
    """

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        self.check_settings()
        # Rivals of the same batch are those of the process's own part of it.
        self._check_rivals(config["train_batch_size"] // ranks_of(config).world)
        self.register_buffer("cumulative_draw_weight", cumulative_weight(self._draw_weight()), persistent=False)
        # In a list, so that torch does not take the reference for a part of this model.
        self._reference: list[ReferencePolicy] = []
        self._previous: list[ReferencePolicy] = []
        if self.needs_reference and self.loss_settings.pref_reference is not None:
            # Reading a run folder takes RecBole's Config, which takes the models.
            from recbole_lpo.reference_run import attach_reference

            attach_reference(self, config, dataset)

    @property
    def needs_reference(self) -> bool:
        """Whether the objective compares with a frozen reference policy."""
        return self.objective in NEEDS_REFERENCE and self.loss_settings.pref_weight > 0

    def set_reference(self, reference: ReferencePolicy) -> None:
        """The policy to compare with; it stays as it is, and no part of this model."""
        self._reference = [reference]

    @property
    def reference(self) -> ReferencePolicy:
        """The policy to compare with. Raises InputError where there is none."""
        if not self._reference:
            raise InputError(
                f"{type(self).__name__} compares with a reference policy. `recbole-lpo run` trains one first; with "
                "RecBole's own entry points set pref_reference to the run folder of a trained model."
            )
        return self._reference[0].to(self.head_ids.device)

    def start_epoch(self, epoch: int) -> None:
        """Called before every epoch: with `pref_negatives: self_play` the model as it is becomes its own opponent.

        In the first epoch that is the model as it was made: random, or with the weights of the reference.
        """
        if self.loss_settings.pref_negatives != "self_play" or self.loss_settings.pref_weight == 0:
            return
        self._previous.clear()
        # Without the reference, which may keep much, and without the gradients of the last step; it draws nothing.
        twin = copy.deepcopy(self, {id(self._reference): [], id(self.rival_streams): {}})
        twin.zero_grad()
        self._previous.append(ReferencePolicy(twin, keep_states=False))

    @property
    def previous(self) -> ReferencePolicy:
        """The model as it was when the epoch began. Raises InputError where no epoch has begun."""
        if not self._previous:
            raise InputError(
                f"pref_negatives = self_play: {type(self).__name__} plays against what it was when the epoch began. "
                "The trainers of recbole_lpo keep that (`recbole-lpo run`, RecBole's `run_recbole` and `get_trainer`); "
                "in another training loop call model.start_epoch(epoch) before every epoch."
            )
        return self._previous[0].to(self.head_ids.device)

    def row_losses(self, hidden, target, is_tail, known_items, reference_states) -> Tensor:
        settings, table = self.loss_settings, self.item_table()
        if softmax_method(self.item_softmax, len(hidden), len(table), hidden.device) != "dense":
            table = with_sparse_rows(table)
        nll = target_nll(hidden, table, target, method=self.item_softmax)
        rows = settings.ce_weight * nll
        if settings.pref_weight == 0:
            prob = (-nll.detach()).exp()
            self.loss_monitor.add(is_tail, ce=nll, prob=prob, grad_ce=settings.ce_weight * (1 - prob))
            return rows
        barred = target[:, None]
        if settings.pref_exclude_history:
            barred = torch.cat([barred, known_items()], dim=1)
        preference = self._preference(hidden, table, target, nll, is_tail, barred, reference_states)
        return rows + settings.pref_weight * preference

    def row_weights(self, is_tail: Tensor, *, counts: Tensor | None = None, **alphas: float) -> Tensor:
        weigh = published_code_tail_weights if self.loss_settings.pref_form == "published_code" else tail_weights
        return weigh(is_tail, counts=counts, **alphas)

    def _preference(self, hidden, table, target, nll, is_tail, barred, reference_states) -> Tensor:
        """The preference objective of each row, unweighted; (B,). barred: (B, E) items not to be drawn, 0 for none."""
        settings = self.loss_settings
        columns = torch.stack([target, torch.full_like(target, PAD_ID)], dim=1)
        # Most draws need no gradient. One gather for all comes after them: those of two would be added to each other.
        with torch.set_grad_enabled(settings.pref_straight_through and torch.is_grad_enabled()):
            log_sum = self._log_sum(nll, item_scores(hidden, table, columns))
        rivals = self._draw(hidden, table, log_sum, target, barred, reference_states)
        if rivals.score is None:
            columns = torch.cat([columns, rivals.columns], dim=1)
        scores = item_scores(hidden, table, columns)
        log_sum = self._log_sum(nll, scores)
        chosen = scores[:, 0] - log_sum
        rejected = (scores[:, 2:] if rivals.score is None else rivals.score) - log_sum[:, None]
        reference = (None, None)
        if self.needs_reference:
            columns = torch.cat([target[:, None], rivals.columns], dim=1)
            scores = self.reference.scores(reference_states(self.reference), columns)
            reference = (scores[:, 0], scores[:, 1:])
        hyper = hyper_of(self.objective, settings)
        if rivals.weight is not None:
            hyper["rejected_weight"] = rivals.weight

        def objective(chosen: Tensor, rejected: Tensor) -> Tensor:
            return OBJECTIVES[self.objective](chosen, rejected, *reference, **hyper)

        loss = objective(chosen, rejected)
        prob = chosen.detach().exp()
        self.loss_monitor.add(
            is_tail,
            ce=nll,
            pref=loss,
            prob=prob,
            grad_ce=settings.ce_weight * (1 - (-nll.detach()).exp()),
            grad_pref=settings.pref_weight * pull_on_target(objective, chosen, rejected, prob),
        )
        return loss

    def _log_sum(self, nll: Tensor, scores: Tensor) -> Tensor:
        """(B,) of the probabilities that are compared; scores (B, >= 2): of the target and of the padding first."""
        pad_score = None if self.loss_settings.pref_pad_in_softmax else scores[:, 1]
        return catalogue_log_sum(nll, scores[:, 0], pad_score)

    def _draw(self, hidden, table, log_sum, target, barred, reference_states) -> Rivals:
        settings, stream = self.loss_settings, self.rival_stream(hidden.device)
        source, k = settings.pref_negatives, settings.pref_num_rejected
        if source in ("uniform", "popularity"):
            columns = weighted_draw(self.cumulative_draw_weight, k, exclude=barred, generator=stream)
        elif source == "in_batch":
            columns = batch_draw(target, k, exclude=barred, generator=stream)
        elif source == "self_play":
            unranked = functional.pad(barred, (0, 1), value=PAD_ID)
            states, items = reference_states(self.previous), self.previous.item_table()
            columns = draw_from_best(states, items, unranked, settings, stream)
        else:
            in_head = self.position_in_head[barred]
            return draw_rivals(hidden, table, log_sum, self.head_ids, in_head, settings, stream)
        return Rivals(columns)

    def _draw_weight(self) -> Tensor:
        """(N,) how likely each item is as a rival where these come from the whole catalogue; 0 at the padding."""
        counts = torch.tensor(self.head_tail_split.counts).float()
        if self.loss_settings.pref_negatives == "popularity":
            return counts
        weight = torch.ones_like(counts)
        weight[PAD_ID] = 0
        return weight

    def _check_rivals(self, batch_size: int) -> None:
        settings, split = self.loss_settings, self.head_tail_split
        negatives, k = settings.pref_negatives, settings.pref_num_rejected
        if settings.pref_weight == 0:
            return
        source, n_rivals, way_out = "items of the catalogue", split.n_items, "take more data"
        if negatives == "in_batch":
            source, n_rivals, way_out = "other targets of a batch", batch_size - 1, "raise train_batch_size"
        elif negatives.startswith("head_"):
            source, n_rivals = "head items", len(split.head_ids)
            way_out = "make the head larger (tail_split_ratio, tail_split_threshold)"
        there_are = f"rivals are {source}, and there are {n_rivals} (the catalogue has {split.n_items})"
        if n_rivals == 0:
            raise InputError(f"pref_negatives = {negatives}: {there_are}. To have some, {way_out}.")
        if k > n_rivals:
            raise InputError(f"pref_num_rejected = {k}: {there_are}. Allowed: 1 to {n_rivals}; or {way_out}.")


def pull_on_target(objective: Callable[..., Tensor], chosen: Tensor, rejected: Tensor, prob: Tensor) -> Tensor:
    """|d objective / d score of the target|, (B,): through its own log-probability and through the softmax.

    objective of (chosen (B,), rejected (B, K)) log-probabilities; prob (B,) the probability of the target.
    """
    with torch.enable_grad():
        chosen, rejected = chosen.detach().requires_grad_(), rejected.detach().requires_grad_()
        by_chosen, by_rejected = torch.autograd.grad(objective(chosen, rejected).sum(), [chosen, rejected])
    return (by_chosen - prob * (by_chosen + by_rejected.sum(dim=1))).abs()
