"""RecBole's Collector, repaired, and with the rank of every held-out item."""

from __future__ import annotations

import copy

import torch
from recbole.evaluator.collector import Collector, DataStruct
from torch import Tensor

from recbole_lpo.core.logit_adjustment import log_prior
from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.core.ranking import rank_and_ties
from recbole_lpo.data.popularity import head_tail_split
from recbole_lpo.errors import InputError
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.settings import SplitSettings

_PER_EVALUATION = ("rec.user", "rec.target", "rec.rank", "rec.ties")


class TailCollector(Collector):
    """Takes the place of RecBole's Collector in every trainer.

    Repairs RecBole 1.2.1, whose `get_data_struct` calls `.cpu()` on counts that are no tensors, so that ItemCoverage,
    AveragePopularity, GiniIndex and TailPercentage crash (RecBole issue 2194). Where every row holds out one item, its
    rank is counted once and all of Hit, NDCG, MRR, Recall, Precision and MAP of RecBole follow from it, so that overall
    figures and those of head and tail agree exactly; equal scores are ranked in the middle (`core.ranking`).
    """

    def __init__(self, config) -> None:
        super().__init__(config)
        self.split: HeadTailSplit | None = None
        self.seen: Tensor | None = None
        self.log_prior: Tensor | None = None
        self.last: Evaluation | None = None
        self._every_row_ranked = True
        self._needs_lists, self._needs_hits = self.register.need("rec.items"), self.register.need("rec.topk")
        self._needs_rank = self.register.need("rec.rank")

    def data_collect(self, train_data) -> None:
        super().data_collect(train_data)
        self.set_split(head_tail_split(train_data._dataset, SplitSettings.from_config(self.config)))

    def set_split(self, split: HeadTailSplit) -> None:
        """Which items are head: from the training data, or from the model that was trained with it."""
        self.split = split
        counts = torch.tensor(split.counts)
        self.seen, self.log_prior = counts > 0, log_prior(counts, pad_id=split.pad_id)
        self.data_struct.set("data.is_head", torch.tensor(split.is_head))

    def eval_batch_collect(self, scores_tensor: Tensor, interaction, positive_u: Tensor, positive_i: Tensor) -> None:
        if positive_u is None or not self._one_held_out_item_a_row(scores_tensor, positive_u):
            if self._needs_rank:
                raise InputError(
                    "metrics: head and tail metrics need one held-out item per user. Set eval_args.split to "
                    "{'LS': 'valid_and_test'}, or leave the Head and Tail metrics out."
                )
            self._every_row_ranked = False
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        self._collect_the_rest(scores_tensor, interaction, positive_u, positive_i)
        target = positive_i.to(scores_tensor.device)
        rank, ties = rank_and_ties(scores_tensor, target)
        self.data_struct.update_tensor("rec.ties", ties.cpu())
        # In a sampled evaluation the interaction has a row for each candidate, as many of them for every user.
        user = interaction[self.config["USER_ID_FIELD"]].view(len(scores_tensor), -1)[:, 0]
        self.data_struct.update_tensor("rec.user", user.cpu())
        self.data_struct.update_tensor("rec.target", target.cpu())
        self.data_struct.update_tensor("rec.rank", rank.cpu())
        k = max(self.topk)
        if self._needs_lists:
            if k >= scores_tensor.shape[1]:
                raise InputError(f"topk = {k}: the catalogue has {scores_tensor.shape[1] - 1} items; ask for fewer.")
            self.data_struct.update_tensor("rec.items", torch.topk(scores_tensor, k, dim=1).indices)
        if self._needs_hits:
            hits = torch.zeros((len(rank), k + 1), dtype=torch.int, device=rank.device)
            # The last column counts the held-out items; a rank beyond k falls on it and leaves its 1 alone.
            hits.scatter_(1, rank.clamp(max=k + 1)[:, None] - 1, 1)
            hits[:, k] = 1
            self.data_struct.update_tensor("rec.topk", hits)

    def get_data_struct(self) -> DataStruct:
        found = {key: _on_cpu(value) for key, value in self.data_struct._data_dict.items()}
        self.last = None
        if "rec.rank" in found and self._every_row_ranked and self.split is not None:
            self.last = Evaluation(
                user=found["rec.user"],
                target=found["rec.target"],
                rank=found["rec.rank"],
                is_head=found["data.is_head"],
                seen=self.seen,
                n_ties=int((found["rec.ties"] > 0).sum()),
            )
        self.forget_evaluation()
        returned = DataStruct()
        for key, value in found.items():
            returned.set(key, value)
        return returned

    def _collect_the_rest(self, scores: Tensor, interaction, positive_u: Tensor, positive_i: Tensor) -> None:
        """RecBole's own collecting, less the lists and hits that are taken from the rank here."""
        whole = self.register
        self.register = copy.copy(whole)
        setattr(self.register, "rec.items", False)
        setattr(self.register, "rec.topk", False)
        try:
            super().eval_batch_collect(scores, interaction, positive_u, positive_i)
        finally:
            self.register = whole

    def forget_evaluation(self) -> None:
        """Drop the rows of an evaluation; one that did not end leaves them behind."""
        self._every_row_ranked = True
        for key in (*_PER_EVALUATION, "rec.topk", "rec.meanrank", "rec.score", "rec.items", "data.label"):
            if key in self.data_struct:
                del self.data_struct[key]

    @staticmethod
    def _one_held_out_item_a_row(scores: Tensor, positive_u: Tensor) -> bool:
        rows = torch.arange(len(scores), device=positive_u.device)
        return len(positive_u) == len(scores) and bool(torch.equal(positive_u, rows))


def _on_cpu(value):
    return value.cpu() if isinstance(value, torch.Tensor) else value
