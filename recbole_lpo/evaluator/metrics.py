"""Metrics that RecBole lacks, in its own registry: named in `metrics:` and fit for `valid_metric`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType
from torch import Tensor

from recbole_lpo.core.ranking import group_mean, hit_at, mrr_at, ndcg_at
from recbole_lpo.data.popularity import PAD_ID

_OF_UNSEEN = ("rec.rank", "rec.target", "data.seen")


class _TargetMetric(AbstractMetric):
    """A mean over the users whose held-out item is in one group, ranked against all items; NaN without such users.

    flagged: what the last of `metric_need`, (N,) bool over item numbers, is for the items of the group.
    """

    metric_type = EvaluatorType.RANKING
    metric_need = ("rec.rank", "rec.target", "data.is_head")
    measure: Callable[[Tensor, int], Tensor]
    flagged: bool

    def __init__(self, config) -> None:
        super().__init__(config)
        self.topk = config["topk"]

    def calculate_metric(self, dataobject) -> dict[str, float]:
        rank, target, flag = (dataobject.get(name) for name in self.metric_need)
        member = flag[target] == self.flagged
        name = type(self).__name__.lower()
        found = {k: group_mean(type(self).measure(rank, k), member) for k in self.topk}
        return {f"{name}@{k}": round(value, self.decimal_place) for k, value in found.items()}


class TailHit(_TargetMetric):
    """Share of the users with a tail target who find it in their top k."""

    measure, flagged = staticmethod(hit_at), False


class TailNDCG(_TargetMetric):
    """Mean of 1 / log2(1 + rank) over the users with a tail target; 0 beyond rank k."""

    measure, flagged = staticmethod(ndcg_at), False


class TailMRR(_TargetMetric):
    """Mean of 1 / rank over the users with a tail target; 0 beyond rank k."""

    measure, flagged = staticmethod(mrr_at), False


class HeadHit(_TargetMetric):
    """Share of the users with a head target who find it in their top k."""

    measure, flagged = staticmethod(hit_at), True


class HeadNDCG(_TargetMetric):
    """Mean of 1 / log2(1 + rank) over the users with a head target; 0 beyond rank k."""

    measure, flagged = staticmethod(ndcg_at), True


class HeadMRR(_TargetMetric):
    """Mean of 1 / rank over the users with a head target; 0 beyond rank k."""

    measure, flagged = staticmethod(mrr_at), True


class UnseenHit(_TargetMetric):
    """Share of the users whose target training never saw who find it in their top k."""

    metric_need = _OF_UNSEEN
    measure, flagged = staticmethod(hit_at), False


class UnseenNDCG(_TargetMetric):
    """Mean of 1 / log2(1 + rank) over the users whose target training never saw; 0 beyond rank k."""

    metric_need = _OF_UNSEEN
    measure, flagged = staticmethod(ndcg_at), False


class UnseenMRR(_TargetMetric):
    """Mean of 1 / rank over the users whose target training never saw; 0 beyond rank k."""

    metric_need = _OF_UNSEEN
    measure, flagged = staticmethod(mrr_at), False


class _ListMetric(AbstractMetric):
    """A figure of the recommended lists, whatever the held-out items."""

    metric_type = EvaluatorType.RANKING
    metric_need = ("rec.items", "data.is_head")

    def __init__(self, config) -> None:
        super().__init__(config)
        self.topk = config["topk"]

    def calculate_metric(self, dataobject) -> dict[str, float]:
        items, is_head = (dataobject.get(name) for name in self.metric_need)
        name = type(self).__name__.lower()
        # The padding is the first of the items that cannot be recommended: where fewer than k can, the list ends there.
        listed = (items != PAD_ID).cumprod(dim=1).bool()
        found = {k: self.measure(items[:, :k][listed[:, :k]], is_head) for k in self.topk}
        return {f"{name}@{k}": round(value, self.decimal_place) for k, value in found.items()}

    def measure(self, items: Tensor, is_head: Tensor) -> float:
        """items (n,) item numbers of the top k of all users, is_head (N,) over item numbers, False at the padding."""
        raise NotImplementedError


class Coverage(_ListMetric):
    """Share of the catalogue that is in at least one user's top k. RecBole's ItemCoverage counts the padding too."""

    def measure(self, items: Tensor, is_head: Tensor) -> float:
        return len(torch.unique(items)) / (len(is_head) - 1)


class TailCoverage(_ListMetric):
    """Share of the tail items that are in at least one user's top k; NaN where there is no tail."""

    def measure(self, items: Tensor, is_head: Tensor) -> float:
        tail_items = len(is_head) - 1 - int(is_head.sum())
        return int((~is_head[torch.unique(items)]).sum()) / tail_items if tail_items else float("nan")


class TailShare(_ListMetric):
    """Share of the recommended items that are tail, over all users' top k."""

    def measure(self, items: Tensor, is_head: Tensor) -> float:
        return float((~is_head[items]).double().mean()) if len(items) else float("nan")


METRICS = (
    TailHit, TailNDCG, TailMRR, HeadHit, HeadNDCG, HeadMRR, UnseenHit, UnseenNDCG, UnseenMRR,
    Coverage, TailCoverage, TailShare,
)  # fmt: skip
