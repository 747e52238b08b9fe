"""The models that learn from a likelihood objective: a cross-entropy changed for the tail, or one of drawn items."""

from __future__ import annotations

import logging
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.item_softmax import item_scores, target_nll
from recbole_lpo.core.objectives import LIKELIHOODS
from recbole_lpo.core.objectives.sampled_likelihood import gbce_beta
from recbole_lpo.core.weighting import r2rec_published_code_weights, tail_weights
from recbole_lpo.data.popularity import PAD_ID
from recbole_lpo.model.mapped_embedding import id_embedding
from recbole_lpo.model.monitor import LossMonitor
from recbole_lpo.model.objective import ObjectiveMixin
from recbole_lpo.model.objective_settings import hyper_of
from recbole_lpo.settings import LikelihoodSettings


class LikelihoodMixin(ObjectiveMixin):
    """row = item_weight[target] * row_loss(nll under scores + score_bias), or a loss on the target and drawn items.

    Bias and weights follow from the training interactions of the items, once. `CEX`, and any other of the first kind at
    zero strength, trains as RecBole's `X` to the last digit. As `ce` and `prob` the loss monitor shows the target's
    likelihood under the objective's own distribution: with its bias, among the drawn items, or gBCE's sigmoid(score).
    """

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        self.check_settings()
        self.likelihood_settings = LikelihoodSettings.from_config(config)
        self.loss_monitor = LossMonitor(of_preferences=False)
        likelihood, hyper = LIKELIHOODS[self.objective], hyper_of(self.objective, self.likelihood_settings)
        counts = torch.tensor(self.head_tail_split.counts)
        for name, of_items in (("score_bias", likelihood.score_bias), ("item_weight", likelihood.item_weight)):
            values = None if of_items is None else of_items(counts, **hyper).float()
            self.register_buffer(name, values, persistent=False)
        self._row_loss = partial(likelihood.row_loss, **hyper) if likelihood.row_loss else None
        self._sampled = likelihood.sampled is not None
        self.register_buffer("draw_prob", self._draw_prob(counts) if self._sampled else None, persistent=False)
        self._first_spread = float(id_embedding(self).weight.detach()[PAD_ID + 1 :].std())
        self._told_of_epochs = False

    def row_losses(self, hidden, target, is_tail, known_items, reference_states) -> Tensor:
        if self.training and self._reembed_epoch is not None and not self._told_of_epochs:
            self._told_of_epochs = True
            logging.getLogger().warning(
                "likelihood_reembed_epoch = %s: this trainer does not say when an epoch starts, as recbole_lpo's does; "
                "no vector is drawn anew.",
                self._reembed_epoch,
            )
        if self._sampled:
            return self._sampled_rows(hidden, target, is_tail)
        nll = target_nll(hidden, self.item_table(), target, bias=self.score_bias, method=self.item_softmax)
        self.loss_monitor.add(is_tail, ce=nll, prob=(-nll.detach()).exp())
        rows = nll if self._row_loss is None else self._row_loss(nll)
        return rows if self.item_weight is None else self.item_weight[target] * rows

    def row_weights(self, is_tail: Tensor, *, counts: Tensor | None = None, **alphas: float) -> Tensor:
        published_code = self.objective == "r2rec" and self.likelihood_settings.likelihood_form == "published_code"
        weigh = r2rec_published_code_weights if published_code else tail_weights
        return weigh(is_tail, counts=counts, **alphas)

    def start_epoch(self, epoch: int) -> list[tuple[Tensor, Tensor]] | None:
        """R2Rec's re-embedding: before its epoch, counted from 0, every tail item gets a new random vector.

        Returns what was overwritten, as (parameter, row numbers): an optimizer must forget what it knows of these rows.
        The published code does this once, before training, to the tail rows of a table of image vectors, with N(0, 1).
        Vectors of ids are random at that time anyway; a later epoch gives the tail a second start in a space that the
        head has shaped. Their spread is that of the backbone's own first vectors.
        """
        self._told_of_epochs = True
        if epoch != self._reembed_epoch:
            return None
        table = id_embedding(self).weight
        rows = torch.tensor(self.head_tail_split.tail_ids, device=table.device)
        shape = (len(rows), *table.shape[1:])
        fresh = torch.randn(shape, generator=self.rival_stream(table.device), device=table.device)
        with torch.no_grad():
            table[rows] = (self._first_spread * fresh).to(table.dtype)
        logging.getLogger().info("epoch %d: the vectors of %d tail items are drawn anew", epoch, len(rows))
        return [(table, rows)]

    @property
    def _reembed_epoch(self) -> int | None:
        return self.likelihood_settings.likelihood_reembed_epoch if self.objective == "r2rec" else None

    def _sampled_rows(self, hidden: Tensor, target: Tensor, is_tail: Tensor) -> Tensor:
        settings, table = self.likelihood_settings, self.item_table()
        drawn = self._draw(target)
        score = item_scores(hidden, table, target[:, None])[:, 0]
        score_drawn = item_scores(hidden, table, drawn)
        sampled = LIKELIHOODS[self.objective].sampled
        if self.objective == "gbce":
            others = max(1, self.head_tail_split.n_items - 1)
            beta = gbce_beta(settings.likelihood_calibration, settings.likelihood_num_sampled / others)
            rows, own = sampled(score, score_drawn, beta=beta), functional.softplus(-score.detach())
        else:
            log_q = self.draw_prob[drawn.clamp(min=0)].log().float() if settings.likelihood_log_q else None
            rows = sampled(score, score_drawn, log_q)
            own = rows.detach()
        self.loss_monitor.add(is_tail, ce=own, prob=(-own).exp())
        return rows

    def _draw(self, target: Tensor) -> Tensor:
        """(B, K) columns drawn with repetition; -1 where the target itself came up."""
        k = self.likelihood_settings.likelihood_num_sampled
        stream = self.rival_stream(target.device)
        drawn = torch.multinomial(self.draw_prob, len(target) * k, replacement=True, generator=stream)
        drawn = drawn.view(len(target), k)
        return drawn.masked_fill(drawn == target[:, None], -1)

    def _draw_prob(self, counts: Tensor) -> Tensor:
        """(N,) how likely each column is drawn, 0 at the padding; float64, as a large catalogue's shares are small."""
        weight = counts.double()
        if self.likelihood_settings.likelihood_negatives == "uniform":
            weight = torch.ones_like(weight)
            weight[PAD_ID] = 0
        return weight / weight.sum()
