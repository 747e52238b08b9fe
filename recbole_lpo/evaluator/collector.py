"""RecBole's Collector, repaired, and with the rank of every held-out item."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from recbole.evaluator.collector import Collector, DataStruct
from torch import Tensor

from recbole_lpo.core.catalogue_walk import Ranking, rank_products, rank_scores
from recbole_lpo.core.logit_adjustment import adjust, adjustment, log_prior
from recbole_lpo.core.popularity import HeadTailSplit
from recbole_lpo.core.popularity_deciles import popularity_deciles
from recbole_lpo.data.popularity import head_tail_split
from recbole_lpo.distributed.ranks import ALONE, Ranks
from recbole_lpo.errors import InputError
from recbole_lpo.evaluator.groups import Evaluation
from recbole_lpo.settings import SplitSettings

_WHOLE_ROWS = ("rec.meanrank", "rec.score", "data.label")


@dataclass(frozen=True)
class ProductScores:
    """Scores of all items for a batch, not yet multiplied; the arguments of `core.catalogue_walk.rank_products`.

    hidden (B, D); item_table (N, D); excluded two (cells,) int64: rows, and columns that score -inf in them; chunk:
    items at a time, None for its default
    """

    hidden: Tensor
    item_table: Tensor
    excluded: tuple[Tensor, Tensor]
    chunk: int | None

    @property
    def shape(self) -> tuple[int, int]:
        """(B, N)"""
        return len(self.hidden), len(self.item_table)

    def whole(self) -> Tensor:
        """(B, N) the scores."""
        scores = self.hidden @ self.item_table.T
        scores[self.excluded] = -torch.inf
        return scores


class TailCollector(Collector):
    """Takes the place of RecBole's Collector in every trainer.

    Repairs RecBole 1.2.1, whose `get_data_struct` calls `.cpu()` on counts that are no tensors, so that ItemCoverage,
    AveragePopularity, GiniIndex and TailPercentage crash (RecBole issue 2194). Where every row holds out one item, its
    rank is counted once and all of Hit, NDCG, MRR, Recall, Precision and MAP of RecBole follow from it, so that overall
    figures and those of head and tail agree exactly; equal scores are ranked in the middle
    (`core.catalogue_walk.Ranking`).

    strengths    of the post-hoc logit adjustment: all are collected from the same scores
    structs      what the metrics read, under each strength, after an evaluation
    evaluations  the ranks, under each strength; None where a row holds out none or several items
    ranks        the processes that evaluate a part of the rows each
    """

    ranks: Ranks = ALONE

    def __init__(self, config) -> None:
        super().__init__(config)
        self.split: HeadTailSplit | None = None
        self.seen: Tensor | None = None
        self.decile: Tensor | None = None
        self.log_prior: Tensor | None = None
        self.strengths: tuple[float, ...] = (0.0,)
        self.structs: list[DataStruct] = []
        self.evaluations: list[Evaluation | None] = []
        self._rows: list[DataStruct] = []
        self._tail_prob = False
        self._every_row_ranked = True
        self._needs_lists, self._needs_hits = self.register.need("rec.items"), self.register.need("rec.topk")
        self._needs_rank = self.register.need("rec.rank")

    @property
    def needs_whole_rows(self) -> bool:
        """Whether a metric reads all scores of a row (GAUC, say), so that `ProductScores` will not do."""
        return any(map(self.register.need, _WHOLE_ROWS))

    @property
    def last(self) -> Evaluation | None:
        """Ranks of the latest evaluation, under the first strength."""
        return self.evaluations[0] if self.evaluations else None

    def data_collect(self, train_data) -> None:
        super().data_collect(train_data)
        self.set_split(head_tail_split(train_data._dataset, SplitSettings.from_config(self.config)))

    def set_split(self, split: HeadTailSplit) -> None:
        """Which items are head: from the training data, or from the model that was trained with it."""
        self.split = split
        counts = torch.tensor(split.counts)
        self.seen, self.log_prior = counts > 0, log_prior(counts, pad_id=split.pad_id)
        most_popular_first = np.concatenate([split.head_ids, split.tail_ids])
        self.decile = torch.from_numpy(popularity_deciles(most_popular_first, len(counts)))
        self.data_struct.set("data.is_head", torch.tensor(split.is_head))
        self.data_struct.set("data.seen", self.seen)

    def start(self, strengths: tuple[float, ...], *, tail_prob: bool = False) -> None:
        """Begin an evaluation; drops the rows of one that did not end.

        tail_prob: sum the softmax probability of the tail for each user too, under the first strength.
        """
        self._tail_prob = tail_prob
        self.strengths, self.structs, self.evaluations = strengths, [], []
        self._every_row_ranked = True
        self._rows = [DataStruct() for _ in strengths]

    def eval_batch_collect(
        self, scores_tensor: Tensor | ProductScores, interaction, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        if not self._rows:
            self.start(self.strengths)
        ranked = positive_u is not None and self._one_held_out_item_a_row(scores_tensor, positive_u)
        if self._needs_rank and not ranked:
            raise InputError(
                "metrics: head and tail metrics need one held-out item per user. Set eval_args.split to "
                "{'LS': 'valid_and_test'}, or leave the Head and Tail metrics out."
            )
        self._every_row_ranked &= ranked
        if ranked:
            self._collect_ranks(scores_tensor, interaction, positive_i)
        if not ranked or self.needs_whole_rows:
            self._collect_as_recbole(scores_tensor, interaction, positive_u, positive_i, lists=not ranked)

    def _collect_ranks(self, scores: Tensor | ProductScores, interaction, positive_i: Tensor) -> None:
        n_rows, n_items = scores.shape
        k = max(self.topk)
        if self._needs_lists and k >= n_items:
            raise InputError(f"topk = {k}: the catalogue has {n_items - 1} items; ask for fewer.")
        length = k if self._needs_lists else 0
        # In a sampled evaluation the interaction has a row for each candidate, as many of them for every user.
        users = interaction[self.config["USER_ID_FIELD"]].view(n_rows, -1).cpu()
        user, n_candidates = users[:, 0], users.shape[1]
        # Of all items one is the padding and one the target.
        n_others = n_candidates - 1 if n_candidates > 1 else n_items - 2
        for rows, found in zip(self._rows, self._rankings(scores, positive_i, length), strict=True):
            rank = found.rank.cpu()
            rows.update_tensor("rec.user", user)
            rows.update_tensor("rec.target", positive_i.cpu())
            rows.update_tensor("rec.rank", rank)
            rows.update_tensor("rec.ties", found.ties.cpu())
            rows.update_tensor("rec.collapsed", 2 * found.ties.cpu() > n_others)
            if found.group_prob is not None:
                rows.update_tensor("rec.tail_prob", found.group_prob.cpu())
            if self._needs_lists:
                rows.update_tensor("rec.items", found.top.cpu())
            if self._needs_hits:
                hits = torch.zeros((n_rows, k + 1), dtype=torch.int)
                # The last column counts the held-out items; a rank beyond k falls on it and leaves its 1 alone.
                hits.scatter_(1, rank.clamp(max=k + 1)[:, None] - 1, 1)
                hits[:, k] = 1
                rows.update_tensor("rec.topk", hits)

    def _rankings(self, scores: Tensor | ProductScores, positive_i: Tensor, length: int) -> list[Ranking]:
        whole = isinstance(scores, Tensor)
        device = scores.device if whole else scores.hidden.device
        adjustments = [adjustment(self.log_prior, strength) if strength else None for strength in self.strengths]
        biases = [None if bias is None else bias.to(device) for bias in adjustments]
        target = positive_i.to(device)
        tail = ~self.data_struct.get("data.is_head") if self._tail_prob else None
        if whole:
            return rank_scores(scores, target, biases=biases, k=length, group=tail)
        return rank_products(
            scores.hidden,
            scores.item_table,
            target,
            chunk=scores.chunk,
            excluded=scores.excluded,
            biases=biases,
            k=length,
            group=tail,
        )

    def _collect_as_recbole(self, scores: Tensor, interaction, positive_u, positive_i, *, lists: bool) -> None:
        """What RecBole collects from all scores of a row. lists: also the lists and hits that a rank gives."""
        shared, whole = self.data_struct, self.register
        self.register = copy.copy(whole)
        if not lists:
            setattr(self.register, "rec.items", False)
            setattr(self.register, "rec.topk", False)
        try:
            for strength, rows in zip(self.strengths, self._rows, strict=True):
                if strength and scores.dim() == 1:
                    raise InputError(
                        f"eval_logit_adjust = {strength}: metrics of single scores (AUC, LogLoss, ...) are of no "
                        "ranking that it could change. Set it to 0, or name other metrics."
                    )
                self.data_struct = rows
                adjusted = adjust(scores, self.log_prior, strength) if strength else scores
                super().eval_batch_collect(adjusted, interaction, positive_u, positive_i)
        finally:
            self.data_struct, self.register = shared, whole

    def get_data_struct(self) -> DataStruct:
        """What the metrics read under the first strength; `structs` has all of them."""
        shared = {key: _on_cpu(value) for key, value in self.data_struct._data_dict.items()}
        own = [{key: _on_cpu(value) for key, value in rows._data_dict.items()} for rows in self._rows]
        parts = self.ranks.gathered((own or [{}], self._every_row_ranked))
        self._every_row_ranked = all(ranked for _, ranked in parts)
        for rows in zip(*(part for part, _ in parts), strict=True):
            found = shared | _joined(rows)
            struct = DataStruct()
            for key, value in found.items():
                struct.set(key, value)
            self.structs.append(struct)
            self.evaluations.append(self._evaluation(found))
        self._rows = []
        return self.structs[0]

    def _evaluation(self, found: dict[str, Tensor]) -> Evaluation | None:
        if "rec.rank" not in found or not self._every_row_ranked or self.split is None:
            return None
        return Evaluation(
            user=found["rec.user"],
            target=found["rec.target"],
            rank=found["rec.rank"],
            is_head=found["data.is_head"],
            seen=self.seen,
            decile=self.decile,
            n_ties=int((found["rec.ties"] > 0).sum()),
            n_collapsed=int(found["rec.collapsed"].sum()),
            tail_prob=found.get("rec.tail_prob"),
        )

    @staticmethod
    def _one_held_out_item_a_row(scores: Tensor | ProductScores, positive_u: Tensor) -> bool:
        rows = torch.arange(scores.shape[0], device=positive_u.device)
        return len(positive_u) == len(rows) and bool(torch.equal(positive_u, rows))


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The rows of all processes; one that had none has no entries."""
    whole = [part for part in parts if part]
    return {key: torch.cat([part[key] for part in whole]) for key in whole[0]} if len(whole) > 1 else dict(*whole)


def _on_cpu(value):
    return value.cpu() if isinstance(value, torch.Tensor) else value
